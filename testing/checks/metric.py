"""What a metric keeps: values that depend on what was accumulated since the last reset, and not on how it was split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from twinkle.core.components import build, resolve
from twinkle.core.signature import named_parameters, takes_any_keyword
from twinkle.core.types import IGNORE_INDEX
from twinkle.testing.check import check, expect
from twinkle.testing.host_sync import host_syncs
from twinkle.testing.rank_pair import run_on_two_ranks
from twinkle.testing.sequence_batch import SequenceColumns, collate, token_sequence
from twinkle.testing.specimen import Specimen
from twinkle.testing.still_clock import still_clock

_LENGTHS = (4, 9, 6, 5)


def _new(component: Specimen) -> Any:
    return component.build(device_mesh=None, process_group=None)


def _sequences() -> list[SequenceColumns]:
    import torch

    generator = torch.Generator().manual_seed(1)
    return [token_sequence(generator, length) for length in _LENGTHS]


def accumulate(metric: Any, sequences: Sequence[SequenceColumns], step: int = 3) -> None:
    """One micro-batch, as a training loop gives it: with those further arguments that the metric names."""
    import torch

    batch = collate(sequences, "padded")
    is_trained = batch.inputs["labels"] != IGNORE_INDEX
    batch.outputs["loss"] = -(batch.outputs["logps"] * is_trained).sum()
    batch.outputs["num_tokens"] = is_trained.sum().double()
    offered = {"lr": [1e-4], "step": step, "gradient_accumulation_steps": 2, "grad_norm": torch.tensor(0.5, dtype=torch.float64)}
    function = metric.accumulate
    names = offered if takes_any_keyword(function) else named_parameters(function)
    function(batch.inputs, batch.outputs, **{name: value for name, value in offered.items() if name in names})


def _same(expected: Mapping[str, Any], found: Mapping[str, Any], what: str) -> None:
    expect(expected.keys() == found.keys(), f"{what}: the values {', '.join(found)} instead of {', '.join(expected)}")
    for name, value in expected.items():
        other = found[name]
        is_number = isinstance(value, int | float) and isinstance(other, int | float)
        equal = math.isclose(value, other, rel_tol=1e-9, abs_tol=1e-12) if is_number else value == other
        expect(equal, f"{what}: {name} is {other!r} instead of {value!r}")


@check("metric")
def is_empty_at_first(component: Specimen) -> None:
    """calculate() where nothing was accumulated gives a dictionary without NaN, and raises nothing: evaluation may see no batch."""
    values = _new(component).calculate()
    expect(isinstance(values, dict), f"calculate() gives a {type(values).__name__}, not a dictionary")
    wrong = [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
    expect(not wrong, f"{', '.join(wrong)} of nothing is no number")


@check("metric")
def calculates_the_same_twice(component: Specimen) -> None:
    """A second calculate() gives the same values: it changes nothing."""
    with still_clock():
        metric = _new(component)
        accumulate(metric, _sequences())
        first = metric.calculate()
        expect(first, "calculate() gives no value after a batch")
        _same(first, metric.calculate(), "the second calculate()")


@check("metric")
def reset_forgets(component: Specimen) -> None:
    """After reset() the values are those of what was accumulated since."""
    with still_clock():
        sequences, used, new = _sequences(), _new(component), _new(component)
        accumulate(used, sequences[:2], step=1)
        used.calculate()
        used.reset()
        for metric in (used, new):
            accumulate(metric, sequences[2:], step=7)
        _same(new.calculate(), used.calculate(), "after reset()")


@check("metric")
def micro_batches_add_up(component: Specimen) -> None:
    """The values are the same however the sequences came in: in one micro-batch or several, in whatever order.

    A mean of means is not: it weighs the tokens of a small micro-batch more."""
    with still_clock():
        sequences, whole, split = _sequences(), _new(component), _new(component)
        accumulate(whole, sequences)
        accumulate(split, sequences[3:])
        accumulate(split, sequences[:3])
        _same(whole.calculate(), split.calculate(), "in two micro-batches")


@check("metric")
def accumulates_on_the_device(component: Specimen) -> None:
    """accumulate() reads no value back from the device: calculate() does, once a log line instead of once a micro-batch."""
    metric, sequences = _new(component), _sequences()
    with host_syncs() as found:
        accumulate(metric, sequences[:2])
        accumulate(metric, sequences[2:])
    expect(not found, f"the host waits for the device in {', '.join(found)}")


def half_on_a_rank(rank: int, kind: str, ref: str, init: dict[str, Any]) -> dict[str, Any]:
    """Runs on two ranks: the values over both, each of which saw half of the sequences."""
    import torch.distributed as dist

    group = dist.group.WORLD
    names = named_parameters(resolve(kind, ref).cls)
    given = {name: value for name, value in {"process_group": group, "device_mesh": None}.items() if name in names}
    metric = build(kind, ref, **init, **given)
    sequences = _sequences()
    accumulate(metric, sequences[:1] if rank == 0 else sequences[1:])
    return {name: float(value) if isinstance(value, int | float) else str(value) for name, value in metric.calculate().items()}


@check("metric", tier="dist", timeout_s=120)
def ranks_add_up(component: Specimen) -> None:
    """On two data ranks, each of which sees a part of the sequences, both get the values of a single process that sees them all.

    Times and speeds are measured by each rank, and are left out of the comparison."""
    ref = component.component if isinstance(component.component, str) else "py:" + resolve(component.kind, component.component).entry
    init = {} if component.example is None else component.example.arguments()
    metric = _new(component)
    accumulate(metric, _sequences())
    times = ("time", "speed")
    whole = {n: float(v) for n, v in metric.calculate().items() if isinstance(v, int | float) and not any(t in n for t in times)}
    for rank, values in enumerate(run_on_two_ranks(f"{__name__}:half_on_a_rank", component.kind, ref, init)):
        _same(whole, {name: values.get(name) for name in whole}, f"rank {rank} of 2")


CHECKS = (
    is_empty_at_first,
    calculates_the_same_twice,
    reset_forgets,
    micro_batches_add_up,
    accumulates_on_the_device,
    ranks_add_up,
)

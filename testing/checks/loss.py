"""What a loss keeps: a sum and its denominator that do not depend on padding, order or splitting, with the right gradient."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twinkle.core.signature import named_parameters
from twinkle.core.types import IGNORE_INDEX
from twinkle.testing.check import NotApplicable, check, expect
from twinkle.testing.example import Example
from twinkle.testing.host_sync import host_syncs
from twinkle.testing.sequence_batch import Batch, Layout, SequenceColumns, collate, token_sequence
from twinkle.testing.specimen import Specimen

if TYPE_CHECKING:
    from torch import Generator, Tensor

_DOMAINS = ("token", "sequence", "batch")
_EXACT = 1e-9
"""Relative; float64 sums of some tens of terms in another order differ by 1e-15."""


@dataclass(frozen=True, kw_only=True)
class LossExample(Example):
    """For losses: how one sequence looks, where it is not that of a causal language model."""

    sequence: Callable[[Generator, int], SequenceColumns] | None = None
    """A random sequence of a given length, in float64. Without, the loss gets labels, logits, log-probabilities and entropies, and those
    of ``old_logps``, ``ref_logps`` (one number a token) and ``advantages`` (one a sequence) that it names."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One term of a loss."""

    total: Tensor
    denominator: Tensor
    domain: str


def _loss_names(loss: Any) -> list[str]:
    """What the loss names beside inputs and outputs."""
    call = loss if inspect.isfunction(loss) else type(loss).__call__
    own = list(named_parameters(call))
    return own[2:] if inspect.isfunction(loss) else own[3:]


def _sequences(component: Specimen, loss: Any, lengths: Sequence[int]) -> list[SequenceColumns]:
    import torch

    example = component.example_of(LossExample)
    generator = torch.Generator().manual_seed(1)
    if example.sequence is not None:
        return [example.sequence(generator, length) for length in lengths]
    return [token_sequence(generator, length, _loss_names(loss)) for length in lengths]


def _layout(loss: Any) -> Layout:
    layout: Layout = inspect.getattr_static(loss, "layout", "padded")
    return layout


def _read_outputs(loss: Any, batch: Batch) -> list[str]:
    """The outputs that the loss declares to read."""
    flags = {"logits": ("require_logits", False), "logps": ("require_logps", True), "entropies": ("require_entropy", False)}
    return [n for n in batch.outputs if n not in flags or inspect.getattr_static(loss, *flags[n])]


def _call(loss: Any, batch: Batch, **outputs: Tensor) -> Any:
    given = {name: batch.outputs[name] for name in _read_outputs(loss, batch) if name != "predictions"}
    return loss(batch.inputs, {**given, **outputs}, **batch.arguments)


def _terms(result: Any, batch: Batch) -> list[Term]:
    """What was returned, as sums with denominators."""
    import torch

    if isinstance(result, tuple | list):
        return [term for part in result for term in _terms(part, batch)]
    if isinstance(result, torch.Tensor):
        result = {"loss": result, "num_tokens": 0}
    expect(isinstance(result, Mapping), f"expected a scalar tensor, a mapping or a tuple of these, got {type(result).__name__}")
    total, num_tokens = result["loss"], result.get("num_tokens", 0)
    is_mean = not isinstance(num_tokens, torch.Tensor) and num_tokens == 0
    domain = result.get("domain", "sequence" if is_mean else "token")
    if not is_mean:
        return [Term(total=total, denominator=torch.as_tensor(num_tokens, dtype=torch.float64), domain=domain)]
    num_units = {"sequence": batch.num_sequences, "batch": 1}.get(domain, int((batch.inputs["labels"] != IGNORE_INDEX).sum()))
    num_units = result.get("mean_over", num_units)
    return [Term(total=total * num_units, denominator=torch.tensor(float(num_units), dtype=torch.float64), domain=domain)]


def _evaluate(component: Specimen, lengths: Sequence[int] = (4, 9, 6)) -> tuple[Any, list[SequenceColumns], Batch, list[Term]]:
    loss = component.build()
    sequences = _sequences(component, loss, lengths)
    batch = collate(sequences, _layout(loss))
    return loss, sequences, batch, _terms(_call(loss, batch), batch)


def _same_terms(first: Sequence[Term], second: Sequence[Term], what: str) -> None:
    expect(len(first) == len(second), f"{what}: {len(second)} terms instead of {len(first)}")
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        for name, expected, found in (("sum", one.total, other.total), ("denominator", one.denominator, other.denominator)):
            a, b = float(expected.detach()), float(found.detach())
            where = f"term {index + 1}, " if len(first) > 1 else ""
            expect(abs(a - b) <= _EXACT * max(abs(a), abs(b), 1e-3), f"{what}: {where}{name} {b:.12g} instead of {a:.12g}")


def _mean(terms: Sequence[Term]) -> Tensor:
    import torch

    return torch.stack([term.total.double() / term.denominator.clamp(min=1.0) for term in terms]).sum()


@check("loss")
def returns_a_sum_and_its_denominator(component: Specimen) -> None:
    """A loss returns a scalar (a mean over the sequences), a mapping with 'loss' (a sum), 'num_tokens' (its denominator; 0: 'loss' is a
    mean already) and 'domain' (token, sequence, batch), or a tuple of these. All are finite, and denominators carry no gradient."""
    import torch

    _, _, _, terms = _evaluate(component)
    expect(terms, "an empty tuple: no term at all")
    for term in terms:
        expect(isinstance(term.total, torch.Tensor) and term.total.numel() == 1, f"'loss' must be a scalar tensor, got {term.total!r}")
        expect(bool(torch.isfinite(term.total)), f"the loss is {float(term.total.detach())}")
        expect(float(term.denominator) > 0, f"the denominator is {float(term.denominator)}")
        expect(not term.denominator.requires_grad, "the denominator has a gradient: count without the outputs")
        expect(term.domain in _DOMAINS, f"the domain must be one of {', '.join(_DOMAINS)}, got {term.domain!r}")


def _differentiable(loss: Any, batch: Batch) -> dict[str, Tensor]:
    return {n: batch.outputs[n] for n in _read_outputs(loss, batch) if batch.outputs[n].is_floating_point()}


@check("loss")
def gradient_is_that_of_finite_differences(component: Specimen) -> None:
    """In float64, the gradient with respect to what the loss reads equals finite differences of its value.

    A loss that stops gradients on purpose (a weight, a baseline) fails here: say so in expected_failed_checks."""
    import torch

    loss, _, batch, _ = _evaluate(component, lengths=(3, 4))
    leaves = {name: value.clone().requires_grad_() for name, value in _differentiable(loss, batch).items()}

    def value(*tensors: Tensor) -> Tensor:
        return _mean(_terms(_call(loss, batch, **dict(zip(leaves, tensors, strict=True))), batch))

    expect(torch.autograd.gradcheck(value, tuple(leaves.values()), eps=1e-6, atol=1e-6, rtol=1e-4), "gradients differ")


@check("loss")
def a_batch_without_labels_counts_nothing(component: Specimen) -> None:
    """Where every label is -100 the loss is 0, with a gradient that is 0 and not NaN: in data-parallel training such batches happen."""
    import torch

    loss, sequences, _, _ = _evaluate(component)
    batch = collate([s.without_labels() for s in sequences], _layout(loss))
    leaves = {name: value.clone().requires_grad_() for name, value in _differentiable(loss, batch).items()}
    terms = _terms(_call(loss, batch, **leaves), batch)
    for term in terms:
        expect(float(term.total.detach()) == 0, f"the loss is {float(term.total.detach())} instead of 0")
        expect(term.total.requires_grad, "the loss has no gradient: backward would fail on this rank alone and the others would wait")
    gradients = torch.autograd.grad(torch.stack([t.total.double() for t in terms]).sum(), list(leaves.values()), allow_unused=True)
    wrong = [n for n, g in zip(leaves, gradients, strict=True) if g is not None and not bool((g == 0).all())]
    expect(not wrong, f"the gradient of {', '.join(wrong)} is not 0")


@check("loss")
def positions_without_a_label_do_not_count(component: Specimen) -> None:
    """What the model gave at a position whose label is -100 changes neither the loss nor its denominator."""
    import torch

    loss, sequences, _, terms = _evaluate(component)
    generator = torch.Generator().manual_seed(2)
    others = []
    for sequence in sequences:
        outputs = dict(sequence.outputs)
        for name, value in outputs.items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
                is_trained = sequence.is_trained_T.reshape(-1, *[1] * (value.dim() - 1))
                outputs[name] = torch.where(is_trained, value, noise)
        others.append(SequenceColumns(inputs=sequence.inputs, outputs=outputs, arguments=sequence.arguments))
    batch = collate(others, _layout(loss))
    _same_terms(terms, _terms(_call(loss, batch), batch), "other outputs at positions without a label")


@check("loss")
def padding_does_not_count(component: Specimen) -> None:
    """A batch that is padded further gives the same loss and denominator."""
    loss, sequences, _, terms = _evaluate(component)
    if _layout(loss) == "flat":
        raise NotApplicable("it reads flat batches, which have no padding")
    batch = collate(sequences, "padded", num_extra_columns=3)
    _same_terms(terms, _terms(_call(loss, batch), batch), "three more columns of padding")


@check("loss")
def order_does_not_count(component: Specimen) -> None:
    """The same sequences in another order give the same loss and denominator."""
    loss, sequences, _, terms = _evaluate(component)
    batch = collate(sequences[::-1], _layout(loss))
    _same_terms(terms, _terms(_call(loss, batch), batch), "the sequences in reverse order")


@check("loss")
def micro_batches_add_up(component: Specimen) -> None:
    """The sums and denominators of micro-batches add up to those of the whole batch, however it is split.

    That is what makes a step independent of micro-batches, gradient accumulation and data-parallel ranks. A loss that compares the
    sequences of a batch with each other says domain = 'batch'."""
    import torch

    loss, sequences, _, terms = _evaluate(component, lengths=(4, 9, 6, 3))
    if any(term.domain == "batch" for term in terms):
        raise NotApplicable("its domain is the batch: it refuses micro-batches")
    for sizes in ((1, 1, 1, 1), (3, 1), (2, 2)):
        parts, first = [], 0
        for size in sizes:
            batch = collate(sequences[first : first + size], _layout(loss))
            parts.append(_terms(_call(loss, batch), batch))
            first += size
        expect({len(part) for part in parts} == {len(terms)}, f"micro-batches of {sizes} have another number of terms than the whole batch")
        added = [
            Term(
                total=torch.stack([part[i].total for part in parts]).sum(),
                denominator=torch.stack([part[i].denominator for part in parts]).sum(),
                domain=terms[i].domain,
            )
            for i in range(len(terms))
        ]
        _same_terms(terms, added, f"micro-batches of {sizes} sequences")


@check("loss")
def bfloat16_stays_close(component: Specimen) -> None:
    """On bfloat16 outputs the loss of 256 sequences is finite and within 2 % of that in float64.

    bfloat16 keeps 3 digits: the rounding of single terms averages out, but a sum that is itself kept in bfloat16 stands still at 256."""
    import torch

    loss, _, batch, terms = _evaluate(component, lengths=(12,) * 256)
    rounded = {name: value.to(torch.bfloat16) for name, value in _differentiable(loss, batch).items()}
    value, expected = float(_mean(_terms(_call(loss, batch, **rounded), batch))), float(_mean(terms))
    expect(abs(value - expected) <= 0.02 * abs(expected), f"the mean loss is {value:.6g} instead of {expected:.6g}")


@check("loss")
def reads_nothing_back_from_the_device(component: Specimen) -> None:
    """No .item(), float(tensor), 'if tensor', nonzero() or x[mask]: each makes the host wait for the device, once a micro-batch.

    Multiply by a mask, or use masked_fill and torch.where."""
    loss, _, batch, _ = _evaluate(component)
    with host_syncs() as found:
        _call(loss, batch)
    expect(not found, f"the host waits for the device in {', '.join(found)}")


@check("loss")
def is_pure(component: Specimen) -> None:
    """The same call gives the same result, and leaves the mappings and tensors that it got as they were."""
    import torch

    loss, sequences, batch, terms = _evaluate(component)
    untouched = collate(sequences, _layout(loss))
    given = {name: batch.outputs[name] for name in _read_outputs(loss, batch)}
    names = set(given)
    again = _terms(loss(batch.inputs, given, **batch.arguments), batch)
    _same_terms(terms, again, "the second call")
    expect(set(given) == names and set(batch.inputs) == set(untouched.inputs), "it added or removed a key of the mappings that it got")
    for part, original in ((batch.inputs, untouched.inputs), (given, untouched.outputs), (batch.arguments, untouched.arguments)):
        changed = [n for n, v in part.items() if isinstance(v, torch.Tensor) and not torch.equal(v, original[n])]
        expect(not changed, f"it changed {', '.join(changed)} in place")


CHECKS = (
    returns_a_sum_and_its_denominator,
    gradient_is_that_of_finite_differences,
    a_batch_without_labels_counts_nothing,
    positions_without_a_label_do_not_count,
    padding_does_not_count,
    order_does_not_count,
    micro_batches_add_up,
    bfloat16_stays_close,
    reads_nothing_back_from_the_device,
    is_pure,
)

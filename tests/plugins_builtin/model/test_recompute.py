"""Layers are recomputed where their activations would not fit, as many as must be, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import assert_same_bits, lora, make_tiny, sample
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from twinkle.model import TransformersModel
from twinkle.plugins_builtin.model.transformers import _available_memory, _recompute
from twinkle.plugins_builtin.model.transformers._available_memory import available_bytes

NUM_LAYERS = 6
BATCH = [sample(length, seed) for seed, length in enumerate((40, 90, 61))]
SMALLER = [sample(length, seed) for seed, length in enumerate((30, 50))]


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("deep"), num_hidden_layers=NUM_LAYERS)


def make(folder: Path, memory: int | None, kind: str = "lora", dropout: float = 0.0, **options: Any) -> TransformersModel:
    model = TransformersModel(model_id=folder, activation_memory_bytes=memory, **{"mixed_precision": "no", **options})
    if kind == "lora":
        torch.manual_seed(11)
        model.add_adapter_to_model("default", lora(dropout))
    return model


def gradients(model: TransformersModel) -> dict[str, Tensor]:
    group = next(iter(model.optimizer_group.values()))
    found = {name: p.grad for name, p in group.named_parameters.items() if p.grad is not None}
    group.engine.open_window()
    return found


@contextmanager
def saved_bytes(model: TransformersModel) -> Iterator[list[int]]:
    """What autograd holds on to inside the block: every storage once, but not the weights."""
    known = {t.untyped_storage().data_ptr() for t in (*model.model.parameters(), *model.model.buffers())}
    kept: list[Tensor] = []
    total: list[int] = []

    def pack(saved: Tensor) -> Tensor:
        if saved.untyped_storage().data_ptr() not in known:
            known.add(saved.untyped_storage().data_ptr())
            kept.append(saved)
        return saved

    with saved_tensors_hooks(pack, lambda saved: saved):
        yield total
    total.append(sum(t.untyped_storage().nbytes() for t in kept))


def forward_saved(model: TransformersModel, batch: Any) -> int:
    """Bytes that a forward pass saves in all, the head included."""
    with saved_bytes(model) as total:
        model.forward(inputs=batch)
    model.optimizer_group[model._active].last = None
    return total[0]


def flops(model: TransformersModel, batch: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        model.forward_backward(inputs=batch)
    return int(counter.get_total_flops())


def recomputed_layers(model: TransformersModel, batch: Any) -> int:
    """How often a layer's forward pass is run beyond once a layer, in a step."""
    runs: list[int] = []
    # Before it: recompute ends inside of the layer, with the last value that was saved there.
    handles = [m.register_forward_pre_hook(lambda *_: runs.append(1)) for m in model.model.modules() if type(m).__name__ == "Qwen3MLP"]
    model.forward_backward(inputs=batch)
    for handle in handles:
        handle.remove()
    return len(runs) - NUM_LAYERS


def layer_bytes(folder: Path, **options: Any) -> tuple[float, float]:
    """What all layers save and what the rest does, from two models that differ in their depth alone."""
    model = make(folder, None, **options)
    model.forward(inputs=BATCH)  # is watched by the same means, and would hide its layers
    whole = forward_saved(model, BATCH)
    layers = model.model.get_base_model().model.layers if options.get("kind") != "full" else model.model.model.layers
    del layers[NUM_LAYERS // 2 :]
    half = forward_saved(model, BATCH)
    return 2.0 * (whole - half), 2.0 * half - whole


def test_small_work_recomputes_nothing(deep: Path) -> None:
    assert recomputed_layers(make(deep, None), BATCH) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.7, 0.99])
def test_gradients_are_the_same_to_the_bit_and_no_more_layers_are_recomputed_than_must(deep: Path, kind: str, share: float) -> None:
    """Both in the pass that is watched and in the next. Mutants: k rounded down; the layer in work not counted; flags left on."""
    plain = make(deep, None, kind)
    plain.forward_backward(inputs=BATCH)
    expected = gradients(plain)
    in_layers, rest = layer_bytes(deep, kind=kind)
    model = make(deep, int(share * in_layers), kind)
    in_watched_pass = recomputed_layers(model, BATCH)
    assert_same_bits(gradients(model), expected)
    number = recomputed_layers(model, BATCH)
    assert_same_bits(gradients(model), expected)
    if share == 0.0:
        assert in_watched_pass == number == NUM_LAYERS
    else:
        assert 0 < number < NUM_LAYERS
        assert in_watched_pass == number
        # What is saved (a recomputed layer saves its input), and the layer that is computed again; one less would not fit.
        saved, of_one = forward_saved(model, BATCH) - rest, in_layers / NUM_LAYERS
        assert saved + of_one <= share * in_layers * 1.001
        assert saved + 2 * of_one > share * in_layers * 0.999
    assert not any(layer.gradient_checkpointing for layer in model._passes._recompute._layers)


@pytest.mark.slow
def test_operations_rise_by_the_forward_pass_of_the_recomputed_layers_alone(deep: Path) -> None:
    plain, all_recomputed = make(deep, None), make(deep, 0)
    for model in (plain, all_recomputed):
        model.forward_backward(inputs=BATCH)
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        plain.model(torch.tensor([BATCH[0]["input_ids"]]), logits_to_keep=1)
    head = 2 * plain.model.get_base_model().lm_head.weight.numel()
    of_layers = (forward.get_total_flops() - head) / len(BATCH[0]["input_ids"]) * sum(len(s["input_ids"]) for s in BATCH)
    rise = flops(all_recomputed, BATCH) - flops(plain, BATCH)
    # Attention is quadratic and a hundredth of the whole at these lengths.
    assert rise == pytest.approx(of_layers, rel=0.05)


def test_smaller_batches_take_their_share(deep: Path) -> None:
    in_layers, _ = layer_bytes(deep)
    model = make(deep, int(0.7 * in_layers))
    model.forward_backward(inputs=BATCH)
    assert recomputed_layers(model, SMALLER) == 0
    assert model._passes._recompute._largest == sum(len(s["input_ids"]) for s in BATCH), "only the largest is watched"
    assert recomputed_layers(model, BATCH) > 0


def test_a_budget_of_nothing_recomputes_every_layer_of_every_batch(deep: Path) -> None:
    """The first, and those larger than any before, too. Mutant: the layer that is watched. With a byte it must be watched to be known."""
    model = make(deep, 0)
    assert [recomputed_layers(model, batch) for batch in (SMALLER, BATCH, SMALLER)] == [NUM_LAYERS] * 3
    assert [recomputed_layers(make(deep, 1), BATCH)] == [NUM_LAYERS - 1]


def test_dropout_is_recomputed_as_it_was(deep: Path) -> None:
    found = []
    for memory in (None, 0):
        model = make(deep, memory, dropout=0.5)
        model.forward_backward(inputs=BATCH)
        gradients(model)
        torch.manual_seed(3)
        model.forward_backward(inputs=BATCH)
        found.append(gradients(model))
    assert_same_bits(found[1], found[0])


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"attn_implementation": "eager"}, {"mixed_precision": "bf16"}], ids=["eager", "bf16"])
def test_other_attention_and_precision(deep: Path, options: dict[str, Any]) -> None:
    found = []
    for memory in (None, 0):
        model = make(deep, memory, **options)
        model.forward_backward(inputs=BATCH)
        gradients(model)
        model.forward_backward(inputs=BATCH)
        found.append(gradients(model))
    assert_same_bits(found[1], found[0])


def test_what_the_user_turned_on_stays_on(deep: Path) -> None:
    model = make(deep, None)
    model.model.gradient_checkpointing_enable({"use_reentrant": False})
    for _ in range(2):
        assert recomputed_layers(model, BATCH) == NUM_LAYERS


def test_evaluation_saves_nothing_and_is_not_watched(deep: Path) -> None:
    model = make(deep, 1)
    model.forward_only(inputs=BATCH)
    assert model._passes._recompute._largest == 0


def test_a_pass_that_fails_is_watched_again(deep: Path) -> None:
    model = make(deep, 1)
    assert sum(len(s["input_ids"]) for s in SMALLER) < len(BATCH[1]["input_ids"])

    def fail(*_: Any) -> None:
        raise IndexError("in the last layer")

    failing = model._base.model.layers[-1].register_forward_pre_hook(fail)
    with pytest.raises(IndexError):
        model.forward_backward(inputs=BATCH[1:2])
    failing.remove()
    assert recomputed_layers(model, SMALLER) == NUM_LAYERS - 1
    assert not any("forward" in vars(layer) for layer in model._passes._recompute._layers)


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [0, 1])
@pytest.mark.parametrize(("margin", "expected"), [(100.0, False), (1.05, False), (0.95, True)])
def test_without_a_number_the_free_memory_of_the_device_decides(
    deep: Path, monkeypatch: pytest.MonkeyPatch, margin: float, expected: bool, num_steps: int
) -> None:
    """Nine tenths of it, less gradients that come, and less both moments before the first step. Angles that layers share count in each."""
    in_layers, _ = layer_bytes(deep, kind="full")
    model = make(deep, None, "full")
    group = model.optimizer_group[""]
    group.engine.num_steps = num_steps
    trained = sum(p.nbytes for p in group.named_parameters.values())
    free = int(margin * (in_layers + (1 if num_steps else 3) * trained) / 0.9)
    asked: list[torch.device] = []

    def available(device: torch.device) -> int:
        asked.append(device)
        return free

    monkeypatch.setattr(_recompute, "available_bytes", available)
    model.forward_backward(inputs=BATCH)
    num_asked = len(asked)
    assert (recomputed_layers(model, BATCH) > 0) is expected
    assert num_asked > 0
    assert (len(asked) > num_asked) is (margin < 2), "the device is asked again only where it is close"


def test_what_is_available_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_bytes(torch.device("meta")) is None
    meminfo = tmp_path / "meminfo"
    monkeypatch.setattr(_available_memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(_available_memory, "_CGROUP", tmp_path)
    cpu = torch.device("cpu")
    assert available_bytes(cpu) is None
    meminfo.write_text("MemTotal:       9000 kB\nMemAvailable:   5000 kB\n")
    assert available_bytes(cpu) == 5000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(cpu) == 5000 * 1024
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 50000\n")
    assert available_bytes(cpu) == 150_000

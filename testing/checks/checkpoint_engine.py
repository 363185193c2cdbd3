"""What a checkpoint engine keeps: every weight to the bit, with its version."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twinkle.testing.check import check, expect
from twinkle.testing.example import Example
from twinkle.testing.specimen import Specimen

if TYPE_CHECKING:
    from torch import Tensor

_PATIENCE_S = 20


@dataclass(frozen=True, kw_only=True)
class CheckpointEngineExample(Example):
    """For checkpoint engines: sender and receiver, where they are not one object."""

    pair: Callable[[Any], tuple[Any, Any]] | None = None
    """Sender and receiver from a new instance; None: the instance is both."""


def _pair(component: Specimen) -> tuple[Any, Any]:
    engine, pair = component.build(), component.example_of(CheckpointEngineExample).pair
    return (engine, engine) if pair is None else pair(engine)


def _weights(seed: int) -> list[tuple[str, Tensor]]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    shapes = {"a.weight": (3, 5), "b.bias": (4,), "c.scalar": (), "d.empty": (0, 2)}
    weights = [(name, torch.randn(shape, generator=generator)) for name, shape in shapes.items()]
    half = torch.randn((6,), generator=generator).to(torch.bfloat16)
    strided = torch.randn((4, 6), generator=generator).T
    return [*weights, ("e.half", half), ("f.strided", strided)]


def _publish(sender: Any, receiver: Any, weights: list[tuple[str, Tensor]], version: int) -> tuple[int, dict[str, Tensor]]:
    """One publication: what the receiver got."""
    failures: list[BaseException] = []

    def send() -> None:
        try:
            sender.send_weights(iter(weights), version)
        except BaseException as error:  # noqa: BLE001  # raised below, in the caller's thread
            failures.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    found, received = receiver.receive_weights()
    copies = {name: tensor.clone() for name, tensor in received}
    thread.join(_PATIENCE_S)
    if failures:
        raise failures[0]
    expect(not thread.is_alive(), "send_weights does not return after everything was received")
    return found, copies


@check("checkpoint_engine")
def weights_arrive_to_the_bit(component: Specimen) -> None:
    """Every tensor arrives under its name with its dtype, shape and bits: empty ones, scalars and views included."""
    import torch

    _, received = _publish(*_pair(component), _weights(1), 1)
    expect(list(received) == [name for name, _ in _weights(1)], f"{list(received)} arrived")
    for name, tensor in _weights(1):
        same = received[name].dtype == tensor.dtype and torch.equal(received[name], tensor)
        expect(same, f"{name} arrived as {received[name].dtype} {tuple(received[name].shape)} with other values")


@check("checkpoint_engine")
def versions_arrive_in_order(component: Specimen) -> None:
    """Each publication arrives with its own version and its own weights: a sampler has to know which policy it samples from."""
    import torch

    sender, receiver = _pair(component)
    for version in (1, 2, 7):
        found, received = _publish(sender, receiver, _weights(version), version)
        expect(found == version, f"version {version} arrives as {found}")
        same = torch.equal(received["b.bias"], dict(_weights(version))["b.bias"])
        expect(same, f"version {version} arrives with the weights of another one")


@check("checkpoint_engine")
def leaves_the_weights(component: Specimen) -> None:
    """The trainer's tensors stay as they are."""
    import torch

    weights = _weights(1)
    before = [tensor.clone() for _, tensor in weights]
    _publish(*_pair(component), weights, 1)
    expect(all(torch.equal(t, b) for (_, t), b in zip(weights, before, strict=True)), "a tensor of the trainer was changed")


CHECKS = (weights_arrive_to_the_bit, versions_arrive_in_order, leaves_the_weights)

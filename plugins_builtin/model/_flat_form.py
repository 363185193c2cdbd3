"""An optimizer's small parameters in flat buffers, so that scaling, norm, clipping and update are one operation each.

To everybody else the optimizer stays as it was: its groups list the parameters themselves, and its state is kept by parameter. Parameters,
normalised gradients and state are views of the buffers; only inside :meth:`FlatForm.in_place` do the buffers stand in the optimizer. So to
give the flat form up, which any of its conditions may ask for, is to forget it: nothing has to be copied back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

_ELEMENTWISE = (Adam, AdamW, RMSprop, SGD)
"""Optimizers whose update of an element depends on nothing but that element's gradient and state, and on the step."""

_LARGEST = 2**18
"""Elements. A tensor costs some 2 microseconds of Python and launch, whatever its size; a GPU updates so many elements in as long (28 bytes
each in Adam, at 3 TB/s), a CPU core takes a hundred times longer. Larger tensors gain nothing, and keep no second gradient in a buffer."""

_ALIGNMENT_BYTES = 64
"""Of a parameter in its buffer: matrix products on both kinds of device are slower from odd addresses."""


class FlatForm:
    """The flat buffers of one optimizer."""

    def __init__(self, optimizer: Optimizer, slabs: Sequence[tuple[int, Slab]]) -> None:
        """Use :meth:`of`. ``slabs`` come with the index of their parameter group."""
        self._optimizer = optimizer
        self._slabs = [slab for _, slab in slabs]
        self._members = {p for slab in self._slabs for p in slab.members}
        self._lists: list[list[Tensor]] = [group["params"] for group in optimizer.param_groups]
        self._sizes = [len(members) for members in self._lists]
        self._flat_lists: list[list[Tensor]] = [[p for p in members if p not in self._members] for members in self._lists]
        for index, slab in slabs:
            self._flat_lists[index].append(slab.parameter)

    @classmethod
    def of(cls, optimizer: Any) -> FlatForm | None:
        """Puts small parameters that share group, dtype and device into a buffer each; None where there are no two of them.

        Their values and state are kept. Optimizers that are not elementwise, by their exact class, have no flat form.
        """
        if type(optimizer) not in _ELEMENTWISE:
            return None
        slabs = []
        for index, group in enumerate(optimizer.param_groups):
            alike: dict[tuple[torch.dtype, torch.device], list[Parameter]] = {}
            for parameter in group["params"]:
                if _is_small(parameter):
                    alike.setdefault((parameter.dtype, parameter.device), []).append(parameter)
            for members in alike.values():
                states = [optimizer.state.get(p, {}) for p in members]
                if len(members) > 1 and _agree(members, states) and not group.get("differentiable"):
                    slabs.append((index, Slab(members, optimizer.state)))
        return cls(optimizer, slabs) if slabs else None

    def gather(self) -> bool:
        """Takes the gradients in: from here on ``p.grad`` of each parameter is a view. False where one has none: the form is over.

        A parameter without gradient is left as it is by torch's optimizers, with its state: that, a buffer cannot do.
        """
        return all(slab.gather() for slab in self._slabs)

    def leaves(self, parameters: Iterable[Parameter]) -> list[Parameter]:
        """``parameters`` with the buffers in place of their members."""
        return [*(slab.parameter for slab in self._slabs), *(p for p in parameters if p not in self._members)]

    def fits(self, optimizer: object) -> bool:
        """Whether ``optimizer``, its parameters and its state are still those that the buffers hold. False: the form is over."""
        groups = self._optimizer.param_groups
        return (
            optimizer is self._optimizer
            and len(groups) == len(self._lists)
            and all(group["params"] is own and len(own) == n for group, own, n in zip(groups, self._lists, self._sizes, strict=True))
            and all(slab.fits(self._optimizer.state) for slab in self._slabs)
        )

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block the optimizer's parameters are the buffers, with their gradients and state."""
        self._put(self._flat_lists)
        for slab in self._slabs:
            slab.lend_state(self._optimizer.state)
        try:
            yield
        finally:
            self._put(self._lists)
            for slab in self._slabs:
                slab.show_state(self._optimizer.state)

    def _put(self, lists: Sequence[list[Tensor]]) -> None:
        for group, members in zip(self._optimizer.param_groups, lists, strict=True):
            group["params"] = members


class Slab:
    """Parameters of one group, dtype and device in one buffer."""

    def __init__(self, members: Sequence[Parameter], state: dict[Tensor, Any]) -> None:
        """The members become views of the buffer, and so does what ``state`` has of them."""
        self.members = list(members)
        step = _ALIGNMENT_BYTES // members[0].element_size()
        *self._starts, size = accumulate((-(-p.numel() // step) * step for p in members), initial=0)
        self.parameter = Parameter(members[0].detach().new_zeros(size))
        """The buffer; what lies between members is 0, with gradient 0."""
        self.parameter.grad = torch.zeros_like(self.parameter)
        self._gradients = self._views(self.parameter.grad)
        values = self._views(self.parameter.detach())
        torch._foreach_copy_(values, [p.detach() for p in members])
        for parameter, value in zip(members, values, strict=True):
            parameter.data = value
        self._addresses = [p.data_ptr() for p in members]
        self._scalars: list[tuple[Tensor, Tensor]] = []
        self._shown: list[Mapping[str, Any] | None] = [None] * len(members)
        self._state: dict[str, Any] = {}
        self._seen: dict[str, Any] = {}
        if state.get(members[0]):
            self._show({key: self._flat([state[p][key] for p in members]) for key in state[members[0]]}, state)

    def gather(self) -> bool:
        """See :meth:`FlatForm.gather`."""
        present = [g for p in self.members if (g := p.grad) is not None and g.layout is torch.strided]
        if len(present) < len(self.members) or not self._holds_members():
            return False
        torch._foreach_copy_(self._gradients, present)
        for parameter, gradient in zip(self.members, self._gradients, strict=True):
            parameter.grad = gradient
        return True

    def fits(self, state: Mapping[Tensor, Mapping[str, Any]]) -> bool:
        """Whether the members are still views of the buffer with its gradients, and ``state`` is what was shown of it."""
        return self._holds_members() and all(
            p.grad is gradient and (state.get(p) or None) is shown
            for p, gradient, shown in zip(self.members, self._gradients, self._shown, strict=True)
        )

    def lend_state(self, state: dict[Tensor, Any]) -> None:
        """Puts the state of the buffer into the optimizer's."""
        if self._state:
            state[self.parameter] = self._state

    def show_state(self, state: dict[Tensor, Any]) -> None:
        """Takes the state of the buffer out of the optimizer's again, and shows there what it is for each member."""
        after = state.pop(self.parameter, {})
        if after.keys() != self._seen.keys() or any(after[key] is not value for key, value in self._seen.items()):
            self._show(after, state)
        for copies, scalar in self._scalars:
            copies.copy_(scalar)

    def _show(self, flat: dict[str, Any], state: dict[Tensor, Any]) -> None:
        self._state, self._seen = flat, dict(flat)
        self._scalars = []
        by_key: dict[str, Sequence[Any]] = {}
        for key, value in flat.items():
            if not isinstance(value, Tensor):
                by_key[key] = [value] * len(self.members)
            elif value.dim() > 0:
                by_key[key] = self._views(value)
            else:  # step counters: each member has a copy, lest a per-parameter optimizer that takes over counts one of them many times
                copies = value.expand(len(self.members)).clone()
                self._scalars.append((copies, value))
                by_key[key] = copies.unbind()
        for index, parameter in enumerate(self.members):
            state[parameter] = {key: values[index] for key, values in by_key.items()}
        self._shown = [state[p] for p in self.members]

    def _holds_members(self) -> bool:
        """Whether no member was given other storage since: by ``model.to(...)``, say, or ``p.data = ...``."""
        return all(p.data_ptr() == address for p, address in zip(self.members, self._addresses, strict=True))

    def _views(self, flat: Tensor) -> list[Tensor]:
        return [flat[start : start + p.numel()].view(p.shape) for start, p in zip(self._starts, self.members, strict=True)]

    def _flat(self, values: Sequence[Any]) -> Any:
        """The state of all members under one key, as the buffer keeps it."""
        if not isinstance(values[0], Tensor):
            return values[0]
        if values[0].dim() == 0:
            return values[0].clone()
        flat = values[0].new_zeros(self.parameter.shape)
        torch._foreach_copy_(self._views(flat), list(values))
        return flat


def _is_small(parameter: Tensor) -> bool:
    is_plain = type(parameter) is Parameter and parameter.layout is torch.strided and parameter.is_contiguous()
    return is_plain and parameter.is_floating_point() and parameter.dim() > 0 and 0 < parameter.numel() <= _LARGEST


def _agree(members: Sequence[Parameter], states: Sequence[Mapping[str, Any]]) -> bool:
    """Whether ``states`` can be one: the same keys, each with a value an element, or with the same value for all."""
    first = states[0]
    if any(state.keys() != first.keys() for state in states):
        return False
    return all(_is_elementwise(members, values) or _are_equal(values) for values in ([state[key] for state in states] for key in first))


def _is_elementwise(members: Sequence[Parameter], values: Sequence[Any]) -> bool:
    first = values[0]
    if not isinstance(first, Tensor):
        return False
    return all(
        isinstance(v, Tensor) and v.dim() > 0 and (v.shape, v.dtype, v.device) == (p.shape, first.dtype, first.device)
        for p, v in zip(members, values, strict=True)
    )


def _are_equal(values: Sequence[Any]) -> bool:
    first = values[0]
    if isinstance(first, Tensor):
        return first.dim() == 0 and all(isinstance(v, Tensor) and torch.equal(v, first) for v in values)
    return all(not isinstance(v, Tensor) and v == first for v in values)

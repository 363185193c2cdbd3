"""The maths of a training step, once for every backend: sums of gradients over a window, one division, clipping, the update.

A window is ``gradient_accumulation_steps`` calls of backward, each of any number of micro-batches. Each loss term ``k`` of each micro-batch
``m`` gives a sum ``S_km`` and a denominator ``n_km``; with ``N_k = sum over m and data ranks of n_km`` the gradient of the window is::

    g = sum_k (1 / N_k) sum_m dS_km / dw

so it does not depend on how the batch was split. Gradients are summed undivided while the window is open, because ``N_k`` is known only at
its end. The first term's sums live in ``p.grad``; each further term has a buffer of its own, since its denominator is another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from twinkle.core.errors import InvalidArgument
from twinkle.plugins_builtin.model._flat_form import FlatForm
from twinkle.plugins_builtin.model._loss_term import LossTerm

SumOverRanks = Callable[[Tensor], Tensor]
"""Adds up a float64 tensor over the data ranks."""


class StepEngine:
    """Gradient sums of one set of parameters and the place in the accumulation window."""

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        *,
        gradient_accumulation_steps: int = 1,
        sum_over_ranks: SumOverRanks | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """
        Args:
            parameters: what is trained.
            gradient_accumulation_steps: calls of :meth:`end_backward` in a window.
            sum_over_ranks: None in a process that trains alone.
            scaler: loss scaling for float16.
        """
        self.parameters = list(parameters)
        self.gradient_accumulation_steps = _checked_steps(gradient_accumulation_steps)
        self.scaler = scaler
        self.flat_form: FlatForm | None = None
        """Of the optimizer, where it has one; forgotten at the first step that it is not good for."""
        self.num_backward = 0
        """Calls of :meth:`end_backward` since the start of training."""
        self.num_steps = 0
        """Optimizer steps since the start of training."""
        self._sum_over_ranks = sum_over_ranks
        self._denominators: list[Tensor] = []
        self._further_gradients: list[list[Tensor | None]] = []
        self._normalised = False

    @property
    def is_between_windows(self) -> bool:
        """Whether no backward is missing to the end of a window."""
        return self.num_backward % self.gradient_accumulation_steps == 0

    @property
    def step_is_due(self) -> bool:
        """Whether the window is complete and has not been cleared."""
        return self.is_between_windows and bool(self._denominators)

    @property
    def is_normalised(self) -> bool:
        """Whether the gradients are divided already: the window is in the middle of its step, up to :meth:`open_window`."""
        return self._normalised

    def set_gradient_accumulation_steps(self, steps: int) -> None:
        """Changes the length of a window from here on."""
        self.gradient_accumulation_steps = _checked_steps(steps)

    def backward(self, terms: Sequence[LossTerm]) -> None:
        """Adds the gradients of one micro-batch to the window.

        Raises:
            InvalidArgument: the number of terms changed inside the window.
        """
        if self._normalised:
            raise InvalidArgument("the window was normalised already: call step() and zero_grad() before the next backward")
        if self._denominators and len(terms) != len(self._denominators):
            raise InvalidArgument(f"the loss gave {len(terms)} terms after {len(self._denominators)} in the same accumulation window")
        if self._denominators:
            self._denominators = [d + term.denominator for d, term in zip(self._denominators, terms, strict=True)]
        else:
            self._denominators = [term.denominator for term in terms]
            self._further_gradients = [[None] * len(self.parameters) for _ in terms[1:]]
        for index, term in enumerate(terms):
            total = term.total if self.scaler is None else self.scaler.scale(term.total)
            is_last = index == len(terms) - 1
            if index == 0:
                torch.autograd.backward(total, retain_graph=not is_last)
                continue
            first_gradients = [p.grad for p in self.parameters]
            self._put_gradients(self._further_gradients[index - 1])
            torch.autograd.backward(total, retain_graph=not is_last)
            self._further_gradients[index - 1] = [p.grad for p in self.parameters]
            self._put_gradients(first_gradients)

    @contextmanager
    def whole_call(self) -> Iterator[None]:
        """Around all micro-batches of one backward call: where one fails, those before it do not stay in a window that the call began.

        A window that was open already cannot be had back without copies of all gradients; the error then says what is in it.
        """
        before = self._denominators
        try:
            yield
        except BaseException as error:
            if self._denominators is not before:  # something was added
                if before:
                    error.add_note("the accumulation window keeps the gradients of the micro-batches that went before in this call")
                else:
                    self.open_window()
            raise

    def end_backward(self) -> None:
        """Says that all micro-batches of one backward call are in."""
        self.num_backward += 1

    def normalise(self) -> None:
        """Divides the sums by the denominators of the whole window, over all data ranks. Once a window; more calls do nothing."""
        if self._normalised or not self._denominators:
            return
        denominators = torch.stack(self._denominators)
        if self._sum_over_ranks is not None:
            denominators = self._sum_over_ranks(denominators)
        # A window without a single trained token has gradient zero, not NaN.
        factors = denominators.clamp(min=torch.finfo(torch.float64).tiny).reciprocal() * (denominators > 0)
        if self.flat_form is not None and not self.flat_form.gather():
            self.flat_form = None
        self._scale([p.grad for p in self._leaves()], factors[0])
        for gradients, factor in zip(self._further_gradients, factors[1:], strict=True):
            self._scale(gradients, factor)
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        self._further_gradients = []
        self._normalised = True

    def clip(self, max_norm: float, norm_type: float = 2.0) -> Tensor:
        """Normalises, then scales gradients longer than ``max_norm`` down to it; returns the norm before. Stays on the device.

        Raises:
            InvalidArgument: see :func:`check_clipping`; nothing was normalised.
        """
        check_clipping(max_norm, norm_type)
        self.normalise()
        leaves = [p for p in self._leaves() if p.grad is not None]
        norm: Tensor = get_total_norm([p.grad for p in leaves if p.grad is not None], norm_type)
        clip_grads_with_norm_(leaves, max_norm, norm)
        return norm

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes the loss scale out of the gradients, before they are clipped (float16 only)."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Normalises if that was not done, and updates the parameters. False where float16 overflowed and the update was left out."""
        self.normalise()
        if self.flat_form is not None and not self.flat_form.fits(optimizer):
            self.flat_form = None
        with nullcontext() if self.flat_form is None else self.flat_form.in_place():
            was_made = self._update(optimizer)
        self.num_steps += 1
        return was_made

    def _update(self, optimizer: torch.optim.Optimizer) -> bool:
        if self.scaler is None:
            optimizer.step()
            return True
        scale = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        return bool(self.scaler.get_scale() >= scale)

    def open_window(self) -> None:
        """Forgets the gradients: the next window begins."""
        for parameter in self.parameters:
            parameter.grad = None
        self._denominators = []
        self._further_gradients = []
        self._normalised = False

    # ---- a checkpoint in the middle of a window carries the open sums

    def open_sums(self) -> tuple[list[Tensor], list[list[Tensor | None]]]:
        """Denominators, and per term the gradient of each parameter, of the open window; empty between windows."""
        if not self._denominators:
            return [], []
        return list(self._denominators), [[p.grad for p in self.parameters], *self._further_gradients]

    def restore(self, denominators: list[Tensor], gradients: list[list[Tensor | None]], *, num_backward: int, num_steps: int) -> None:
        """The inverse of :meth:`open_sums`, with the counters."""
        self.open_window()
        self.num_backward = num_backward
        self.num_steps = num_steps
        if denominators:
            self._denominators = denominators
            self._put_gradients(gradients[0])
            self._further_gradients = gradients[1:]

    def _leaves(self) -> list[torch.nn.Parameter]:
        """What holds the normalised gradients: the parameters, or the buffers that they lie in."""
        return self.parameters if self.flat_form is None else self.flat_form.leaves(self.parameters)

    def _put_gradients(self, gradients: Sequence[Tensor | None]) -> None:
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient

    @staticmethod
    def _scale(gradients: Sequence[Tensor | None], factor: Tensor) -> None:
        present = [g for g in gradients if g is not None]
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for gradient in present:
            by_dtype.setdefault(gradient.dtype, []).append(gradient)
        for dtype, group in by_dtype.items():
            torch._foreach_mul_(group, factor.to(dtype=dtype))


def check_clipping(max_norm: object, norm_type: object) -> None:
    """Told before anything is divided: a window that was normalised takes no further backward.

    Raises:
        InvalidArgument: ``max_norm`` is no number of 0 or more (infinite: nothing is clipped), or ``norm_type`` none above 0.
    """
    if not isinstance(max_norm, int | float) or isinstance(max_norm, bool) or not max_norm >= 0:
        raise InvalidArgument(f"max_grad_norm: expected a number of 0 or more (float('inf') does not clip), got {max_norm!r}")
    if norm_type != "inf" and (not isinstance(norm_type, int | float) or isinstance(norm_type, bool) or not norm_type > 0):
        raise InvalidArgument(f"norm_type: expected a number above 0, such as 2 or float('inf'), got {norm_type!r}")


def _checked_steps(steps: int) -> int:
    if not isinstance(steps, int) or steps < 1:
        raise InvalidArgument(f"gradient_accumulation_steps: expected a whole number of 1 or more, got {steps!r}")
    return steps

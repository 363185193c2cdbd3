"""Forward and backward of one ragged batch: padded, packed with a dense mask as transformers does, and packed without one as we do.

All tokens but the first of a row are labels and the vocabulary is small, so that padding alone makes the difference: neither leaving out
prompts nor a cheaper head helps anybody.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.bench import OURS, Case, Count, Goal, Size, Work, timed
from benchmarks.counting import count_dispatched
from benchmarks.hand_loop import load_peft_model
from benchmarks.sft_lora import Ours, features, least_flops
from benchmarks.sft_workload import SMALL, Row, make_batches, padded_fill, write_workload

SHAPE = replace(SMALL, vocab_size=512)
BATCHES: dict[Size, tuple[tuple[int, int, float], ...]] = {
    "quick": ((8, 256, 0.36), (16, 512, 0.29)),
    "full": ((8, 256, 0.36), (16, 512, 0.29), (16, 1024, 0.29)),
}
"""Rows, the longest row, and how full they are when padded."""
PADDED, MASKED = "padded", "packed with a mask"
ENOUGH_FOR_MASK = 2_000
"""Tokens from which on a dense mask costs what the goal says."""
LINE_ROWS, LINE_LENGTH, LINE_REPEATS = (4, 8, 16, 32, 64), 256, 5


@dataclass(frozen=True)
class Sides:
    """The three ways, on one batch."""

    ours: Ours
    model: Any
    """peft's, called as transformers documents."""
    rows: Sequence[Row]

    @classmethod
    def on(cls, folder: Path, rows: Sequence[Row]) -> Sides:
        return cls(Ours(folder, [rows], autocast=False), load_peft_model(folder), rows)

    def flat(self) -> float:
        """Ours; gradients are dropped."""
        loss: float = self.ours.model.forward_backward(inputs=self._features)["loss"]
        self.ours.model.zero_grad()
        return loss

    def padded(self) -> float:
        """Rows padded to the longest."""
        ids_BL = pad_sequence([torch.tensor(row.input_ids) for row in self.rows], batch_first=True)
        labels_BL = pad_sequence([torch.tensor(row.input_ids) for row in self.rows], batch_first=True, padding_value=-100)
        mask_BL = pad_sequence([torch.ones(len(row.input_ids), dtype=torch.int64) for row in self.rows], batch_first=True)
        return self._backward(input_ids=ids_BL, attention_mask=mask_BL, labels=labels_BL)

    def masked(self) -> float:
        """Rows one after the other; transformers makes a mask of ``[T, T]`` from the positions."""
        ids_T = torch.tensor([token for row in self.rows for token in row.input_ids])
        labels_T = torch.tensor([label for row in self.rows for label in (-100, *row.input_ids[1:])])
        positions_T = torch.cat([torch.arange(len(row.input_ids)) for row in self.rows])
        return self._backward(input_ids=ids_T[None], position_ids=positions_T[None], labels=labels_T[None])

    def gradients(self, way: Callable[[], float]) -> list[Tensor]:
        """Of the adapter, after ``way``."""
        if way == self.flat:
            self.ours.model.forward_backward(inputs=self._features)
            self.ours.model.clip_grad_norm(max_grad_norm=1e9)  # divides by the number of labels, clips nothing
            parameters = self.ours.model.model.parameters()
        else:
            way()
            parameters = self.model.parameters()
        found = [p.grad.clone() for p in parameters if p.grad is not None]
        self.ours.model.zero_grad()
        return found

    @property
    def _features(self) -> list[dict[str, Any]]:
        return [features(row) for row in self.rows]

    def _backward(self, **inputs: Tensor) -> float:
        self.model.zero_grad(set_to_none=True)
        loss = self.model(**inputs, use_cache=False).loss
        loss.backward()
        return float(loss.detach())


def cases(size: Size) -> Iterator[Case]:
    """Two fills; in ``full`` a larger batch, and whether time is linear in the tokens."""
    for batch_size, max_length, wanted_fill in BATCHES[size]:
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            rows = one_batch(batch_size, max_length, wanted_fill)
            write_workload(folder, SHAPE, [rows])
            yield batch_case(f"{batch_size} x {max_length}", Sides.on(folder, rows))
    if size == "full":
        with TemporaryDirectory() as scratch:
            write_workload(Path(scratch), SHAPE, [one_batch(4, 64, 0.36)])
            yield Case(name="time by tokens", variants={}, check=lambda: None, counts=lambda: [linearity(Path(scratch))])


def one_batch(batch_size: int, max_length: int, wanted_fill: float) -> list[Row]:
    """Of many batches the one whose fill is nearest to ``wanted_fill``; every token but the first is a label."""
    batches = make_batches(100, batch_size, max_length, SHAPE.vocab_size)
    whole = [batch for batch in batches if max(len(row.input_ids) for row in batch) == max_length]
    nearest = min(whole, key=lambda batch: abs(padded_fill(batch) - wanted_fill))
    return [replace(row, num_prompt=1) for row in nearest]


def batch_case(name: str, sides: Sides) -> Case:
    """The three ways on the batch of ``sides``."""
    num_tokens = sum(len(row.input_ids) for row in sides.rows)
    fill = padded_fill(list(sides.rows))

    def check() -> None:
        """float32: sums in another order, 1e-6 of a value; gradients are sums of numbers that cancel, hence more, against their largest."""
        losses = [sides.flat(), sides.padded(), sides.masked()]
        assert max(losses) / min(losses) - 1 < 1e-5, f"losses of ours, {PADDED}, {MASKED}: {losses}"
        ours = sides.gradients(sides.flat)
        for way in (sides.padded, sides.masked):
            for mine, theirs in zip(ours, sides.gradients(way), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))

    def counts() -> Sequence[Count]:
        shown = [Count(name="fill when padded", value=100 * fill, unit="%")]
        if num_tokens < ENOUGH_FOR_MASK:
            return shown
        square = num_tokens**2
        largest = {way.__name__: count_dispatched(way).largest_numel / square for way in (sides.flat, sides.masked)}
        return [
            *shown,
            Count(name="largest tensor over tokens squared", value=largest["flat"], at_most=0.99),
            Count(name="the same with a mask", value=largest["masked"], at_least=1.0),
        ]

    mask_goals = [Goal(peer=MASKED, at_least=1.8)] if num_tokens >= ENOUGH_FOR_MASK else []
    return Case(
        name=name,
        variants={OURS: timed(sides.flat), PADDED: timed(sides.padded), MASKED: timed(sides.masked)},
        check=check,
        goals=[Goal(peer=PADDED, at_least=0.95 / fill), *mask_goals],
        counts=counts,
        work=Work(gemm_flops={"float32": least_flops(SHAPE, sides.rows)}, tokens=num_tokens),
    )


def linearity(folder: Path) -> Count:
    """R squared of the line through our times at growing numbers of rows; each time is the median of a few."""
    points = []
    for num_rows in LINE_ROWS:
        sides = Sides.on(folder, one_batch(num_rows, LINE_LENGTH, 0.36))
        sides.flat()
        points.append((sum(len(row.input_ids) for row in sides.rows), statistics.median(timed(sides.flat)() for _ in range(LINE_REPEATS))))
    tokens, seconds = np.array(points).T
    return Count(name="R squared of time by tokens", value=float(np.corrcoef(tokens, seconds)[0, 1] ** 2), at_least=0.98)

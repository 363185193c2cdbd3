"""TRL's packing by best fit, decreasing: the loop of ``_pack_bfd`` with TRL's own segment tree, on lengths alone.

The function itself goes on to copy all tokens, at 32,768 tokens for most of its time, which is not what is compared. That the loop is the
function's is checked: on lists of nulls, which take no memory, both make the same bins.
"""

from __future__ import annotations

from collections import defaultdict, deque

import numpy as np
import pyarrow as pa
from trl.data_utils import _pack_bfd, _SegmentTree  # type: ignore[import-not-found]

from benchmarks.peers.loop import serve


class _Packer:
    """Lengths, once they are set up."""

    def __init__(self) -> None:
        self.lengths = np.empty(0, dtype=np.int64)
        self.capacity = 0

    def setup(self, lengths: list[int], capacity: int) -> list[list[int]]:
        """Answers the numbers of the lengths in each bin."""
        self.lengths, self.capacity = np.array(lengths), capacity
        bins = self.step()
        offsets = pa.array(np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32))
        table = pa.table({"input_ids": pa.ListArray.from_arrays(offsets, pa.nulls(int(self.lengths.sum())))})
        theirs = _pack_bfd(table, capacity)["seq_lengths"].to_pylist()
        assert sorted(sorted(lengths) for lengths in theirs) == sorted(sorted(self.lengths[packed].tolist()) for packed in bins)
        return [[int(number) for number in packed] for packed in bins]

    def step(self) -> list[list[int]]:
        """Once."""
        order = np.argsort(-self.lengths, kind="stable")
        tree = _SegmentTree(self.capacity)
        tree.add(self.capacity)
        by_space: dict[int, deque[list[int]]] = defaultdict(deque)
        bins: list[list[int]] = []
        for length, number in zip(self.lengths[order], order, strict=True):
            space = tree.search(length)
            if space < self.capacity:
                packed = by_space[space].popleft()
                if not by_space[space]:
                    tree.remove(space)
            else:
                packed = []
                bins.append(packed)
            packed.append(number)
            space -= length
            by_space[space].append(packed)
            if space > 0:
                tree.add(space)
        return bins


packer = _Packer()
serve({"setup": packer.setup, "step": packer.step})

"""The columns of features as an Arrow table, without a look at each number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

INTEGER_LISTS = frozenset({"input_ids", "attention_mask", "position_ids", "labels", "completion_mask"})


def integer_table(columns: Mapping[str, Sequence[Any]], integers: frozenset[str]) -> pa.Table | None:
    """``columns`` where all are lists of integers (:data:`INTEGER_LISTS`) or integers (those named ``integers``); None where one is not.

    ``datasets`` looks into every list for values of mixed types, which takes as long as tokenising them.
    """
    arrays = {}
    for name, values in columns.items():
        if name in integers and all(type(value) is int for value in values):
            arrays[name] = pa.array(values, type=pa.int64())
        elif name in INTEGER_LISTS and all(_begins_with_integer(value) for value in values):
            lengths = np.fromiter(map(len, values), dtype=np.int32, count=len(values))
            numbers = np.fromiter(chain.from_iterable(values), dtype=np.int64, count=int(lengths.sum()))
            offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int32)), dtype=np.int32)
            arrays[name] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(numbers))
        else:
            return None
    return pa.table(arrays)


def _begins_with_integer(value: Any) -> bool:
    return isinstance(value, list | np.ndarray) and len(value) > 0 and isinstance(value[0], int | np.integer)

"""Reading encoded rows in batches: our ``DataLoader`` against torch's over the same Hugging Face data set, on one pinned thread.

Prints the ratio of times (median over ABBA pairs) and counts template calls: a lazy data set must encode each row exactly once an epoch,
where a loader that looks at a row before it fetches it encodes each row twice.

    python benchmarks/loader.py
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import datasets
import torch

from twinkle.dataloader import DataLoader
from twinkle.dataset import DatasetMeta, LazyDataset

NUM_ROWS, NUM_TOKENS, BATCH_SIZE, PAIRS = 400, 683, 8, 10


class CountingTemplate:
    """Encodes every row to the same number of tokens, and counts the rows."""

    def __init__(self) -> None:
        self.num_rows = 0
        self.max_length = NUM_TOKENS

    def batch_encode(self, trajectories: Sequence[Any], add_generation_prompt: bool = False) -> list[Any]:
        self.num_rows += len(trajectories)
        ids = list(range(NUM_TOKENS))
        return [{**t, "input_ids": ids, "labels": ids} for t in trajectories]

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return " ".join(map(str, token_ids))

    def concat_input_feature(self, prompt: Any, new_tokens: Sequence[int]) -> Any:
        return {**prompt, "input_ids": [*prompt["input_ids"], *new_tokens]}


def time_s(call: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    os.sched_setaffinity(0, {0})
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    ids = list(range(NUM_TOKENS))
    columns = {"input_ids": [ids] * NUM_ROWS, "labels": [ids] * NUM_ROWS, "attention_mask": [[1] * NUM_TOKENS] * NUM_ROWS}
    rows = datasets.Dataset.from_dict(columns)
    ours = DataLoader(dataset=rows, batch_size=BATCH_SIZE)
    theirs = torch.utils.data.DataLoader(rows, batch_size=BATCH_SIZE, collate_fn=list)
    sides: dict[str, Callable[[], Any]] = {"ours": lambda: list(ours), "torch": lambda: list(theirs)}
    ratios = []
    for number in range(PAIRS + 1):
        order = ("ours", "torch") if number % 2 else ("torch", "ours")
        times = {side: time_s(sides[side]) for side in order}
        if number:  # the first pair warms up
            ratios.append(times["torch"] / times["ours"])
    print(f"{NUM_ROWS} rows of {NUM_TOKENS} tokens: {statistics.median(ratios):.2f} times as fast as torch's loader over the same rows")

    template = CountingTemplate()
    lazy = LazyDataset(DatasetMeta(data=[{"messages": [{"role": "user", "content": str(i)}]} for i in range(NUM_ROWS)]))
    lazy.set_template(template)
    lazy.encode()
    list(DataLoader(dataset=lazy, batch_size=BATCH_SIZE))
    print(f"rows encoded for {NUM_ROWS} rows: {template.num_rows}")


if __name__ == "__main__":
    main()

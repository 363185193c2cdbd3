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

    ``step`` is timed and answers seconds; its garbage collector looks no more at what there is after the warm-up, as in the harness: after
    each other call anew, so that a peer with several cases is not slowed down by what it made for the later ones.
    ``peak_extra_rss`` is there without a handler: bytes that one more step takes at its peak.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the peer prints must not stand between answers
    step = _TimedStep(handlers["step"])
    calls: Handlers = {"peak_extra_rss": lambda: peak_extra_rss(handlers["step"]), **handlers, "step": step}
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["call"] != "step":
                step.thaw()
            answer = {"value": calls[asked["call"]](**asked["arguments"])}
        except Exception:  # noqa: BLE001  # the parent raises it
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class _TimedStep:
    """Seconds of each call; garbage is frozen before the first that counts."""

    def __init__(self, step: Callable[..., Any]) -> None:
        self._step = step
        self._num_steps = 0

    def thaw(self) -> None:
        """What comes is warmed up again."""
        gc.unfreeze()
        self._num_steps = 0

    def __call__(self) -> float:
        if self._num_steps == NUM_WARM_UPS:
            gc.collect()
            gc.freeze()
        self._num_steps += 1
        start = time.perf_counter()
        self._step()
        return time.perf_counter() - start

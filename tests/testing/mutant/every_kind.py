"""Batch processors that are right as such, and wrong as components."""

from __future__ import annotations

import threading
import time
from typing import Any

from twinkle.testing import Example

from .processor import GoodProcessor


class HoldsALambda(GoodProcessor):
    """Pads."""

    def __init__(self) -> None:
        self.key = lambda row: row["length"]


class SaysNothing(GoodProcessor):
    """Pads."""

    def __init__(self, mode: str = "right") -> None:
        self.mode = mode


class OtherParams(GoodProcessor):
    """Pads on one ``side``."""

    def __init__(self, side: str = "right") -> None:
        self.side = side


class ShowsItsToken(GoodProcessor):
    """Pads; ``hub_token`` is for nothing."""

    def __init__(self, hub_token: str = "") -> None:
        self.hub_token = hub_token

    def __repr__(self) -> str:
        return f"ShowsItsToken({self.hub_token!r})"


class OneAtATime(GoodProcessor):
    """Pads."""

    busy = threading.Lock()

    def __init__(self) -> None:
        if not self.busy.acquire(blocking=False):
            raise RuntimeError("already being constructed")
        try:
            time.sleep(0.02)
        finally:
            self.busy.release()


GOOD = (GoodProcessor, Example())
PARAMS: dict[str, dict[str, Any]] = {"params_fit_the_signature": {"properties": {"sides": {"type": "string"}}}}
MUTANTS = {
    "pickles": (HoldsALambda, Example()),
    "documents_its_parameters": (SaysNothing, Example()),
    "params_fit_the_signature": (OtherParams, Example()),
    "repr_shows_no_secret": (ShowsItsToken, Example()),
    "constructs_in_threads": (OneAtATime, Example()),
}

WATCHED = {
    "import_is_light": "import networkx",
    "import_reaches_no_network": "import socket\nsocket.getaddrinfo('127.0.0.1', 9)",
    "import_starts_no_process": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''])",
    "import_leaves_the_environment": "import os\nos.environ['TWINKLE_MUTANT'] = '1'",
    "import_leaves_the_search_path": "import sys\nsys.path.append('/somewhere')",
    "import_leaves_the_random_state": "import random\nrandom.random()",
    "import_leaves_the_default_dtype": "import torch\ntorch.set_default_dtype(torch.float64)",
    "import_leaves_the_warnings_filters": "import warnings\nwarnings.simplefilter('ignore')",
}
"""What stands at the top of a module that one check sees."""

ALONE = """
import sys
if "my_component" in sys.modules:
    raise RuntimeError("imported twice")
sys.modules["my_component"] = sys.modules[__name__]
"""
"""A module that cannot be there twice."""

LOCAL_METRIC = """
class LocalMetric:
    def __init__(self, process_group=None):
        self.reset()

    def accumulate(self, inputs, outputs):
        self.count = self.count + (inputs["labels"] != -100).sum()

    def calculate(self):
        return {} if isinstance(self.count, int) else {"tokens": float(self.count)}

    def reset(self):
        self.count = 0
"""
"""A metric that knows of no other rank."""

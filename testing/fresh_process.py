"""Watches the import and the construction of components from another Python: what they load, touch, start and change.

One process for all components: it imports numpy, torch and the declared dependencies, as a training process has them, and forks a child for
each component, so that none sees what another one did. Audit hooks cannot be taken out again; here they end with the child.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pickle
import random
import re
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import importlib_metadata

from twinkle.core.components import build_resolved, resolve
from twinkle.core.runtime.context import ProcessContext, current, use_context
from twinkle.testing.import_report import ENVIRONMENT, NETWORK, PROCESSES, Report
from twinkle.testing.specimen import Specimen, loop_arguments

_ALWAYS_THERE = ("numpy", "torch")
_COMPILER = "torch._dynamo"
"""Comes with the first optimizer of a process, and with transformers; it sets an environment variable and warnings filters of its own."""
_COMES_WITH = {"torch": _COMPILER, "transformers": _COMPILER}
_KINDS_WITH = {"optimizer": _COMPILER, "lr_scheduler": _COMPILER}
TIMEOUT_S = 300


@dataclass(frozen=True, kw_only=True)
class _Job:
    id: str
    kind: str
    ref: str
    init: bytes | None
    """The pickled arguments; None where they cannot be pickled. Without arguments nothing is constructed."""
    modules: tuple[str, ...]
    """What its declared dependencies are imported as."""


class FreshProcess:
    """Runs the other Python when the first report is asked for, over all of its specimens."""

    def __init__(self, specimens: tuple[Specimen, ...] = ()) -> None:
        self.specimens = specimens
        self._reports: dict[str, Report] | None = None
        self._lock = threading.Lock()

    def report(self, component: str) -> Report:
        """What the specimen whose id is ``component`` did there."""
        with self._lock:
            if self._reports is None:
                self._reports = _run([_job(s) for s in self.specimens])
        return self._reports[component]


def _job(specimen: Specimen) -> _Job:
    component = specimen.component
    ref = component if isinstance(component, str) else "py:" + resolve(specimen.kind, component).entry
    try:
        init = pickle.dumps(specimen.example.arguments() if specimen.example is not None else {})
    except (pickle.PicklingError, TypeError, AttributeError):  # arguments such as functions: then only the import is watched
        init = None
    modules = _import_names(specimen.dependencies)
    further = {_COMES_WITH[m] for m in modules if m in _COMES_WITH} | {_KINDS_WITH[k] for k in [specimen.kind] if k in _KINDS_WITH}
    return _Job(id=specimen.id, kind=specimen.kind, ref=ref, init=init, modules=(*modules, *sorted(further)))


def _import_names(requirements: tuple[str, ...]) -> tuple[str, ...]:
    """``PyYAML>=6`` is imported as ``yaml``."""
    wanted = {_normal(re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]) for requirement in requirements}
    if not wanted:
        return ()
    provided = importlib_metadata.packages_distributions()
    return tuple(sorted(n for n, dists in provided.items() if not n.startswith("_") and wanted & {_normal(d) for d in dists}))


def _normal(dist: str) -> str:
    return re.sub(r"[-_.]+", "-", dist).lower()


def _run(jobs: list[_Job]) -> dict[str, Report]:
    payload = pickle.dumps((sys.path, current().settings, jobs))
    program = "from twinkle.testing.fresh_process import main; main()"
    done = subprocess.run([sys.executable, "-P", "-c", program], input=payload, capture_output=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the Python that watches imports failed:\n{done.stderr.decode(errors='replace')}")
    plain: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    lists = ("modules", "events", "changed")
    return {
        name: Report(error=report.get("error", ""), **{field: tuple(report.get(field, ())) for field in lists})
        for name, report in plain.items()
    }


# ---- in the other Python


def main() -> None:
    """Reads jobs from standard input, writes their reports to standard output as JSON."""
    path, settings, jobs = pickle.load(sys.stdin.buffer)  # from our own parent, which wrote it a moment ago
    sys.path[:] = path
    _import_what_is_there(_ALWAYS_THERE)
    context = ProcessContext.fresh(settings)
    assert context.registry.kinds  # loads the plugins, once for all children
    reports: dict[str, Any] = {}
    groups: dict[tuple[str, ...], list[_Job]] = {}
    for job in jobs:
        groups.setdefault(job.modules, []).append(job)
    for modules, group in groups.items():
        reports |= _in_child(partial(_watch_group, modules, group, context))
    print("\n" + json.dumps(reports))


def _watch_group(modules: tuple[str, ...], jobs: list[_Job], context: ProcessContext) -> dict[str, Any]:
    _import_what_is_there(modules)
    return {job.id: _in_child(partial(_watch, job, context)) for job in jobs}


def _import_what_is_there(modules: tuple[str, ...]) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module)


def _in_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``work`` returns in a fork of this process."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            result = work()
        except BaseException:  # noqa: BLE001  # reported as the result; the child must not go on as a second parent
            result = {"error": traceback.format_exc()}
        with open(writing, "wb") as pipe:
            pipe.write(json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    plain: dict[str, Any] = json.loads(answer) if answer else {"error": "the process that imported it died"}
    return plain


def _watch(job: _Job, context: ProcessContext) -> dict[str, Any]:
    """Imports and constructs one component. What it prints goes to standard error."""
    os.dup2(2, 1)
    watched = {*NETWORK, *PROCESSES, *ENVIRONMENT}
    events: list[str] = []
    is_armed = threading.Event()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if is_armed.is_set() and event in watched:
            events.append(f"{event} {arguments[0] if arguments else ''}")

    sys.addaudithook(hook)
    with use_context(context):
        resolved = resolve(job.kind, job.ref)
        before, loaded = _state(), set(sys.modules)
        known = {name.partition(".")[0] for name in loaded} | sys.stdlib_module_names | {"twinkle", "twinkle_components"}
        init = _unpickled(job.init)
        is_armed.set()
        assert resolved.cls is not None
        added = sorted(name for name in set(sys.modules) - loaded if name.partition(".")[0] not in known)
        if init is not None and isinstance(resolved.cls, type):
            build_resolved(resolved, init, loop_arguments(job.kind, resolved.cls))
        is_armed.clear()
        after = _state()
    changed = [name for name in before if before[name] != after[name]]
    return {"modules": added, "events": events, "changed": changed}


def _unpickled(init: bytes | None) -> dict[str, Any] | None:
    """The arguments, from our own parent; None where they hold something that only its test file defines."""
    try:
        arguments: dict[str, Any] | None = None if init is None else pickle.loads(init)
    except (ImportError, AttributeError):
        return None
    return arguments


def _state() -> dict[str, object]:
    state: dict[str, object] = {
        "sys.path": list(sys.path),
        "the random state of random": random.getstate(),
        "the warnings filters": list(warnings.filters),
    }
    if "numpy" in sys.modules:
        import numpy as np

        state["the random state of numpy"] = pickle.dumps(np.random.get_state())
    if "torch" in sys.modules:
        import torch

        state["the random state of torch"] = torch.get_rng_state().tolist()
        state["the default dtype"] = str(torch.get_default_dtype())
    return state

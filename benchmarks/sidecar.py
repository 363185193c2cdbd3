"""Peers whose packages clash with ours run beside us: one process each, driven over pipes, so that runs still take turns."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "peers"
LAST_WORDS = 3_000
"""Characters of standard error that are shown when a child dies."""


class SideCarError(RuntimeError):
    """A side-car died, was too slow, or could not do what it was asked."""


def peer_folder(name: str) -> Path | None:
    """Where ``make bench-peers`` put the peer's packages; None where it did not."""
    folder = Path(sys.prefix) / "peers" / name
    return folder if folder.is_dir() else None


class SideCar:
    """``python benchmarks/peers/<script>.py`` with the packages in ``packages`` before all others; ends with the ``with`` block.

    The child answers on the core of its parent, so that both see the same neighbours. It runs in an empty folder of its own, which goes
    with it: some peers write where they are started.

    Raises:
        SideCarError: from every method, with the end of the child's standard error.
    """

    def __init__(self, script: str, packages: Path | None = None, *, timeout_s: float = 300.0, scripts: Path = PEERS) -> None:
        self._script = script
        self._timeout_s = timeout_s
        self._folder = tempfile.TemporaryDirectory(prefix="sidecar-")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
        path = [*([str(packages)] if packages else []), str(ROOT)]
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-u", str(scripts / f"{script}.py")],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
            cwd=self._folder.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        self._unread = b""

    def setup(self, **arguments: Any) -> Any:
        """What the script's handler ``setup`` answers."""
        return self.call("setup", **arguments)

    def step(self) -> float:
        """Seconds that the script's handler ``step`` took, by the child's clock. A variant of a case."""
        return float(self.call("step"))

    def call(self, handler: str, **arguments: Any) -> Any:
        """What a handler of the script answers; ``arguments`` and answer are JSON."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps({"call": handler, "arguments": arguments}).encode() + b"\n")
        except BrokenPipeError as error:
            raise self._died(handler) from error
        answer = json.loads(self._read_line(handler))
        if "error" in answer:
            raise SideCarError(f"side-car {self._script}: {handler} failed:\n{answer['error']}")
        return answer["value"]

    def close(self) -> None:
        """Ends the child and removes its folder."""
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            pipe.close()
        self._child.kill()
        self._child.wait()
        self._errors.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _read_line(self, handler: str) -> bytes:
        assert self._child.stdout is not None
        deadline = time.monotonic() + self._timeout_s
        while b"\n" not in self._unread:
            if not select.select([self._child.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                said = self._last_words()
                self._child.kill()
                raise SideCarError(f"side-car {self._script}: {handler} took more than {self._timeout_s:g} s{said}")
            piece = self._child.stdout.read(1 << 16)
            if not piece:
                raise self._died(handler)
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _died(self, handler: str) -> SideCarError:
        code = self._child.wait()
        return SideCarError(f"side-car {self._script} died in {handler} with {code}{self._last_words()}")

    def _last_words(self) -> str:
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        return f"; the end of its standard error:\n{text[-LAST_WORDS:]}" if text else ", without a word on standard error"

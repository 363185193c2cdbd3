"""One line for everything foreign that runs: ``$TWINKLE_HOME/audit.jsonl``, written before the first byte of it runs."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from twinkle.core.settings import process_rank


def write_audit_line(home: Path, *, ref: str, commit: str | None, h1: str, trust: str) -> None:
    """Appends time, process, rank, reference, commit, digest and who approved; one write, so that lines of processes do not mix."""
    line = {
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
        "pid": os.getpid(),
        "rank": process_rank(),
        "ref": ref,
        "commit": commit,
        "h1": h1,
        "trust": trust,
    }
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(home / "audit.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, (json.dumps(line) + "\n").encode())
    finally:
        os.close(descriptor)

"""How much memory a call takes at its peak, by three instruments. Linux; only :func:`peak_live_bytes` needs torch."""

from __future__ import annotations

import ctypes
import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_extra_rss(call: Callable[[], object]) -> int:
    """Bytes of resident memory that ``call`` takes at its peak, beyond what was resident before. Exact to some hundred kilobytes.

    Freed memory is given back to the system first, so that a call which takes it again is charged for it.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew (proc(5))
    before = resident_bytes()
    call()
    return max(0, _status_bytes("VmHWM") - before)


def resident_bytes() -> int:
    """Resident memory of this process."""
    return _status_bytes("VmRSS")


def _status_bytes(field: str) -> int:
    [line] = [line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024


def peak_live_bytes(call: Callable[[], object]) -> int:
    """Bytes of CPU tensors that live at the peak of ``call``, beyond those from before: what its algorithm needs, to the byte."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    memory = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(memory, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def peak_traced_bytes(call: Callable[[], object]) -> int:
    """Bytes of Python objects that ``call`` has allocated at its peak (tracemalloc, which slows it down many times)."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

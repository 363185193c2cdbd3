"""``python -m benchmarks``: what :mod:`benchmarks.command` says, and no traceback for a Ctrl-C that comes while its modules are read."""

from __future__ import annotations

import sys

from benchmarks.interrupt import EXIT_CODE, end_by_interrupt

if __name__ == "__main__":
    end_by_interrupt()
    try:
        from benchmarks.command import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(EXIT_CODE)

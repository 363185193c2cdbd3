"""What is shown while a benchmark runs."""

from __future__ import annotations

import io

import pytest

from benchmarks.progress import Progress


class Terminal(io.StringIO):
    """Somebody looks on."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal(), "\r\x1b[Kencode/a: against trl ...\r\x1b[K"), (io.StringIO(), "")])
def test_what_comes_next_is_shown_to_a_person_and_not_to_a_log(stream: io.StringIO, shown: str) -> None:
    progress = Progress("encode", stream)
    progress.show("a: against trl")
    progress.clear()
    assert stream.getvalue() == shown

"""Ctrl-C between steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from twinkle.cli.interrupt import stop_on_interrupt


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """They raise: a shell starts what runs in the background with interrupts ignored, and tests inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_interrupt_is_a_wish_and_the_second_is_obeyed_at_once() -> None:
    with stop_on_interrupt() as wish:
        assert not wish.is_made
        os.kill(os.getpid(), signal.SIGINT)
        assert wish.is_made
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_after_the_block_an_interrupt_is_what_it_was_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_interrupt():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before

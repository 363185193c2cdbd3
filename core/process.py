"""Which process of the run this is, and where it can be reached."""

from __future__ import annotations

import socket

from twinkle.core.settings import process_rank


def is_master() -> bool:
    """Whether this process has global rank 0; a process without a launcher is the only one, and has."""
    return process_rank() <= 0


def find_node_ip(towards: str = "192.0.2.1") -> str:
    """The IPv4 address of this machine on the way to ``towards``; 127.0.0.1 where it has no way out. Nothing is sent.

    The default is an address that stands in documents only (RFC 5737), so that the way to it is the default route.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def find_free_port(address: str = "") -> int:
    """A TCP port that no one listens on at ``address`` (all of this machine's without). Another process may take it before you do."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])

"""What was seen while a component was imported and constructed."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol

NETWORK = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname")
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn")
ENVIRONMENT = ("os.putenv", "os.unsetenv")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one component did while it was imported and constructed."""

    error: str = ""
    """The traceback, where it failed."""
    modules: tuple[str, ...] = ()
    """What its import added, without the standard library, its declared dependencies and Twinkle itself."""
    events: tuple[str, ...] = ()
    """Audit events of :data:`NETWORK`, :data:`PROCESSES` and :data:`ENVIRONMENT`, with their first argument."""
    changed: tuple[str, ...] = ()
    """Which parts of the process's state were others afterwards."""


class ImportWatch(Protocol):
    """Where a component's import is watched."""

    @abstractmethod
    def report(self, component: str) -> Report:
        """What the component with this id (``kind:name``) did."""

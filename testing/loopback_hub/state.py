"""What the hub holds: repositories, faults, the request log."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

from twinkle.testing.loopback_hub.fault import Fault
from twinkle.testing.loopback_hub.repository import Repository

Service = Literal["ms", "hf"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One line of the log."""

    method: str
    path: str
    """With its query."""
    authorization: str | None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class HubState:
    """The state of both services."""

    repositories: dict[tuple[Service, str], Repository] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    log: list[Request] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Large files by their sha256: uploaded first, named by a commit later."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def repository(self, service: Service, name: str, files: dict[str, bytes] | None = None) -> Repository:
        """The repository of that id, made where it does not exist, with a commit of ``files`` where they are given."""
        branch = "master" if service == "ms" else "main"
        repository = self.repositories.setdefault((service, name), Repository(name, branch))
        if files is not None:
            repository.commit(files, message="first")
        return repository

    def recreate(self, service: Service, name: str, files: dict[str, bytes]) -> Repository:
        """Deletes the repository and makes another one of the same id."""
        self.repositories.pop((service, name), None)
        return self.repository(service, name, files)

    def paths(self) -> list[str]:
        """The log as ``METHOD path`` texts."""
        return [str(request) for request in self.log]

    def fault(self, line: str, kinds: tuple[str, ...]) -> Fault | None:
        """The first fault of ``kinds`` that applies to the request ``line``."""
        with self.lock:
            return next((fault for fault in self.faults if fault.kind in kinds and fault.take(line)), None)

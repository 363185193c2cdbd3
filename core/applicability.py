"""Whether a patch belongs here: it may say so itself, from the versions and the code that are installed."""

from __future__ import annotations

import hashlib
import inspect
import textwrap
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from twinkle.core.errors import MissingExtra
from twinkle.core.import_string import import_attribute


@dataclass(frozen=True, slots=True)
class Applies:
    """The patch can be applied."""


@dataclass(frozen=True, slots=True)
class NotNeeded:
    """There is nothing to patch; applying does nothing and the handle carries the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The patch must not be applied; trying raises."""

    reason: str


Applicability = Applies | NotNeeded | Refuse


@dataclass(frozen=True, slots=True)
class PatchEnvironment:
    """What a patch can ask about this process."""

    target: object
    """What it would be applied to."""

    def version_of(self, distribution: str) -> str | None:
        """The installed version; None where it is not installed."""
        return installed_version(distribution)

    def in_range(self, ranges: Mapping[str, str]) -> Applies | Refuse:
        """Whether every distribution of ``ranges`` (name -> PEP 440 range) is installed in its range."""
        for distribution, wanted in ranges.items():
            version = self.version_of(distribution)
            if version is None:
                return Refuse(f"it is for {distribution} {wanted}, which is not installed")
            if not version_matches(version, wanted):
                return Refuse(f"it is for {distribution} {wanted}, installed is {version}")
        return Applies()

    def unchanged(self, expected: Mapping[str, str]) -> Applies | Refuse:
        """Whether every function of ``expected`` (``module:Class.function`` -> ``sha256:`` of its source) is the one the patch was
        written for; :func:`source_digest` gives the value."""
        for entry, digest in expected.items():
            found = source_digest(entry)
            if found != digest:
                return Refuse(f"{entry} changed upstream (expected {digest}, found {found}): the patch is not verified for it")
        return Applies()


@runtime_checkable
class ConditionalPatch(Protocol):
    """A patch that says where it belongs. Asked before ``apply``."""

    @abstractmethod
    def applies(self, environment: PatchEnvironment) -> Applicability:
        """The verdict; changes nothing."""


def source_digest(entry: str) -> str:
    """``sha256:`` of the source of ``module:Class.function``, its indentation aside."""
    source = textwrap.dedent(inspect.getsource(import_attribute(entry, "the code that a patch expects")))
    return "sha256:" + hashlib.sha256(source.encode()).hexdigest()


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution; None where it is not installed."""
    import importlib_metadata  # costs 20 ms, which a run without such a patch must not pay

    try:
        version: str = importlib_metadata.version(distribution)
    except importlib_metadata.PackageNotFoundError:
        return None
    return version


def version_matches(version: str, wanted: str) -> bool:
    """Whether ``version`` lies in the PEP 440 range ``wanted`` ("" is any)."""
    if not wanted:
        return True
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError as error:
        raise MissingExtra("comparing versions needs the package 'packaging': pip install 'twinkle-workbench[train]'") from error
    return SpecifierSet(wanted).contains(version, prereleases=True)

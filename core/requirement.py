"""Is a package here, in the version that is wanted?"""

from __future__ import annotations

import importlib.util
import re

import importlib_metadata

from twinkle.core.errors import InvalidArgument, MissingExtra

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)


def exists(pkg_spec: str) -> bool:
    """Whether ``pkg_spec`` is installed: a distribution ("torch", "torch>=2.6,<3"), or without versions a module that can be imported.

    Raises:
        InvalidArgument: ``pkg_spec`` is no requirement.
        MissingExtra: it names versions, and the package that compares them is not installed.
    """
    return _what_is_wrong(pkg_spec) is None


def requires(pkg_spec: str) -> None:
    """Does nothing where :func:`exists` is true.

    Raises:
        MissingExtra: it is not; the message says what there is and how to install it.
        InvalidArgument: ``pkg_spec`` is no requirement.
    """
    wrong = _what_is_wrong(pkg_spec)
    if wrong is not None:
        raise MissingExtra(f"{pkg_spec!r} is needed, but {wrong}: pip install {pkg_spec!r}")


def _what_is_wrong(pkg_spec: str) -> str | None:
    if _NAME.fullmatch(pkg_spec):
        module = pkg_spec.replace("-", "_")
        here = _version(pkg_spec) is not None or ("." not in module and importlib.util.find_spec(module) is not None)
        return None if here else "it is not installed"
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError as error:
        raise MissingExtra("comparing versions needs the package 'packaging': pip install 'twinkle-workbench[train]'") from error
    try:
        requirement = Requirement(pkg_spec)
    except InvalidRequirement as error:
        raise InvalidArgument(f"{pkg_spec!r}: expected a requirement such as 'torch>=2.6': {error}") from None
    version = _version(requirement.name)
    if version is None:
        return "it is not installed"
    return None if requirement.specifier.contains(version, prereleases=True) else f"{requirement.name} {version} is installed"


def _version(distribution: str) -> str | None:
    try:
        version: str = importlib_metadata.version(distribution)
    except importlib_metadata.PackageNotFoundError:
        return None
    return version

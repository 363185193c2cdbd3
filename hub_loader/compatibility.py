"""What a manifest asks of this environment, checked before a byte is imported. Nothing is ever installed."""

from __future__ import annotations

import platform

from twinkle.core.applicability import installed_version, version_matches
from twinkle.hub_loader.errors import IncompatibleComponent, InvalidManifest
from twinkle.hub_loader.manifest import Manifest, ManifestComponent

API_VERSIONS = frozenset({1})
_TARGET_KEYS = frozenset({"modules", "reversible", "conflicts", "after"})


def check_compatible(manifest: Manifest, component: ManifestComponent, where: str) -> None:
    """Raises :class:`IncompatibleComponent` with everything that does not fit, and the command that would install what is missing."""
    if component.api not in API_VERSIONS:
        raise IncompatibleComponent(f"{where}: {component.name} is written for api {component.api} of {component.kind}, this one has 1")
    problems = [text for text in (_twinkle(manifest), _python(manifest)) if text]
    ranges = {name: wanted for name, wanted in component.targets.items() if name not in _TARGET_KEYS}
    for name, wanted in ranges.items():
        if not isinstance(wanted, str):
            raise InvalidManifest(f'{where}: targets: expected {name} = "version range", got {wanted!r}')
        problems += _distribution(name, wanted)
    missing = []
    for requirement in manifest.dependencies:
        found = _requirement(requirement, where)
        problems += found
        missing += [requirement] if found else []
    if problems:
        install = f"; to install what it needs: pip install {' '.join(map(repr, missing))}" if missing else ""
        raise IncompatibleComponent(f"{where} does not fit this environment: {'; '.join(problems)}{install}")


def _twinkle(manifest: Manifest) -> str:
    version = installed_version("twinkle-workbench")
    if version is None or version_matches(version, manifest.requires_twinkle):
        return ""
    return f"it needs twinkle-workbench {manifest.requires_twinkle}, this is {version}"


def _python(manifest: Manifest) -> str:
    version = platform.python_version()
    return "" if version_matches(version, manifest.requires_python) else f"it needs Python {manifest.requires_python}, this is {version}"


def _requirement(text: str, where: str) -> list[str]:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise InvalidManifest(f"{where}: dependency {text!r}: {error}") from None
    if requirement.marker is not None and not requirement.marker.evaluate():
        return []
    return _distribution(requirement.name, str(requirement.specifier))


def _distribution(name: str, wanted: str) -> list[str]:
    version = installed_version(name)
    if version is None:
        return [f"it needs {name} {wanted}, which is not installed".replace("  ", " ")]
    return [] if version_matches(version, wanted) else [f"it needs {name} {wanted}, installed is {version}"]

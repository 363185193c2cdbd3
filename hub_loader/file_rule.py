"""Which files a component may have, under which paths, and which of them it is made of. Pure: names and sizes in, a verdict out.

Every file falls into exactly one class: *excluded* (never stored, never hashed, so never readable by the component's code), *forbidden*
(an error), or *part of the component* (stored and hashed). Nothing is skipped silently.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from twinkle.hub_loader.errors import ForbiddenFile

EXCLUDED = re.compile(
    r"\.gitattributes|\.gitignore|README[^/]*\.md|LICENSE[^/]*|configuration\.json|\.msc|\.mdl|docs/.*|tests/.*", re.DOTALL
)
"""Root files that hubs inject or that are prose, and folders that are not run: they do not change the digest and are never stored."""

_NATIVE_SUFFIXES = (".so", ".dll", ".dylib")
_FORBIDDEN_SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "compiled Python cannot be reviewed": (".pyc", ".pyo", ".pyd"),
    "path and install hooks are no part of a component": (".pth", ".egg-link", ".egg"),
    "native code needs kind = 'kernel', native = true": _NATIVE_SUFFIXES,
    "a pickle runs code when it is read; use safetensors or JSON": (".pkl", ".pickle", ".pt", ".bin", ".mdl", ".joblib", ".npz"),
    "an archive hides its files": (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".whl", ".jar"),
}
_ILLEGAL = re.compile(r"[\s\x00-\x1f\x7f\\'\":*?<>|]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """How large a component may be."""

    num_files: int = 2000
    total_bytes: int = 64 * 1024 * 1024


def is_excluded(path: str) -> bool:
    """Whether ``path`` is left out of the component."""
    return EXCLUDED.fullmatch(path) is not None


def check_path(path: str, allow_native: bool = False) -> None:
    """Raises :class:`ForbiddenFile` unless ``path`` is relative, normal, printable, of a type that may be loaded."""
    shown = ascii(path)
    if not path or path.startswith("/") or _ILLEGAL.search(path) or not path.isprintable():
        raise ForbiddenFile(f"path {shown}: expected a relative path with '/', without spaces, quotes, ':', '\\' or control characters")
    if unicodedata.normalize("NFC", path) != path:
        raise ForbiddenFile(f"path {shown}: expected Unicode form NFC, so that it means the same file everywhere")
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ForbiddenFile(f"path {shown}: expected no empty part, '.' or '..'")
    if is_excluded(path):
        return
    if any(part.startswith(".") for part in parts):
        raise ForbiddenFile(f"path {shown}: hidden files are no part of a component; remove it")
    if "__pycache__" in parts:
        raise ForbiddenFile(f"path {shown}: compiled Python cannot be reviewed; remove it")
    for reason, suffixes in _FORBIDDEN_SUFFIXES.items():
        if path.lower().endswith(suffixes) and not (allow_native and path.lower().endswith(_NATIVE_SUFFIXES)):
            if path.startswith("build/") and suffixes is _NATIVE_SUFFIXES:
                reason = "a native build of a kernel; only builds of pure Python and Triton are loaded (build/torch-universal)"
            raise ForbiddenFile(f"path {shown}: {reason}")


def check_listing(sizes: Mapping[str, int], caps: Caps | None = None, allow_native: bool = False) -> list[str]:
    """The paths of ``sizes`` (path -> bytes) that make up the component, sorted.

    Raises:
        ForbiddenFile: a path breaks a rule, two differ only in case, or there are too many or too large files.
    """
    caps = Caps() if caps is None else caps
    if len(sizes) > caps.num_files:
        raise ForbiddenFile(f"{len(sizes)} files: a component has {caps.num_files} at most")
    folded: dict[str, str] = {}
    for path in sizes:
        check_path(path, allow_native)
        twin = folded.setdefault(path.casefold(), path)
        if twin != path:
            raise ForbiddenFile(f"paths {twin!a} and {path!a} differ only in case: they would be one file on some machines")
    kept = sorted(path for path in sizes if not is_excluded(path))
    for path in kept:
        if any(parent in folded for parent in _parents(path.casefold())):
            raise ForbiddenFile(f"path {path!a}: a part of it is also a file")
    total = sum(sizes[path] for path in kept)
    if total > caps.total_bytes:
        raise ForbiddenFile(f"{total} bytes: a component has {caps.total_bytes} at most")
    return kept


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]

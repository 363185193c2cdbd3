"""The one grammar of names: how a component, a model or a data set is written, and the one parser of it.

::

    name-ref   = [kind ":"] [package "/"] name             "dapo", "loss:dapo", "my_pkg/dapo", "loss:my_pkg/dapo"
    hub-ref    = scheme "://" owner "/" repo ["@" revision] ["#" component]
    file-ref   = "file:" path ["#" component]              path begins with "/", "./" or "../"
    py-ref     = "py:" dotted ":" attribute                 only from code, the command line or a local config

Parsing does no I/O. A bare ``owner/repo`` is a package-qualified name, never a hub id; ids of models and data
(:func:`parse_repo`) are the one place where a missing scheme means ModelScope.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twinkle.core.errors import InvalidRef

DEFAULT_SCHEME = "ms"

_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"
_PACKAGE = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_NAME_REF = re.compile(rf"(?:(?P<kind>[a-z][a-z0-9_]{{0,31}}):)?(?:(?P<package>{_PACKAGE})/)?(?P<name>{_NAME})", re.ASCII)
_COMPONENT = re.compile(_NAME, re.ASCII)
_SEGMENT = re.compile(_PACKAGE, re.ASCII)
_SCHEME = re.compile(r"[a-z][a-z0-9]{0,15}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", re.ASCII)
_PATH = re.compile(r"(?:/(?!/)|\.\.?(?:/|$))[^#\x00-\x1f\x7f]*")
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class NameRef:
    """A component that is built in or installed: ``[kind:][package/]name``."""

    name: str
    package: str | None = None
    kind: str | None = None

    def __str__(self) -> str:
        return (f"{self.kind}:" if self.kind else "") + (f"{self.package}/" if self.package else "") + self.name


@dataclass(frozen=True, slots=True)
class HubRef:
    """A repository of a hub: ``scheme://owner/repo[@revision][#component]``."""

    scheme: str
    owner: str
    repo: str
    revision: str | None = None
    component: str | None = None

    @property
    def repo_id(self) -> str:
        """``owner/repo``."""
        return f"{self.owner}/{self.repo}"

    @property
    def is_pinned(self) -> bool:
        """True where the revision is a full commit, which can never move."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        component = f"#{self.component}" if self.component else ""
        return f"{self.scheme}://{self.owner}/{self.repo}{revision}{component}"


@dataclass(frozen=True, slots=True)
class FileRef:
    """A component in a folder of this machine: ``file:path[#component]``."""

    path: str
    component: str | None = None

    def __str__(self) -> str:
        return f"file:{self.path}" + (f"#{self.component}" if self.component else "")


@dataclass(frozen=True, slots=True)
class PyRef:
    """An importable object, named from code or the command line only: ``py:module:attribute``."""

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"py:{self.module}:{self.attribute}"


Ref = NameRef | HubRef | FileRef | PyRef


def is_name(text: str) -> bool:
    """Whether a component can be announced by the name ``text``."""
    return _COMPONENT.fullmatch(text) is not None


def parse(text: str) -> Ref:
    """The reference that ``text`` writes.

    Raises:
        InvalidRef: ``text`` is none of the four forms; the message names the part that is wrong and the right spelling.
    """
    if text.startswith("file:"):
        return _parse_file(text)
    if text.startswith("py:"):
        return _parse_py(text)
    if "://" in text:
        return _parse_hub(text)
    match = _NAME_REF.fullmatch(text)
    if match is None:
        raise InvalidRef(
            f"{text!r} is no component reference: expected a name ('grpo', 'loss:my_pkg/dapo'), a hub id ('ms://owner/repo@revision#Name', "
            "'hf://...'), a folder ('file:./mine#Name') or 'py:module:attribute'"
        )
    return NameRef(match["name"], match["package"], match["kind"])


def parse_repo(text: str) -> HubRef:
    """The hub repository of a model or a data set; ``owner/name`` without a scheme means ModelScope.

    Raises:
        InvalidRef: ``text`` is no repository id.
    """
    ref = _parse_hub(text if "://" in text else f"{DEFAULT_SCHEME}://{text}")
    if ref.component is not None:
        raise InvalidRef(f"{text!r}: a model or a data set has no '#{ref.component}'; write {str(ref).partition('#')[0]!r}")
    return ref


def _parse_file(text: str) -> FileRef:
    path, has_component, component = text.removeprefix("file:").partition("#")
    if not _PATH.fullmatch(path):
        raise InvalidRef(f"{text!r}: expected 'file:' and a path that begins with '/', './' or '../' ('file:./mine'), got {path!r}")
    return FileRef(path, _component(text, component) if has_component else None)


def _parse_py(text: str) -> PyRef:
    module, separator, attribute = text.removeprefix("py:").partition(":")
    if not separator or not _DOTTED.fullmatch(module) or not _DOTTED.fullmatch(attribute):
        raise InvalidRef(f"{text!r}: expected 'py:module.path:Attribute'")
    return PyRef(module, attribute)


def _parse_hub(text: str) -> HubRef:
    scheme, _, rest = text.partition("://")
    if not _SCHEME.fullmatch(scheme):
        raise InvalidRef(f"{text!r}: expected a scheme of small letters such as 'ms://' or 'hf://', got {scheme!r}")
    rest, has_component, component = rest.partition("#")
    path, has_revision, revision = rest.partition("@")
    segments = path.split("/")
    if len(segments) == 3 and segments[0] in {"models", "datasets", "spaces"}:
        raise InvalidRef(f"{text!r}: the type is not part of an id; write {scheme + '://' + '/'.join(segments[1:])!r}")
    if len(segments) != 2:
        raise InvalidRef(f"{text!r}: expected '{scheme}://owner/repo[@revision][#component]', got {len(segments)} path segments")
    for part, segment in zip(("owner", "repo"), segments, strict=True):
        if not _SEGMENT.fullmatch(segment) or "--" in segment or ".." in segment or segment.endswith((".git", ".ipynb")):
            raise InvalidRef(
                f"{text!r}: {segment!r} is no {part} name: expected letters, digits, '.', '_' and '-', at most 96, "
                "starting and ending with a letter or digit, without '--', '..' and without the ending '.git' or '.ipynb'"
            )
    if has_revision and not _is_revision(revision):
        raise InvalidRef(
            f"{text!r}: {revision!r} is no revision: expected a 40-digit commit, a branch or a tag (letters, digits, '.', '_', '/', '-')"
        )
    owner, repo = segments
    return HubRef(scheme, owner, repo, revision if has_revision else None, _component(text, component) if has_component else None)


def _is_revision(revision: str) -> bool:
    return (
        _REVISION.fullmatch(revision) is not None
        and ".." not in revision
        and "//" not in revision
        and not revision.endswith(("/", ".lock"))
    )


def _component(text: str, component: str) -> str:
    if not _COMPONENT.fullmatch(component):
        raise InvalidRef(
            f"{text!r}: {component!r} after '#' is no component name: expected a letter or '_', then letters, digits, '.', '_', '-'"
        )
    return component

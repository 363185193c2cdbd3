"""Asking a person: what is shown before they decide, and the question on the terminal. No default and no time limit."""

from __future__ import annotations

import difflib
import sys
import unicodedata
from collections.abc import Callable

from twinkle.core.applicability import installed_version
from twinkle.hub_loader.manifest import FILE_NAME as MANIFEST_NAME
from twinkle.hub_loader.manifest import Manifest, parse_manifest
from twinkle.hub_loader.scan import NO_FINDINGS, scan
from twinkle.hub_loader.tree import ComponentTree
from twinkle.hub_loader.trust import Candidate


def ask_on_terminal(candidate: Candidate, read: Callable[[str], str] = input, write: Callable[[str], None] | None = None) -> bool:
    """Shows ``candidate`` and asks until there is a clear answer; the end of input is a no."""
    say = _to_stderr if write is None else write
    say(describe(candidate))
    while True:
        try:
            answer = (
                read("[y] run exactly this digest  [n] no  [d] difference to the last approved one  [s] show the files: ").strip().lower()
            )
        except EOFError:
            return False
        match answer:
            case "y":
                return True
            case "n":
                return False
            case "d":
                say(difference(candidate.previous, candidate.tree))
            case "s":
                say(show_files(candidate.tree))
            case _:
                say("please answer y, n, d or s")


def is_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def describe(candidate: Candidate) -> str:
    """Reference, commit, digest, publisher, kinds, size, dependencies, findings and what changed, with control characters escaped."""
    tree = candidate.tree
    findings = scan(tree)
    lines = [
        f"component   {candidate.where}",
        f"commit      {candidate.commit}" + (f" of {candidate.date}" if candidate.date else ""),
        f"digest      {tree.h1}",
        f"publisher   {candidate.repo.rpartition('/')[0]}",
        f"files       {len(tree.files)}, {tree.num_bytes} bytes",
        *_manifest_lines(tree, candidate.where),
        f"static look {NO_FINDINGS if not findings else ''}",
        *(f"            {finding}" for finding in findings),
    ]
    if candidate.previous is not None:
        lines.append(f"changed     since the last approved digest: {', '.join(changed_files(candidate.previous, tree)) or 'nothing'}")
    return "\n".join(map(printable, lines))


def difference(old: ComponentTree | None, new: ComponentTree) -> str:
    """The unified difference of two trees, escaped."""
    if old is None:
        return "nothing of this repository was approved before"
    lines: list[str] = []
    for path in changed_files(old, new):
        before, after = (_text(tree.files.get(path)) for tree in (old, new))
        lines += difflib.unified_diff(before, after, f"approved/{path}", f"now/{path}", lineterm="")
    return "\n".join(map(printable, lines)) or "no difference"


def show_files(tree: ComponentTree) -> str:
    """Every file with its text, escaped."""
    lines: list[str] = []
    for path, data in tree.files.items():
        lines += [f"---- {path} ({len(data)} bytes)", *_text(data)]
    return "\n".join(map(printable, lines))


def changed_files(old: ComponentTree, new: ComponentTree) -> list[str]:
    """The paths that were added, removed or changed."""
    return sorted(path for path in {*old.files, *new.files} if old.files.get(path) != new.files.get(path))


def printable(line: str) -> str:
    """``line`` with everything that a terminal would act on, or that looks like another letter's absence, written as an escape."""
    return "".join(c if c == "\t" or unicodedata.category(c)[0] not in "C" else ascii(c)[1:-1] for c in line)


def _manifest_lines(tree: ComponentTree, where: str) -> list[str]:
    data = tree.files.get(MANIFEST_NAME)
    if data is None:
        return ["manifest    legacy: no manifest, compatibility unknown"]
    manifest: Manifest = parse_manifest(data, where)
    needs = [f"{requirement}{'' if installed_version(_name_of(requirement)) else ' (missing)'}" for requirement in manifest.dependencies]
    return [
        f"version     {manifest.name} {manifest.version}",
        f"kinds       {', '.join(f'{c.kind} {c.name}' for c in manifest.components)}",
        f"needs       {', '.join(needs) or 'nothing'}",
    ]


def _name_of(requirement: str) -> str:
    from packaging.requirements import Requirement

    return Requirement(requirement).name


def _text(data: bytes | None) -> list[str]:
    return [] if data is None else data.decode("utf-8", errors="backslashreplace").splitlines()


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)

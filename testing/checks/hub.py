"""What a hub keeps: the files that were asked for, or a clear error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinkle.core.errors import HubUnavailable
from twinkle.core.refs import HubRef, parse_repo
from twinkle.testing.check import check, expect
from twinkle.testing.example import Example
from twinkle.testing.specimen import Specimen


@dataclass(frozen=True, kw_only=True)
class HubExample(Example):
    """For hubs: a model repository that it serves."""

    repo: str
    """``scheme://owner/name``."""
    files: Mapping[str, bytes]
    """What lies there: two or more files, one of them in a folder, with different endings."""


def _case(component: Specimen) -> tuple[Any, HubRef, Mapping[str, bytes]]:
    example = component.example_of(HubExample)
    return component.build(), parse_repo(example.repo), example.files


@check("hub")
def fetches_every_file(component: Specimen) -> None:
    """snapshot() gives a folder with every file of the repository, byte for byte."""
    hub, ref, files = _case(component)
    folder = hub.snapshot(ref, "model")
    for path, data in files.items():
        expect((folder / path).is_file(), f"{path} is missing")
        expect((folder / path).read_bytes() == data, f"{path} has other bytes")


@check("hub")
def fetches_what_patterns_name(component: Specimen) -> None:
    """With patterns there are at least the files that match one of them: a tokenizer is had without the weights."""
    hub, ref, files = _case(component)
    path = sorted(files)[-1]
    folder = hub.snapshot(ref, "model", [path])
    expect((folder / path).is_file() and (folder / path).read_bytes() == files[path], f"{path} is missing")


@check("hub")
def gives_the_same_files_again(component: Specimen) -> None:
    """A second snapshot() gives the same files, also after the first was only of some of them."""
    hub, ref, files = _case(component)
    hub.snapshot(ref, "model", [sorted(files)[0]])
    folder = hub.snapshot(ref, "model")
    missing = [path for path in files if not (folder / path).is_file()]
    expect(not missing, f"{', '.join(missing)} missing in the second snapshot")


@check("hub")
def says_what_is_not_there(component: Specimen) -> None:
    """A repository that does not exist raises HubUnavailable with its name; an empty folder would fail much later, elsewhere."""
    hub, ref, _ = _case(component)
    absent = HubRef(ref.scheme, ref.owner, "no-such-repository")
    try:
        folder = hub.snapshot(absent, "model")
    except HubUnavailable as error:
        expect("no-such-repository" in str(error), f"the message does not name the repository: {error}")
    else:
        expect(False, f"it gave the folder {folder}")


CHECKS = (fetches_every_file, fetches_what_patterns_name, gives_the_same_files_again, says_what_is_not_there)

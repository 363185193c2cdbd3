"""What an id of a model or a data set means, before any hub is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinkle.core.errors import InvalidRef
from twinkle.core.refs import HubRef
from twinkle.core.repository_files import locate, repository_folder


def test_an_existing_path_is_itself_and_anything_else_an_id(tmp_path: Path) -> None:
    assert locate(tmp_path, "model") == tmp_path
    assert locate("owner/name", "model") == HubRef("ms", "owner", "name")


@pytest.mark.parametrize("path", ["/nope", "./nope/model", "../nope", "~/no such folder"])
def test_a_path_that_is_not_there_is_told_as_a_path(path: str) -> None:
    with pytest.raises(InvalidRef, match="there is no such file or folder") as told:
        repository_folder(path, "model")
    assert "://" not in str(told.value)


def test_an_id_of_a_data_set_that_ends_as_a_file_does_is_a_path() -> None:
    with pytest.raises(InvalidRef, match=r"dataset 'data/rows\.jsonl': there is no such file or folder"):
        locate("data/rows.jsonl", "dataset")
    assert isinstance(locate("ms://owner/rows.jsonl", "dataset"), HubRef)
    assert isinstance(locate("owner/rows.jsonl", "model"), HubRef)


def test_what_is_neither_is_told_as_both() -> None:
    with pytest.raises(InvalidRef, match="'tiny' is neither an existing path nor a repository id"):
        repository_folder("tiny", "model")

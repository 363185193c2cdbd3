"""The id grammar: what it accepts, what it refuses, and that nothing but InvalidRef ever comes out."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinkle.core.errors import InvalidRef
from twinkle.core.refs import FileRef, HubRef, NameRef, PyRef, Ref, is_name, parse, parse_repo

COMMIT = "9f3c" * 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dapo", NameRef("dapo")),
        ("GRPOLoss", NameRef("GRPOLoss")),
        ("loss:dapo", NameRef("dapo", kind="loss")),
        ("my_pkg/dapo", NameRef("dapo", package="my_pkg")),
        ("lr_scheduler:my-pkg.x/dapo", NameRef("dapo", package="my-pkg.x", kind="lr_scheduler")),
        ("ms://owner/repo", HubRef("ms", "owner", "repo")),
        ("hf://Owner/re.po_1@v1.2.0#Name", HubRef("hf", "Owner", "re.po_1", "v1.2.0", "Name")),
        (f"ms://o/r@{COMMIT}", HubRef("ms", "o", "r", COMMIT)),
        ("hf://o/r@refs/pr/3", HubRef("hf", "o", "r", "refs/pr/3")),
        ("s3://o/r", HubRef("s3", "o", "r")),
        ("file:./mine#Name", FileRef("./mine", "Name")),
        ("file:../my folder/梦", FileRef("../my folder/梦")),
        ("file:/home/me/mine", FileRef("/home/me/mine")),
        ("file:.", FileRef(".")),
        ("py:my.module:Class.inner", PyRef("my.module", "Class.inner")),
    ],
)
def test_a_reference_parses_and_prints_back(text: str, expected: Ref) -> None:
    assert parse(text) == expected
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "a b", "a/b/c", "loss:", ":dapo", "Loss:dapo", "1abc", "a" * 65, "dapo\n", "dáp", "loss::x", "-dapo", "p-/x"),
        *("ms://", "ms://owner", "ms://owner/", "ms:///repo", "ms://a/b/c", "MS://a/b", "://a/b", "ms ://a/b", "http://x.y/a/b?c"),
        *(
            "ms://a--b/c",
            "ms://a/b--c",
            "ms://a/..",
            "ms://../b",
            "ms://a/b..c",
            "ms://.a/b",
            "ms://a/b.",
            "ms://a/b.git",
            "ms://a/b.ipynb",
        ),
        *("ms://а/b", "ms://a/b\u200b", "ms://a/\x1bb", "ms://a/b\n", "ms://a/b\0", "ms://a\\b/c", "ms://a/%2e", "ms://" + 97 * "a" + "/b"),
        *(
            "ms://a/b@",
            "ms://a/b@x/../y",
            "ms://a/b@x//y",
            "ms://a/b@x/",
            "ms://a/b@x.lock",
            "ms://a/b@-x",
            "ms://a/b@" + "x" * 101,
            "ms://a/b@x@y",
        ),
        *("ms://a/b#", "ms://a/b#1x", "ms://a/b#x#y", "ms://a/b#x/y", "ms://a/b#x:y", "hf://models/o/r", "hf://datasets/o/r@v1"),
        *("file:", "file:#X", "file:mine", "file:~/mine", "file://host/x", "file:./a\0b", "file:./a\x1bb", "file:./a#", "file:..."),
        *("py:", "py:os", "py:os:", "py::system", "py:os.:system", "py:os:system()", "py:os system:x", "py:.os:x"),
    ],
)
def test_what_is_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(InvalidRef):
        parse(text)


def test_the_type_in_an_id_is_answered_with_the_right_spelling() -> None:
    with pytest.raises(InvalidRef, match="write 'hf://o/r'"):
        parse("hf://models/o/r")


@pytest.mark.parametrize("text", ["hf://models/\x1b/r", "ms://\x1b/r", "\x1b", "file:./\x1b", "\x1b://a/b", "ms://a/b@\x1b", "py:\x1b:x"])
def test_an_error_shows_control_characters_escaped(text: str) -> None:
    with pytest.raises(InvalidRef) as error:
        parse(text)
    assert "\x1b" not in str(error.value)


def test_a_model_id_without_a_scheme_means_modelscope() -> None:
    assert parse_repo("Qwen/Qwen3-4B") == HubRef("ms", "Qwen", "Qwen3-4B")
    assert parse_repo("hf://Qwen/Qwen3-4B@v1") == HubRef("hf", "Qwen", "Qwen3-4B", "v1")
    assert parse_repo("Qwen/Qwen3-4B").repo_id == "Qwen/Qwen3-4B"


@pytest.mark.parametrize("text", ["Qwen3-4B", "Qwen/Qwen3-4B#X", "../etc/passwd", "/etc/passwd", "./model", "a--b/c", ""])
def test_a_model_id_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRef):
        parse_repo(text)


def test_only_a_full_commit_is_pinned() -> None:
    assert HubRef("ms", "o", "r", COMMIT).is_pinned
    assert not any(HubRef("ms", "o", "r", revision).is_pinned for revision in (None, "main", COMMIT.upper(), COMMIT[:39]))


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", fullmatch=True)
SEGMENTS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True).filter(
    lambda s: "--" not in s and ".." not in s and not s.endswith((".git", ".ipynb"))
)
REFS: st.SearchStrategy[Ref] = st.one_of(
    st.builds(
        NameRef,
        NAMES,
        st.none() | SEGMENTS,
        st.none() | st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True).filter(lambda kind: kind not in {"file", "py"}),
    ),
    st.builds(
        HubRef,
        st.sampled_from(["ms", "hf", "s3"]),
        SEGMENTS.filter(lambda s: s not in {"models", "datasets", "spaces"}),
        SEGMENTS,
        st.none() | st.sampled_from(["main", "v1.0", COMMIT, "refs/pr/1"]),
        st.none() | NAMES,
    ),
    st.builds(FileRef, st.from_regex(r"\.{0,2}/[^#/\x00-\x1f\x7f][^#\x00-\x1f\x7f]{0,20}", fullmatch=True), st.none() | NAMES),
    st.builds(
        PyRef, st.from_regex(r"[A-Za-z_]\w{0,9}(\.[A-Za-z_]\w{0,9})?", fullmatch=True).filter(str.isascii), st.sampled_from(["A", "A.b"])
    ),
)


@settings(deadline=None)
@given(REFS)
def test_every_reference_survives_printing_and_parsing(ref: Ref) -> None:
    assert parse(str(ref)) == ref


PIECES = ["ms", "hf", "file", "py", "loss", ":", "://", "/", "//", "@", "#", "--", "..", ".", "~", "\n", "\0", "\x1b", "ο", "а", "a/b"]


@settings(deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES) | st.text(string.printable, max_size=4), max_size=12).map("".join))
def test_no_text_brings_out_anything_but_a_reference_or_invalid_ref(text: str) -> None:
    for parser in (parse, parse_repo):
        try:
            ref = parser(text)
        except InvalidRef as error:
            assert str(error).isprintable()
        else:
            assert parser(str(ref)) == ref
            if isinstance(ref, HubRef):
                assert text.isascii() and ".." not in f"{ref.owner}/{ref.repo}{ref.revision}" and "--" not in ref.repo_id
            if isinstance(ref, NameRef):
                assert text.isascii() and is_name(ref.name) and str(ref) == text

"""docs/test_a_component.md says what the checks say, and its first program works."""

from __future__ import annotations

import re

from check_listing import MARK, PAGE, listing

import twinkle.testing
from twinkle.testing import Example, all_checks


def test_every_check_is_described_in_its_own_words() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert MARK + page.partition(MARK)[2] == listing(), "run: python tests/check_listing.py"


def test_every_check_has_words_of_its_own() -> None:
    docs = [check.doc for check in all_checks()]
    assert all(docs)
    own = {check.id: check.doc for check in all_checks()}
    assert {doc for doc in docs if docs.count(doc) > 1} <= {own["filter:leaves_the_row"]}


def test_every_example_class_is_in_the_table() -> None:
    examples = {name for name in dir(twinkle.testing) if name.endswith("Example")}
    assert all(issubclass(twinkle.testing.__getattr__(name), Example) for name in examples)
    assert examples == set(re.findall(r"`(\w*Example)`", PAGE.read_text(encoding="utf-8").partition("## Checks that")[0]))


def test_every_fixture_is_in_the_table() -> None:
    from twinkle.testing import pytest_plugin

    fixtures = {name for name, value in vars(pytest_plugin).items() if type(value).__name__ == "FixtureFunctionDefinition"}
    assert fixtures == set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8").partition("## Fixtures")[2], re.MULTILINE))

"""Values are computed when they are read, once, and travel as plain values."""

from __future__ import annotations

import pickle

from twinkle.plugins_builtin.processor._deferred import Deferred


def test_a_value_is_computed_when_it_is_read_and_only_once() -> None:
    calls: list[str] = []

    def compute(name: str) -> str:
        calls.append(name)
        return name.upper()

    deferred = Deferred({"a": lambda: compute("a"), "b": lambda: compute("b")})
    assert (list(deferred), len(deferred), "b" in deferred, "c" in deferred) == (["a", "b"], 2, True, False)
    assert calls == []
    assert (deferred["b"], deferred["b"], deferred.get("c")) == ("B", "B", None)
    assert calls == ["b"]
    assert {**deferred} == {"a": "A", "b": "B"} == deferred


def test_it_is_pickled_as_a_plain_dict() -> None:
    copy = pickle.loads(pickle.dumps(Deferred({"loss": lambda: 1.5})))
    assert type(copy) is dict
    assert copy == {"loss": 1.5}


def test_its_text_is_that_of_the_dict() -> None:
    assert repr(Deferred({"loss": lambda: 1.5})) == "{'loss': 1.5}"

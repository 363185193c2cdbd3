"""Lazy module attributes."""

from __future__ import annotations

import sys
import types

import pytest

from twinkle.core.facade import class_names, lazy_names


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A facade of two names."""
    module = types.ModuleType("a_facade")
    monkeypatch.setitem(sys.modules, "a_facade", module)
    names = lazy_names("a_facade", {"Fraction": "fractions:Fraction", "colors": "colorsys"})
    vars(module).update(zip(("__getattr__", "__dir__", "__all__"), names, strict=True))
    return module


def test_a_name_is_imported_on_first_use_and_kept(module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert dir(module) == module.__all__ == ["Fraction", "colors"]
    assert "colorsys" not in sys.modules
    assert module.colors is sys.modules["colorsys"]
    assert module.Fraction.__name__ == "Fraction" and "Fraction" in vars(module)


def test_an_unknown_name_is_an_attribute_error_with_a_suggestion(module: types.ModuleType) -> None:
    with pytest.raises(AttributeError, match=r"module 'a_facade' has no 'Fractoin'\. Did you mean 'Fraction'\?"):
        _ = module.Fractoin
    with pytest.raises(ImportError):
        from a_facade import nothing  # noqa: F401


def test_class_names_come_from_import_strings() -> None:
    assert class_names({"cross_entropy": "a.b:CrossEntropyLoss"}) == {"CrossEntropyLoss": "a.b:CrossEntropyLoss"}

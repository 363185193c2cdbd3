"""The patch that says which layers stay whole."""

from __future__ import annotations

import pytest
from torch import nn

from twinkle.core.errors import InvalidArgument
from twinkle.core.patching import apply_patch, patched


class Inner(nn.Module):
    _no_split_modules = None


def test_sets_the_names_on_the_model_and_reverts() -> None:
    model = nn.Sequential(Inner(), nn.Linear(2, 2))
    before = {id(m): set(vars(m)) for m in model.modules()}
    with patched(model, "no_split_modules", module_names=["Linear"]):
        assert model._no_split_modules == ["Linear"]
    assert {id(m): set(vars(m)) for m in model.modules()} == before


def test_a_layer_that_is_not_there_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(InvalidArgument, match=r"'Linea'.* Did you mean 'Linear'"):
        apply_patch("NoSplitModulesPatch", nn.Sequential(nn.Linear(2, 2)), module_names=["Linea"])


def test_a_plain_string_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="list of class names"):
        apply_patch("no_split_modules", nn.Linear(1, 1), module_names="Linear")

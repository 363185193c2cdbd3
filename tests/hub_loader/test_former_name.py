"""Names of earlier releases: they refuse as they did, and allow nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinkle.core.contracts.loss import Loss
from twinkle.core.errors import UnknownComponent
from twinkle.core.runtime.context import ProcessContext
from twinkle.hub_loader.errors import UntrustedComponent
from twinkle.hub_loader.former_name import Plugin, check_unsafe, trust_remote_code
from twinkle.testing.loopback_hub import LoopbackHub

from .conftest import loss_files, set_settings, trust


def test_trust_remote_code_is_never_true(context: ProcessContext) -> None:
    for value in (None, "0", "1"):
        set_settings(context, trust_remote_code=value)
        with pytest.warns(DeprecationWarning, match="twinkle plugin trust"):
            assert trust_remote_code() is False


def test_check_unsafe_refuses_callables_when_remote_code_is_off(context: ProcessContext) -> None:
    with pytest.warns(DeprecationWarning):
        check_unsafe(print, nested=[{"x": int}])
    set_settings(context, trust_remote_code="0")
    for value in (print, [print], {"x": (int,)}, Path):
        with pytest.warns(DeprecationWarning), pytest.raises(ValueError, match="does not support Callable or Type"):
            check_unsafe(1, value=value)
    with pytest.warns(DeprecationWarning):
        check_unsafe("text", 1, [None], {"x": 2.0})


def test_plugin_loads_by_its_contract_under_the_same_policy(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/r", loss_files(4))
    with pytest.warns(DeprecationWarning), pytest.raises(UntrustedComponent):
        Plugin.load_plugin("ms://o/r", Loss)
    trust(context, "ms://o/r")
    with pytest.warns(DeprecationWarning):
        assert Plugin.load_plugin("ms://o/r", Loss)()(None, None) == 4
    with pytest.warns(DeprecationWarning), pytest.raises(UnknownComponent, match="has the contract Path"):
        Plugin.load_plugin("ms://o/r", Path)

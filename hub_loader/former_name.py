"""``trust_remote_code()``, ``check_unsafe()`` and ``Plugin`` of earlier releases, over the trust policy. They can refuse, never allow."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from twinkle.core.contract_check import contract_class
from twinkle.core.errors import UnknownComponent
from twinkle.core.runtime.context import current


def trust_remote_code() -> bool:
    """Always False: no single switch lets code of a hub run. Approve exact digests with ``twinkle plugin trust``."""
    _deprecated("trust_remote_code()", "approve components with 'twinkle plugin trust <id>'")
    return False


def check_unsafe(*args: Any, **kwargs: Any) -> None:
    """Raises ``ValueError`` where ``TWINKLE_TRUST_REMOTE_CODE=0`` and a value, however nested, is callable or a type."""
    _deprecated("check_unsafe()", "servers accept names and locked hub ids alone")
    if (current().settings.trust_remote_code or "").strip().lower() in ("0", "false", "no", "off") and _has_callable([args, kwargs]):
        raise ValueError("Twinkle does not support Callable or Type inputs in safe mode (TWINKLE_TRUST_REMOTE_CODE=0)")


class Plugin:
    """Loads a component of a hub by its id; :func:`twinkle.resolve` does the same for every kind of reference."""

    @staticmethod
    def load_plugin(plugin_id: str, plugin_base: type) -> Any:
        """The class behind ``plugin_id``, whose kind has the contract ``plugin_base``.

        Raises:
            UntrustedComponent: its bytes are not approved.
        """
        _deprecated("Plugin.load_plugin()", "use twinkle.resolve(kind, id).cls")
        registry = current().registry
        for kind, spec in registry.kinds.items():
            if contract_class(spec) in plugin_base.__mro__:
                return registry.resolve(kind, plugin_id).cls
        raise UnknownComponent(f"no kind of component has the contract {plugin_base.__name__}")


def _has_callable(value: object) -> bool:
    match value:
        case Mapping():
            return any(_has_callable(inner) for inner in value.values())
        case list() | tuple() | set() | frozenset():
            return any(_has_callable(inner) for inner in value)
        case _:
            return callable(value)


def _deprecated(name: str, instead: str) -> None:
    warnings.warn(f"{name} is deprecated: {instead}", DeprecationWarning, stacklevel=3)

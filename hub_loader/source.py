"""The sources of components as this process's context makes them."""

from __future__ import annotations

from pathlib import Path

from twinkle.core.runtime.context import ProcessContext
from twinkle.hub_loader.component_hub import component_hub
from twinkle.hub_loader.consent import ask_on_terminal, is_terminal
from twinkle.hub_loader.folder_source import FolderSource
from twinkle.hub_loader.hub_source import HubSource
from twinkle.hub_loader.store import ComponentStore
from twinkle.hub_loader.trust import Consent, TrustPolicy
from twinkle.hub_loader.trust_store import TrustStore

VENDOR_FOLDER = Path("vendor", "twinkle")
"""Where a project keeps its components itself, below its own folder."""


def policy_of(context: ProcessContext, consent: Consent | None = None) -> TrustPolicy:
    """The policy of this process. Without ``consent`` the person at the terminal is asked, on the first rank of a run only."""
    if consent is None and is_terminal() and context.settings.rank <= 0:
        consent = ask_on_terminal
    return TrustPolicy.of(context.settings, Path.cwd(), consent)


def folder_source(context: ProcessContext) -> FolderSource:
    """The source of ``file:`` references."""
    return FolderSource(policy=policy_of(context), kinds=dict(context.registry.kinds))


def hub_source(context: ProcessContext, policy: TrustPolicy | None = None) -> HubSource:
    """The source of hub references, under ``policy`` (None: that of this process)."""
    home = context.settings.home
    return HubSource(
        policy=policy_of(context) if policy is None else policy,
        kinds=dict(context.registry.kinds),
        reader=lambda scheme: component_hub(scheme, context),
        store=ComponentStore(home, Path.cwd() / VENDOR_FOLDER),
        trust_store=TrustStore(home),
    )

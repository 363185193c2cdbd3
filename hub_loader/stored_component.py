"""A component of the store by its package name: how a process that unpickles finds one that was approved there."""

from __future__ import annotations

from twinkle.core.runtime.context import current
from twinkle.hub_loader.loader import package_of
from twinkle.hub_loader.source import hub_source
from twinkle.hub_loader.trust import Approval


def approved_package(package: str) -> Approval | None:
    """The approval of the stored tree that is imported as ``package``; None where this process approves none.

    Raises:
        Tampered: the store has other bytes than were approved.
    """
    source = hub_source(current())
    for grant in source.policy.grants:
        if package_of(grant.h1) == package:
            tree = source.store.get(grant.h1, grant.files)
            if tree is not None:
                return source.policy.authorize(source.stored_candidate(tree, grant))
    return None

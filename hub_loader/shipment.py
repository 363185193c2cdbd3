"""Components for other processes: the driver resolves and gets consent once; every rank gets the same bytes and never asks a hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twinkle.core.errors import InvalidArgument
from twinkle.core.resolved import Resolved
from twinkle.core.runtime.context import current
from twinkle.hub_loader.errors import Tampered, UntrustedComponent
from twinkle.hub_loader.grant import Grant
from twinkle.hub_loader.source import hub_source
from twinkle.hub_loader.tree import ComponentTree

MAX_BYTES = 8 * 1024 * 1024
"""Larger components have to be in the ranks' stores already."""


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """A resolved hub component with its bytes; pickles."""

    resolved: Resolved
    grant: Grant
    files: Mapping[str, bytes]


def ship(resolved: Resolved) -> Shipment:
    """What a rank needs to load ``resolved``.

    Raises:
        InvalidArgument: it is no hub component, or too large to be sent.
        UntrustedComponent: this process does not approve it.
    """
    if resolved.origin != "hub" or resolved.repo is None or resolved.commit is None or resolved.h1 is None:
        raise InvalidArgument(f"{resolved.ref}: only components of a hub are shipped; others are importable on every rank")
    source = hub_source(current())
    grant = source.policy.grant_at(resolved.repo, resolved.commit)
    if grant is None or grant.h1 != resolved.h1:
        raise UntrustedComponent(f"{resolved.ref} ({resolved.h1}) is not approved in this process")
    tree = source.tree_of(grant, resolved.ref)
    if tree.num_bytes > MAX_BYTES:
        raise InvalidArgument(
            f"{resolved.ref} has {tree.num_bytes} bytes, {MAX_BYTES} are sent at most: share TWINKLE_HOME among the ranks"
        )
    return Shipment(resolved=resolved, grant=grant, files=dict(tree.files))


def receive(shipment: Shipment) -> Resolved:
    """Puts the bytes into this machine's store, once they have the digest that the driver approved, and binds the component here.

    Raises:
        Tampered: the bytes are others.
        UntrustedComponent: this machine revoked or forbids it.
    """
    source = hub_source(current())
    resolved, grant = shipment.resolved, shipment.grant
    tree = ComponentTree.of(shipment.files)
    if tree.h1 != grant.h1 or tree.h1 != resolved.h1:
        raise Tampered(f"{resolved.ref}: shipped are {tree.h1}, approved was {grant.h1}")
    if tree.h1 in source.policy.revoked:
        raise UntrustedComponent(f"{resolved.ref}: {tree.h1} was revoked on this machine")
    source.policy.refuse_early(grant.repo, resolved.ref)
    source.store.put(tree)
    if source.policy.grant_at(grant.repo, grant.commit) is None:
        source.trust_store.approve(grant)
    return current().registry.bind(resolved)

"""``twinkle.load_component``: a component by its reference, with consent for this one call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twinkle.core.contract_check import check_contract
from twinkle.core.errors import AmbiguousComponent, InvalidArgument
from twinkle.core.refs import FileRef, HubRef, NameRef, PyRef, parse
from twinkle.core.runtime.context import current
from twinkle.hub_loader.errors import UntrustedComponent
from twinkle.hub_loader.grant import is_h1
from twinkle.hub_loader.hub_source import HubSource, grant_of
from twinkle.hub_loader.manifest import manifest_of
from twinkle.hub_loader.source import hub_source, policy_of
from twinkle.hub_loader.trust import Consent


def load_component(ref: str, *, kind: str | None = None, trust: str | Consent | None = None) -> Any:
    """The class or function that ``ref`` means: a name, a folder, or a hub id.

    Args:
        kind: its kind; needed unless the name carries it (``loss:dapo``) or the component's manifest has one kind only.
        trust: for a hub id that is not approved: its exact digest ``h1:...``, or a function that looks at the candidate and says yes or
            no. It holds for this call and is remembered nowhere. There is no value that means "anything".

    Raises:
        UntrustedComponent: not approved, or other bytes than ``trust`` names.
        LookupError: there is no such component.
    """
    parsed = parse(ref)
    registry = current().registry
    if not isinstance(parsed, HubRef):
        if trust is not None:
            raise InvalidArgument(f"load_component({ref!r}): trust is for hub ids alone")
        named = kind or (parsed.kind if isinstance(parsed, NameRef) else None)
        return registry.resolve(_given(named, ref, parsed), ref).cls
    if trust is None and kind is not None:
        return registry.resolve(kind, ref).cls
    source = _source(trust)
    grant = source.obtain(parsed) if not isinstance(trust, str) else None
    if grant is None:
        assert isinstance(trust, str)
        grant = _grant_of_digest(source, parsed, trust)
    source = replace(source, policy=source.policy.with_grant(grant))
    resolved = source.resolve(kind or _only_kind(source, parsed, ref), parsed)
    component = source.load(resolved)
    check_contract(registry.kinds[resolved.kind], component, f"{resolved.kind} {ref!r}")
    registry.hook.twinkle_component_loaded(resolved=resolved, cls=component)
    return component


def _source(trust: str | Consent | None) -> HubSource:
    context = current()
    if trust is None:
        return hub_source(context)
    if isinstance(trust, str):
        if not is_h1(trust):
            raise InvalidArgument(f"trust={trust!r}: expected 'h1:' and 64 hexadecimal digits, or a function")
        return hub_source(context)
    if not callable(trust) or isinstance(trust, bool | type):
        raise InvalidArgument(f"trust={trust!r}: expected a digest 'h1:...' or a function; no single value trusts anything")
    return hub_source(context, replace(policy_of(context, trust), remembers=False))


def _grant_of_digest(source: HubSource, ref: HubRef, h1: str) -> Any:
    repo = f"{ref.scheme}://{ref.repo_id}"
    source.policy.refuse_early(repo, str(ref))
    if source.policy.offline:
        grant = next((g for g in source.policy.grants if (g.repo, g.h1) == (repo, h1)), None)
        if grant is None:
            raise UntrustedComponent(f"{ref}: {h1} was not approved before, and nothing can be fetched while offline")
        return grant
    commit = source.reader(ref.scheme).resolve(ref.repo_id, ref.revision)
    candidate = source.candidate(ref, commit, expected_h1=h1)
    source.store.put(candidate.tree)
    return grant_of(candidate, ref, "call")


def _only_kind(source: HubSource, ref: HubRef, text: str) -> str:
    grant = source.obtain(ref)
    manifest = manifest_of(source.tree_of(grant, text), text)
    kinds = {c.kind for c in manifest.components if ref.component in (None, c.name)} if manifest is not None else set()
    if len(kinds) != 1:
        raise AmbiguousComponent(
            f"load_component({text!r}): say which kind is meant: kind={' or '.join(map(repr, sorted(kinds))) or '...'}"
        )
    return kinds.pop()


def _given(kind: str | None, ref: str, parsed: NameRef | FileRef | PyRef) -> str:
    if kind is None:
        raise InvalidArgument(f"load_component({ref!r}): say which kind is meant, as in load_component({ref!r}, kind='loss')")
    return kind

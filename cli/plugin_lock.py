"""``twinkle plugin lock``, ``update``, ``outdated``, ``diff``, ``vendor`` and ``remove``: the components of a project."""

from __future__ import annotations

from typing import Annotated

import typer

from twinkle.cli.plugin_option import HubId, Json, hub_ref, lock_path, print_json
from twinkle.cli.plugin_trust import trust
from twinkle.core.errors import InvalidConfig
from twinkle.core.refs import HubRef
from twinkle.core.runtime.context import current
from twinkle.hub_loader.approve import forget, lock_grant
from twinkle.hub_loader.consent import changed_files, difference, printable
from twinkle.hub_loader.errors import UntrustedComponent
from twinkle.hub_loader.fetch import fetch_tree
from twinkle.hub_loader.grant import repo_of
from twinkle.hub_loader.lock import LockEntry, read_lock
from twinkle.hub_loader.source import hub_source


def lock(ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Approved hub ids.")], as_json: Json = False) -> None:
    """Writes lines for components that you approved before into twinkle.lock."""
    source = hub_source(current())
    grants = []
    for text in ids:
        wanted = hub_ref(text)
        if not source.policy.knows(repo_of(wanted)):
            raise UntrustedComponent(f"{text} is not approved: twinkle plugin trust {text}")
        grants.append(lock_grant(source, source.obtain(wanted), wanted, lock_path()))
    if as_json:
        print_json([{"repo": g.repo, "commit": g.commit, "h1": g.h1} for g in grants])
    else:
        print("\n".join(f"locked: {g.repo}@{g.commit}" for g in grants))


def update(ref: HubId, as_json: Json = False) -> None:
    """Looks at what a locked branch or tag is now, and approves that instead of what is locked."""
    _locked(hub_ref(ref))
    trust(ref, as_json=as_json)


def outdated(as_json: Json = False) -> None:
    """The locked components whose branch or tag is another commit by now."""
    source = hub_source(current())
    rows = []
    for entry in _entries():
        scheme, _, repo = entry.repo.partition("://")
        now = source.reader(scheme).resolve(repo, entry.requested or None).id
        if now != entry.commit:
            rows.append({"repo": entry.repo, "requested": entry.requested, "locked": entry.commit, "now": now})
    if as_json:
        print_json(rows)
    else:
        print("\n".join(f"{r['repo']} {r['requested']}: locked {r['locked'][:12]}, now {r['now'][:12]}" for r in rows) or "all are current")


def diff(ref: HubId, as_json: Json = False) -> None:
    """What changed between the approved bytes of a component and those that its id gives now. Nothing is approved or stored."""
    wanted = hub_ref(ref)
    source = hub_source(current())
    last = source.policy.last_grant(repo_of(wanted))
    if last is None:
        raise UntrustedComponent(f"{ref}: nothing of it was approved, so there is nothing to compare with: twinkle plugin trust {ref}")
    source.policy.refuse_early(repo_of(wanted), ref)
    reader = source.reader(wanted.scheme)
    old = source.tree_of(last, ref)
    commit = reader.resolve(wanted.repo_id, wanted.revision)
    new = fetch_tree(reader, wanted.repo_id, commit.id, ref)
    if as_json:
        print_json({"approved": last.commit, "now": commit.id, "changed": changed_files(old, new), "difference": difference(old, new)})
    else:
        print(f"approved {last.commit}\nnow      {commit.id}\n{difference(old, new)}")


def vendor(as_json: Json = False) -> None:
    """Copies the locked components into vendor/twinkle, so that the project needs no hub."""
    source = hub_source(current())
    folders = []
    for entry in _entries():
        grant = source.policy.grant_at(entry.repo, entry.commit)
        if grant is None:
            raise UntrustedComponent(f"{entry.repo}: you have not accepted the lock of this project: twinkle plugin trust --lock")
        source.tree_of(grant, entry.repo)
        folders.append(str(source.store.vendor(grant.h1)))
    if as_json:
        print_json(folders)
    else:
        print("\n".join(folders))


def remove(ref: HubId, as_json: Json = False) -> None:
    """Takes a component out of twinkle.lock, the trust store and the store. It is no revocation: it can be approved again."""
    removed = forget(hub_source(current()), repo_of(hub_ref(ref)), lock_path())
    if as_json:
        print_json({"removed": list(removed)})
    else:
        print("\n".join(f"removed {printable(h1)}" for h1 in removed) or "nothing of it was there")


def _entries() -> tuple[LockEntry, ...]:
    entries = read_lock(lock_path())
    if not entries:
        raise InvalidConfig(f"{lock_path()}: there is no lock here, or it is empty: 'twinkle plugin trust' and 'lock' write it")
    return entries


def _locked(ref: HubRef) -> LockEntry:
    for entry in _entries():
        if entry.repo == repo_of(ref) and (ref.revision is None or entry.requested == ref.revision):
            return entry
    raise InvalidConfig(f"{ref} does not stand in {lock_path()}: 'twinkle plugin trust {ref}' puts it there")

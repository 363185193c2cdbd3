"""``twinkle plugin trust`` and ``revoke``."""

from __future__ import annotations

from typing import Annotated

import typer

from twinkle.cli.plugin_option import Json, hub_ref, lock_path, print_json
from twinkle.core.errors import InvalidArgument
from twinkle.core.refs import HubRef, parse
from twinkle.core.runtime.context import current
from twinkle.hub_loader.approve import accept_lock, approve, look_at
from twinkle.hub_loader.consent import ask_on_terminal, describe, is_terminal
from twinkle.hub_loader.errors import UntrustedComponent
from twinkle.hub_loader.grant import is_h1
from twinkle.hub_loader.source import hub_source
from twinkle.hub_loader.trust_store import TrustStore

What = Annotated[str | None, typer.Argument(metavar="[ID]", help="ms://owner/name[@revision], or ms://owner/* for all of an owner's.")]
Digest = Annotated[str | None, typer.Option("--sha256", metavar="h1:...", help="Approve exactly this digest, without a question.")]
Unmerged = Annotated[bool, typer.Option("--allow-unmerged", help="Also a commit that is on no branch or tag; needs --sha256.")]
AcceptLock = Annotated[bool, typer.Option("--lock", help="Accept the twinkle.lock of this project as your own.")]
NoLock = Annotated[bool, typer.Option("--no-lock", help="Write your trust store only, no line in twinkle.lock.")]


def trust(
    ref: What = None,
    sha256: Digest = None,
    allow_unmerged: Unmerged = False,
    lock: AcceptLock = False,
    no_lock: NoLock = False,
    as_json: Json = False,
) -> None:
    """Looks at a component and approves its exact bytes. Fetches into memory, imports nothing, asks, writes twinkle.lock."""
    if lock:
        _accept_lock(as_json)
        return
    if ref is None:
        raise InvalidArgument("twinkle plugin trust: give an id, or --lock for the lock of this project")
    if ref.endswith("/*"):
        _trust_owner(ref.removesuffix("/*"), as_json)
        return
    if sha256 is not None and not is_h1(sha256):
        raise InvalidArgument(f"--sha256 {sha256!r}: expected 'h1:' and 64 hexadecimal digits")
    if sha256 is None and not is_terminal():
        raise InvalidArgument("twinkle plugin trust asks a question, and there is no terminal: give the digest with --sha256 h1:...")
    wanted = hub_ref(ref)
    source = hub_source(current())
    candidate = look_at(source, wanted, sha256, allow_unmerged)
    if sha256 is None:
        if not ask_on_terminal(candidate):
            raise UntrustedComponent(f"{ref} was not approved")
    elif not as_json:
        print(describe(candidate))
    grant = approve(source, wanted, candidate, None if no_lock else lock_path())
    pinned = f"{grant.repo}@{grant.commit}"
    if as_json:
        print_json({"ref": pinned, "commit": grant.commit, "h1": grant.h1, "trust": grant.why})
    else:
        print(f"approved: {pinned}\n          {grant.h1}")


def revoke(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="A repository (ms://owner/name), an owner (ms://owner), a digest (h1:...).")],
    as_json: Json = False,
) -> None:
    """Takes consent back and leaves a tombstone that beats every lock file."""
    name = what.removesuffix("/*")
    if not is_h1(name) and name.count("/") != 2:
        ref = hub_ref(name)
        name = f"{ref.scheme}://{ref.repo_id}"
    TrustStore(current().settings.home).revoke(name)
    if as_json:
        print_json({"revoked": name})
    else:
        print(f"revoked: {name}")


def _accept_lock(as_json: bool) -> None:
    grants = accept_lock(TrustStore(current().settings.home), lock_path())
    if as_json:
        print_json({"accepted": [f"{grant.repo}@{grant.commit}" for grant in grants]})
        return
    for grant in grants:
        print(f"accepted: {grant.repo}@{grant.commit}\n          {grant.h1}")


def _trust_owner(owner: str, as_json: bool) -> None:
    scheme, separator, name = owner.partition("://")
    probe = parse(f"{owner}/x") if separator else None
    if not isinstance(probe, HubRef):
        raise InvalidArgument(f"{owner}/*: expected 'ms://owner/*' or 'hf://owner/*'")
    TrustStore(current().settings.home).approve_owner(f"{scheme}://{name}")
    if as_json:
        print_json({"owner": owner})
    else:
        print(f"every repository of {owner} is now pinned on first use, without a question.")
        print("Whoever takes over that name can run code as you, once, in any repository that you have not used before.")

"""``twinkle plugin list``, ``info``, ``why`` and ``verify``: what is approved, and why. None of them imports a component."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from twinkle.cli.plugin_option import HubId, Json, hub_ref, print_json
from twinkle.cli.text_table import print_table
from twinkle.core.errors import TwinkleError
from twinkle.core.refs import FileRef, HubRef, parse
from twinkle.core.runtime.context import current
from twinkle.hub_loader.errors import UntrustedComponent
from twinkle.hub_loader.file_rule import EXCLUDED
from twinkle.hub_loader.grant import Grant, repo_of
from twinkle.hub_loader.hubs.file import read_local
from twinkle.hub_loader.manifest import manifest_of
from twinkle.hub_loader.scan import NO_FINDINGS, scan
from twinkle.hub_loader.source import hub_source
from twinkle.hub_loader.tree import ComponentTree

RECIPE = r"find . -type f | sed 's|^\./||' | LC_ALL=C sort | xargs sha256sum | sha256sum"


def list_approved(as_json: Json = False) -> None:
    """The hub components that may run here, and the packages that bring components."""
    context = current()
    source = hub_source(context)
    grants = source.policy.grants
    installed = [plugin for plugin in context.registry.plugins if plugin.dist is not None]
    broken = [str(plugin) for plugin in context.registry.broken_plugins]
    if as_json:
        rows = [{"repo": g.repo, "requested": g.requested, "commit": g.commit, "h1": g.h1, "trust": g.why} for g in grants]
        packages = [{"package": plugin.package, "version": plugin.version} for plugin in installed]
        print_json({"components": rows, "packages": packages, "broken": broken, "revoked": sorted(source.policy.revoked)})
        return
    rows_shown = [(g.repo, g.requested or "", g.commit[:12], g.h1[:15], g.why) for g in grants]
    print_table(Console(), ("component", "asked for", "commit", "digest", "approved by"), rows_shown)
    for plugin in installed:
        print(f"package {plugin.package} {plugin.version or ''}")
    for text in broken:
        print(f"broken: {text}")


def info(
    ref: Annotated[str, typer.Argument(metavar="ID", help="An approved hub id, or file:FOLDER.")],
    as_json: Json = False,
) -> None:
    """What a component says of itself, and its digest."""
    where, tree, grant = _tree(ref)
    manifest = manifest_of(tree, where)
    value: dict[str, Any] = {"ref": where, "h1": tree.h1, "files": dict(tree.digests), "findings": scan(tree)}
    if grant is not None:
        value |= {"commit": grant.commit, "trust": grant.why}
    if manifest is not None:
        value |= {
            "name": manifest.name,
            "version": manifest.version,
            "license": manifest.license,
            "summary": manifest.summary,
            "dependencies": list(manifest.dependencies),
            "components": [{"kind": c.kind, "name": c.name, "entry": c.entry} for c in manifest.components],
        }
    if as_json:
        print_json(value)
        return
    print(f"{where}\n{tree.h1}")
    if manifest is None:
        print("legacy: no manifest, compatibility unknown")
    else:
        print(f"{manifest.name} {manifest.version} ({manifest.license}): {manifest.summary}")
        for component in manifest.components:
            print(f"  {component.kind} {component.name} = {component.entry}")
    for path, digest in tree.digests.items():
        print(f"  {digest[:12]}  {path}")
    print("\n".join(f"  {finding}" for finding in value["findings"]) or f"  {NO_FINDINGS}")


def why(ref: HubId, as_json: Json = False) -> None:
    """What would happen if this id were used now. Asks no hub."""
    wanted = hub_ref(ref)
    policy = hub_source(current()).policy
    repo = repo_of(wanted)
    try:
        policy.refuse_early(repo, ref)
        grant = policy.grant_for(repo, wanted.revision)
        if grant is not None:
            verdict = f"runs {grant.commit}, {grant.h1}, approved by {grant.why}"
        elif policy.knows(repo):
            verdict = "asks the hub which commit it is now, and runs it if that one is approved: " + ", ".join(
                f"{g.commit[:12]} ({g.why})" for g in policy.grants if g.repo == repo
            )
        else:
            verdict = "is refused: nothing of it is approved, and the hub would not be asked"
    except UntrustedComponent as error:
        verdict = f"is refused: {error}"
    if as_json:
        print_json({"ref": ref, "verdict": verdict})
    else:
        print(f"{ref} {verdict}")


def verify(
    explain: Annotated[bool, typer.Option("--explain", help="Say how a digest is made.")] = False,
    as_json: Json = False,
) -> None:
    """Reads every approved component in the store again and compares it with its digest."""
    source = hub_source(current())
    problems: dict[str, str] = {}
    absent: list[str] = []
    checked: list[str] = []
    for grant in source.policy.grants:
        name = f"{grant.repo}@{grant.commit}"
        try:
            found = source.store.get(grant.h1, grant.files)
        except TwinkleError as error:
            problems[name] = str(error)
            continue
        (absent if found is None else checked).append(name)
    if as_json:
        print_json({"verified": checked, "not_stored": absent, "problems": problems})
    else:
        if explain:
            print(f"left out of a digest, and never stored: {EXCLUDED.pattern}\nin the store's folder of a component: {RECIPE}")
        print(f"{len(checked)} verified, {len(absent)} approved but not stored")
        for name, problem in problems.items():
            print(f"WRONG {name}: {problem}")
    if problems:
        raise typer.Exit(1)


def _tree(text: str) -> tuple[str, ComponentTree, Grant | None]:
    ref = parse(text)
    if isinstance(ref, FileRef):
        return str(ref), ComponentTree.of(read_local(Path(ref.path).expanduser().resolve())), None
    assert isinstance(ref, HubRef) or hub_ref(text)
    source = hub_source(current())
    wanted = hub_ref(text)
    if not source.policy.knows(repo_of(wanted)):
        raise UntrustedComponent(f"{text} is not approved, so the hub was not asked: twinkle plugin trust {text}")
    grant = source.obtain(wanted)
    return f"{grant.repo}@{grant.commit}", source.tree_of(grant, text), grant

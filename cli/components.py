"""``twinkle components``: what there is, what one of them takes, and why a name means what it means."""

from __future__ import annotations

import inspect
import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from twinkle.cli.text_table import print_table
from twinkle.core.contract_check import required_methods
from twinkle.core.errors import InvalidArgument
from twinkle.core.refs import NameRef, parse
from twinkle.core.registry import Registry
from twinkle.core.resolved import Resolved
from twinkle.core.runtime.context import current
from twinkle.core.signature import takes_any_keyword

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List the components, show one, or say why a name means what it means.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
What = Annotated[str, typer.Argument(metavar="KIND:NAME", help="A component as 'loss:grpo', or its kind where REF follows.")]
Ref = Annotated[str | None, typer.Argument(metavar="[REF]", help="Any reference: a name, 'package/name', 'file:...', 'ms://...'.")]


@app.command("list")
def list_components(
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind.")] = None,
    as_json: Json = False,
) -> None:
    """Every component that a name finds. Imports none of them."""
    registry = current().registry
    kinds = list(registry.kinds) if kind is None else [kind]
    found = [component for k in kinds for component in registry.components(k)]
    broken = registry.broken_plugins  # read last: a plugin may break while its names are collected
    if as_json:
        rows = [
            {
                "kind": c.kind,
                "name": c.name,
                "class": c.class_name,
                "entry": c.entry,
                "package": c.plugin.package,
                "version": c.plugin.version,
                "overridden_by": registry.settings.overrides.get(f"{c.kind}:{c.name}"),
            }
            for c in found
        ]
        _print_json({"components": rows, "broken_plugins": [str(plugin) for plugin in broken]})
        return
    console = Console()
    lines = []
    for c in found:
        override = registry.settings.overrides.get(f"{c.kind}:{c.name}")
        version = f" {c.plugin.version}" if c.plugin.version else ""
        lines.append((c.name, c.kind, c.class_name, c.plugin.package + version + (f" (overridden by {override})" if override else "")))
    print_table(console, ("name", "kind", "class", "from"), lines)
    for plugin in broken:
        console.print(Text(f"broken plugin, left out: {plugin}", style="red"), soft_wrap=True)


@app.command()
def show(what: What, ref: Ref = None, as_json: Json = False) -> None:
    """Class, description, arguments, contract and provenance of a component. Imports it."""
    registry = current().registry
    resolved = _resolve(registry, what, ref)
    component = resolved.cls
    arguments = _arguments(component)
    spec = registry.kinds[resolved.kind]
    contract = f"{spec.contract}, which asks for {', '.join(sorted(required_methods(spec)))}"
    description = inspect.getdoc(component) or ""
    if as_json:
        _print_json(
            {
                "class": f"{component.__module__}:{component.__qualname__}",
                "description": description,
                "arguments": arguments,
                "arguments_checked": not takes_any_keyword(component),
                "contract": spec.contract,
                "provenance": resolved.provenance(),
            }
        )
        return
    console = Console()
    console.print(Text(f"{resolved.kind}:{resolved.name}", style="bold"), Text(f"{component.__module__}.{component.__qualname__}"))
    console.print(Text(f"\n{description}\n"))
    if arguments:
        print_table(console, ("argument", "default", "type"), [(a["name"], a["default"], a["type"]) for a in arguments])
    else:
        console.print("It takes no arguments.")
    console.print(Text(f"\ncontract    {contract}"), soft_wrap=True)
    for name, value in resolved.provenance().items():
        console.print(Text(f"{name:<11} {value}"), soft_wrap=True)


@app.command()
def why(what: What, ref: Ref = None, as_json: Json = False) -> None:
    """The decisions that led from a reference to a component, and whether its arguments can be checked."""
    resolved = _resolve(current().registry, what, ref)
    checked = not takes_any_keyword(resolved.cls)
    if as_json:
        _print_json({"provenance": resolved.provenance(), "trace": list(resolved.trace), "arguments_checked": checked})
        return
    console = Console()
    for number, decision in enumerate(resolved.trace, start=1):
        console.print(Text(f"{number}. {decision}"), soft_wrap=True)
    console.print(Text(f"trust: {resolved.trust}"), soft_wrap=True)
    console.print(
        "Its arguments are checked by name: a typo is an error."
        if checked
        else "It takes any keyword (**kwargs), so its arguments cannot be checked: a typo goes through to the component."
    )


def _resolve(registry: Registry, what: str, ref: str | None) -> Resolved:
    if ref is not None:
        return registry.resolve(what, ref)
    parsed = parse(what)
    if not isinstance(parsed, NameRef) or parsed.kind is None:
        raise InvalidArgument(f"{what!r} does not say which kind is meant: write 'loss:grpo', or the kind and then the reference")
    return registry.resolve(parsed.kind, what)


def _arguments(component: Any) -> list[dict[str, str]]:
    return [
        {
            "name": str(p).partition(":")[0].partition("=")[0].strip(),  # with its stars, where it has some
            "default": "" if p.default is inspect.Parameter.empty else repr(p.default),
            "type": "" if p.annotation is inspect.Parameter.empty else inspect.formatannotation(p.annotation).strip("'"),
        }
        for p in inspect.signature(component).parameters.values()
    ]


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))

"""A group of commands, each of which is imported when it is called or when the group is described."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


class LazyGroup(TyperGroup):
    """Subclasses say where their commands lie. The class of a context lies in another module from one typer release to the next: Any."""

    entries: ClassVar[Mapping[str, str]] = {}
    """By the name of a command, the import string of its function or of its app."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the help."""
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, imported; None where there is none, and then all are imported, as the suggestion is made from those."""
        for name in [cmd_name] if cmd_name in self.entries else self.entries:
            if name not in self.commands:
                self.commands[name] = self._import(name)
        return self.commands.get(cmd_name)

    def _import(self, name: str) -> Any:
        app = pkgutil.resolve_name(self.entries[name])
        if not isinstance(app, typer.Typer):
            function, app = app, typer.Typer(add_completion=False)
            app.command()(function)
        command = typer.main.get_command(app)
        command.name = name
        return command

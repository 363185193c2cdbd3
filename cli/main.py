"""The command ``twinkle``: its groups, and the one place where an error becomes a message."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from twinkle.cli import components, plugin
from twinkle.cli.demo import demo
from twinkle.cli.env import env
from twinkle.cli.train import EXAMPLE, train
from twinkle.core.errors import TwinkleError

BAD_INPUT = 2
"""Exit code where what the user gave cannot be used; typer's own usage errors have it too."""


class ErrorBoundary(TyperGroup):
    """Shows a :class:`TwinkleError` as its message; every other exception is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:  # Any: the class of a context lies in another module from one typer release to the next
        """Runs the command; exits with 2 where it raised a :class:`TwinkleError`."""
        try:
            return super().invoke(ctx)
        except TwinkleError as error:
            console = Console(stderr=True)
            if ctx.params["debug"]:
                console.print_exception()
            console.print("error:", style="bold red", end=" ")
            console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(BAD_INPUT) from error


app = typer.Typer(
    cls=ErrorBoundary,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)


@app.callback()
def twinkle(debug: Annotated[bool, typer.Option("--debug", help="Show where an error was raised, beside its message.")] = False) -> None:
    """A workbench of named parts for training large language models."""


app.command()(demo)
app.command(epilog="CONFIG looks like this:\n\n" + escape(EXAMPLE))(train)
app.add_typer(components.app, name="components")
app.add_typer(plugin.app, name="plugin")
app.command()(env)


def main() -> None:
    """The console script."""
    app()

"""The command ``twinkle``: its groups, and the one place where an error becomes a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import typer
from rich.console import Console

from twinkle.cli.lazy_group import LazyGroup
from twinkle.core.errors import TwinkleError

BAD_INPUT = 2
"""Exit code where what the user gave cannot be used; typer's own usage errors have it too."""


class ErrorBoundary(LazyGroup):
    """Shows a :class:`TwinkleError` as its message; every other exception is a bug and keeps its traceback."""

    entries: ClassVar[Mapping[str, str]] = {
        "demo": "twinkle.cli.demo:demo",
        "train": "twinkle.cli.train:app",
        "components": "twinkle.cli.components:app",
        "plugin": "twinkle.cli.plugin:app",
        "env": "twinkle.cli.env:env",
    }

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


def main() -> None:
    """The console script."""
    app()

"""The command ``stackcorr``: parse, call, write; no mathematics.

A command is a module of this package with a function of its name. What computes is imported inside the commands, so
that ``stackcorr --help`` is quick.
"""

from __future__ import annotations

import atexit
import gc
from typing import Annotated, Any

import typer

from .backends import backends
from .bench import bench
from .correlate import correlate
from .demo import demo
from .group import Commands
from .info import info
from .report import report
from .screen import say

app = typer.Typer(
    cls=Commands,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from gpu_stackcorr import __version__

        say(f"stackcorr {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 (its callback does it)
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log on standard error.")] = False,  # noqa: ARG001 (for Commands)
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001 (for Commands)
) -> None:
    """How alike are the slices of an image stack, and what do flips, noise and elastic deformation do?"""
    if context.invoked_subcommand is None:
        _show_help(context)
        raise typer.Exit(2)


def _show_help(context: typer.Context) -> None:
    """Print the help; Typer prints it itself where it has Rich, and returns it where it has not."""
    text: Any = context.get_help()
    if text:
        say(text)


for _command in (report, demo, info, correlate, backends, bench):
    app.command()(_command)


def main() -> None:
    """Run the command line; exits with 0, 1 (failed), 2 (usage) or 130 (interrupted)."""
    atexit.register(gc.freeze)  # else Python looks for garbage as it ends: 0.4 s of a report, 0.65 if it compiled
    app()

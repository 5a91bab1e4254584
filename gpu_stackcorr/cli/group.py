"""How the command line fails: one line on standard error, an exit status, and a traceback only for ``--debug``."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import typer
from typer.core import TyperGroup

from gpu_stackcorr.errors import StackCorrError, StackCorrWarning

from .screen import note

FAILED, USAGE, INTERRUPTED = 1, 2, 130
"""Exit statuses; 130 is what shells give to a command that was interrupted."""

ANYWHERE = ("--debug", "--verbose", "-v")
"""Options of the program that may stand after the command as well: one often appends them to a line that failed."""


class InterruptError(Exception):
    """Ctrl-C, under a name of our own: Typer's versions differ in what they make of KeyboardInterrupt."""


class Commands(TyperGroup):
    """The commands, with errors of one line."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Parse, run and exit; never returns."""
        words = program_options_first(sys.argv[1:] if args is None else args)
        try:
            status = super().main(
                args=words, prog_name=prog_name, complete_var=complete_var, standalone_mode=False, **extra
            )
        except Exception as error:
            message, status = explain(error)
            if "--debug" in words and status != USAGE:
                traceback.print_exc()
            note(f"error: {' '.join(message.split())}")
            _give_up_stdout()
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command with its warnings and its log as lines on standard error."""
        try:
            with warnings_in_a_line(), log_to_stderr(ctx.params.get("verbose", False)):
                result = super().invoke(ctx)
                sys.stdout.flush()  # here rather than at exit, so that a full disk is an error like any other
                return result
        except KeyboardInterrupt as error:
            raise InterruptError from error


def program_options_first(args: Sequence[str]) -> list[str]:
    """Return the arguments with the options of the program before the command."""
    end = list(args).index("--") if "--" in args else len(args)
    before, after = list(args[:end]), list(args[end:])
    return [a for a in before if a in ANYWHERE] + [a for a in before if a not in ANYWHERE] + after


def explain(error: Exception) -> tuple[str, int]:
    """Return what to say of an exception, and the exit status."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # Typer's and Click's errors of usage
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        return f"{error.format_message().rstrip('.')}{hint}", int(error.exit_code)
    if isinstance(error, (InterruptError, typer.Abort)):
        return "interrupted", INTERRUPTED
    if isinstance(error, StackCorrError):
        return str(error), FAILED
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror}", FAILED
    if isinstance(error, MemoryError):
        return "out of memory: a smaller --memory, --crop or --z needs less", FAILED
    detail = f": {error}" if str(error) else ""
    return f"unexpected {type(error).__name__}{detail}; run again with --debug to see where", FAILED


def _give_up_stdout() -> None:
    """Where standard output takes no more (a full disk), keep Python from trying, and complaining, again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """Show each warning once, as ``warning: ...``."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if text not in seen:
            seen.add(text)
            note(f"warning: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", StackCorrWarning)
        warnings.showwarning = show
        yield


class _Notes(logging.Handler):
    """Log records as notes, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        note(self.format(record))


@contextmanager
def log_to_stderr(verbose: bool) -> Iterator[None]:
    """Show the package's log where `verbose`; without it no library's log, whose words the errors repeat."""
    handler = _Notes(logging.NOTSET) if verbose else logging.NullHandler()
    root, ours = logging.getLogger(), logging.getLogger("gpu_stackcorr")
    level = ours.level
    root.addHandler(handler)
    if verbose:
        ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.setLevel(level)
        root.removeHandler(handler)

"""What the commands say: lines on standard output, notes on standard error, and numbers in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

Callback = Callable[[int, int], None]


@cache
def console() -> Console:
    """Return the console on standard error; one, so that notes go above a progress bar."""
    from rich.console import Console

    return Console(stderr=True)


def say(line: str = "") -> None:
    """Write a line to standard output."""
    typer.echo(line)


def say_json(value: Any) -> None:
    """Write one JSON object to standard output."""
    say(json.dumps(value, indent=1, allow_nan=False))


def note(line: str) -> None:
    """Write a line to standard error, as it is."""
    console().print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


@contextmanager
def progress(description: str, afterwards: str | None = None) -> Iterator[Callback]:
    """Yield ``callback(done, total)``, which moves a bar on standard error where that is a terminal.

    Once all is done the bar says what comes `afterwards`.
    """
    if not sys.stderr.isatty():  # Rich takes a pipe for a terminal where FORCE_COLOR is set
        yield lambda *_: None
        return
    from .bar import bar

    with bar(description, afterwards or description, console()) as callback:
        yield callback


def bytes_in_words(count: int) -> str:
    """Return 1536 as "1.5 KiB"."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.3g} {units[0]}"


def seconds_in_words(seconds: float) -> str:
    """Return 200.0 as "3 min 20 s"."""
    if seconds < 0.1:
        return "0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def voxels_in_words(shape: tuple[int, ...]) -> str:
    """Return (250, 512, 768) as "250 slices of 512 x 768"."""
    return f"{shape[0]} slices of {shape[1]} x {shape[2]}"


def nm_in_words(voxel_size: tuple[float | None, ...] | None) -> str:
    """Return (50.0, 4.6, None) as "50 x 4.6 x ? nm (z, y, x)"."""
    if voxel_size is None:
        return "unknown"
    return " x ".join("?" if size is None else f"{size:g}" for size in voxel_size) + " nm (z, y, x)"

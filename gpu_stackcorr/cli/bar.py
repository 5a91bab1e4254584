"""The progress bar: done, rate and time left. Imported only where there is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from .screen import Callback


class RateColumn(ProgressColumn):
    """Slices a second."""

    def render(self, task: Task) -> Text:
        """Return the rate, or a dash before it is known."""
        speed = task.finished_speed or task.speed
        return Text("- slices/s" if speed is None else f"{speed:.3g} slices/s", style="progress.data.speed")


class TimeLeftColumn(TimeRemainingColumn):
    """The time left, and the word for it."""

    def render(self, task: Task) -> Text:
        """Return the time and the word, or nothing before it is known."""
        time = super().render(task)
        return time.append(" left") if time.plain.strip() else time


@contextmanager
def bar(description: str, afterwards: str, console: Console) -> Iterator[Callback]:
    """Yield ``callback(done, total)``, which moves a bar that is gone when the block ends."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeLeftColumn(compact=True),
    )
    # Standard output stays where it is: it may be a file.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as shown:
        task = shown.add_task(description, total=None)

        def moved(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total, description=description if done < total else afterwards)

        yield moved

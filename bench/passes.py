"""Passes: what was timed once is timed again minutes later, so that the spread of a row covers the machine's drift.

The rounds of a pass lie within seconds. Over minutes clocks change, and each process has its arrays elsewhere in
memory: runs differ by more than the rounds of one. A row has what each of its passes gave, and the figures that follow.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from .harness import Times

LONGEST = 1.0
"""Seconds: a contestant whose median in the first pass was longer is not timed again. On two cores of a Zen 5 those
were 50 of 547, and took 55 % of the time in which contestants were timed."""

Entry = Mapping[str, Any]
"""A row, a failure or a pass, as a record holds it."""


def of_row(row: Entry) -> dict[str, Any]:
    """Return the first pass of a row that has had no other."""
    return {"pass": 1, **{field.name: row.get(field.name) for field in fields(Times)}}


def added(row: Entry, number: int, times: Times) -> dict[str, Any]:
    """Return a row with one more pass, and the times that it then has."""
    passes = [*row["passes"], {"pass": number, **asdict(times)}]
    return {**row, **merged(passes), "passes": passes}


def merged(passes: Sequence[Entry]) -> dict[str, Any]:
    """Return the common times of passes, each of which weighs the same, however many rounds it has.

    The median is that of the medians. The quartiles are the smallest and the largest of all: they hold those of every
    pass, and the drift between them.
    """
    return {
        "median": statistics.median(one["median"] for one in passes),
        "lower_quartile": min(one["lower_quartile"] for one in passes),
        "upper_quartile": max(one["upper_quartile"] for one in passes),
        "fastest": min(one["fastest"] for one in passes),
        "slowest": max(one["slowest"] for one in passes),
        "rounds": sum(one["rounds"] for one in passes),
    }


def due(record: Entry, module: str, number: int, backend: str | None) -> dict[tuple[str, str], set[str]]:
    """Return the contestants that a later pass over a module is still to time, by case.

    Those are the ones with a row, but for the slow ones, those that have had the pass, and those that failed in it.
    `backend` leaves the others of ours out.
    """
    cases = {_key(case) for case in record["cases"] if case["module"] == module}
    failed = {(*_key(one), one["contestant"]) for one in record["failures"] if one["pass"] == number}
    found: dict[tuple[str, str], set[str]] = {}
    for row in record["rows"]:
        key, name, passes = _key(row), row["contestant"], row["passes"]
        chosen = backend is None or row["backend"] in (None, backend)
        had = passes[-1]["pass"] == number or (*key, name) in failed
        if key in cases and chosen and not had and passes[0]["median"] <= LONGEST:
            found.setdefault(key, set()).add(name)
    return found


def _key(one: Entry) -> tuple[str, str]:
    """Return what names the case of an entry."""
    return one["operation"], one["case"]


def in_words(record: Entry) -> str:
    """Return how many passes a record has; nothing where that is one."""
    asked = record["passes"]
    if asked == 1:
        return ""
    unfinished = any(number < asked for number in record["finished"].values())
    return f"{asked} passes{', which are not all finished' if unfinished else ''}"

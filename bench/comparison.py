"""Cases beside each other: our paths, the fastest rival, what is lost, and what became slower between two records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gpu_stackcorr.backends import PREFERENCE

from .harness import OURS, path_name

Row = Mapping[str, Any]

FENCE = 1.5
"""How many times the distance of the quartiles a spread reaches beyond them: Tukey's fences. Where a row has several
passes, its quartiles are the smallest and the largest of theirs, so that the spread covers the drift between them."""

LEAST_CHANGE = 1.05
"""What is not told: clocks, and where arrays lie in memory, differ from run to run, which no spread in a pass shows."""


@dataclass(frozen=True)
class Compared:
    """A case with its rows: ours that do exactly its work (or all of ours, where none does), and the rivals."""

    case: Mapping[str, Any]
    rows: Sequence[Row]

    @cached_property
    def paths(self) -> list[Row]:
        """Our rows that count."""
        return [row for row in self.rows if is_path(row)] or [row for row in self.rows if is_ours(row)]

    @cached_property
    def ours(self) -> Row | None:
        """Our fastest."""
        return _fastest(self.paths)

    @cached_property
    def rival(self) -> Row | None:
        """The fastest rival."""
        return _fastest([row for row in self.rows if not is_ours(row) and not is_limit(row)])

    @property
    def title(self) -> str:
        """Operation and case."""
        return f"{self.case['operation']}: {self.case['case']}"

    @property
    def ratio(self) -> float | None:
        """How many times as long as we the fastest rival takes."""
        return None if self.ours is None or self.rival is None else self.rival["median"] / self.ours["median"]

    @property
    def lost(self) -> bool:
        """Whether a rival is faster."""
        return self.ratio is not None and self.ratio < 1

    @property
    def reason(self) -> str:
        """Why a rival is faster: a tie, a missing backend, what the case says, what the rival does otherwise."""
        if self.ours is None or self.rival is None:
            return ""
        if self.ours["lower_quartile"] <= self.rival["upper_quartile"]:
            return "a tie: the quartiles overlap"
        if self.ours["backend"] == "numpy":
            return "of ours only the numpy backend was measured, to whose results the others are held: install numba"
        note = f"{self.rival['contestant']}: {self.rival['note']}" if self.rival["note"] else ""
        return "; ".join(filter(None, (self.case["reason"].rstrip("."), note))) or "not known"

    def path(self, backend: str) -> Row | None:
        """Return our fastest row on a backend."""
        return _fastest([row for row in self.paths if row["backend"] == backend])


def is_ours(row: Row) -> bool:
    """Whether a row is of a contestant of ours."""
    return bool(row["contestant"].startswith(OURS))


def is_limit(row: Row) -> bool:
    """Whether a row is of a contestant that does less than the work, to show a limit."""
    return bool(row["contestant"].startswith("limit"))


def is_path(row: Row) -> bool:
    """Whether a row is of ours that does exactly the case's work."""
    return row["contestant"] in (OURS, *map(path_name, PREFERENCE))


def compared(record: Mapping[str, Any]) -> list[Compared]:
    """Return the cases of a record."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in record["rows"]:
        rows.setdefault((row["operation"], row["case"]), []).append(row)
    return [Compared(case, rows.get((case["operation"], case["case"]), [])) for case in record["cases"]]


def _fastest(rows: Sequence[Row]) -> Row | None:
    """Return the row with the smallest median."""
    return min(rows, key=lambda row: row["median"], default=None)


def losses(cases: Sequence[Compared]) -> list[Compared]:
    """Return the cases where a rival is faster, the worst first."""
    return sorted((one for one in cases if one.lost), key=lambda one: one.ratio or 0.0)


def used_backends(cases: Sequence[Compared]) -> list[str]:
    """Return the backends that have a path in any case."""
    return [name for name in PREFERENCE if any(one.path(name) for one in cases)]


@dataclass(frozen=True)
class Change:
    """A contestant in two records, with the spread of both."""

    before: Row
    after: Row

    @property
    def ratio(self) -> float:
        """How many times as long it takes as before."""
        return float(self.after["median"] / self.before["median"])

    @property
    def slower(self) -> bool:
        """Whether it is slower beyond the spread of both, and by more than runs differ."""
        return self.ratio > LEAST_CHANGE and spread(self.after)[0] > spread(self.before)[1]


def spread(row: Row) -> tuple[float, float]:
    """Return Tukey's fences of a row's times; with few rounds they lie beyond what was measured."""
    reach = FENCE * (row["upper_quartile"] - row["lower_quartile"])
    return row["lower_quartile"] - reach, row["upper_quartile"] + reach


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the contestants that two records share."""
    known = {_name(row): row for row in before["rows"]}
    for row in after["rows"]:
        if _name(row) in known:
            yield Change(known[_name(row)], row)


def _name(row: Row) -> tuple[str, str, str]:
    return row["operation"], row["case"], row["contestant"]


def broken(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the failures of `after` that are of ours and were measured in `before`."""
    known = {_name(row) for row in before["rows"] if is_ours(row)}
    return [one for one in after["failures"] if (one["operation"], one["case"], one["contestant"]) in known]

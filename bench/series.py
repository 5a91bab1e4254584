"""Series of cases that grow: what varies, a curve a contestant, and how the time should grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .comparison import Compared, Row

SHARED_OUT = ("threads", "workers")
"""What ideally divides the time."""


class Point(NamedTuple):
    """A contestant at one place of a series."""

    x: float
    case: Mapping[str, Any]
    row: Row


@dataclass(frozen=True)
class Series:
    """Cases of one operation that differ in the first of their parameters; curves by contestant, in its order."""

    operation: str
    parameter: str
    curves: Mapping[str, Sequence[Point]]

    @property
    def title(self) -> str:
        """Operation and what varies."""
        return f"{self.operation} against {self.parameter}"

    @property
    def values(self) -> list[float]:
        """What the parameter was, in order."""
        return sorted({point.x for curve in self.curves.values() for point in curve})

    def ideal(self, curve: Sequence[Point]) -> list[float]:
        """Return the seconds at each point if the time of the first grew as the work does.

        Work is counted in operations, where the case counts none in bytes, else in pixels; threads share it out.
        """
        first = curve[0]
        unit = next((unit for unit in ("operations", "bytes", "pixels") if all(p.case[unit] for p in curve)), None)
        if self.parameter in SHARED_OUT:
            return [first.row["median"] * first.x / point.x for point in curve]
        amounts = [1.0 if unit is None else point.case[unit] for point in curve]
        return [first.row["median"] * amount / amounts[0] for amount in amounts]

    def growth(self, curve: Sequence[Point]) -> float:
        """Return the time of the last point in what the first makes ideal: 1 where the time grew as the work did."""
        return float(curve[-1].row["median"] / self.ideal(curve)[-1])


def series(cases: Sequence[Compared]) -> list[Series]:
    """Return the series among cases, of two points or more; a parameter that is no number has none."""
    found: dict[tuple[str, str], dict[str, list[Point]]] = {}
    for one in cases:
        if one.case["group"] != "scaling" or not one.case["parameters"]:
            continue
        parameter, value = next(iter(one.case["parameters"].items()))
        if not isinstance(value, (int, float)):
            continue
        curves = found.setdefault((one.case["operation"], parameter), {})
        for row in one.rows:
            curves.setdefault(row["contestant"], []).append(Point(float(value), one.case, row))
    ordered = {
        key: {name: sorted(curve, key=lambda point: point.x) for name, curve in curves.items() if len(curve) > 1}
        for key, curves in found.items()
    }
    return [Series(*key, curves) for key, curves in ordered.items() if curves]

"""Rows as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .harness import OURS, Row


def markdown(rows: Sequence[Row]) -> str:
    """Return tables, one a case: milliseconds, rate, how many times as long as our fastest, and the error."""
    lines: list[str] = []
    for key in dict.fromkeys((row.operation, row.case) for row in rows):
        own = [row for row in rows if (row.operation, row.case) == key]
        best = min((row.median for row in own if row.contestant == OURS), default=None)
        lines += [
            f"## {key[0]}: {key[1]}",
            "",
            "| | ms, median (quartiles) | Gpixel/s | times ours | error | |",
            "|---|---|---|---|---|---|",
        ]
        for row in own:
            error = "" if row.error is None else f"{row.error:.1e}"
            times = "" if best is None else f"{row.median / best:.2f}"
            spread = f"{1e3 * row.median:.2f} ({1e3 * row.lower_quartile:.2f} to {1e3 * row.upper_quartile:.2f})"
            lines.append(
                f"| {row.contestant} | {spread} | {row.gigapixels_per_second:.3g} | {times} | {error} | {row.note} |"
            )
        lines.append("")
    return "\n".join(lines)


def as_records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as they stand in a file."""
    return [asdict(row) for row in rows]

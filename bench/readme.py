"""Write the README's table of speed from a result file.

    python -m bench.readme bench/results/NAME.json

What stands between the two marks of the README is replaced; a row a case, those where a rival is faster first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .harness import OURS

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- speed: written by python -m bench.readme -->", "<!-- end of speed -->"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with our time of each case beside that of its fastest rival."""
    cases: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        cases.setdefault((row["operation"], row["case"]), []).append(row)
    compared = sorted((_compared(*case, own) for case, own in cases.items()), key=lambda line: line[0] >= 1)
    head = ["| operation | on | ms | fastest rival | its ms | times ours |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *(line for _, line in compared)])


def _compared(operation: str, case: str, rows: Sequence[Mapping[str, Any]]) -> tuple[float, str]:
    """Return how many times as long as we the fastest rival takes, and the row that says so."""
    ours = next(row["median"] for row in rows if row["contestant"] == OURS)
    rivals = [row for row in rows if not row["contestant"].startswith((OURS, "limit"))]
    best = min(rivals, key=lambda row: row["median"])
    ratio = best["median"] / ours
    name = best["contestant"] + (f" ({best['note']})" if best["note"] else "")
    return ratio, f"| {operation} | {case} | {1e3 * ours:.3g} | {name} | {1e3 * best['median']:.3g} | {ratio:.2g} |"


def replaced(text: str, inner: str) -> str:
    """Return a text with other lines between the marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise ValueError(f"the README has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{inner}\n{END}{after}"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.readme", description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    record = json.loads(parser.parse_args().results.read_text(encoding="utf-8"))
    README.write_text(replaced(README.read_text(encoding="utf-8"), table(record["rows"])), encoding="utf-8")


if __name__ == "__main__":
    main()

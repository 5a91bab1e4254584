"""Race our operations on the GPU against CuPy's.

    python -m bench.gpu.benchmarks FOLDER [--seconds 0.4] [--tiny]

Writes FOLDER/benchmarks.json after every case. Exit status 1 where a contestant of ours failed or was wrong.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path
from typing import Any

from .cases import OURS, Case, cases
from .timing import Clock, Row, about, write


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=0.4, help="for each contestant")
    parser.add_argument("--tiny", action="store_true", help="sizes for a rehearsal")
    arguments = parser.parse_args()
    record: dict[str, Any] = {**about(), "tiny": arguments.tiny, "targets": [], "failures": []}
    clock = Clock(seconds=0.0 if arguments.tiny else arguments.seconds, tiny=arguments.tiny)
    record["copy_gigabytes_per_second"] = clock.copy_gigabytes_per_second
    rows: list[Row] = []
    for make in cases(tiny=arguments.tiny):
        try:
            case = make()
        except Exception:
            record["failures"].append(traceback.format_exc())
            print(record["failures"][-1], file=sys.stderr, flush=True)
        else:
            rows += _race(clock, case, record)
            del case
        write(arguments.folder / "benchmarks.json", record, rows)
    ours_failed = [row for row in rows if row.failure and (row.contestant.startswith(OURS) or "cuda" in row.contestant)]
    sys.exit(1 if ours_failed or record["failures"] else 0)


def _race(clock: Clock, case: Case, record: dict[str, Any]) -> list[Row]:
    """Return the rows of a case; note its targets."""
    print(case.name, file=sys.stderr, flush=True)
    rows = [clock.row(case.name, contestant) for contestant in case.contestants]
    for row in rows:
        if row.failure:
            print(f"  {row.contestant}: {row.failure}", file=sys.stderr, flush=True)
    by_name = {row.contestant: row for row in rows}
    for target in case.targets:
        figure = target.figure(by_name)
        reached = figure >= target.limit if target.at_least else figure <= target.limit
        record["targets"].append(
            {
                "case": case.name,
                "text": target.text,
                "figure": figure,
                "limit": target.limit,
                "at_least": target.at_least,
                "reached": None if record["tiny"] else bool(reached),
            }
        )
    return rows


if __name__ == "__main__":
    main()

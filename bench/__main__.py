"""Race the compiled CPU path against its rivals on this machine.

    python -m bench [OPERATION...] [--seconds 2] [--output bench/results/NAME]

Writes NAME.json and NAME.md, and prints the latter. Each contestant is verified before it is timed; rivals that are not
installed are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import import_module
from pathlib import Path

from .harness import Row, race
from .machine import machine
from .suite import OPERATIONS
from .tables import as_records, markdown


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("operations", nargs="*", metavar="OPERATION", help=f"of {', '.join(OPERATIONS)}; default: all")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each contestant")
    parser.add_argument("--output", type=Path, help="path without suffix")
    arguments = parser.parse_args()
    unknown = set(arguments.operations) - set(OPERATIONS)
    if unknown:
        parser.error(f"unknown operations {', '.join(sorted(unknown))}: allowed are {', '.join(OPERATIONS)}")
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    rows: list[Row] = []
    for operation in arguments.operations or OPERATIONS:
        for case in import_module(f".bench_{operation}", __package__).cases():
            print(f"{operation}: {case.name}", file=sys.stderr, flush=True)
            rows += race(case, seconds=arguments.seconds)
    about = {"started": started, "machine": machine(), "seconds": arguments.seconds}
    text = "\n".join(
        [
            "# The compiled CPU path beside its rivals",
            "",
            f"{about['machine']['processor']}, {about['machine']['threads']} threads. Written by `python -m bench`.",
            "",
            markdown(rows),
        ]
    )
    print(text)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        record = json.dumps({**about, "rows": as_records(rows)}, indent=1)
        arguments.output.with_suffix(".json").write_text(record + "\n", encoding="utf-8")
        arguments.output.with_suffix(".md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

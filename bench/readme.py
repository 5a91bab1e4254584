"""Write the README's table of speed from a result file.

    python -m bench.readme bench/results/NAME.json

What stands between the two marks of the README is replaced; a row a case, those where a rival is faster first.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .comparison import Compared, compared, losses
from .record import load

README = Path(__file__).parents[1] / "README.md"
LEFT_OUT = ("uint16", "512 x 512 x 512", " 1 x 768 x 1024", " 4 x 768 x 1024")
"""Cases that the table passes over, won or lost, for its length; the result file has them."""

BEGIN, END = "<!-- speed: written by python -m bench.readme -->", "<!-- end of speed -->"


def table(found: Mapping[str, Any]) -> str:
    """Return a table with our time of each case beside that of its fastest rival; series and LEFT_OUT are left out."""
    cases = [one for one in compared(found) if one.ratio is not None and one.case["group"] != "scaling"]
    cases = [one for one in cases if not any(part in f" {one.case['case']}" for part in LEFT_OUT)]
    rest = [one for one in cases if not one.lost]
    head = ["| operation | on | ms | fastest rival | its ms | times ours |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *map(_line, (*losses(cases), *rest))])


def _line(one: Compared) -> str:
    """Return the row of a case."""
    assert one.ours is not None
    assert one.rival is not None
    name = one.rival["contestant"] + (f" ({one.rival['note']})" if one.rival["note"] else "")
    ms = [f"{1e3 * row['median']:.3g}" for row in (one.ours, one.rival)]
    return f"| {one.case['operation']} | {one.case['case']} | {ms[0]} | {name} | {ms[1]} | {one.ratio:.2g} |"


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
    found = load(parser.parse_args().results)
    README.write_text(replaced(README.read_text(encoding="utf-8"), table(found)), encoding="utf-8")


if __name__ == "__main__":
    main()

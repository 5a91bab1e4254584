"""The page of one or more records: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import figures, tables
from . import record as records
from .comparison import Compared, compared, losses
from .series import Series, series
from .words import milliseconds, significant, size, times

TEMPLATE = Path(__file__).with_name("template.html")

LONGEST_FIGURE = 24
"""Characters: a median with its quartiles."""

PLACES = {"cpu": "the CPU", "cuda": "the GPU"}


def render(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the page."""
    from jinja2 import Environment, StrictUndefined

    from gpu_stackcorr.report.figures import style

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["anchor"] = anchor
    environment.tests["figure"] = is_figure
    with style():
        parts = [_part(number, record) for number, record in enumerate(found)]
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(machines=parts, beside=side_by_side(found) if len(found) > 1 else None)


def _part(number: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template says of a record."""
    cases = compared(record)
    lost, growing = losses(cases), series(cases)
    plain = [one for one in cases if one.case["group"] != "scaling"]
    return {
        "id": f"m{number}",
        "name": records.name(record),
        "run": tables.said_of_run(record),
        "rehearsal": record.get("rehearsal", False),
        "facts": facts(record),
        "limits": tables.limits_table(record) if record["limits"] else None,
        "headline": headline(plain),
        "losses": tables.losses_table(lost) if lost else None,
        "summary": tables.summary({**record, "cases": [one.case for one in plain]}),
        "targets": targets(record),
        "cases": [{"title": one.title, "table": tables.details(one)} for one in cases if one.rows],
        "growth": growth_table(growing) if growing else None,
        "left_out": tables.left_out(record),
        "memory_method": record["memory_method"],
        "images": _images(record, plain, growing),
    }


def _images(record: Mapping[str, Any], plain: Sequence[Compared], growing: Sequence[Series]) -> dict[str, Any]:
    """Return the plots of a record as addresses that hold them."""
    drawn: dict[str, Any] = {}
    if any(one.ratio is not None for one in plain):
        drawn["ratios"] = figures.draw_ratios(plain)
    if experiments := [one for one in plain if one.case["group"] == "experiment" and one.rows]:
        drawn["experiments"] = figures.draw_experiments(experiments)
    for place, limits in record["limits"].items():
        drawn[f"roofline of {PLACES[place]}"] = figures.draw_roofline(plain, limits, on_device=place == "cuda")
    if growing:
        drawn["scaling"] = figures.draw_scaling(growing)
    return {name: data_uri(figures.svg(figure)) for name, figure in drawn.items() if figure is not None}


def data_uri(svg: str) -> str:
    """Return an SVG as an address that holds it."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode('ascii')}"


def anchor(title: str) -> str:
    """Return a title as a name that an address may end in."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def is_figure(cell: str) -> bool:
    """Whether a cell is a figure with its unit, which should stand in a line."""
    return cell[:1].isdigit() and len(cell) <= LONGEST_FIGURE


def facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is known of the machine and the run."""
    about = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items())
    found = {
        "Processor": about.get("processor", ""),
        "BLAS of NumPy": about.get("blas", ""),
        "Threads": str(about.get("threads") or ""),
        "Memory": size(about["memory_bytes"]) if about.get("memory_bytes") else "",
        "GPU": about.get("device", ""),
        "System": about.get("system", ""),
        "Python": about.get("python", ""),
        "Versions": versions,
    }
    return [(name, value) for name, value in found.items() if value]


def headline(cases: Sequence[Compared]) -> dict[str, Any]:
    """Return in how many cases we are faster than every rival, and by how much in the middle."""
    ratios = [one.ratio for one in cases if one.ratio is not None]
    return {
        "cases": len(cases),
        "raced": len(ratios),
        "won": sum(ratio >= 1 for ratio in ratios),
        "median": times(float(np.median(ratios))) if ratios else None,
    }


def targets(record: Mapping[str, Any]) -> list[list[str]] | None:
    """Return the targets that a run on a GPU has, with what was reached; None where there are none."""
    words = {True: "reached", False: "missed", None: "not measured"}
    rows = [
        [
            f"{one['operation']}: {one['case']}",
            one["text"],
            significant(one["figure"]),
            f"{'at least' if one['at_least'] else 'at most'} {one['limit']:g}",
            words[one["reached"]],
        ]
        for one in record.get("targets", [])
    ]
    return [["case", "target", "figure", "asked", ""], *rows] if rows else None


def growth_table(growing: Sequence[Series]) -> list[list[str]]:
    """Return from end to end of each curve how the time grew, and how it should have."""
    table = [["series", "contestant", "from", "to", "ms", "to ms", "in the ideal", "last step"]]
    for one in growing:
        for name, curve in one.curves.items():
            first, last = curve[0], curve[-1]
            ends = [f"{first.x:g}", f"{last.x:g}"]
            ms = [milliseconds(first.row["median"]), milliseconds(last.row["median"])]
            table.append([one.title, name, *ends, *ms, times(one.growth(curve)), times(one.growth(curve[-2:]))])
    return table


def side_by_side(found: Sequence[Mapping[str, Any]]) -> list[list[str]] | None:
    """Return our fastest time of each case that two or more machines have; None where there is none."""
    by_machine = [{one.title: one for one in compared(record)} for record in found]
    titles = dict.fromkeys(title for cases in by_machine for title in cases)
    rows = []
    for title in titles:
        ours = [cases[title].ours if title in cases else None for cases in by_machine]
        if sum(row is not None for row in ours) > 1:
            rows.append([title, *(milliseconds(row["median"] if row else None) for row in ours)])
    return [["case, our ms", *map(records.name, found)], *rows] if rows else None

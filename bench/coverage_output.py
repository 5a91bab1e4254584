"""The tables and the figure of the study of intervals: promised against kept."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

METHODS = {
    "fisher": ("fisher", "#D55E00", "s"),
    "effective": ("effective", "#E69F00", "^"),
    "tiles": ("tiles", "#0072B2", "o"),
}
"""Label, colour (Okabe and Ito's) and marker of each method."""

TARGETS = {
    "every cell of the Gaussian fields, tiles: 92.5 to 98 %": (92.5, 98.0),
    "their mean, tiles: 94 to 96.5 %": (94.0, 96.5),
    "membrane-like, rho 0.69, tiles: at least 92 %": (92.0, 100.0),
    "membrane-like, rho 0.69, effective: under 85 %": (0.0, 85.0),
}


def rows_of(table: Sequence[Row], **wanted: Any) -> list[Row]:
    """Return the rows whose columns have these values."""
    return [row for row in table if all(row[name] == value for name, value in wanted.items())]


def verdicts(table: Sequence[Row]) -> list[tuple[str, str, bool]]:
    """Return each target, what was measured, and whether it is met."""
    tiles = [row["coverage"] for row in rows_of(table, group="stationary Gaussian fields", method="tiles")]
    groups = [tiles, [sum(tiles) / len(tiles)] if tiles else []]
    for method in ("tiles", "effective"):
        groups.append([row["coverage"] for row in rows_of(table, case="membrane-like", rho=0.69, method=method)])
    found = []
    for (name, (low, high)), values in zip(TARGETS.items(), groups, strict=True):
        if values:
            span = f"{min(values):.1f} to {max(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
            found.append((name, span, low <= min(values) and max(values) <= high))
    return found


def row_name(name: str, table: Sequence[Row]) -> str:
    """Return what a row of the figure is called."""
    row = next(row for row in table if family(row) == name)
    if row["group"] == "stationary Gaussian fields":
        kind, length = name.split()
        return f"{'Gaussian' if kind == 'gaussian' else kind} field, {length} px"
    return name


def families(table: Sequence[Row]) -> list[str]:
    """Return the names of the rows of the figure: a case, or all depths of a real stack's crops."""
    return list(dict.fromkeys(family(row) for row in table))


def family(row: Row) -> str:
    """Return the row of the figure that a row of the table belongs to."""
    return str(row["case"]).split(", depth ")[0]


def markdown(settings: Row, table: Sequence[Row]) -> str:
    """Return the tables as Markdown, with the targets."""
    share = round(100 * settings["level"])
    lines = [
        f"# Coverage of nominal {share} % intervals",
        "",
        f"Share of simulations (%) whose interval holds the true correlation, its binomial standard error, and in "
        f"brackets the interval's mean width. {settings['simulations']} simulations a cell, fewer for the slow "
        f"effective (coverage.csv has the numbers), seed {settings['seed']}. The cells of one case share "
        "their fields and are not independent. Saturated: share of simulations in which the tiles' window was. Real "
        "stacks: non-overlapping crops of pairs of slices against the mean r of all whole slices at that depth; crops "
        "of one volume are not independent, and the truth is itself an estimate.",
        "",
        "Written by `python -m bench.coverage`.",
        "",
        "| images | size | rho | fisher | effective | tiles | saturated |",
        "|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((row["case"], row["size"], row["rho"]) for row in table):
        case, size, rho = key
        cells = []
        for method in METHODS:
            row = next(iter(rows_of(table, case=case, size=size, rho=rho, method=method)), None)
            cells.append("" if row is None else _cell(row))
        saturated = rows_of(table, case=case, size=size, rho=rho, method="tiles")[0]["saturated"]
        name = "mean of the volume" if rho is None else f"{rho:g}"
        lines.append(f"| {case} | {size} | {name} | {' | '.join(cells)} | {saturated:.1f} |")
    lines += ["", "| target | measured | met |", "|---|---|---|"]
    lines += [f"| {name} | {value} | {'yes' if met else 'no'} |" for name, value, met in verdicts(table)]
    return "\n".join(lines) + "\n"


def _cell(row: Row) -> str:
    """Return one cell of the table."""
    return f"{row['coverage']:.1f} ± {row['standard_error']:.1f} ({row['mean_width']:.2g})"


def draw(path: Path, settings: Row, table: Sequence[Row]) -> None:
    """Draw what was kept of what was promised: a row a kind of image, a mark a correlation and method."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = families(table)
    promised = 100 * settings["level"]
    figure = Figure(figsize=(8, 1.1 + 0.3 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    ax.axvline(promised, color="black", linewidth=1.2, zorder=1)
    ax.text(promised, -0.75, f"promised: {promised:g} %", ha="right", va="bottom", fontsize=9)
    for y, name in enumerate(names):
        for lane, (method, (_, colour, marker)) in enumerate(METHODS.items()):
            kept = [row["coverage"] for row in table if family(row) == name and row["method"] == method]
            if kept:
                at = y + 0.22 * (lane - 1)
                ax.plot([min(kept), max(kept)], [at, at], color=colour, linewidth=1.2, zorder=2)
                ax.plot(
                    kept, [at] * len(kept), marker, color=colour, markersize=4.5, alpha=0.85, zorder=3, clip_on=False
                )
        if y % 2:
            ax.axhspan(y - 0.5, y + 0.5, color="0.95", zorder=0, linewidth=0)
    for label, colour, marker in METHODS.values():
        ax.plot([], [], marker, color=colour, markersize=5, label=f'ci="{label}"')
    ax.set_yticks(range(len(names)), [row_name(name, table) for name in names], fontsize=9)
    ax.set(
        xlim=(0, 101),
        ylim=(len(names) - 0.5, -0.5),
        xlabel="kept: intervals that hold the truth (%), a mark for each correlation or depth",
    )
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.grid(axis="x", color="0.85", linewidth=0.6, zorder=0)
    ax.set_axisbelow(True)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, dpi=200, metadata={"Software": None})


def write(folder: Path, settings: Row, table: Sequence[Row]) -> str:
    """Write coverage.json, .csv, .md and .png; return the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(settings, table)
    (folder / "coverage.md").write_text(text, encoding="utf-8")
    record = {"settings": settings, "targets": verdicts(table), "table": list(table)}
    (folder / "coverage.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    with (folder / "coverage.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    draw(folder / "coverage.png", settings, table)
    return text

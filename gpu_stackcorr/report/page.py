"""The page of a report: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from gpu_stackcorr.plots import curve_name
from gpu_stackcorr.records import DecorrelationDepth, StackCorrelation

from . import tables
from .analysis import Analysis
from .figures import GRID_CROP, LONGEST_PANEL, PANELS, noise_range, pictured_noise

MOST_NAMED = 20
"""Slices that the page names one by one."""


def render(analysis: Analysis, figures: Path) -> str:
    """Return the page, with the figures of a folder inside."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(slices=slices, significant=significant, fixed=fixed, size=size, number=number)
    template = files(__package__).joinpath("template.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(context(analysis, figures))


def context(analysis: Analysis, figures: Path) -> dict[str, Any]:
    """Return what the template speaks of."""
    depth = analysis.depths[analysis.identity.label]
    magnitude = pictured_noise(analysis)
    noise = tables.noise_columns(analysis)
    return {
        "file": analysis.file,
        "grey": analysis.grey,
        "index": analysis.index,
        "options": analysis.options,
        "computed": analysis.computed,
        "level": f"{100 * analysis.options.confidence_level:g} %",
        "voxel": voxel_size(analysis.file.voxel_size),
        "spacing": analysis.identity.spacing,
        "depth": depth,
        "below": r_below(analysis, depth),
        "side": "" if analysis.index == 0 else "above" if analysis.identity.distance.max() > 0 else "below",
        "pairs": analysis.pairs,
        "pairs_depth": None if analysis.pairs is None else depth_in_words(analysis),
        "saturated": named_saturated(analysis.identity),
        "depths": [(curve_name(result), analysis.depths[label]) for label, result in analysis.battery.items()],
        "flagged": {reason: named(indices) for reason, indices in analysis.flagged.items()}
        if any(analysis.flagged.values())
        else {},
        "noise": [dict(zip(noise, row, strict=True)) for row in zip(*noise.values(), strict=True)],
        "magnitude": magnitude,
        "noise_end": None if magnitude is None else noise_range(magnitude),
        "grids": analysis.grids,
        "cropped": max(analysis.reference.shape) > GRID_CROP,
        "crop": " × ".join(str(min(n, GRID_CROP)) for n in reversed(analysis.reference.shape)),
        "noise_crop": " × ".join(str(min(n, LONGEST_PANEL // 2)) for n in reversed(analysis.reference.shape)),
        "noise_cropped": max(analysis.reference.shape) > LONGEST_PANEL // 2,
        "expected": expected_facts(analysis),
        "images": {path.stem: data_uri(path) for path in pictures(figures)},
        "tables": list(tables.tables(analysis)),
    }


def pictures(figures: Path) -> list[Path]:
    """Return the file of each figure that the page shows: SVG for curves, PNG for pictures of slices."""
    stems = sorted({path.stem for path in figures.iterdir()})
    return [figures / f"{stem}.{'png' if stem in PANELS else 'svg'}" for stem in stems]


def data_uri(path: Path) -> str:
    """Return a file as an address that holds its content."""
    kind = {".png": "image/png", ".svg": "image/svg+xml"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def r_below(analysis: Analysis, depth: DecorrelationDepth) -> float | None:
    """Return r of the first slice below the threshold."""
    if depth.first_below is None:
        return None
    distance = analysis.identity.distance
    first = depth.first_below if distance.max() > 0 else -depth.first_below
    return float(analysis.identity.statistic[np.flatnonzero(distance == first)[0]])


def expected_facts(analysis: Analysis) -> dict[str, Any] | None:
    """Return where the measured curve is farthest from the known one, and some distances of both."""
    if analysis.expected is None:
        return None
    columns = tables.expected_columns(analysis)
    difference = np.abs(np.array(columns["difference"], np.float64))
    count = len(difference)
    shown = range(0, count, max(1, math.ceil((count - 1) / 8)))
    names = ("distance", "expected", "r", "difference")
    rows = [{name: columns[name][n] for name in names} for n in shown]
    worst = None if np.isnan(difference).all() else int(np.nanargmax(difference))
    return {
        "rows": rows,
        "largest": None if worst is None else float(difference[worst]),
        "where": None if worst is None else columns["distance"][worst],
    }


def named(indices: list[int]) -> str:
    """Return the numbers of slices, not more than can be read."""
    shown = ", ".join(map(str, indices[:MOST_NAMED]))
    return shown if len(indices) <= MOST_NAMED else f"{shown} and {len(indices) - MOST_NAMED} more"


def depth_in_words(analysis: Analysis) -> str:
    """Return the depth at 1/e over all pairs with its interval, in slices and, where known, nm."""
    assert analysis.pairs is not None
    depth = analysis.pairs.depth
    low, high = depth.confidence_interval(analysis.options.confidence_level)
    if math.isnan(depth.statistic):
        return f"not within {slices(depth.farthest)}"
    upper = significant(high) if math.isfinite(high) else f"more than {depth.farthest}"
    words = f"{slices(depth.statistic)} [{significant(low)}, {upper}]"
    return words if depth.nm is None else f"{words}, or {significant(depth.nm)} nm"


def named_saturated(curve: StackCorrelation) -> str | None:
    """Return in words at how many distances the interval is too narrow; None where at none."""
    count = int(curve.saturated.sum())
    return None if count == 0 else f"{count} of {len(curve)} distances"


def voxel_size(sizes: tuple[float | None, ...]) -> str | None:
    """Return a voxel size (z, y, x) in words; None where nothing is known."""
    if all(size is None for size in sizes):
        return None
    return " × ".join("?" if size is None else f"{size:.4g}" for size in sizes) + " nm (z, y, x)"


def slices(count: float) -> str:
    """Return a number of slices in words."""
    return f"{significant(count)} {'slice' if count == 1 else 'slices'}"


def significant(value: float | None) -> str:
    """Return three digits, and more where the whole number has more; a dash for what is not known."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def number(value: float, digits: int = 6) -> str:
    """Return a grey value as it is, or with so many digits."""
    return f"{value:.{digits}g}".replace("-", "\N{MINUS SIGN}")


def fixed(value: float | None, digits: int = 3) -> str:
    """Return a fixed number of decimals with a proper minus; a dash for what is not defined."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def size(count: float | None) -> str:
    """Return a number of bytes in words."""
    if count is None:
        return "not known on this system"
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} TiB"

"""The tables of a report, and its results as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpu_stackcorr.records import Table, stack_columns

from .analysis import Analysis
from .grids import grid_columns

NAMES = ("correlations", "depths", "noise", "grids", "shifted", "lags", "outliers", "expected")
"""All tables that a report may have."""

FORMAT = 1
"""Of results.json: counted up when a key changes its meaning or goes."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns(Table):
    """A table made of its columns."""

    data: dict[str, list[Any]]

    def columns(self, confidence_level: float = 0.95) -> dict[str, list[Any]]:
        """Return the columns; their intervals have the level that they were made with."""
        return self.data


def tables(analysis: Analysis) -> dict[str, Table]:
    """Return the tables of a report, by name; that of the expected curve where there is one.

    They depend on the volume, the options and the seed alone: no times, no machine.
    """
    found: dict[str, Table] = {
        "correlations": analysis.battery,
        "depths": Columns(depth_columns(analysis)),
        "noise": Columns(noise_columns(analysis)),
        "grids": Columns(grid_columns(analysis.grids)),
    }
    if analysis.shifted is not None:
        found["shifted"] = analysis.shifted
    if analysis.pairs is not None:
        found["lags"] = analysis.pairs.lags
        found["outliers"] = analysis.pairs.outliers
    if analysis.expected is not None:
        found["expected"] = Columns(expected_columns(analysis))
    return found


def save_tables(analysis: Analysis, folder: Path) -> None:
    """Write every table as CSV."""
    folder.mkdir()
    for name, table in tables(analysis).items():
        table.to_csv(folder / f"{name}.csv", analysis.options.confidence_level)


def depth_columns(analysis: Analysis) -> dict[str, list[Any]]:
    """Return where each curve first falls below 1/e: a row a curve."""
    rows: list[dict[str, list[Any]]] = [
        {"transform": [result.transform], "noise": [result.noise], **analysis.depths[label].columns()}
        for label, result in analysis.battery.items()
    ]
    return stack_columns(rows)


def noise_columns(analysis: Analysis) -> dict[str, list[Any]]:
    """Return r at distance 0 of each noise magnitude m, measured and expected, 1 / sqrt(1 + m^2)."""
    rows: dict[str, list[Any]] = {name: [] for name in ("noise", "expected", "r", "low", "high")}
    for magnitude, result in analysis.noise.items():
        low, high = result.confidence_interval(analysis.options.confidence_level)
        values = (magnitude, 1 / math.hypot(1, magnitude), *(a[analysis.index] for a in (result.statistic, low, high)))
        for column, value in zip(rows.values(), values, strict=True):
            column.append(float(value))
    return rows


def expected_columns(analysis: Analysis) -> dict[str, list[Any]]:
    """Return the known correlation beside the measured one: a row a slice."""
    expected = np.empty(0) if analysis.expected is None else analysis.expected
    columns = analysis.identity.columns(analysis.options.confidence_level)
    chosen = {name: columns[name] for name in ("distance", "distance_nm", "r", "low", "high")}
    difference = analysis.identity.statistic - expected
    return chosen | {"expected": expected.tolist(), "difference": difference.tolist()}


def results_json(analysis: Analysis) -> str:
    """Return results.json; its keys are listed in ``gpu_stackcorr.report``."""
    level = analysis.options.confidence_level
    file = asdict(analysis.file)
    file["voxel_size_nm"] = file.pop("voxel_size")
    results = {
        "format": FORMAT,
        "file": file,
        "reference_slice": {"index": analysis.index, **asdict(analysis.grey)},
        "options": {**asdict(analysis.options), "seed": analysis.computed.seed},
        "curves": {label: result.columns(level) for label, result in analysis.battery.items()},
        "depths": {
            label: {name: column[0] for name, column in depth.columns().items()}
            for label, depth in analysis.depths.items()
        },
        "shifted": None if analysis.shifted is None else analysis.shifted.columns(level),
        "pairs": None if analysis.pairs is None else analysis.pairs.summary(level),
        "noise_at_0": noise_columns(analysis),
        "grids": grid_columns(analysis.grids),
        "expected": None if analysis.expected is None else expected_columns(analysis),
        "flagged": analysis.flagged,
        "computed": asdict(analysis.computed),
    }
    return json.dumps(_without_nan(results), indent=1, allow_nan=False) + "\n"


def _without_nan(value: Any) -> Any:
    """Return nested lists and dicts with None for NaN and infinity, which JSON has no words for."""
    match value:
        case dict():
            return {key: _without_nan(item) for key, item in value.items()}
        case list() | tuple():
            return [_without_nan(item) for item in value]
        case float() if not math.isfinite(value):
            return None
    return value

"""The elastic deformations that a report shows by a grid, and how they fold the slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import field_dtype
from gpu_stackcorr.displacement_fields import displacement_field
from gpu_stackcorr.folds import FoldReport, fold_report

GRIDS = ((50, 10), (250, 5), (250, 10))
"""alpha and sigma of the grid panels: the notebook's."""

FEWEST_BINS = 1
"""Of the histogram, which the report does not show."""


@dataclass(frozen=True, slots=True)
class Grid:
    """One deformation: alpha and sigma in pixels, and how its field folds the whole slice."""

    alpha: float
    sigma: float
    folds: FoldReport

    @property
    def title(self) -> str:
        """The parameters, in one line."""
        return f"\N{GREEK SMALL LETTER ALPHA} = {self.alpha:g}, \N{GREEK SMALL LETTER SIGMA} = {self.sigma:g}"

    @property
    def words(self) -> str:
        """How much of the slice is folded, and the least determinant."""
        least = f"{self.folds.minimum:.2f}".replace("-", "\N{MINUS SIGN}")
        return f"{self.folds.words}, least determinant {least}"


def grid_fields(
    shape: tuple[int, ...], dtype: np.dtype[Any], *, seed: int, index: int, backend: str | None
) -> dict[tuple[float, float], NDArray[Any]]:
    """Return the displacement of each grid panel, that of ``elastic_transform``, by alpha and sigma."""
    how: dict[str, Any] = {"seed": seed, "index": index, "dtype": field_dtype(dtype), "backend": backend}
    return {(alpha, sigma): displacement_field(shape, alpha, sigma, **how) for alpha, sigma in GRIDS}


def examine_grids(
    shape: tuple[int, ...], dtype: np.dtype[Any], *, seed: int, index: int, backend: str | None
) -> tuple[Grid, ...]:
    """Return how each deformation of the grid panels folds."""
    fields = grid_fields(shape, dtype, seed=seed, index=index, backend=backend)
    return tuple(
        Grid(alpha, sigma, fold_report(field, bins=FEWEST_BINS, backend=backend))
        for (alpha, sigma), field in fields.items()
    )


def grid_columns(grids: tuple[Grid, ...]) -> dict[str, list[Any]]:
    """Return a table of them: a row a deformation."""
    return {
        "alpha": [float(grid.alpha) for grid in grids],
        "sigma": [float(grid.sigma) for grid in grids],
        "fraction_folded": [grid.folds.fraction_folded for grid in grids],
        "least_determinant": [grid.folds.minimum for grid in grids],
        "largest_displacement": [grid.folds.largest_displacement for grid in grids],
    }

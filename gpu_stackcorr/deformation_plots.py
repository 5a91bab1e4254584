"""What a deformation does, as pictures: how it folds, where, and what becomes of labels and of volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .plots import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .folds import FoldReport

WHOLE, FOLDED = COLOURS[0], COLOURS[1]
"""Colours of what keeps its order and of what is folded."""


def plot_folds(report: FoldReport, ax: Axes | None = None) -> Axes:
    """Draw how many voxels have which determinant, in another colour what folds.

    Parameters
    ----------
    report : FoldReport
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots(layout="constrained")[1]
    left, right = report.edges[:-1], report.edges[1:]
    colours = np.where((left + right) / 2 <= 0, FOLDED, WHOLE)
    ax.bar(left, report.counts, right - left, align="edge", color=colours.tolist())
    ax.axvline(0, color=FOLDED, linewidth=1)
    ax.set(xlabel="Jacobian determinant", ylabel="Voxels", yscale="log")
    ax.set_title(f"{report.fraction_folded:.2%} folded, least determinant {report.minimum:.3g}")
    return ax

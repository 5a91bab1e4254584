"""The whole analysis of a volume as figures, tables and one page.

`analyse` computes, the modules beside this one draw and write, and `write_report` does all of it. It fills a folder::

    report.html      one file that holds its figures and opens anywhere
    results.json     everything as numbers
    figures/*.png, *.svg
    tables/correlations.csv    the columns of a `StackCorrelation`, from transform and noise to flag
    tables/depths.csv          transform, noise and the columns of a `DecorrelationDepth`
    tables/shifted.csv         the columns of a `ShiftedStackCorrelation`, where shifts were asked for
    tables/lags.csv            the columns of a `LagCorrelation`: the mean of all pairs at each distance
    tables/outliers.csv        slice, fault, count, r, expected, score, text: slices that do not fit their neighbours
    tables/noise.csv           noise, expected, r, low, high: at distance 0
    tables/grids.csv           alpha, sigma, fraction_folded, least_determinant, largest_displacement: of grid panels
    tables/expected.csv        distance, distance_nm, r, low, high, expected, difference: where a curve is known

Tables depend on the volume, the options and the seed alone: a run with the same of these repeats them to the byte.
Empty cells of a table, and null in results.json, stand for what is not defined or not known.

Keys of results.json
--------------------
format
    1; counted up when a key below changes its meaning.
file
    name, format, shape (z, y, x), dtype, nbytes (of the volume once read), voxel_size_nm (z, y, x), channel, channels.
reference_slice
    index, minimum, maximum, mean, standard_deviation.
options
    The fields of `ReportOptions`; seed is the one that was used.
curves
    For each label ("identity", "flip_right_left", "flip_up_down", "noise 1", "elastic(250, 10)", ...) the columns of
    correlations.csv as arrays.
depths
    For each label: threshold, depth, depth_nm, first_below, farthest, in slices unless named otherwise.
shifted
    The columns of shifted.csv, or null.
pairs
    lags, depth, advice, outliers: the columns of each as arrays; or null.
noise_at_0
    The columns of noise.csv.
grids
    The columns of grids.csv: how much of the reference slice each deformation of the grid panels folds over itself
    (0 to 1), the least Jacobian determinant, and the length of the longest vector in pixels.
expected
    The columns of expected.csv, or null.
flagged
    constant and nan: indices of the slices that have no correlation.
computed
    backend, device, versions, platform, seed, threads, started (UTC), seconds (wall time of the computation),
    peak_memory (bytes of the process, before the figures are drawn).
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_stackcorr.plots import Expected

from . import figures, page, tables
from .analysis import Analysis, Progress, ReportOptions, analyse
from .output import staged, writing

if TYPE_CHECKING:
    from gpu_stackcorr.volumes import Volume

__all__ = ["Analysis", "ReportOptions", "analyse", "write_report"]

OWN_FILES = (
    "report.html",
    "results.json",
    *(f"figures/{name}.{kind}" for name in figures.NAMES for kind in ("png", "svg")),
    *(f"tables/{name}.csv" for name in tables.NAMES),
)
"""Every file that a report may write: those of a former run are replaced."""


def write_report(
    volume: Volume,
    directory: str | PathLike[str],
    options: ReportOptions | None = None,
    *,
    expected: Expected | None = None,
    progress: Progress | None = None,
) -> Path:
    """Analyse a volume, and write figures, tables, results.json and report.html.

    Everything is written to a temporary folder and moved into place at the end: an error or an interrupt leaves
    nothing behind. Other files in the folder stay.

    Parameters
    ----------
    volume : Volume
        As ``open_volume`` returns it.
    directory : path
        Made where it does not exist.
    options : ReportOptions, optional
    expected : callable, optional
        A known correlation, drawn and tabulated beside the measured one: a function of an array of distances in
        slices.
    progress : callable, optional
        Called with the number of slices done, and of all.

    Returns
    -------
    Path
        Of report.html.

    Raises
    ------
    ParameterError
        For an option that is not allowed, or a reference slice that is constant or has NaN.
    VolumeError
        If the volume cannot be read, or the folder not written.
    """
    target = Path(directory)
    with staged(target, OWN_FILES) as staging:
        analysis = analyse(volume, options, expected=expected, progress=progress)
        with figures.style():
            drawn = figures.draw_figures(analysis)
            with writing(target):
                figures.save_figures(drawn, staging / "figures")
        with writing(target):
            tables.save_tables(analysis, staging / "tables")
            (staging / "results.json").write_text(tables.results_json(analysis), encoding="utf-8")
            (staging / "report.html").write_text(page.render(analysis, staging / "figures"), encoding="utf-8")
    return target / "report.html"

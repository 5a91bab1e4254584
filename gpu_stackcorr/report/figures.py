"""The figures of a report, each by its name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.deformation import warp
from gpu_stackcorr.matrix_plots import plot_lags
from gpu_stackcorr.notebook import grid_lines
from gpu_stackcorr.plots import GUIDE, mark_threshold, plot_correlations, round_length, scale_bar
from gpu_stackcorr.records import StackCorrelation
from gpu_stackcorr.transforms import noise_field

from .analysis import Analysis
from .grids import grid_fields
from .pairs import AllPairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = ("reference", "correlation", "pairs", "flips", "noise", "noise_panels", "grid_panels", "elastic")
"""All figures that a report may have, in the order of the page but for the last two."""

PANELS = ("reference", "noise_panels", "grid_panels")
"""Those that are pictures of slices."""

LONGEST_PANEL = 800
"""Pixels along the longer side of a picture; larger slices are averaged down to it."""

GRID_CROP = 320
"""Pixels along the longer side of the grid panels: a displacement of a few pixels has to be seen."""

CURVE_SIZE = (9.0, 4.3)
DPI = 160
REFERENCE_DPI = 230
"""Of a small figure with as many pixels."""

PNG = {"compress_level": 3}
"""Of the figures of ``stackcorr demo``: 5.9 MB, where the usual 6 makes 6.4 and takes a tenth longer to save them."""

FONT_SIZE = 10.5


@contextmanager
def style() -> Iterator[None]:
    """Draw alike on every machine, whatever its matplotlibrc says, and repeat SVG files to the byte."""
    from matplotlib import style as styles

    own = {
        "font.size": FONT_SIZE,
        "axes.titlesize": FONT_SIZE,
        "svg.hashsalt": "gpu_stackcorr",
        "svg.fonttype": "path",
        "svg.image_inline": True,
        "figure.constrained_layout.h_pad": 0.06,
        "figure.constrained_layout.w_pad": 0.06,
    }
    with styles.context(["default", own]):
        yield


def draw_figures(analysis: Analysis) -> dict[str, Figure]:
    """Return the figures of a report, by name; those that do not apply are left out.

    Call it, and save its figures, within `style`.
    """
    figures = {
        "reference": draw_reference(analysis),
        "correlation": draw_correlation(analysis),
        "flips": _curves(analysis, [analysis.identity, *analysis.flips]),
        "grid_panels": draw_grids(analysis),
    }
    if analysis.pairs is not None:
        figures["pairs"] = draw_pairs(analysis.pairs, analysis.options.confidence_level)
    if analysis.noise:
        figures["noise"] = draw_noise(analysis)
    if pictured_noise(analysis) is not None:
        figures["noise_panels"] = draw_noise_panels(analysis)
    if analysis.elastic is not None:
        figures["elastic"] = _curves(analysis, [analysis.identity, analysis.elastic])
    return {name: figures[name] for name in NAMES if name in figures}


def save_figures(figures: dict[str, Figure], folder: Path) -> None:
    """Write every figure as PNG and SVG; the same figures give the same bytes."""
    folder.mkdir()
    for name, figure in figures.items():
        dpi = REFERENCE_DPI if name == "reference" else DPI
        figure.savefig(folder / f"{name}.png", dpi=dpi, metadata={"Software": None}, pil_kwargs=PNG)
        figure.set_layout_engine("none")  # it is laid out
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})


def draw_reference(analysis: Analysis) -> Figure:
    """Return the picture of the reference slice."""
    figure = _figure((3.6, 3.6 * _height(analysis.reference.shape, analysis)))
    ax = figure.add_subplot()
    _show(ax, analysis.reference, analysis, *grey_scale(analysis.reference))
    return figure


def draw_correlation(analysis: Analysis) -> Figure:
    """Return correlation against depth, with the depth at 1/e and, where it is known, the expected curve."""
    curve = analysis.identity
    curves = [curve] if analysis.shifted is None else [curve, analysis.shifted]
    figure = _curves(analysis, curves, expected=analysis.expected)
    depth = analysis.depths[curve.label]
    if not math.isnan(depth.statistic):
        nm = "" if depth.nm is None else f"\n({depth.nm:.3g} nm)"
        outward = 1 if curve.distance.max() > 0 else -1
        _mark_depth(figure.axes[0], outward * depth.statistic, depth.threshold, f"{depth.statistic:.3g} slices{nm}")
    return figure


def draw_pairs(pairs: AllPairs, confidence_level: float) -> Figure:
    """Return the mean correlation of all pairs against distance, with the depth at 1/e and the advised separation."""
    figure = _figure(CURVE_SIZE)
    ax = plot_lags(pairs.lags, ax=figure.add_subplot(), confidence_level=confidence_level)
    mark_threshold(ax, pairs.depth.threshold, "1/e")
    mark_threshold(ax, pairs.advice.max_r, f"{pairs.advice.max_r:g}")
    if not math.isnan(pairs.depth.statistic):
        _mark_depth(ax, pairs.depth.statistic, pairs.depth.threshold, f"{pairs.depth.statistic:.3g} slices")
    if pairs.advice.separation is not None:
        _mark_depth(ax, pairs.advice.separation, pairs.advice.max_r, f"keep {pairs.advice.separation} slices apart")
    _legend(figure)
    return figure


def _mark_depth(ax: Axes, x: float, r: float, name: str) -> None:
    """Mark the point where a curve falls below r, with its name where a falling curve leaves room."""
    ax.vlines(x, ax.get_ylim()[0], r, color="black", linewidth=0.9, linestyle=(0, (4, 2)), zorder=5)
    ax.plot(x, r, "o", color="white", markeredgecolor="black", markersize=8, zorder=6)
    # Outside above the curve, or inside below it where the axes end soon.
    outward = 1 if x >= 0 else -1
    end = ax.get_xlim()[0 if outward < 0 else 1]
    outside = abs(x) < 0.75 * abs(end)
    side = outward if outside else -outward
    ground = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
    ax.annotate(
        name, (x, r), xytext=(9 * side, 9 if outside else -9), textcoords="offset points",
        ha="left" if side > 0 else "right", va="bottom" if outside else "top", bbox=ground, zorder=7,
    )  # fmt: skip


def draw_noise(analysis: Analysis) -> Figure:
    """Return the noise levels, with what is expected of them at distance 0."""
    levels = analysis.noise
    figure = _curves(analysis, list(levels.values()))
    ax = figure.axes[0]
    known = [1 / math.hypot(1, magnitude) for magnitude in levels]
    label = "expected at 0: $1/\\sqrt{1 + m^2}$"
    ax.plot([0] * len(known), known, "D", color="none", markeredgecolor="black", markersize=9, zorder=6, label=label)
    _legend(figure)
    return figure


def pictured_noise(analysis: Analysis) -> float | None:
    """Return the magnitude in the picture of slice, noise and sum: 2 where it was asked for, else the largest."""
    magnitudes = [magnitude for magnitude in analysis.noise if magnitude > 0]
    return None if not magnitudes else 2.0 if 2.0 in magnitudes else max(magnitudes)


def noise_range(magnitude: float) -> float:
    """Return where the grey scale of the noise picture ends: two standard deviations of the sum, rounded up."""
    return float(math.ceil(2 * math.hypot(1, magnitude)))


def draw_noise_panels(analysis: Analysis) -> Figure:
    """Return the standardised slice, the noise and their sum, on one grey scale."""
    magnitude = pictured_noise(analysis) or 0.0
    slice_ = (analysis.reference - analysis.grey.mean) / analysis.grey.standard_deviation
    noise = magnitude * noise_field(slice_.shape, analysis.computed.seed, backend=analysis.options.backend)
    end = noise_range(magnitude)
    # The middle of a large slice: averaging pixels would hide most of the noise.
    panels = [central(image, LONGEST_PANEL // 2) for image in (slice_, noise, slice_ + noise)]
    figure = _figure((9.0, max(2.0, 9.0 / 3.25 * _height(panels[0].shape, analysis) + 0.3)))
    axes = figure.subplots(1, 3)
    titles = ("Slice, standardised", f"Noise of magnitude {magnitude:g}", "Slice + noise")
    for ax, image, title in zip(axes, panels, titles, strict=True):
        shown = _show(ax, image, analysis, -end, end)
        ax.set_title(title)
    bar = figure.colorbar(shown, ax=axes, fraction=0.05, pad=0.015, shrink=0.9)
    bar.set_label("Standard deviations")
    bar.set_ticks([-end, 0, end])
    return figure


def draw_grids(analysis: Analysis) -> Figure:
    """Return the reference slice with a grid drawn on a copy of it, as it is and deformed."""
    crop = central(analysis.reference, GRID_CROP).shape
    marked = grid_lines(analysis.reference, max(8, max(crop) // 10), 1 if max(crop) < 200 else 2)
    backend = analysis.options.backend
    fields = grid_fields(marked.shape, marked.dtype, seed=analysis.computed.seed, index=analysis.index, backend=backend)
    panels = {"Original\n": marked}
    for grid in analysis.grids:
        panels[f"{grid.title}\n{grid.words}"] = warp(marked, fields[grid.alpha, grid.sigma], backend=backend)
    low, high = grey_scale(analysis.reference)
    figure = _figure((9.0, 9.0 * _height(crop, analysis) + 0.8))
    for ax, (title, image) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        _show(ax, central(image, GRID_CROP), analysis, low, high)
        ax.set_title(title)
    return figure


def central(image: NDArray[Any], longest: int) -> NDArray[Any]:
    """Return the middle of an image: at most `longest` pixels along each axis."""
    return image[tuple(slice((n - min(n, longest)) // 2, (n + min(n, longest)) // 2) for n in image.shape)]


def downsampled(image: NDArray[Any], longest: int) -> NDArray[np.float64]:
    """Return means of squares of pixels, of the size that brings an image to at most `longest` along each axis."""
    step = math.ceil(max(image.shape) / longest)
    result = np.asarray(image, np.float64)
    for axis, n in enumerate(image.shape):
        starts = np.arange(0, n, step)
        counts = np.diff(starts, append=n)
        result = np.add.reduceat(result, starts, axis=axis) / np.expand_dims(counts, 1 - axis)
    return result


def grey_scale(image: NDArray[Any]) -> tuple[float, float]:
    """Return black and white of a picture: the percentiles 0.5 and 99.5."""
    low, high = np.percentile(np.asarray(image, np.float64), (0.5, 99.5))
    return (float(low), float(high)) if low < high else (float(image.min()), float(image.max()))


def _figure(size: tuple[float, float]) -> Figure:
    """Return a figure that belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _curves(
    analysis: Analysis, results: Sequence[StackCorrelation], expected: NDArray[np.float64] | None = None
) -> Figure:
    """Return a figure of curves with the legend below."""
    figure = _figure(CURVE_SIZE)
    ax = figure.add_subplot()
    known = None if expected is None else lambda _: expected
    plot_correlations(results, ax=ax, confidence_level=analysis.options.confidence_level, expected=known)
    mark_threshold(ax, 1 / math.e, "1/e")
    _legend(figure)
    return figure


def _legend(figure: Figure) -> None:
    """Put the legend of the figure's axes below them, where it covers nothing."""
    ax = figure.axes[0]
    handles, labels = ax.get_legend_handles_labels()
    for legend in [*figure.legends, *filter(None, [ax.get_legend()])]:
        legend.remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)


def _height(shape: tuple[int, ...], analysis: Analysis) -> float:
    """Return the height of a picture over its width, kept between 1/4 and 2."""
    return min(2.0, max(0.25, shape[0] / shape[1] * _aspect(analysis)))


def _aspect(analysis: Analysis) -> float:
    """Return the height of a pixel over its width."""
    _, y, x = analysis.file.voxel_size
    return y / x if y and x else 1.0


def _show(ax: Axes, image: NDArray[Any], analysis: Analysis, low: float, high: float) -> Any:
    """Show a picture in grey, with a scale bar where the size of a pixel is known."""
    height, width = image.shape
    shown = ax.imshow(
        downsampled(image, LONGEST_PANEL), cmap="gray", vmin=low, vmax=high, interpolation="none",
        extent=(0, width, height, 0), aspect=_aspect(analysis),
    )  # fmt: skip
    # A thin frame, for pictures that are white at their edge.
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(linewidth=0.6, color=GUIDE)
    pixel = analysis.file.voxel_size[2]
    # A strip has no room for a bar and its length.
    if pixel and 0.3 < height / width * _aspect(analysis) < 3:
        length = round_length(width * pixel / 3)
        name = f"{length:g} nm" if length < 1000 else f"{length / 1000:g} \N{GREEK SMALL LETTER MU}m"
        scale_bar(ax, length / pixel / width, name)
    return shown

"""What a deformation does, as pictures: how it folds, where, and what becomes of labels and of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .arrays import on_host
from .errors import ParameterError
from .folds import take_displacement
from .plots import COLOURS, round_length, scale_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .folds import FoldReport

WHOLE, FOLDED = COLOURS[0], COLOURS[1]
"""Colours of what keeps its order and of what is folded, in a histogram."""

MAP, MAP_ENDS, MAP_FOLDED = "PuOr", (0.12, 0.88), "#000000"
"""The same in a map: stretched in orange, squeezed in violet without its darkest, folded in black."""

LARGEST_DETERMINANT = 2.0
"""Where the colours of a map end: as far from 1, which leaves areas as they are, as the 0 at which it folds."""

CUT_LINE = COLOURS[1]
"""Colour of the lines where the other cuts lie."""

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: multiples of it spread over all hues."""


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
    ax = _axes(ax)
    left, right = report.edges[:-1], report.edges[1:]
    colours = np.where((left + right) / 2 <= 0, FOLDED, WHOLE)
    ax.bar(left, report.counts, right - left, align="edge", color=colours.tolist())
    ax.axvline(0, color=FOLDED, linewidth=1)
    ax.set(xlabel="Jacobian determinant", ylabel="Voxels", yscale="log")
    ax.set_title(f"{report.words}, least determinant {report.minimum:.3g}")
    return ax


def jacobian_map(
    displacement: Any,
    *,
    axes: Sequence[int] | None = None,
    index: int | Sequence[int] | None = None,
    ax: Axes | None = None,
    backend: str | None = None,
) -> Axes:
    """Draw where a displacement stretches an image, where it squeezes it, and where it folds it.

    Parameters
    ----------
    displacement : (len(axes), ...) float32 or float64 array
        In voxels, of an image of two axes or more: the last two are drawn.
    axes : sequence of 1 to 3 ints, optional
        The axes that move, of those after the first; the last ones by default.
    index : int or sequence of ints, optional
        Which slice, a number for each axis before the last two; the middle one by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    backend : str, optional
        Where to compute.

    Returns
    -------
    matplotlib.axes.Axes
        With a colour bar: 1 leaves areas as they are, and what is folded is black.

    Raises
    ------
    ParameterError
        If the displacement or the index is not allowed.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> jacobian_map(np.zeros((2, 4, 5)), ax=Figure().add_subplot()).images[0].get_array().shape
    (4, 5)
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, Normalize

    engine, field, axes, _ = take_displacement(displacement, axes, backend)
    shape = field.shape[1:]
    if len(shape) < 2:
        raise ParameterError(f"displacement has shape {field.shape}: allowed are those of an image of two axes or more")
    leading = _leading(index, shape[:-2])
    box = (*((n, n + 1) for n in leading), (0, shape[-2]), (0, shape[-1]))
    values = engine.to_host(engine.jacobian_determinant(field, axes=axes, box=box)).reshape(shape[-2:])
    ax = _axes(ax)
    colours = ListedColormap(colormaps[MAP](np.linspace(*MAP_ENDS, 256))).with_extremes(under=MAP_FOLDED)
    # 0 folds as well: the colours begin above it.
    norm = Normalize(np.nextafter(0, 1, dtype=np.float32), LARGEST_DETERMINANT)
    shown = ax.imshow(values, cmap=colours, norm=norm, interpolation="none")
    ax.figure.colorbar(shown, ax=ax, extend="both", label="Jacobian determinant", ticks=[0, 0.5, 1, 1.5, 2])
    ax.set(xticks=[], yticks=[])
    return ax


def orthogonal_cuts(
    volume: Any,
    *,
    position: Sequence[int] | None = None,
    voxel_size: Sequence[float] | None = None,
    limits: tuple[float, float] | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draw three cuts through one voxel of a volume: across z, across y below it, and across x beside it.

    Parameters
    ----------
    volume : (z, y, x) array_like
    position : three ints, optional
        The voxel; that in the middle by default. Lines show in each cut where the others lie.
    voxel_size : three floats, optional
        Along z, y and x in nm: proportions, and the length of the scale bar, which counts voxels otherwise.
    limits : (float, float), optional
        Grey values of black and white; those of the percentiles 0.5 and 99.5 of the cuts by default.
    figure : matplotlib.figure.Figure, optional
        Where to draw; a new one by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        If the volume has not three axes, the position is outside of it, or a size is not above 0.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> len(orthogonal_cuts(np.zeros((4, 5, 6)), figure=Figure()).axes)
    3
    """
    shape = tuple(np.shape(volume))
    if len(shape) != 3 or 0 in shape:
        raise ParameterError(f"volume has shape {shape}: allowed is (z, y, x)")
    z, y, x = _leading(position, shape, "position")
    sizes = (1.0, 1.0, 1.0) if voxel_size is None else tuple(map(float, voxel_size))
    if len(sizes) != 3 or not all(0 < size < np.inf for size in sizes):
        raise ParameterError(f"voxel_size = {voxel_size!r}: allowed are three numbers above 0")
    cuts = [on_host(cut) for cut in (volume[z], volume[:, y], volume[:, :, x])]
    if limits is None:
        low, high = np.percentile(np.concatenate([cut.ravel() for cut in cuts]).astype(np.float64), (0.5, 99.5))
        limits = (float(low), float(high))
    depth, height, width = (n * size for n, size in zip(shape, sizes, strict=True))
    panels = _panels(figure, depth, height, width)
    # Where each cut lies: its vertical and horizontal axis, and the lines of the other two.
    places = ((1, 2, y, x), (0, 2, z, x), (1, 0, y, z))
    for ax, cut, (down, across, row, column) in zip(panels, (cuts[0], cuts[1], cuts[2].T), places, strict=True):
        ax.imshow(
            cut, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="none", aspect=sizes[down] / sizes[across]
        )
        ax.axhline(row, color=CUT_LINE, linewidth=0.7)
        ax.axvline(column, color=CUT_LINE, linewidth=0.7)
        ax.set(xticks=[], yticks=[], ylabel="zyx"[down], xlabel="zyx"[across])
    length = round_length(width / 3)
    unit = "voxels" if voxel_size is None else "nm"
    scale_bar(panels[0], length / width, f"{length:g} {unit}")
    return panels[0].figure  # type: ignore[return-value]


def labels_over_image(image: Any, labels: Any, *, opacity: float = 0.4, ax: Axes | None = None) -> Axes:
    """Draw labels in colours over an image in grey.

    An identifier has the same colour in every picture, so that pictures before and after a deformation compare.

    Parameters
    ----------
    image : (y, x) array_like
    labels : (y, x) integer array_like
        0 is drawn transparent.
    opacity : float
        Of the labels, 0 to 1.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If the shapes differ, the labels are not integers, or the opacity is not 0 to 1.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> len(labels_over_image(np.eye(4), np.eye(4, dtype=int), ax=Figure().add_subplot()).images)
    2
    """
    image, labels = on_host(image), on_host(labels)
    if image.ndim != 2 or labels.shape != image.shape or labels.dtype.kind not in "biu":
        raise ParameterError(
            f"image has shape {image.shape}, labels {labels.shape} and dtype {labels.dtype}: "
            "allowed are two axes, and integers of the same shape"
        )
    if not 0 <= opacity <= 1:
        raise ParameterError(f"opacity = {opacity!r}: allowed are numbers from 0 to 1")
    ax = _axes(ax)
    low, high = np.percentile(image.astype(np.float64), (0.5, 99.5))
    ax.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="none")
    ax.imshow(_coloured(labels, opacity), interpolation="none")
    ax.set(xticks=[], yticks=[])
    return ax


def _coloured(labels: NDArray[Any], opacity: float) -> NDArray[np.float64]:
    """Return labels as red, green, blue and opacity, in hues that the identifiers alone determine."""
    from matplotlib.colors import hsv_to_rgb

    identifiers, places = np.unique(labels, return_inverse=True)
    spread = identifiers.astype(np.uint64) * GOLDEN  # wraps around
    hue = (spread >> np.uint64(40)) / 2**24
    value = 0.7 + 0.3 * ((spread >> np.uint64(16)) & np.uint64(255)) / 255
    colours = np.empty((len(identifiers), 4))
    colours[:, :3] = hsv_to_rgb(np.stack([hue, np.full(len(hue), 0.85), value], axis=1))
    colours[:, 3] = np.where(identifiers == 0, 0, opacity)
    coloured: NDArray[np.float64] = colours[places.reshape(labels.shape)]
    return coloured


def _leading(index: int | Sequence[int] | None, shape: tuple[int, ...], name: str = "index") -> tuple[int, ...]:
    """Return the position in axes that are not drawn, the middle by default; or raise ParameterError."""
    if index is None:
        return tuple(n // 2 for n in shape)
    given = np.ravel(index)
    fits = len(given) == len(shape) and given.dtype.kind in "iu"
    if not fits or not all(-n <= i < n for i, n in zip(given, shape, strict=True)):
        raise ParameterError(f"{name} = {index!r}: allowed are {len(shape)} integers that lie in {shape}")
    return tuple(int(i) % n for i, n in zip(given, shape, strict=True))


def _panels(figure: Figure | None, depth: float, height: float, width: float) -> list[Axes]:
    """Return axes for cuts across z, y and x, in the proportions of a volume."""
    if figure is None:
        from matplotlib import pyplot

        scale = 8 / max(width + depth, height + depth)
        figure = pyplot.figure(
            figsize=(scale * (width + depth) + 1, scale * (height + depth) + 1), layout="constrained"
        )
    grid = figure.add_gridspec(2, 2, width_ratios=(width, depth), height_ratios=(height, depth))
    return [figure.add_subplot(grid[place]) for place in ((0, 0), (1, 0), (0, 1))]


def _axes(ax: Axes | None) -> Axes:
    """Return the axes given, or those of a new figure."""
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots(layout="constrained")[1]
    return ax

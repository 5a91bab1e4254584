"""Where a displacement folds an image over itself, and how far it may be scaled before it does.

What counts is the determinant of the derivative of p + d(p), det(I + dd/dp), with differences as ``numpy.gradient``
takes them. Where it is 0 or less the image is torn: neighbours change places.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import on_device, take
from .backends.base import Array, Backend, Folds
from .backends.numpy_.interpolation import boxes
from .backends.numpy_.jacobian import derivative, determinant
from .deformation_checks import check_finite, moving_axes
from .errors import FoldWarning, ParameterError, warn
from .random_fields import Box, grow_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLOCK = 1 << 18
"""Voxels that are looked at at once on the host: for `limit_folds` up to 40 MB."""

ALIKE = 1e-9
"""Determinants that differ by so little, as a part of them, are one."""

HALVINGS = 60
"""Of an interval of scales: more than float64 tells apart."""


@dataclass(frozen=True, slots=True, eq=False)
class FoldReport:
    """How a displacement stretches, squeezes and folds.

    Attributes
    ----------
    minimum, maximum : float
        Of the determinant: below 1 where the image is stretched, above 1 where it is squeezed.
    position : tuple of ints
        A voxel with the least determinant, the first in the order of memory.
    voxels, folded : int
        How many there are, and how many have a determinant of 0 or less.
    largest_displacement : float
        Length of the longest vector, in voxels.
    counts : int64 array
        Voxels by determinant, a number a bin.
    edges : float64 array
        Where the bins end, one more than `counts`; the last bin has both its edges.
    """

    minimum: float
    maximum: float
    position: tuple[int, ...]
    voxels: int
    folded: int
    largest_displacement: float
    counts: NDArray[np.int64]
    edges: NDArray[np.float64]

    @property
    def fraction_folded(self) -> float:
        """The part of the voxels that fold."""
        return self.folded / self.voxels

    @property
    def words(self) -> str:
        """How much folds, in words."""
        return f"{percentage(self.folded, self.voxels)} folded" if self.folded else "nothing folded"

    def __str__(self) -> str:
        """Return what there is to say in two lines."""
        return (
            f"determinant {self.minimum:.4g} to {self.maximum:.4g}, the least at {self.position}; "
            f"largest displacement {self.largest_displacement:.4g} voxels\n"
            f"{self.words}, of {self.voxels} voxels"
        )

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """Return the report as JSON, under the names of its attributes; write it to `path` where given."""
        names = ("minimum", "maximum", "position", "voxels", "folded", "fraction_folded", "largest_displacement")
        values = {name: getattr(self, name) for name in names}
        text = json.dumps(values | {"counts": self.counts.tolist(), "edges": self.edges.tolist()}, indent=1)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the histogram of the determinant; what folds in another colour."""
        from .deformation_plots import plot_folds

        return plot_folds(self, ax)


def percentage(part: int, whole: int) -> str:
    """Return a share in per cent, as text that says 0 % and 100 % of none and of all only."""
    if part in (0, whole):
        return f"{100 * part // whole} %"
    percent = min(max(100 * part / whole, 0.01), 99.9)
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.1f} %"


def fold_report(
    displacement: Any,
    *,
    axes: Sequence[int] | None = None,
    bins: int | ArrayLike = 100,
    backend: str | None = None,
) -> FoldReport:
    """Say how a displacement folds: minimum and histogram of its determinant, and where.

    Parameters
    ----------
    displacement : (len(axes), ...) float32 or float64 array
        In voxels. Beyond it, memory is taken for a block.
    axes : sequence of 1 to 3 ints, optional
        The axes that move, of those after the first; the last ones by default. ``(2, n, y, x)`` with axes (1, 2) is a
        field a slice.
    bins : int or increasing sequence
        How many bins from the least to the largest determinant, or their edges: what lies beyond them is not counted.
    backend : str, optional
        Where to compute the determinants.

    Returns
    -------
    FoldReport

    Raises
    ------
    ParameterError
        If the displacement is empty, not finite, or of another shape or dtype, or the bins are none.

    Examples
    --------
    >>> y, x = np.mgrid[:4, :4].astype(float)
    >>> report = fold_report(np.stack([0 * y, 0.5 * x]))
    >>> report.minimum, report.fraction_folded
    (1.5, 0.0)
    """
    engine, field, axes, _ = take_displacement(displacement, axes, backend)
    minimum, maximum, folded, longest = np.inf, -np.inf, 0, 0.0
    position: tuple[int, ...] = ()
    for box, values in _determinants(engine, field, axes):
        least = int(np.argmin(values))
        if values.flat[least] < minimum:
            minimum = float(values.flat[least])
            place = np.unravel_index(least, values.shape)
            position = tuple(int(i) + start for i, (start, _) in zip(place, box, strict=True))
        maximum = max(maximum, float(values.max()))
        folded += int(np.count_nonzero(values <= 0))
        vectors = engine.to_host(field[(slice(None), *(slice(*ends) for ends in box))])
        longest = max(longest, float(np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=0).max())))
    edges = _bin_edges(bins, minimum, maximum)
    counts = np.zeros(len(edges) - 1, np.int64)
    for _, values in _determinants(engine, field, axes):
        counts += np.histogram(values, edges)[0]
    voxels = int(np.prod(field.shape[1:]))
    return FoldReport(minimum, maximum, position, voxels, folded, longest, counts, edges)


def limit_folds(
    displacement: Any, *, minimum: float = 0.1, axes: Sequence[int] | None = None, backend: str | None = None
) -> tuple[Any, float]:
    """Scale a displacement down until it does not fold: by the largest scale up to which it does not.

    Parameters
    ----------
    displacement : (len(axes), ...) float32 or float64 array
        In voxels. Beyond it and the result, memory is taken for a block.
    minimum : float
        What the determinant may nowhere be less than, above 0 and below 1.
    axes : sequence of 1 to 3 ints, optional
        As in `fold_report`.
    backend : str, optional
        Of the result; the scale is computed on the host in float64, block by block.

    Returns
    -------
    displacement : array
        Times the scale; the input itself where that is 1.
    scale : float
        The largest s of 0 to 1 such that no scale from 0 to s takes the determinant below `minimum`, anywhere. The
        determinants of the result are at least `minimum` but for their rounding.

    Raises
    ------
    ParameterError
        If `minimum` is not between 0 and 1, or the displacement is empty, not finite or of another shape or dtype.

    Notes
    -----
    At every voxel the determinant of I + s dd/dp is a polynomial in s, of a degree of as many axes as move. The scale
    is the least at which one of them falls to `minimum`, to the last bits of float64. Those that a bound on their
    coefficients keeps above it are not looked at.

    Examples
    --------
    >>> y, x = np.mgrid[:4, :4].astype(float)
    >>> limited, scale = limit_folds(np.stack([0 * y, -1.8 * x]))
    >>> round(scale, 12)
    0.5
    """
    if not isinstance(minimum, (int, float, np.floating)) or not 0 < minimum < 1:
        raise ParameterError(f"minimum = {minimum!r}: allowed are numbers above 0 and below 1")
    engine, field, axes, give_back = take_displacement(displacement, axes, backend)
    scale = 1.0
    for part in boxes(field.shape[1:], BLOCK):
        matrix = _derivative(engine, field, axes, tuple((s.start, s.stop) for s in part))
        scale = _scale_within(_polynomials(matrix), minimum, scale)
    if scale == 1:
        return displacement, 1.0
    return give_back(field * field.dtype.type(scale)), scale


def warn_of_folds(folds: Folds, voxels: int) -> None:
    """Warn where a displacement of so many voxels folds, and say how much of it."""
    if folds.folded:
        warn(
            f"the displacement folds {percentage(folds.folded, voxels)} of the image over itself (least determinant "
            f"{folds.minimum:.3g}): a smaller alpha, a larger sigma or limit_folds keeps it whole",
            FoldWarning,
        )


def take_displacement(
    displacement: Any, axes: Sequence[int] | None, backend: str | None
) -> tuple[Backend, Array, tuple[int, ...], Callable[[Any], Any]]:
    """Return the backend of a displacement, the displacement on it, its axes, and the way back; or raise."""
    engine, field, give_back = take("displacement", displacement, backend)
    ndim = field.ndim - 1
    fits = 1 <= ndim <= 4 and 1 <= len(field) <= min(ndim, 3)
    if field.dtype.kind != "f" or not fits or not field.size:
        raise ParameterError(
            f"displacement has shape {field.shape} and dtype {field.dtype}: allowed are float32 and float64, and "
            "(len(axes), ...): a component for each of 1 to 3 axes that move, then 1 to 4 axes, none of which is empty"
        )
    axes = moving_axes(range(ndim - len(field), ndim) if axes is None else axes, ndim)
    if len(axes) != len(field):
        raise ParameterError(f"displacement has {len(field)} components: allowed are {len(axes)}, as axes = {axes}")
    if not on_device(displacement):
        check_finite("displacement", field)
    elif not np.isfinite([float(field.min()), float(field.max())]).all():
        raise ParameterError("displacement has values that are NaN or infinite: allowed are finite numbers")
    return engine, field, axes, give_back


def _determinants(engine: Backend, field: Array, axes: Sequence[int]) -> Iterator[tuple[Box, Array]]:
    """Yield boxes of a displacement and their determinants, on the host."""
    for part in boxes(field.shape[1:], BLOCK):
        box = tuple((s.start, s.stop) for s in part)
        yield box, engine.to_host(engine.jacobian_determinant(field, axes=axes, box=box))


def _bin_edges(bins: int | ArrayLike, minimum: float, maximum: float) -> NDArray[np.float64]:
    """Return the edges of the bins that were asked for, or raise ParameterError."""
    if maximum - minimum < ALIKE * max(abs(minimum), abs(maximum), 1):
        minimum = maximum = (minimum + maximum) / 2  # bins within the last digits have no width: NumPy takes 1 about it
    try:
        return np.histogram_bin_edges([minimum, maximum], bins).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"bins = {bins!r}: allowed are an integer above 0 and increasing edges") from error


def _derivative(engine: Backend, field: Array, axes: Sequence[int], box: Box) -> list[list[Array]]:
    """Return the derivative of a displacement in a box, on the host in float64."""
    grown, inner = grow_box(box, [int(axis in axes) for axis in range(len(box))], field.shape[1:])
    piece = engine.to_host(field[(slice(None), *(slice(*ends) for ends in grown))])
    return derivative(piece.astype(np.float64), axes, tuple((s.start, s.stop) for s in inner))


def _polynomials(g: list[list[Array]]) -> NDArray[np.float64]:
    """Return the coefficients of s, s^2 and s^3 in det(I + s g) of matrices g, (3, n): the sums of principal minors."""
    n = len(g)
    coefficients = np.zeros((3, g[0][0].size))
    coefficients[0] = np.add.reduce([g[i][i] for i in range(n)]).ravel()
    for i, j in combinations(range(n), 2):
        coefficients[1] += (g[i][i] * g[j][j] - g[i][j] * g[j][i]).ravel()
    if n == 3:
        coefficients[2] = determinant(g).ravel()
    return coefficients


def _scale_within(coefficients: NDArray[np.float64], minimum: float, most: float) -> float:
    """Return the largest scale up to `most` until which ``1 + c1 s + c2 s^2 + c3 s^3`` is nowhere below `minimum`.

    The interval of scales is halved; what is still above `minimum` at the larger half's beginning matters no more.
    """
    a, b, c = np.minimum(coefficients, 0)
    suspects = coefficients[:, ~(1 + most * (a + most * (b + most * c)) >= minimum)]
    suspects = suspects[:, _least_until(suspects, most) < minimum]
    if not suspects.size:
        return most
    low, high = 0.0, most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = _least_until(suspects, middle) < minimum
        if below.any():
            high, suspects = middle, suspects[:, below]
        else:
            low = middle
    return low


def _least_until(coefficients: NDArray[np.float64], end: float) -> NDArray[np.float64]:
    """Return the least value of each polynomial from 0 to `end`: at the ends, or where its derivative is 0."""
    c1, c2, c3 = coefficients
    with np.errstate(all="ignore"):  # NaN where there is no such place
        root = np.sqrt(c2 * c2 - 3 * c1 * c3)
        larger = -(c2 + np.copysign(root, c2))  # of the two, the one whose terms have one sign
        turns = [larger / (3 * c3), c1 / larger]
    least = np.ones(len(c1))
    for s in (*(np.clip(np.nan_to_num(turn, nan=0.0, posinf=end, neginf=0.0), 0, end) for turn in turns), end):
        least = np.minimum(least, 1 + s * (c1 + s * (c2 + s * c3)))
    return least

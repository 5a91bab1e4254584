"""Shift-aware correlation: the largest one over small sideways shifts, so that drift is told from decorrelation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import intervals
from .arrays import Stack, check_mask, choose, take
from .backends.base import Array
from .errors import ConstantSliceWarning, ParameterError, warn
from .records import Battery, Correlation, StackCorrelation
from .shift_search import BestShifts, best_shifts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SLAB_SLICES = 8
"""Slices that are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftedCorrelation(Correlation):
    """The largest correlation of two images over small shifts.

    Attributes
    ----------
    shift_y, shift_x : int
        What is at (y, x) in the first image is at (y + shift_y, x + shift_x) in the second.
    peak_y, peak_x : float
        The same to a fraction of a pixel, from a parabola; `statistic` belongs to the whole shift.
    max_shift : int
        The largest shift tried. A best shift at that limit may be farther out in truth.

    The others are those of `Correlation`, for the parts that overlap.
    """

    shift_y: int
    shift_x: int
    peak_y: float
    peak_x: float
    max_shift: int

    @property
    def shift(self) -> tuple[int, int]:
        """The shift as (y, x)."""
        return self.shift_y, self.shift_x

    def columns(self, confidence_level: float = 0.95) -> dict[str, list[Any]]:
        """Return a table of one row."""
        names = ("shift_y", "shift_x", "peak_y", "peak_x")
        own = {name: [getattr(self, name)] for name in names}
        return Correlation.columns(self, confidence_level) | own


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ShiftedStackCorrelation(StackCorrelation):
    """The largest correlation of a reference with every slice over small shifts: arrays of shape (N,).

    Attributes
    ----------
    shift_y, shift_x : int64 arrays
        What is at (y, x) in the reference is at (y + shift_y, x + shift_x) in the slice.
    peak_y, peak_x : float64 arrays
        The same to a fraction of a pixel.
    max_shift : int
        The largest shift tried.
    unshifted : StackCorrelation
        The correlation without a shift.

    The others are those of `StackCorrelation`, for the parts that overlap.
    """

    shift_y: Ints
    shift_x: Ints
    peak_y: Floats
    peak_x: Floats
    max_shift: int
    unshifted: StackCorrelation

    @property
    def at_limit(self) -> NDArray[np.bool_]:
        """Where the best shift is as large as was allowed, and may be larger in truth."""
        return np.asarray(np.maximum(np.abs(self.shift_y), np.abs(self.shift_x)) == self.max_shift)

    def columns(self, confidence_level: float = 0.95) -> dict[str, list[Any]]:
        """Return the table: a row a slice."""
        names = ("shift_y", "shift_x", "peak_y", "peak_x")
        own = {name: getattr(self, name).tolist() for name in names}
        table = StackCorrelation.columns(self, confidence_level)
        return table | own | {"r_unshifted": self.unshifted.statistic.tolist()}

    def plot(self, ax: Axes | None = None, confidence_level: float = 0.95) -> Axes:
        """Draw r against distance with its band, without and with the shift; returns the axes."""
        return Battery((self.unshifted, self)).plot(ax, confidence_level)


def shifted_correlation(
    image_1: Any,
    image_2: Any,
    *,
    max_shift: int,
    mask: Any = None,
    ci: str | None = "tiles",
    backend: str | None = None,
) -> ShiftedCorrelation:
    """Return the largest correlation of two images over small sideways shifts, and the shift.

    Parameters
    ----------
    image_1, image_2 : (Y, X) arrays
        bool, integers, float32 or float64, without NaN.
    max_shift : int
        Largest shift along each axis in pixels, 0 or more, below the smaller side. Keep it well below the image: parts
        that overlap by little correlate by chance.
    mask : (Y, X) bool array, optional
        Pixels of `image_1` that count.
    ci : {"tiles", "effective", "fisher", None}
        How the standard error is found, on the parts that overlap.
    backend : str, optional
        Where r is computed; the search is done on the host.

    Returns
    -------
    ShiftedCorrelation
        ``.statistic`` is r at ``.shift``, as `image_correlation` gives it for the overlapping parts. Of equal r the
        smallest shift is taken.

    Raises
    ------
    ParameterError
        If shapes differ, a parameter is not allowed, there are NaN, or `image_1` is constant.

    Notes
    -----
    The largest of many r is larger than r is in truth. Of unrelated images of 256 x 256, the best of all shifts up to
    5, 10 and 20 pixels has, on average (and at most in 95 of 100 pairs), r of 0.025 (0.07), 0.037 (0.09) and 0.055
    (0.09) for phantoms, 0.044 (0.12), 0.058 (0.12) and 0.081 (0.14) for ssTEM sections 11 apart (which have 0.027
    without a shift), 0.010, 0.012 and 0.014 for white noise. The interval takes the shift as
    known and is not corrected for that: r no larger than this is no sign of likeness. It assumes what that of
    `image_correlation` does, images that are stationary and wider than a few of their structures, and is not to be
    trusted where `saturated` is set. A small r is no proof of independence: it sees linear likeness alone.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
    >>> result = shifted_correlation(image[5:35, 5:45], image[3:33, 6:46], max_shift=4)
    >>> result.shift, result.statistic
    ((2, -1), 1.0)
    """
    engine = choose(backend, image_1=image_1, image_2=image_2)
    first = engine.to_host(take("image_1", image_1, engine.name)[1])
    second = engine.to_host(take("image_2", image_2, engine.name)[1])
    if first.ndim != 2 or first.shape != second.shape or first.size == 0:
        raise ParameterError(f"image_1 and image_2 have shapes {first.shape} and {second.shape}: allowed is one (Y, X)")
    max_shift = check_max_shift(max_shift, first.shape)
    check_finite("image_1", first)
    check_finite("image_2", second)
    best = best_shifts(first, second[np.newaxis], max_shift, mask=check_mask(mask, first.shape), ci=ci, engine=engine)
    if best.flags[0]:
        warn("image_2 has no variance: r = NaN", ConstantSliceWarning)
    of_r = best.uncertainty
    return ShiftedCorrelation(
        statistic=float(best.r[0]),
        n=int(best.n[0]),
        n_eff=float(of_r.n_eff[0]),
        standard_error=float(of_r.standard_error[0]),
        df=float(of_r.df[0]),
        window=int(of_r.window[0]),
        saturated=bool(of_r.saturated[0]),
        method=ci or "none",
        backend=engine.name,
        shift_y=int(best.dy[0]),
        shift_x=int(best.dx[0]),
        peak_y=float(best.peak_y[0]),
        peak_x=float(best.peak_x[0]),
        max_shift=max_shift,
    )


def shifted_stack_correlation(
    stack: Any,
    reference: Any = 0,
    *,
    max_shift: int,
    mask: Any = None,
    ci: str | None = "tiles",
    backend: str | None = None,
) -> ShiftedStackCorrelation:
    """Return the largest correlation of a reference slice with every slice of a stack over small shifts.

    Where it stays high and the correlation without a shift falls, the stack drifts; where both fall, it decorrelates.

    Parameters
    ----------
    stack : array_like of shape (n, Y, X) or (n, 1, Y, X)
        As in `stack_correlation`, without NaN. Read in slabs.
    reference : int or (Y, X) array
        Index of a slice (negative from the top), or an image.
    max_shift, mask, ci, backend
        As in `shifted_correlation`; `mask` is that of the reference.

    Returns
    -------
    ShiftedStackCorrelation
        With the shifts, and the correlation without them in ``.unshifted``. A constant slice has r = NaN at shift 0.

    Raises
    ------
    ParameterError
        If a parameter is not allowed, the reference is constant, or there are NaN.

    Notes
    -----
    The largest of many r is biased upwards, and the interval takes the shift as known: see `shifted_correlation` for
    that, for what the interval assumes, and for when not to trust it. A small r is no proof of independence.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(0).normal(size=(40, 40))
    >>> stack = np.stack([np.roll(image, (z, -2 * z), axis=(0, 1)) for z in range(3)])
    >>> result = shifted_stack_correlation(stack, max_shift=5)
    >>> result.shift_y.tolist(), result.shift_x.tolist()
    ([0, 1, 2], [0, -2, -4])
    """
    data = Stack(stack)
    engine = data.backend(backend, reference)
    max_shift = check_max_shift(max_shift, data.shape[1:])
    image, index = data.find(reference)
    image = engine.to_host(image)
    check_finite("reference", image)
    allowed = check_mask(mask, image.shape)
    parts, plain = [], []
    for start in range(0, len(data), SLAB_SLICES):
        slab = engine.to_host(data.slab(start, min(start + SLAB_SLICES, len(data))))
        check_finite("stack", slab)
        parts.append(best_shifts(image, slab, max_shift, mask=allowed, ci=ci, engine=engine))
        plain.append(best_shifts(image, slab, 0, mask=allowed, ci=ci, engine=engine))
    common: dict[str, Any] = {
        "distance": np.arange(len(data)) - (index or 0),
        "reference": index,
        "noise": 0.0,
        "method": ci or "none",
        "seed": None,
        "backend": engine.name,
        "spacing": data.spacing,
    }
    best, unshifted = _joined(parts), _joined(plain)
    if constant := np.flatnonzero(unshifted.flags != "").tolist():
        warn(f"slices without variance have r = NaN: {', '.join(map(str, constant[:10]))}", ConstantSliceWarning)
    return ShiftedStackCorrelation(
        **_fields(best),
        **common,
        transform=f"shifted by up to {max_shift} px",
        shift_y=best.dy,
        shift_x=best.dx,
        peak_y=best.peak_y,
        peak_x=best.peak_x,
        max_shift=max_shift,
        unshifted=StackCorrelation(**_fields(unshifted), **common, transform="identity"),
    )


def _joined(parts: Sequence[BestShifts]) -> BestShifts:
    """Return the best shifts of all slabs."""
    fields = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in BestShifts._fields
        if name != "uncertainty"
    }
    of_r = (np.concatenate(values) for values in zip(*(part.uncertainty for part in parts), strict=True))
    return BestShifts(**fields, uncertainty=intervals.Uncertainty(*of_r))


def _fields(best: BestShifts) -> dict[str, Any]:
    """Return what the best shifts have to say to a `StackCorrelation`."""
    own = {"statistic": best.r, "n": best.n, "flags": tuple(best.flags.tolist())}
    return own | best.uncertainty._asdict()


def check_max_shift(max_shift: Any, shape: tuple[int, ...]) -> int:
    """Return the largest shift as an int, or raise ParameterError."""
    whole = isinstance(max_shift, (int, np.integer)) and not isinstance(max_shift, bool)
    if not whole or not 0 <= max_shift < min(shape):
        raise ParameterError(f"max_shift = {max_shift!r}: allowed are whole numbers from 0 to {min(shape) - 1}")
    return int(max_shift)


def check_finite(name: str, images: Array) -> None:
    """Raise ParameterError where there are NaN or infinite pixels, which a Fourier transform would spread."""
    if images.dtype.kind == "f" and (count := int((~np.isfinite(images)).sum())):
        raise ParameterError(f"{name} has {count} NaN or infinite pixels: a search for shifts allows none")

"""Where a position falls on the sample grid: boundary modes, taps and B-spline weights.

A position is an integer `i` and a fraction `f` in [0, 1). Taps are folded into the image as integers, so that nothing
is lost where an image is large. `n` is the number of samples along an axis.

Of SciPy's eight modes, ``constant`` and ``wrap`` act on the position: outside [0, n - 1] it is lost, or moved by
multiples of n - 1; the taps beside the border are then mirrored. The other six act on the taps alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array

Indices = NDArray[np.intp]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

CHUNK = 1 << 15
"""Samples taken at once: few enough for the cache (1 << 18 takes 1.6 times as long), enough to hide Python's share
(1 << 12 takes twice as long)."""

FARTHEST = 2.0**62
"""Positions from here on, like those that are not finite, are outside of every image."""


def boxes(shape: Sequence[int], capacity: int) -> Iterator[tuple[slice, ...]]:
    """Cut `shape` into boxes of at most `capacity` samples (at least one), long along the last axes."""
    sizes: list[int] = []
    for n in reversed(shape):
        sizes.insert(0, max(1, min(n, capacity)))
        capacity //= sizes[0]
    steps = [
        [slice(start, min(start + size, n)) for start in range(0, n, size)]
        for n, size in zip(shape, sizes, strict=True)
    ]
    return product(*steps)


def split(positions: Array) -> tuple[Indices, Floats, Mask | None]:
    """Return integer part, fraction and the mask of the positions that are no number or too far (None: there are none).

    -1e-17 is -1 + 1.0 after rounding; it becomes 0 + 0.0.
    """
    lost = None
    if not (positions.min() > -FARTHEST and positions.max() < FARTHEST):
        lost = ~(np.abs(positions) < FARTHEST)
        positions = np.where(lost, 0.0, positions)
    floor = np.floor(positions)
    f: Floats = positions - floor
    i = floor.astype(np.intp)
    if f.max() >= 1.0:
        carry = f >= 1.0
        i += carry
        f[carry] = 0.0
    return i, f, lost


def _reflect(index: Indices, n: int) -> Indices:
    """Fold as d c b a | a b c d | d c b a."""
    index = index % (2 * n)
    return np.minimum(index, 2 * n - 1 - index)


def _mirror(index: Indices, n: int) -> Indices:
    """Fold as d c b | a b c d | c b a."""
    if n == 1:
        return np.zeros_like(index)
    period = 2 * n - 2
    index = index % period
    return np.minimum(index, period - index)


def _wrap(index: Indices, n: int) -> Indices:
    """Fold as a b c d | a b c d | a b c d."""
    return index % n


def _nearest(index: Indices, n: int) -> Indices:
    """Fold as a a a a | a b c d | d d d d."""
    return np.clip(index, 0, n - 1)


_FOLDS: dict[str, Callable[[Indices, int], Indices]] = {
    "reflect": _reflect,
    "grid-mirror": _reflect,
    "mirror": _mirror,
    "constant": _mirror,
    "wrap": _mirror,
    "grid-wrap": _wrap,
    "nearest": _nearest,
    "grid-constant": _nearest,  # any sample will do: its value is replaced
}


def _outside(index: Indices, n: int) -> Mask:
    """Return which indices are not 0 to n - 1; the bits of a negative index read as a large number."""
    outside: Mask = index.view(np.uintp) >= n
    return outside


def fold(index: Indices, n: int, mode: str) -> Indices:
    """Return tap indices folded into the image; only those outside are computed."""
    flat = index.reshape(-1)
    outside = np.flatnonzero(_outside(flat, n))
    if outside.size:
        flat[outside] = _FOLDS[mode](flat[outside], n)
    return flat.reshape(index.shape)


def enter(i: Indices, f: Floats, n: int, mode: str) -> tuple[Indices, Mask | None]:
    """Apply what `mode` does to positions: return the integer parts, and the mask of the positions that are lost."""
    if mode not in ("constant", "wrap"):
        return i, None
    outside = _outside(i, n) | ((i == n - 1) & (f > 0))
    if mode == "constant" or not outside.any():
        return i, outside
    period = max(n - 1, 1)
    below = i + period * ((-i - (f > 0)) // period + 1)  # floor(-x / period) in integers
    moved = np.where(i < 0, below, i % period)
    return np.where(outside, moved, i), None


def nearest(i: Indices, f: Floats, n: int, mode: str) -> Indices:
    """Return the index next to each position, not folded yet; a half goes up as the image is read.

    Where a reflection is read backwards "up" is down: SciPy folds first and rounds then, and so it is here.
    """
    index: Indices = i + (f >= 0.5)
    if mode not in ("reflect", "grid-mirror", "mirror") or n == 1:
        return index
    half = f == 0.5
    if half.any():
        period, turn = (2 * n - 2, np.where(i < 0, n - 1, n)) if mode == "mirror" else (2 * n, n)
        index -= half & (i % period >= turn)
    return index


def bspline_weights(t: Floats, order: int) -> list[Floats]:
    """Return the weights of order + 1 taps, left to right, at a fraction t in [0, 1) of a knot interval; `order` >= 1.

    De Boor's recursion on uniform knots (C. de Boor, J. Approx. Theory 6 (1972) 50-62): every term is positive.
    """
    weights = [1.0 - t, t]
    for m in range(2, order + 1):
        inner = [((t + (m - j)) * weights[j - 1] + ((1 + j) - t) * weights[j]) / m for j in range(1, m)]
        weights = [(1.0 - t) * weights[0] / m, *inner, t * weights[-1] / m]
    return weights


class Tap(NamedTuple):
    """One of the samples along an axis that a position depends on."""

    at: Indices
    weight: Floats | None  # None: 1
    outside: Mask | None  # where `cval` stands for the sample (mode grid-constant)


def axis_taps(i: Indices, f: Floats, n: int, *, order: int, mode: str) -> list[Tap]:
    """Return the taps of positions along one axis, after `enter`, with indices inside the image."""
    weights: Sequence[Floats | None]
    if order == 0:
        first, weights = nearest(i, f, n, mode), [None]
    elif order % 2:
        first, weights = i - order // 2, bspline_weights(f, order)
    else:  # splines of even order have their knots between the samples
        up = f >= 0.5
        first, weights = i + up - order // 2, bspline_weights(np.where(up, f - 0.5, f + 0.5), order)
    taps = []
    for k, weight in enumerate(weights):
        tap: Indices = first + k
        outside = _outside(tap, n) if mode == "grid-constant" else None
        taps.append(Tap(fold(tap, n, mode), weight, outside))
    return taps


def place(positions: Array, start: Indices | int, n: int, *, order: int, mode: str) -> tuple[list[Tap], list[Mask]]:
    """Return the taps of ``start + positions`` along one axis, and masks of what has the value `cval`."""
    i, f, astray = split(positions.astype(np.float64, copy=False))
    i, outside = enter(i + start, f, n, mode)
    lost = [mask for mask in (astray, outside) if mask is not None]
    return axis_taps(i, f, n, order=order, mode=mode), lost


@dataclass(frozen=True, slots=True)
class Source:
    """An image to take samples from: by flat index if contiguous, else by an index an axis (2.5 times slower)."""

    values: Array

    def offset(self, axis: int, index: Indices) -> Indices:
        """Return what an index along `axis` adds to the flat index, or the index itself."""
        step = prod(self.values.shape[axis + 1 :]) if self.values.flags.c_contiguous else 1
        return index if step == 1 else index * step

    def take(self, offsets: Sequence[Indices]) -> Array:
        """Return the samples at one offset an axis; offsets broadcast."""
        if not self.values.flags.c_contiguous:
            taken: Array = self.values[tuple(offsets)]
            return taken
        flat = offsets[0]
        for offset in offsets[1:]:
            flat = flat + offset
        return self.values.reshape(-1)[flat]


def sample(
    source: Source, fixed: Sequence[Indices], placed: Sequence[tuple[list[Tap], list[Mask]]], fill: Any
) -> Array:
    """Return the weighted sum of taps in float64, or at order 0 the samples themselves; `fill` where there are none.

    `fixed` are the offsets along the leading axes, which are only looked up; `placed` has what `place` gave for each
    of the axes after them. Taps are added in C order and weighted axis by axis, as SciPy does.
    """
    taps = [
        [tap._replace(at=source.offset(axis, tap.at)) for tap in along]
        for axis, (along, _) in enumerate(placed, len(fixed))
    ]
    parts = (_weighted(source, fixed, combination, fill) for combination in product(*taps))
    with np.errstate(invalid="ignore", over="ignore"):  # infinite samples: 0 * inf, inf - inf
        total = next(parts)
        for part in parts:
            total += part
    for _, lost in placed:
        for mask in lost:
            np.copyto(total, fill, where=mask)
    return total


def _weighted(source: Source, fixed: Sequence[Indices], taps: Sequence[Tap], fill: Any) -> Array:
    """Return one tap an axis: the samples times the weights."""
    values = source.take([*fixed, *(tap.at for tap in taps)])
    if taps[0].weight is not None:
        values = values.astype(np.float64, copy=False)
    for tap in taps:
        if tap.outside is not None:
            np.copyto(values, fill, where=tap.outside)
    for tap in taps:
        if tap.weight is not None:
            values *= tap.weight
    return values


def round_to(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return float64 `values` as `dtype`: integers are rounded, half away from zero, and clipped; NaN becomes 0."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(dtype, copy=False)
    if dtype.kind == "b":
        truth: Array = values >= 0.5
        return truth
    limits = np.iinfo(dtype)
    low, high = float(limits.min), float(limits.max)  # 2^63 and 2^64 for the widest: not below them is too much
    with np.errstate(invalid="ignore"):
        rounded = np.trunc(values + np.copysign(0.5, values))
    inside = (rounded > low) & (rounded < high)
    result = np.where(inside, rounded, 0.0).astype(dtype)
    result[rounded >= high] = limits.max
    result[rounded <= low] = limits.min
    return result


def fill_value(cval: float, dtype: np.dtype[Any]) -> Any:
    """Return `cval` as a scalar of `dtype`; a Python integer passes through no float."""
    if dtype.kind in "iu" and isinstance(cval, int):
        limits = np.iinfo(dtype)
        return dtype.type(min(max(cval, limits.min), limits.max))
    return round_to(np.full(1, cval, np.float64), dtype)[0]

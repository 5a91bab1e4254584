"""B-spline coefficients by recursive filters, many lines at once.

M. Unser, A. Aldroubi, M. Eden, IEEE Trans. Signal Process. 41 (1993) 821-833: one causal and one anticausal recursion a
pole. A recursion cannot be vectorised along its line, so that lines are filtered side by side: blocks of LANES lines
are copied into working memory of one row a sample, filtered there, and copied back.

In mode reflect the first coefficient is exact for lines of any length; SciPy up to 1.17 reads a sum half done there
and is off by |z|^(2n - 1) of the range on an axis of n samples, z being the pole: at order 5 1e-3 at n = 3, below 1e-13
from n = 18 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array

from .compiler import inner, jit
from .parallel import cut, run

LANES = 32
"""Lines filtered side by side: of 1024 samples they fill a quarter of a second cache of 512 KiB."""

POLES = {
    2: (sqrt(8.0) - 3.0,),
    3: (sqrt(3.0) - 2.0,),
    4: (
        sqrt(664.0 - sqrt(438976.0)) + sqrt(304.0) - 19.0,
        sqrt(664.0 + sqrt(438976.0)) - sqrt(304.0) - 19.0,
    ),
    5: (
        sqrt(67.5 - sqrt(4436.25)) + sqrt(26.25) - 6.5,
        sqrt(67.5 + sqrt(4436.25)) - sqrt(26.25) - 6.5,
    ),
}
"""Roots of the B-spline's polynomial inside of the unit circle (Unser, table I)."""

MIRROR, REFLECT, PERIODIC = range(3)

BOUNDARIES = {"reflect": REFLECT, "grid-mirror": REFLECT, "nearest": REFLECT, "grid-wrap": PERIODIC}
"""How a line goes on beyond its ends, where it does not mirror."""

NEGLIGIBLE = 1e-20
"""Powers of a pole below this change no bit of a sum."""


def spline_filter(image: Array, order: int, *, axes: Sequence[int], mode: str) -> Array:
    """See ``Backend.spline_filter``; float32 for float32 images, else float64."""
    return coefficients(image, order, axes, mode)


def coefficients(image: Array, order: int, axes: Sequence[int], mode: str) -> Array:
    """Return the coefficients along `axes` as a new, contiguous array."""
    dtype = np.float32 if image.dtype.newbyteorder("=") == np.float32 else np.float64
    result = _converted(image, dtype)
    boundary = BOUNDARIES.get(mode, MIRROR)
    for axis in axes:
        if result.shape[axis] > 1 and result.size:
            _filter_axis(result, axis, POLES[order], boundary)
    return result


def _converted(image: Array, dtype: type[np.float32 | np.float64]) -> NDArray[Any]:
    """Return a contiguous copy of an image, made in threads."""
    result = np.empty(image.shape, dtype)
    if result.ndim == 0 or result.size < 1 << 16:
        result[...] = image
        return result
    parts = cut(len(result), 16)

    def task(number: int) -> None:
        result[parts[number]] = image[parts[number]]

    run(task, len(parts))
    return result


def _filter_axis(values: NDArray[Any], axis: int, poles: Sequence[float], boundary: int) -> None:
    """Filter a contiguous array in place along an axis of 2 samples or more."""
    n, inner, number = values.shape[axis], prod(values.shape[axis + 1 :]), values.dtype.type
    gain = number(prod((1 - z) * (1 - 1 / z) for z in poles))
    ends = [
        (number(z), *_sparse(_first(n, z, boundary), number), *_sparse(_last(n, z, boundary), number)) for z in poles
    ]
    flat = values.reshape(-1)
    parts = cut(values.size // n, max(1, values.size >> 16), multiple=LANES)

    def task(part: int) -> None:
        _filter_lines(flat, parts[part].start, parts[part].stop, n, inner, gain, ends[0], ends[-1], len(ends))

    run(task, len(parts))


def _first(n: int, z: float, boundary: int) -> Array:
    """Return the weights of the samples in the first value of the causal recursion, which began at minus infinity."""
    i = np.arange(n)
    if boundary == PERIODIC:
        return np.asarray(z ** ((n - i) % n) / (1 - z**n))
    if boundary == MIRROR:
        sums = np.where((i > 0) & (i < n - 1), z**i + z ** (2 * n - 2 - i), z**i)
        return np.asarray(sums / (1 - z ** (2 * n - 2)))
    return np.asarray((i == 0) + (z ** (i + 1) + z ** (2 * n - i)) / (1 - z ** (2 * n)))


def _last(n: int, z: float, boundary: int) -> Array:
    """Return the weights of the causal values in the last value of the anticausal recursion, begun at infinity."""
    i = np.arange(n)
    if boundary == PERIODIC:
        return z ** ((i + 1) % n) * z / (z**n - 1)
    weights = np.zeros(n)
    weights[-1] = z / (z - 1)
    if boundary == MIRROR:
        weights[-2:] = np.array([z, 1.0]) * z / (z * z - 1)
    return weights


def _sparse(weights: NDArray[np.float64], number: type[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return where weights count, and these."""
    at = np.flatnonzero(np.abs(weights) > NEGLIGIBLE)
    return at, weights[at].astype(number)


@jit
def _filter_lines(
    flat: Any, start: Any, stop: Any, n: Any, inner: Any, gain: Any, first_pole: Any, second_pole: Any, poles: Any
) -> None:
    """Filter lines `start` to `stop`: line k begins at (k // inner) * n * inner + k % inner, its steps are inner."""
    block, sums = np.empty(n * LANES, flat.dtype), np.empty(LANES, flat.dtype)
    line = start
    while line < stop:
        outer, offset = line // inner, line % inner
        lanes = min(LANES, stop - line)
        if inner == 1:
            lines = flat[line * n : (line + lanes) * n]
            _transpose(lines, n, lanes, gain, block, False)
        else:
            lanes = min(lanes, inner - offset)
            lines = flat[outer * n * inner + offset : (outer + 1) * n * inner]
            _copy_rows(lines, n, inner, lanes, gain, block, False)
        _filter_block(block, n, lanes, first_pole, sums[:lanes])
        if poles > 1:
            _filter_block(block, n, lanes, second_pole, sums[:lanes])
        if inner == 1:
            _transpose(lines, n, lanes, gain, block, True)
        else:
            _copy_rows(lines, n, inner, lanes, gain, block, True)
        line += lanes


@inner
def _copy_rows(lines: Any, n: Any, inner: Any, lanes: Any, gain: Any, block: Any, back: Any) -> None:
    """Copy n rows of `lanes` samples, `inner` apart and multiplied by `gain`, into a block, or that `back`."""
    for i in range(n):
        row, target = lines[i * inner : i * inner + lanes], block[i * lanes : (i + 1) * lanes]
        if back:
            for lane in range(lanes):
                row[lane] = target[lane]
        else:
            for lane in range(lanes):
                target[lane] = row[lane] * gain


@inner
def _transpose(lines: Any, n: Any, lanes: Any, gain: Any, block: Any, back: Any) -> None:
    """Copy lines, multiplied by `gain`, into a block of one row a sample, or that `back` to lines."""
    for lane in range(lanes):
        line = lines[lane * n : (lane + 1) * n]
        if back:
            for i in range(n):
                line[i] = block[i * lanes + lane]
        else:
            for i in range(n):
                block[i * lanes + lane] = line[i] * gain


@jit
def _filter_block(block: Any, n: Any, lanes: Any, ends: Any, sums: Any) -> None:
    """Run the two recursions of a pole over n rows of `lanes` lines."""
    pole, first, first_weights, last, last_weights = ends
    _sum_rows(block, lanes, first, first_weights, sums)
    block[:lanes] = sums
    for i in range(1, n):
        before, row = block[(i - 1) * lanes : i * lanes], block[i * lanes : (i + 1) * lanes]
        for lane in range(lanes):
            row[lane] += pole * before[lane]
    _sum_rows(block, lanes, last, last_weights, sums)
    block[(n - 1) * lanes : n * lanes] = sums
    for i in range(n - 2, -1, -1):
        row, after = block[i * lanes : (i + 1) * lanes], block[(i + 1) * lanes : (i + 2) * lanes]
        for lane in range(lanes):
            row[lane] = pole * (after[lane] - row[lane])


@inner
def _sum_rows(block: Any, lanes: Any, rows: Any, weights: Any, sums: Any) -> None:
    """Fill `sums` with a weighted sum of rows of a block."""
    sums[:] = block.dtype.type(0)
    for k in range(rows.size):
        row = block[rows[k] * lanes : (rows[k] + 1) * lanes]
        for lane in range(lanes):
            sums[lane] += weights[k] * row[lane]

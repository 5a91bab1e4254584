"""Gaussian smoothing by direct convolution with SciPy's weights, axis by axis.

float64 images take SciPy's own operations in SciPy's order and have its digits; float32 images are computed in
float32. Integers are filtered in float64 and truncated after each axis, as in SciPy. The first axis is read from the
image and written to the result, the others are filtered in place there: there is no third array.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from gpu_stackcorr.backends.base import Array
from gpu_stackcorr.threads import allowed_threads

from .boundary import MODES
from .fir_blocks import LANES
from .lines import ROW, filter_rows, filter_side_by_side, make_scratch, tiles_side_by_side
from .parallel import cut, run

SMALLEST_SIGMA = 1e-15
"""SciPy leaves an axis alone up to this one."""

LARGEST_RADIUS = 2**16
"""Beyond it, where a thread would take more than 200 MB of scratch memory, images are left to SciPy."""

NARROWEST = LANES // 2
"""Neighbours of the last axis from which on it pays to filter LANES of them side by side."""

CHUNK = 2**18
"""Samples of slices that are worth a task of their own."""


class Pass(NamedTuple):
    """The filter of one axis."""

    axis: int
    weights: Array
    mode: int
    cval: Any


def filter_radius(sigma: float, truncate: float) -> int:
    """Return how many samples on each side an output depends on."""
    return int(truncate * float(sigma) + 0.5)


def half_kernel(sigma: float, truncate: float, dtype: DTypeLike) -> Array:
    """Return the weights at distances 0 to the radius, as SciPy computes them; none where it leaves the axis alone."""
    if sigma <= SMALLEST_SIGMA:
        return np.empty(0, dtype)
    radius = filter_radius(sigma, truncate)
    distance = np.arange(-radius, radius + 1)
    bell = np.exp(-0.5 / (sigma * sigma) * distance**2)
    return np.ascontiguousarray((bell / bell.sum())[radius:], dtype)


class _Tiles:
    """The tiles in which an axis of contiguous arrays is filtered; `source` may be `target`."""

    def __init__(self, source: Array, target: Array, one: Pass, threads: int) -> None:
        batch, length, side = self.shape = _around(target.shape, one.axis)
        self.arrays = source.reshape(-1), target.reshape(-1)
        self.filter_arguments = one.weights, one.mode, one.cval
        self.side_by_side = side >= NARROWEST or (side == 1 and batch >= NARROWEST)
        if self.side_by_side:
            self.count = tiles_side_by_side(self.shape)
            return
        radius, span, together = one.weights.size - 1, length, 1
        if 2 * radius <= length + LANES:  # short lines follow each other in one window
            together = max(1, ROW // ((length + 2 * radius) * side))
        if not np.may_share_memory(source, target):  # long lines are cut, for each thread to have some
            span = min(length, max(-(-length * batch // (8 * threads)), 8 * radius, ROW))
        self.cut = span, together
        self.count = -(-batch * -(-length // span) // together)

    def filter(self, tiles: slice, scratch: Array) -> None:
        ends = tiles.start, tiles.stop
        if self.side_by_side:
            filter_side_by_side(*self.arrays, self.shape, *self.filter_arguments, ends, scratch)
        else:
            filter_rows(*self.arrays, self.shape, self.cut, *self.filter_arguments, ends, scratch)


def gaussian_filter(
    image: Array,
    sigma: Sequence[float],
    *,
    axes: Sequence[int],
    mode: Sequence[str],
    cval: float = 0.0,
    truncate: float = 4.0,
) -> Array:
    """See ``Backend.gaussian_filter``. The result is in native byte order."""
    wide = [width for width in sigma if width > SMALLEST_SIGMA]
    if not all(0 <= filter_radius(width, truncate) <= LARGEST_RADIUS for width in wide):
        from gpu_stackcorr.backends.numpy_ import gaussian as specification  # brings scipy.ndimage

        return specification.gaussian_filter(image, sigma, axes=axes, mode=mode, cval=cval, truncate=truncate)
    smooth = np.empty(image.shape, image.dtype.newbyteorder("="))
    if not wide or image.size == 0:
        smooth[...] = image
        return smooth
    dtype = np.dtype(np.float32 if smooth.dtype == np.float32 else np.float64)
    passes = [
        Pass(axis, half_kernel(width, truncate, dtype), MODES[name], dtype.type(cval))
        for axis, width, name in zip(axes, sigma, mode, strict=True)
        if width > SMALLEST_SIGMA
    ]
    if not (image.dtype == dtype and image.flags.carray):  # strided, big-endian, read-only or of integers
        slabs = cut(len(image), 4 * allowed_threads())
        run(lambda number: np.copyto(smooth[slabs[number]], image[slabs[number]]), len(slabs))
        image = smooth
    if smooth.dtype == dtype:
        smooth_floats(image, smooth, passes)
    else:
        for one in passes:
            _truncate_blocks(smooth.view(np.uint8) if smooth.dtype == bool else smooth, one)
    return smooth


def smooth_floats(image: Array, smooth: Array, passes: Sequence[Pass]) -> None:
    """Smooth contiguous arrays: slices in parallel where there are many, else the lines of each axis in parallel.

    `image` may be `smooth`.
    """
    first_axis = min(one.axis for one in passes)
    inner = smooth.shape[first_axis:]
    image, smooth = image.reshape(-1, *inner), smooth.reshape(-1, *inner)
    passes = [one._replace(axis=one.axis - first_axis + 1) for one in passes]
    threads = allowed_threads()
    chunks = cut(len(smooth), min(8 * threads, smooth.size // CHUNK))
    if threads == 1 or len(passes) == 1 or len(chunks) < 2 * threads:
        _filter_axes(image, smooth, passes, threads)
    else:
        run(lambda number: _filter_axes(image[chunks[number]], smooth[chunks[number]], passes, 1), len(chunks))


def _filter_axes(source: Array, target: Array, passes: Sequence[Pass], threads: int) -> None:
    for one in passes:
        _filter_axis(source, target, one, threads)
        source = target


def _filter_axis(source: Array, target: Array, one: Pass, threads: int) -> None:
    tiles = _Tiles(source, target, one, threads)
    parts = cut(tiles.count, 8 * threads if threads > 1 else 1)
    spare: list[Array] = []

    def filter_part(number: int) -> None:
        try:
            scratch = spare.pop()
        except IndexError:
            scratch = make_scratch(one.weights.size - 1, one.weights.dtype)
        tiles.filter(parts[number], scratch)
        spare.append(scratch)

    run(filter_part, len(parts))


def _truncate_blocks(image: Array, one: Pass) -> None:
    """Filter integers in place, in float64, block by block of complete lines."""
    lines = image.reshape(_around(image.shape, one.axis))
    batch, _, side = lines.shape
    rows = max(1, LANES // side)
    blocks = [(np.s_[a : a + rows], np.s_[b : b + LANES]) for a in range(0, batch, rows) for b in range(0, side, LANES)]
    alone = one._replace(axis=1)

    def filter_block(number: int) -> None:
        a, b = blocks[number]
        samples = lines[a, :, b].astype(np.float64, order="C")
        _filter_axis(samples, samples, alone, 1)
        with np.errstate(invalid="ignore"):
            lines[a, :, b] = samples

    run(filter_block, len(blocks))


def _around(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    """Return how many samples lie before, along and after an axis."""
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])

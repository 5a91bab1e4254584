"""Sampling at coordinates by compiled loops, chunk by chunk of the points.

A coordinate is a displacement from the first sample: what ``rows`` does serves here as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gpu_stackcorr.backends.base import Array
from gpu_stackcorr.backends.numpy_.interpolation import boxes, fill_value

from .compiler import borrowing
from .flat_images import as_bytes, as_words, flatten, in_a_row, is_flat, is_too_large, lift, limits_of
from .folding import MODE_CODES
from .parallel import run, samples_a_task
from .rows import CHUNK, copy_row, linear_row, spline_row, spline_values, working_memory, write_row, write_values


def map_coordinates(
    image: Array, coordinates: Array, *, order: int, mode: str, cval: float = 0.0, dtype: DTypeLike | None = None
) -> Array:
    """See ``Backend.map_coordinates``.

    float32 where image and result are, else float64. A coordinate that is NaN, infinite or beyond 2^62 gives `cval`.
    Order 0 into another dtype is left to SciPy, and large images in foreign byte order to the ``numpy`` backend; small
    ones are copied, as are coefficients that are not of the dtype that they are computed in.
    """
    native = image.dtype.newbyteorder("=")
    dtype = native if dtype is None else np.dtype(dtype)
    if not image.size or not coordinates.size:
        return np.full(coordinates.shape[1:], fill_value(cval, dtype), dtype)
    if (order == 0 and dtype.newbyteorder("=") != native) or is_too_large(image):
        from gpu_stackcorr.backends.numpy_ import map_coordinates as specification  # brings scipy.ndimage

        return specification.map_coordinates(image, coordinates, order=order, mode=mode, cval=cval, dtype=dtype)
    ndim, shape = len(coordinates), coordinates.shape[1:]
    result = np.empty(shape or (1,), dtype.newbyteorder("="))
    points = coordinates.reshape(ndim, *result.shape)
    _sample(image if is_flat(image) else image.astype(native), points, result, order, mode, cval)
    return result.astype(dtype, copy=False).reshape(shape)


def _sample(image: Array, points: Array, result: Array, order: int, mode: str, cval: float) -> None:
    """Fill the contiguous `result` with samples of a flat image at `points`."""
    limits, rounded, fill = limits_of(result.dtype), result.dtype.kind != "f", fill_value(cval, result.dtype)
    single = image.dtype == np.float32 and result.dtype == np.float32
    kind = np.float32 if single else np.float64
    if order:
        image, result = as_bytes(image) if order == 1 else image.astype(kind, copy=False), as_bytes(result)
    else:
        image, result, fill = as_words(image), as_words(result), as_words(np.asarray(fill)[np.newaxis])[0]
    flat, ndim, code = flatten(image), image.ndim, MODE_CODES[mode]
    grid = (flat.origin, lift(image.shape, 1), lift(flat.strides, 0), 0, ndim)
    parts = list(boxes(result.shape, samples_a_task(result.size)))

    def task(number: int) -> None:
        box = parts[number]
        rows = [_positions(axis[box]) for axis in points]
        moves = tuple([rows[-1]] * (3 - ndim) + rows)
        there = result[box]
        block = np.empty(there.size, there.dtype)
        memory = working_memory(order, kind)
        if order == 0:
            _copy_points(flat.values, grid, moves, code, fill, memory, block)
        elif order == 1:
            _linear_points(flat.values, grid, moves, code, float(cval), limits, rounded, memory, block)
        else:
            values = block if block.dtype == kind else spline_values(block.size)
            _spline_points(flat.values, grid, moves, order, code, float(cval), (*memory[:2], values))
            write_values(values, block, limits)
        there[...] = block.reshape(there.shape)

    run(task, len(parts))


def _positions(coordinates: Array) -> Array:
    """Return some coordinates along an axis as a row, float32 or float64."""
    if coordinates.dtype.kind != "f":
        coordinates = coordinates.astype(np.float64)
    return in_a_row(coordinates)


@borrowing
def _copy_points(source: Any, grid: Any, moves: Any, mode: Any, fill: Any, memory: Any, target: Any) -> None:
    """Fill the row `target` with samples as they are."""
    for x in range(0, target.size, CHUNK):
        part = (x, min(CHUNK, target.size - x), x)
        copy_row(source, grid, (0, 0, 0), 0, moves, part, mode, fill, memory, target)


@borrowing
def _linear_points(
    source: Any, grid: Any, moves: Any, mode: Any, cval: Any, limits: Any, rounded: Any, memory: Any, target: Any
) -> None:
    """Fill the row `target` with samples at order 1; `rounded`: with integers within `limits`."""
    for x in range(0, target.size, CHUNK):
        part = (x, min(CHUNK, target.size - x), 0)
        linear_row(source, grid, (0, 0, 0), 0, moves, part, mode, cval, memory)
        write_row(memory[2], target[x : x + CHUNK], rounded, limits)


@borrowing
def _spline_points(source: Any, grid: Any, moves: Any, order: Any, mode: Any, cval: Any, memory: Any) -> None:
    """Fill ``memory[2]`` with samples at orders above 1, from coefficients of its dtype."""
    size = memory[2].size
    for x in range(0, size, CHUNK):
        part = (x, min(CHUNK, size - x), x)
        spline_row(source, grid, (0, 0, 0), 0, moves, part, order, mode, cval, memory)

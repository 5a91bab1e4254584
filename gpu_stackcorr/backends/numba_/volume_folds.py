"""Folds of a displacement of which the last three axes move: one loop with 18 reads and no write.

A compiler makes vectors of a loop that writes nothing, however much it reads, as there is nothing to be overwritten.
A least number is a reduction that it takes for whole numbers alone: determinants are compared by keys, whole numbers
in the same order. That takes half the time of differences written out first (see ``jacobian``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .compiler import inner, jit

KEYS = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}
"""The whole numbers that are keys of a dtype."""


def highest_key(dtype: np.dtype[Any]) -> Any:
    """Return the key of infinity."""
    return dtype.type(np.inf).view(KEYS[dtype])


def of_key(key: int, dtype: np.dtype[Any]) -> float:
    """Return the number that a key belongs to."""
    bits = np.array(key, KEYS[dtype])
    return float(np.where(bits < 0, bits ^ np.iinfo(bits.dtype).max, bits).view(dtype))


def key_of(value: Any) -> Any:
    """Return a whole number for a floating one, in the same order; for NaN the largest. Compiled code alone has it."""
    raise NotImplementedError


@overload(key_of)
def _key_of(value):  # type: ignore[no-untyped-def]
    """Return the implementation for a dtype: as bits, negative numbers run backwards."""
    if value == types.float32:

        def of_single(value):  # type: ignore[no-untyped-def]
            bits = np.float32(value).view(np.int32)
            return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)) if value == value else np.int32(0x7FFFFFFF)

        return of_single

    def of_double(value):  # type: ignore[no-untyped-def]
        bits = np.float64(value).view(np.int64)
        mask = np.int64(0x7FFFFFFFFFFFFFFF)
        return bits ^ ((bits >> np.int64(63)) & mask) if value == value else mask

    return of_double


@jit
def fold_volume(field, first, last, lowest):  # type: ignore[no-untyped-def]
    """Return the least key of the rows `first` to `last` of a box, not above `lowest`, and how many voxels fold."""
    sizes, strides, starts, stops, length = field.sizes, field.strides, field.starts, field.stops, field.sizes[3]
    _, half, one = field.numbers
    deep, high = stops[1] - starts[1], stops[2] - starts[2]
    left, right = max(starts[3], 1), min(stops[3], length - 1)
    ends = (0, int(starts[3] == 0)), (length - 1, int(stops[3] == length > 1))
    total = 0
    for row in range(first, last):
        at = (starts[0] + row // (deep * high), starts[1] + row // high % deep, starts[2] + row % high)
        place = at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2]
        z = neighbours(at[1], sizes[1], strides[1], half, one)
        y = neighbours(at[2], sizes[2], strides[2], half, one)
        for x, count in (*ends, (left, right - left)):
            around = (z, y, neighbours(x, length, 1, half, one))
            lowest, folded = fold_piece(field.values, field.origins, place + x, around, one, lowest, count)
            total += folded
    return lowest, total


@inner
def neighbours(at, size, stride, half, one):  # type: ignore[no-untyped-def]
    """Return how far the voxels after and before lie along an axis, and the factor of their difference."""
    below, above = at > 0, at + 1 < size
    return above * stride, below * stride, half if below and above else one


@inner
def fold_piece(values, origins, place, around, one, lowest, count):  # type: ignore[no-untyped-def]
    """Return the least key of `count` voxels of a row, not above `lowest`, and how many of them fold.

    The determinant is that of ``jacobian.of_three``, to the bit.
    """
    in_z, in_y, in_x = around[0][2], around[1][2], around[2][2]
    (az, ay, ax), (az_, ay_, ax_) = sides(origins[0] + place, around)
    (bz, by, bx), (bz_, by_, bx_) = sides(origins[1] + place, around)
    (cz, cy, cx), (cz_, cy_, cx_) = sides(origins[2] + place, around)
    folded = np.int32(0)
    for k in range(np.uint64(max(count, 0))):
        a = (values[az + k] - values[az_ + k]) * in_z + one
        b = (values[ay + k] - values[ay_ + k]) * in_y
        c = (values[ax + k] - values[ax_ + k]) * in_x
        d = (values[bz + k] - values[bz_ + k]) * in_z
        e = (values[by + k] - values[by_ + k]) * in_y + one
        f = (values[bx + k] - values[bx_ + k]) * in_x
        g = (values[cz + k] - values[cz_ + k]) * in_z
        h = (values[cy + k] - values[cy_ + k]) * in_y
        i = (values[cx + k] - values[cx_ + k]) * in_x + one
        value = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
        folded += np.int32(value <= 0)
        lowest = min(lowest, key_of(value))
    return lowest, folded


@inner
def sides(place, around):  # type: ignore[no-untyped-def]
    """Return where the voxels after and before a place lie, along z, y and x, as unsigned integers."""
    (z, z_, _), (y, y_, _), (x, x_, _) = around
    after = (np.uint64(place + z), np.uint64(place + y), np.uint64(place + x))
    return after, (np.uint64(place - z_), np.uint64(place - y_), np.uint64(place - x_))

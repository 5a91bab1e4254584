"""Arrays in the form in which compiled loops take them: few types, no copy where it can be helped.

Numba compiles a loop once for each dtype, number of dimensions, layout and permission to write. Images go in as flat,
read-only memory with strides, displacements and results as flat memory in C order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from gpu_stackcorr.backends.base import Array

Triple = tuple[int, int, int]

COPIED_BYTES = 1 << 26
"""Bytes of an image, in foreign byte order or not aligned, up to which it is copied to be read. Larger ones are left to
the ``numpy`` backend, which converts what it reads: slower, and without a copy of the whole."""


class FlatImage(NamedTuple):
    """An image as flat memory."""

    values: Array
    origin: int
    strides: tuple[int, ...]  # in elements


def is_flat(image: Array) -> bool:
    """Whether an image can be read where it lies: native, aligned, its strides multiples of its samples."""
    return image.dtype.isnative and image.flags.aligned and all(s % image.itemsize == 0 for s in image.strides)


def is_too_large(image: Array) -> bool:
    """Whether an image would have to be copied to be read, and is too large for that."""
    return image.nbytes > COPIED_BYTES and not is_flat(image)


def flatten(image: Array) -> FlatImage:
    """Return the memory from the first to the last sample of an image that `is_flat` and is not empty."""
    image = np.asarray(image)
    strides = tuple(s // image.itemsize for s in image.strides)
    upward = image[tuple(slice(None, None, -1) if s < 0 else slice(None) for s in strides)]
    extent = 1 + sum((n - 1) * abs(s) for n, s in zip(image.shape, strides, strict=True))
    origin = sum((n - 1) * -s for n, s in zip(image.shape, strides, strict=True) if s < 0)
    return FlatImage(as_strided(upward, (extent,), (image.itemsize,), writeable=False), origin, strides)


def one_array(images: Sequence[Array]) -> Array:
    """Return images of one shape and dtype as one array: of one memory and equally far apart as a view, else a copy."""
    first, *others = images
    gaps = {after.ctypes.data - before.ctypes.data for before, after in pairwise(images)}
    alike = all(image.base is first.base is not None and image.strides == first.strides for image in others)
    apart = max(gaps, default=0)
    if alike and len(gaps) < 2 and apart % first.itemsize == 0:
        return as_strided(first, (len(images), *first.shape), (apart, *first.strides), writeable=False)
    return np.stack(images)


def as_bytes(image: Array) -> Array:
    """Return a bool image as uint8, and any other as it is."""
    return image.view(np.uint8) if image.dtype == np.bool_ else image


def as_words(image: Array) -> Array:
    """Return an image as unsigned integers of the size of its samples."""
    return image.view(f"u{image.itemsize}")


@cache
def limits_of(dtype: np.dtype[Any]) -> Array:
    """Return the least and the largest value of a dtype, bool as uint8; zeros for floats, which need none."""
    if dtype.kind == "b":
        return np.array([0, 1], np.uint8)
    if dtype.kind == "f":
        return np.zeros(2, dtype)
    return np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)


def lift(values: tuple[int, ...], fill: int) -> Triple:
    """Return one entry for each of the axes z, y and x, of which the last ones are given."""
    z, y, x = (fill,) * (3 - len(values)) + tuple(int(v) for v in values)
    return z, y, x


def in_a_row(samples: Array) -> Array:
    """Return samples in C order as a flat, native, read-only array."""
    if not (samples.flags.c_contiguous and samples.flags.aligned and samples.dtype.isnative):
        samples = np.require(samples, samples.dtype.newbyteorder("="), ["C", "A"])
    row = np.asarray(samples).reshape(-1)
    row.flags.writeable = False
    return row

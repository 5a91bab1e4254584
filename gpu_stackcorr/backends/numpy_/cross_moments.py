"""All pairs of images by matrix products: the specification of ``Backend.cross_moments``.

The pixels are taken in chunks that stay in the cache. Integers are exact because every partial sum is an integer that
its floating type holds, in whatever order BLAS adds: bool and 8 bits, shifted to -128..127, in float32 up to 2^10
pixels a product (1.7 times as fast as float64), 16 bits, shifted likewise, in float64. Floating images are centred
chunk by chunk, in two passes, and merged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array
from gpu_stackcorr.cross_moments import CrossMoments
from gpu_stackcorr.moments import EXACT_DTYPES

CHUNK_VALUES = 1 << 20
"""Values of all images taken at once."""

FEWEST_PIXELS = 1 << 10
"""Pixels taken at once however many images there are: a product of matrices needs some depth to be fast."""

FLOAT32_PIXELS = 1 << 10
"""Pixels up to which float32 holds a sum of products of numbers in -128..127: 2^10 * 2^14 = 2^24."""

FLOAT64_PIXELS = 1 << 22
"""The same for float64 and 16 bits, with a factor of two to spare: 2^22 * 2^30 = 2^52."""


def cross_moments(slices: Array, others: Array | None = None, *, mask: Array | None = None) -> CrossMoments:
    """See ``Backend.cross_moments``."""
    dtype = slices.dtype.newbyteorder("=")
    both = [slices] if others is None else [slices, others]
    chunks = _chunks(both, mask)
    with np.errstate(over="ignore", invalid="ignore"), _one_thread():
        if dtype in EXACT_DTYPES:
            return _exact(chunks, dtype, [len(images) for images in both])
        empty = CrossMoments(0, False, *_zeros([len(images) for images in both], np.float64))
        return reduce(CrossMoments.merge, (_centred(chunk) for chunk in chunks), empty)


def _one_thread() -> AbstractContextManager[Any]:
    """Let BLAS take one thread, where threadpoolctl is there to tell it.

    The bits do not depend on the machine then, and on two cores of a virtual machine two threads of OpenBLAS were seen
    to take 28 times as long as one, each waiting for the other. A source tree that runs uninstalled may lack it.
    """
    limit: AbstractContextManager[Any] = nullcontext()
    if (controller := _controller()) is not None:
        limit = controller.limit(limits=1, user_api="blas")
    return limit


@cache
def _controller() -> Any:
    """Return what sets the number of threads of BLAS, or None where it is missing."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


def _chunks(both: list[Array], mask: Array | None) -> Iterator[list[Array]]:
    """Yield the valid pixels of one or two sets of images, some at a time: arrays (N, P) of the images' dtype."""
    height, width = both[0].shape[1:]
    pixels = max(FEWEST_PIXELS, CHUNK_VALUES // max(1, sum(map(len, both))))
    columns = max(1, min(width, pixels))
    rows = max(1, pixels // columns)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            box = (..., slice(top, top + rows), slice(left, left + columns))
            valid = None if mask is None else mask[box].ravel()
            if valid is None or valid.all():
                yield [images[box].reshape(len(images), -1) for images in both]
            elif valid.any():
                yield [images[box].reshape(len(images), -1)[:, valid] for images in both]


def _zeros(sizes: list[int], dtype: type) -> list[NDArray[Any]]:
    """Return zeros in the shapes of x, y, xx, yy and xy."""
    n, m = sizes[0], sizes[-1]
    return [np.zeros(shape, dtype) for shape in (n, m, n, m, (n, m))]


def _exact(chunks: Iterator[list[Array]], dtype: np.dtype[Any], sizes: list[int]) -> CrossMoments:
    """Return the exact sums of integer images."""
    small = dtype.itemsize == 1
    shift = 1 << (8 * dtype.itemsize - 1) if dtype.kind == "u" else 0
    x, y, xx, yy, xy = sums = _zeros(sizes, np.int64)
    count = 0
    for chunk in chunks:
        # Both types hold every shifted value; np.subtract converts and shifts in one pass.
        kind: Any = np.float32 if small else np.float64
        values: list[Array] = [np.subtract(images, shift, dtype=kind) for images in chunk]
        length = values[0].shape[1]
        count += length
        step = FLOAT32_PIXELS if small else FLOAT64_PIXELS
        for start in range(0, length, step):
            part: list[Any] = [images[:, start : start + step] for images in values]
            products: list[Array] = [part[0].sum(axis=1), part[-1].sum(axis=1)]
            products += [np.einsum("np,np->n", part[k], part[k]) for k in (0, -1)]
            products.append(np.matmul(part[0], part[-1].T))
            for total, product in zip(sums, products, strict=True):
                total += product.astype(np.int64)
    # From sums of x - shift to sums of x.
    xy += shift * (x[:, np.newaxis] + y) + count * shift * shift
    xx += 2 * shift * x + count * shift * shift
    yy += 2 * shift * y + count * shift * shift
    x += count * shift
    y += count * shift
    return CrossMoments(count, True, *sums)


def _centred(chunk: list[Array]) -> CrossMoments:
    """Return the moments of the floating images of one chunk."""
    means, squares, deviations = [], [], []
    for images in chunk:
        values = images.astype(np.float64)
        mean = values.mean(axis=1)
        values -= mean[:, np.newaxis]
        residual = values.mean(axis=1)
        values -= residual[:, np.newaxis]
        means.append(mean + residual)
        squares.append((values * values).sum(axis=1))
        deviations.append(values)
    product = deviations[0] @ deviations[-1].T
    return CrossMoments(chunk[0].shape[1], False, means[0], means[-1], squares[0], squares[-1], product)

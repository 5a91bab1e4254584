"""Positional random fields by NumPy's own Philox: the specification of ``Backend.random_field``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpu_stackcorr.backends.base import Array, Box
from gpu_stackcorr.random_fields import whole_box

WORDS_PER_BLOCK = 4
"""64-bit words of a Philox block: ``advance`` counts blocks."""

LONGEST_RUN = 1 << 20
"""Numbers drawn at once, so that no second array of the size of the field is held."""


def random_field(
    seed: int,
    stream: int | NDArray[np.uint64],
    shape: Sequence[int],
    *,
    box: Box | None = None,
    distribution: str = "uniform",
    dtype: DTypeLike = np.float32,
) -> Array:
    """See ``Backend.random_field``."""
    box = whole_box(shape) if box is None else box
    sizes = tuple(stop - start for start, stop in box)
    streams = np.asarray(stream, np.uint64)
    field = np.empty((streams.size, prod(sizes)), dtype)
    if field.size:
        for row, one in zip(field, streams.reshape(-1), strict=True):
            words = _Words(seed, int(one))
            for start, place in _runs(box, shape):
                part = row[place]
                if distribution == "normal":
                    part[...] = _normal(words.uniform(2 * start, 2 * part.size, np.dtype(np.float64)))
                else:
                    part[...] = words.uniform(start, part.size, field.dtype)
    return field.reshape(streams.shape + sizes)


def _runs(box: Box, shape: Sequence[int]) -> Iterator[tuple[int, slice]]:
    """Cut a box into runs contiguous in `shape`: the flat index of each in the whole, and its place in the flat box."""
    axis = len(shape) - 1
    while axis > 0 and box[axis] == (0, shape[axis]):
        axis -= 1
    if axis < 0:
        yield 0, slice(0, 1)
        return
    inner = prod(shape[axis + 1 :])
    strides = [prod(shape[k + 1 :]) for k in range(axis)]
    first, size = box[axis][0] * inner, (box[axis][1] - box[axis][0]) * inner
    for n, position in enumerate(product(*(range(*ends) for ends in box[:axis]))):
        start = sum(p * stride for p, stride in zip(position, strides, strict=True)) + first
        for skip in range(0, size, LONGEST_RUN):
            yield start + skip, slice(n * size + skip, n * size + min(skip + LONGEST_RUN, size))


class _Words:
    """The words of one stream, read from anywhere."""

    def __init__(self, seed: int, stream: int) -> None:
        self.bits = np.random.Philox(key=np.array([seed, stream], np.uint64))
        self.generator = np.random.Generator(self.bits)
        self.block = 0  # where the bit generator stands

    def uniform(self, start: int, count: int, dtype: np.dtype[np.floating]) -> Array:
        """Return `count` uniform numbers of float32 or float64 from number `start` on."""
        per_block = WORDS_PER_BLOCK * 8 // dtype.itemsize
        block, skipped = divmod(start, per_block)
        self.bits.advance(block - self.block)
        drawn: Array = self.generator.random(skipped + count, dtype)
        self.block = block + -(-(skipped + count) // per_block)
        return drawn[skipped:]


def _normal(uniform: Array) -> Array:
    """Turn pairs of uniform numbers into normal ones (G. E. P. Box and M. E. Muller, 1958)."""
    radius = np.sqrt(-2 * np.log1p(-uniform[0::2]))
    normal: Array = radius * np.cos(2 * np.pi * uniform[1::2])
    return normal

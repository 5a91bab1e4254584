"""Positional random fields from our own Philox: blocks of 64-bit words, turned into numbers while in the L1 cache.

A part of a field is filled run by run (a run is contiguous in the whole field), a run chunk by chunk of some
blocks. The streams and the parts of their fields go to the threads. On one core of a Zen 4: 0.55 ns a float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import DTypeLike, NDArray

from gpu_stackcorr.backends.base import Array, Box
from gpu_stackcorr.backends.numpy_.random_field import random_field as numpy_random_field
from gpu_stackcorr.random_fields import whole_box
from gpu_stackcorr.threads import allowed_threads

from .box_muller import normal
from .compiler import jit
from .parallel import cut, run
from .philox import GROUP, WORDS, draw, unit

BLOCKS = 6 * GROUP
"""Blocks that are drawn before they are converted: 5 KB of words."""

PART = 1 << 15
"""Numbers that a thread draws at least: 20 us of work, for 5 us that it takes to hand it out."""

LONGEST_PART = 1 << 22
"""Numbers that a thread draws at most at once, so that the last ones to finish do not keep the others waiting."""

UNIFORM_32, SYMMETRIC, UNIFORM_64, NORMAL = range(4)
"""Kinds of numbers: on [0, 1) of 24 bits, on [-1, 1) of 24 bits; on [0, 1) of 53 bits, normal."""

PER_BLOCK = (8, 8, 4, 2)
"""Numbers a block, by kind."""


class Layout(NamedTuple):
    """How a box lies in the whole field: ``runs`` of `length` numbers, the first at `origin`."""

    origin: np.uint64
    length: int
    sizes: NDArray[np.int64]
    strides: NDArray[np.uint64]


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
    if prod(shape) > 2**63:  # positions are counted in 64 bits
        return numpy_random_field(seed, stream, shape, box=box, distribution=distribution, dtype=dtype)
    kind = NORMAL if distribution == "normal" else UNIFORM_64 if np.dtype(dtype) == np.float64 else UNIFORM_32
    return fill_box(seed, stream, shape, whole_box(shape) if box is None else box, kind, dtype)


def fill_box(
    seed: int, stream: int | NDArray[np.uint64], shape: Sequence[int], box: Box, kind: int, dtype: DTypeLike
) -> Array:
    """Return a box of the fields of some streams, in numbers of a kind."""
    sizes = tuple(stop - start for start, stop in box)
    streams = np.asarray(stream, np.uint64)
    field = np.empty((streams.size, prod(sizes)), dtype)
    if field.size:
        layout = layout_of(box, shape)
        names = streams.ravel().tolist()
        wanted = max(4 * allowed_threads() // len(field), field.shape[1] // LONGEST_PART, 1)
        parts = cut(field.shape[1], min(wanted, max(1, field.shape[1] // PART)), multiple=PER_BLOCK[kind])

        def fill_part(n: int) -> None:
            row, part = divmod(n, len(parts))
            fill(field[row, parts[part]], parts[part].start, layout, seed, names[row], kind)

        run(fill_part, len(field) * len(parts))
    return field.reshape(streams.shape + sizes)


def layout_of(box: Box, shape: Sequence[int]) -> Layout:
    """Return where the runs of a box of at least one axis or number lie."""
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    origin = sum(start * stride for (start, _), stride in zip(box, strides, strict=True))
    axis = len(shape) - 1
    while axis > 0 and box[axis] == (0, shape[axis]):
        axis -= 1
    sizes = [stop - start for start, stop in box]
    length, outer = prod(sizes[max(axis, 0) :]), slice(max(axis, 0))
    return Layout(np.uint64(origin), length, np.array(sizes[outer], np.int64), np.array(strides[outer], np.uint64))


def fill(numbers: Array, first: int, layout: Layout, seed: int, stream: int, kind: int) -> None:
    """Fill contiguous `numbers` with those of a box from its number `first` on, in one thread."""
    real = np.float32(0) if kind < UNIFORM_64 else np.float64(0)
    fill_runs(numbers, first, layout, (np.uint64(seed), np.uint64(stream)), kind, PER_BLOCK[kind], real, new_words())


def new_words() -> Array:
    """Return memory in which ``fill_runs`` draws."""
    return np.empty(WORDS * BLOCKS, np.uint64)


@jit
def fill_runs(
    numbers: Any, first: Any, layout: Any, key: Any, kind: Any, per_block: Any, real: Any, words: Any
) -> None:
    """Fill `numbers` with those of a kind, made as `real` ones, a chunk of one run at a time."""
    origin, length, sizes, strides = layout
    done = 0
    while done < numbers.size:
        outer, inner = divmod(first + done, length)
        start = np.uint64(origin + np.uint64(inner))
        for axis in range(sizes.size - 1, -1, -1):
            start = np.uint64(start + np.uint64(outer % sizes[axis]) * strides[axis])
            outer //= sizes[axis]
        block = np.uint64(start // np.uint64(per_block))
        skipped = np.int64(start % np.uint64(per_block))
        count = min(length - inner, numbers.size - done, per_block * BLOCKS - skipped)
        groups = (skipped + count + per_block * GROUP - 1) // (per_block * GROUP)
        drawn = words[: WORDS * GROUP * groups]
        draw(drawn, np.uint64(block + np.uint64(1)), *key)  # NumPy counts before it draws
        convert(drawn, skipped, numbers[done : done + count], kind, real)
        done += count


def convert(words: Any, skipped: Any, numbers: Any, kind: Any, real: Any) -> None:
    """Turn words into numbers of a kind, less so many, as NumPy does: one compiled form for each type of `real`."""


def _of_singles(words: Any, skipped: Any, numbers: Any, kind: Any, real: Any) -> None:  # noqa: ARG001
    """Turn each half of a word, the low one first, into u on [0, 1) or 2 u - 1 (which is exact)."""
    halves = words.view(np.uint32)  # every processor that Numba knows has the low half first
    scale, shift = (np.float32(2.0**-23), np.float32(1)) if kind == SYMMETRIC else (np.float32(2.0**-24), np.float32(0))
    for i in range(numbers.size):
        numbers[i] = np.float32(np.int32(halves[np.uint64(skipped + i)] >> np.uint32(8))) * scale - shift


def _of_doubles(words: Any, skipped: Any, numbers: Any, kind: Any, real: Any) -> None:  # noqa: ARG001
    """Turn each word into a uniform number, or each two into a normal one."""
    if kind == NORMAL:
        normal(words[2 * skipped :], numbers)
    else:
        for i in range(numbers.size):
            numbers[i] = unit(words[np.uint64(skipped + i)])


@overload(convert)
def _convert(words: Any, skipped: Any, numbers: Any, kind: Any, real: Any) -> Any:  # noqa: ARG001
    return _of_singles if real == types.float32 else _of_doubles

"""Seeds, streams and boxes: which random numbers belong where.

A random field is a function of (seed, stream, position) alone. Blocks, chunkings, workers and backends therefore see
the same numbers. The numbers are those of NumPy's own Philox4x64-10 with the key (seed, stream), laid out in C order
over the whole volume.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ParameterError

logger = logging.getLogger(__name__)

Box = tuple[tuple[int, int], ...]

LARGEST_SEED = 2**64 - 1

LARGEST_INDEX = 2**48 - 1


class Purpose(IntEnum):
    """What a stream is drawn for: its top byte."""

    DISPLACEMENT = 0
    NOISE = 1


class Axis(IntEnum):
    """The axis whose displacement a stream gives: its second byte."""

    X = 0
    Y = 1
    Z = 2


def stream(purpose: Purpose, axis: Axis | ArrayLike, index: ArrayLike) -> NDArray[np.uint64]:
    """Return the stream ``purpose << 56 | axis << 48 | index`` of each index (a slice or sample, 0 to 2^48 - 1).

    Axes and indices broadcast.
    """
    numbers = np.asarray(index)
    if numbers.dtype.kind not in "iu" or (numbers.size and not 0 <= numbers.min() <= numbers.max() <= LARGEST_INDEX):
        raise ParameterError(f"index = {index!r}: allowed are the integers 0 to 2^48 - 1")
    prefix = np.uint64(int(purpose) << 56) | np.left_shift(np.asarray(axis, np.uint64), np.uint64(48))
    name: NDArray[np.uint64] = numbers.astype(np.uint64) | prefix
    return name


def indices(first: int, count: int) -> NDArray[np.uint64]:
    """Return `count` indices of fields from `first` on, or raise ParameterError where one is not 0 to 2^48 - 1."""
    whole = isinstance(first, (int, np.integer)) and not isinstance(first, bool)
    if not whole or not 0 <= first <= LARGEST_INDEX + 1 - count:
        raise ParameterError(f"index = {first!r}: allowed are the integers 0 to 2^48 - {max(count, 1)}")
    return np.uint64(first) + np.arange(count, dtype=np.uint64)


def check_seed(seed: int) -> int:
    """Return `seed` as an int, or raise ParameterError where it is not 0 to 2^64 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed <= LARGEST_SEED:
        raise ParameterError(f"seed = {seed!r}: allowed are the integers 0 to 2^64 - 1")
    return int(seed)


def seed_or_fresh(seed: int | None) -> int:
    """Return `seed`, checked; where it is None a fresh one, which is logged so that the run can be repeated."""
    if seed is not None:
        return check_seed(seed)
    seed = secrets.randbits(64)
    logger.info("no seed given: drew seed=%d", seed)
    return seed


def whole_box(shape: Sequence[int]) -> Box:
    """Return the box that covers all of `shape`."""
    return tuple((0, int(n)) for n in shape)


def grow_box(box: Box, margin: Sequence[int], shape: Sequence[int]) -> tuple[Box, tuple[slice, ...]]:
    """Return `box` with `margin` voxels more on every side, kept inside `shape`, and where `box` lies in it."""
    grown = tuple((max(start - m, 0), min(stop + m, n)) for (start, stop), m, n in zip(box, margin, shape, strict=True))
    inner = tuple(slice(start - g, stop - g) for (start, stop), (g, _) in zip(box, grown, strict=True))
    return grown, inner

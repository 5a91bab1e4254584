"""Images with margins: what the boundary mode makes of the samples beyond the border, written out around each image.

In the modes that act on taps alone a margin leaves every digit as it is and spares the exact path (twenty times as long
a sample) to all but the samples that reach beyond it. The copy also frees the rows from lengths such as 4 KiB, at
which the rows that one row of a warp reads from fall on the same places of the cache (a tenth of the time, on two cores
of a Zen 3).
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array
from gpu_stackcorr.backends.numpy_.interpolation import fold

from .compiler import jit
from .flat_images import as_words, in_a_row
from .memory import Memory
from .parallel import cut, run

MODES = ("reflect", "grid-mirror", "mirror", "nearest", "grid-wrap")
"""The modes that act on the taps alone, without `cval`, which the dtype of an image may not hold."""

MARGINS = {2: 24, 3: 8}
"""Samples on each side, by the number of axes that move: three standard deviations of a displacement of alpha 250 and
sigma 5 in two dimensions, and of sigma 4 in three."""

LARGEST = {2: 1 << 25, 3: 1 << 23}
"""Samples of a plane and of a volume up to which they are copied; of larger ones the border is a small part."""

LINE, PAGE = 64, 512

PART = 1 << 18
"""Samples a task: to wake another thread takes as long as to copy twice as many, but then it is awake for the warp."""


def margin_of(shape: tuple[int, ...], mode: str) -> int:
    """Return the margin that images of a shape are given, or 0 where they are read as they are."""
    if mode not in MODES or len(shape) not in MARGINS or prod(shape) > LARGEST[len(shape)]:
        return 0
    return MARGINS[len(shape)]


def with_margins(images: Array, fixed: int, margin: int, mode: str, memory: Memory) -> Array:
    """Return a native copy, in `memory`, of images with a margin on each side of the axes after the first `fixed`."""
    shape = images.shape[fixed:]
    rows, columns = _within(shape, margin, mode)
    width, wider = shape[-1], len(columns)
    dtype = images.dtype.newbyteorder("=")
    pitch = _pitch(wider, dtype.itemsize)
    result = memory.array((*images.shape[:fixed], *(n + 2 * margin for n in shape[:-1]), pitch), dtype)
    parts = cut(len(rows), max(1, len(rows) * wider // PART))
    indices = list(np.ndindex(*images.shape[:fixed]))

    def fill_part(number: int) -> None:
        index, part = indices[number // len(parts)], parts[number % len(parts)]
        source = as_words(in_a_row(images[index]))
        target = as_words(result[index]).reshape(-1)[part.start * pitch :]
        _fill_rows(source, width, rows[part], columns, target, pitch)

    run(fill_part, len(indices) * len(parts))
    return result[..., :wider]


@lru_cache(maxsize=8)
def _within(shape: tuple[int, ...], margin: int, mode: str) -> tuple[Array, Array]:
    """Return which rows of an image, counted through, and which columns stand where in one with a margin."""
    places = [np.arange(-margin, n + margin) for n in shape]
    *lines, columns = (fold(place, n, mode) for place, n in zip(places, shape, strict=True))
    rows = np.zeros(1, np.int64)
    for line, n in zip(lines, shape[:-1], strict=True):
        rows = np.add.outer(rows * n, line).reshape(-1)
    rows.flags.writeable = columns.flags.writeable = False  # they are shared by all images of a shape
    return rows, columns


@jit
def _fill_rows(source: Any, width: Any, rows: Any, columns: Any, target: Any, pitch: Any) -> None:
    """Fill rows, `pitch` apart, with those of an image: `rows` and `columns` say which samples."""
    margin = (columns.size - width) // 2
    for k in range(rows.size):
        line, row = rows[k] * width, k * pitch
        for x in range(width):
            target[np.uint64(row + margin + x)] = source[np.uint64(line + x)]
        for x in range(margin):
            y = margin + width + x
            target[np.uint64(row + x)] = source[np.uint64(line + columns[x])]
            target[np.uint64(row + y)] = source[np.uint64(line + columns[y])]


def _pitch(width: int, itemsize: int) -> int:
    """Return the distance of rows: whole cache lines, and no multiple of PAGE bytes."""
    size = -(-width * itemsize // LINE) * LINE
    return (size + LINE * (size % PAGE == 0)) // itemsize

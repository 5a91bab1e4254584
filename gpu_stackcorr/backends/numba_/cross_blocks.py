"""The pixels of a box in blocks of a fixed number, and how blocks of all images are packed for `products`.

A block is some whole rows of a strip of columns, whatever the strides of the images: where the rows of an image follow
one another, as in a whole slice, it is taken as one long row first. NumPy's casting copies do the packing: they take
every layout, byte order and dtype, without the GIL, and need no loop compiled for each. Floats whose pixels lie side by
side go another way: see `centred_products`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array

from .compiler import inner, jit, reassociated
from .parallel import cut


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Views of blocks of equal shape.

    Attributes
    ----------
    images : list of (B, N, rows, columns) arrays
        One for each set of images.
    valid : (B, rows, columns) bool array or None
        Pixels that count.
    """

    images: list[Array]
    valid: Array | None

    @property
    def blocks(self) -> int:
        """Their number."""
        return len(self.images[0])

    @property
    def length(self) -> int:
        """Pixels of a block."""
        rows, columns = self.images[0].shape[2:]
        return int(rows * columns)

    def __getitem__(self, blocks: slice) -> Part:
        return Part([images[blocks] for images in self.images], None if self.valid is None else self.valid[blocks])


def parts(both: Sequence[Array], mask: Array | None, depth: int) -> list[Part]:
    """Cut a box of one or two sets of images (N, h, w) into blocks of at most `depth` pixels."""
    height, width = both[0].shape[1:]
    if height * width == 0:
        return []
    if all(height == 1 or images.strides[1] == width * images.strides[2] for images in both):
        both = [images.reshape(len(images), 1, height * width) for images in both]
        mask = None if mask is None else mask.reshape(1, -1)
        whole = height * width // depth * depth
        cuts = [(slice(0, whole), depth), (slice(whole, height * width), height * width - whole)]
        strips = [
            ([_rows(images[:, 0, x], columns) for images in both], None if mask is None else _rows(mask[0, x], columns))
            for x, columns in cuts
            if x.start < x.stop
        ]
    else:
        strips = [
            ([images[:, :, x] for images in both], None if mask is None else mask[:, x])
            for x in cut(width, -(-width // depth))
        ]
    return [part for images, valid in strips for part in _blocks(images, valid, depth)]


def _rows(pixels: Array, columns: int) -> Array:
    """Return a view of pixels (..., P) as rows (..., P / columns, columns)."""
    return pixels.reshape(*pixels.shape[:-1], pixels.shape[-1] // columns, columns)


def _blocks(strip: list[Array], valid: Array | None, depth: int) -> list[Part]:
    """Return blocks of as many whole rows of a strip (N, height, columns) as fit, and one of the rows that remain."""
    height, columns = strip[0].shape[1:]
    rows = min(height, depth // columns)
    whole = height // rows * rows
    found = []
    for y, tall in ((slice(0, whole), rows), (slice(whole, height), height - whole)):
        if tall:
            number = (y.stop - y.start) // tall
            cells = [images[:, y].reshape(len(images), number, tall, columns).swapaxes(0, 1) for images in strip]
            found.append(Part(cells, None if valid is None else valid[y].reshape(number, tall, columns)))
    return found


def pack(blocks: Array, packed: Array) -> None:
    """Copy blocks (B, ..., rows, columns) into the first values of rows (B, ..., stride), converting them."""
    shape = blocks.shape
    length = shape[-2] * shape[-1]
    place = packed[: shape[0], : shape[1], :length] if blocks.ndim == 4 else packed[: shape[0], :length]
    np.copyto(place.reshape(shape), blocks)


@jit
def prepare_integers(packed: Any, valid: Any, length: int, end: int, flip: Any, sums: Any, squares: Any) -> None:
    """Turn the highest bit of pixels, blank what does not count, and add up each image.

    Parameters
    ----------
    packed : (B, N, stride) int16 or uint8 array
        Changed in place: values from `length` to `end` become 0, too.
    valid : (B, stride) array of the same dtype
        Not 0 where a pixel counts. Empty (B, 0) where all do.
    flip : scalar of the same dtype
        Bits to turn over: the highest makes x - 32768 out of an unsigned x, and x + 128 out of a signed byte.
    sums, squares : (N,) int64 arrays
        Added to; `squares` may be empty, and is left alone then.
    """
    for block in range(len(packed)):
        for n in range(len(sums)):
            row = packed[block, n, :length]
            if valid.shape[1]:
                _flip_valid(row, valid[block, :length], flip)
            elif flip:
                _flip(row, flip)
            packed[block, n, length:end] = 0
            sums[n] += _sum(row)
            if len(squares):
                squares[n] += _sum_squares(row)


# A loop in a function of its own is made of vectors: inside of the other loops it was not, and took 5 times as long.


@inner
def _flip(row: Any, flip: Any) -> None:
    for k in range(row.size):
        row[k] ^= flip


@inner
def _flip_valid(row: Any, keep: Any, flip: Any) -> None:
    for k in range(row.size):
        row[k] = row[k] ^ flip if keep[k] else row.dtype.type(0)


@jit
def flip_bytes(packed: Any, count: int, end: int, flipped: Any) -> None:
    """Write unsigned bytes x as signed x - 128."""
    for block in range(len(packed)):
        for n in range(count):
            _flip_into(packed[block, n, :end], flipped[block, n, :end])


@inner
def _flip_into(row: Any, flipped: Any) -> None:
    for k in range(row.size):
        flipped[k] = np.int8(row[k] ^ np.uint8(128))


@inner
def _sum(row: Any) -> Any:
    """Return the sum of at most 2^15 numbers."""
    total = np.int32(0)
    for k in range(row.size):
        total = np.int32(total + np.int32(row[k]))
    return total


@inner
def _sum_squares(row: Any) -> Any:
    total = np.int64(0)
    for k in range(row.size):
        total += np.int64(np.int32(np.int32(row[k]) * np.int32(row[k])))
    return total


@jit
def split_bytes(packed: Any, count: int, end: int, low: Any, high: Any) -> None:
    """Write 16-bit numbers as ``256 high + low``, low in -128..127 and high in -128..128."""
    for block in range(len(packed)):
        for n in range(count):
            _split(packed[block, n, :end], low[block, n, :end], high[block, n, :end])


@inner
def _split(row: Any, low: Any, high: Any) -> None:
    for k in range(row.size):
        upper = np.int16((np.int32(row[k]) + np.int32(128)) >> np.int32(8))
        high[k] = upper
        low[k] = np.int16(np.int32(row[k]) - (np.int32(upper) << np.int32(8)))


@jit
def centre(packed: Any, valid: Any, length: int, end: int, counts: Any, means: Any, squares: Any) -> None:
    """Subtract from each row of each image the mean of its pixels that count, in two passes; blank the others.

    Parameters
    ----------
    packed : (B, N, stride) float64 array
        Changed in place: values from `length` to `end` become 0, too.
    valid : (B, stride) float64 array
        Not 0 where a pixel counts.
    counts : (B,) int64 array
        Pixels that count.
    means : (N, B) array
        Written.
    squares : (N,) array
        The sums of squares are added to it.
    """
    for block in range(len(packed)):
        keep = valid[block, :length]
        count = max(counts[block], 1)
        for n in range(len(squares)):
            row = packed[block, n, :length]
            mean = subtract_valid(row, keep, 0.0) / count
            residual = subtract_valid(row, keep, mean) / count
            subtract_valid(row, keep, residual)
            packed[block, n, length:end] = 0.0
            means[n, block] = mean + residual
            squares[n] += _float_squares(row)


@reassociated
def subtract_valid(row: Any, keep: Any, value: float) -> Any:
    """Subtract a number where pixels count, blank the others, and return the sum."""
    total = 0.0
    for k in range(row.size):
        row[k] = row[k] - value if keep[k] != 0.0 else 0.0
        total += row[k]
    return total


@reassociated
def _float_squares(row: Any) -> Any:
    total = 0.0
    for k in range(row.size):
        total += row[k] * row[k]
    return total

"""Blocks of floats that are read where they lie, centred row by row and multiplied: all blocks of a task in one call.

All pairs of 165 float32 slices of 768 x 1024 took 227 ms on two cores of a Zen 5 where NumPy packed block by block, 163
in one call, and 142 with the pixels of the next block asked for: those of an image lie in a page of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array

from .centred_sums import ask_for
from .compiler import inner, jit, reassociated
from .cross_blocks import Part, subtract_valid
from .flat_images import flatten, is_flat
from .products import add_products

Place = tuple[int, int, int, int]

BLOCKS_AHEAD, IMAGES_AHEAD = 2, 8
"""Pixels that are asked for while a row is centred: those of the same image some blocks on, and once more those of an
image some images on. Where images lie a multiple of a cache's size apart, they have driven each other out of it by
then. To centre the rows above in one thread of a Zen 4 took 67 ms with the next block alone asked for, 40 with both."""


def is_readable(part: Part) -> bool:
    """Whether the loops can read the images of a part: floats whose pixels of a row lie side by side."""
    return all(
        images.dtype in (np.float32, np.float64) and is_flat(images) and images.strides[-1] == images.itemsize
        for images in part.images
    )


def places_of(part: Part) -> tuple[tuple[Array, ...], tuple[Place, ...]]:
    """Return the flat memory of readable images, and for each set the first pixel and the strides of the first axes."""
    flat = [flatten(images) for images in part.images]
    values, places = zip(*((one.values, (one.origin, *one.strides[:3])) for one in flat), strict=True)
    return values, places


@jit
def add_centred_blocks(  # type: ignore[no-untyped-def]
    values, places, rows, columns, valid, packed, end, upper, counts, means, squares, products
) -> None:
    """Centre each row of each image by the mean of its pixels that count, and add all products of those of a block.

    Parameters
    ----------
    values, places : tuples, by ``places_of``
    rows, columns : ints
        Of the image, in a block. Together they are one packed row.
    valid : (B, stride) float64 array
        Not 0 where a pixel counts. Empty (B, 0) where all do.
    packed : tuple of (blocks, N', stride) arrays by ``rows_for``
        Scratch memory for some blocks at a time, one for each set of images.
    end : int
        Values of a packed row, in whole lines; what is beyond the pixels becomes 0.
    upper : bool
        See ``add_products``.
    counts : (B,) int64 array
        Pixels that count.
    means : tuple of (N, B) arrays
        Written.
    squares, products : tuple of (N,) arrays, (N', M') array
        Added to.
    """
    together = len(packed[0])
    for start in range(0, len(counts), together):
        stop = min(start + together, len(counts))
        for which in range(len(values)):
            origin, of_blocks, of_images, of_rows = places[which]
            for block in range(start, stop):
                for n in range(len(squares[which])):
                    first, row = origin + block * of_blocks + n * of_images, packed[which][block - start, n]
                    count = max(counts[block], 1)
                    for r in range(rows):
                        at = first + r * of_rows
                        ask_for(values[which], at + BLOCKS_AHEAD * of_blocks, columns)
                        ask_for(values[which], at + IMAGES_AHEAD * of_images, columns)
                    if valid.shape[1]:
                        mean, square = _centre_valid(
                            values[which], first, of_rows, rows, columns, valid[block], count, row
                        )
                    else:
                        mean, square = _centre_row(values[which], first, of_rows, rows, columns, count, row)
                    row[rows * columns : end] = 0.0
                    means[which][n, block] = mean
                    squares[which][n] += square
        number = stop - start
        add_products(packed[0][:number], packed[len(packed) - 1][:number], end, upper, products)


@inner
def _centre_row(values: Any, first: Any, apart: Any, rows: Any, columns: Any, count: Any, packed: Any) -> Any:
    """Write a row less its mean, in two passes; return the mean and the sum of squares.

    Deviations from a mean that was rounded do not quite add up to zero. What is left of it is put back into the mean;
    in products it is the square of what the mean is off.
    """
    total = 0.0
    for r in range(rows):
        at = first + r * apart
        total += _sum(values[at : at + columns])
    mean = total / count
    left, squares = 0.0, 0.0
    for r in range(rows):
        at, to = first + r * apart, r * columns
        of_row = _subtract_from(values[at : at + columns], mean, packed[to : to + columns])
        left, squares = left + of_row[0], squares + of_row[1]
    return mean + left / count, squares


@inner
def _centre_valid(
    values: Any, first: Any, apart: Any, rows: Any, columns: Any, valid: Any, count: Any, packed: Any
) -> Any:
    """Do the same where some pixels do not count, and become 0."""
    total = 0.0
    for r in range(rows):
        at, to = first + r * apart, r * columns
        total += _take_valid(values[at : at + columns], valid[to : to + columns], packed[to : to + columns])
    mean = total / count
    deviations, keep = packed[: rows * columns], valid[: rows * columns]
    residual = subtract_valid(deviations, keep, mean) / count
    subtract_valid(deviations, keep, residual)
    return mean + residual, _sum_of_squares(deviations)


@reassociated
def _sum(values: Any) -> Any:
    """Return the sum of pixels."""
    total = 0.0
    for k in range(values.size):
        total += np.float64(values[k])
    return total


@reassociated
def _subtract_from(values: Any, mean: Any, row: Any) -> Any:
    """Write pixels less a number; return the sums of what is left and of its squares."""
    total, squares = 0.0, 0.0
    for k in range(row.size):
        deviation = np.float64(values[k]) - mean
        row[k] = deviation
        total += deviation
        squares += deviation * deviation
    return total, squares


@reassociated
def _take_valid(values: Any, keep: Any, row: Any) -> Any:
    """Copy the pixels that count, blank the others, and return the sum."""
    total = 0.0
    for k in range(row.size):
        row[k] = np.float64(values[k]) if keep[k] != 0.0 else 0.0
        total += row[k]
    return total


@reassociated
def _sum_of_squares(row: Any) -> Any:
    """Return the sum of squares."""
    total = 0.0
    for k in range(row.size):
        total += row[k] * row[k]
    return total

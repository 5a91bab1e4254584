"""Sums over blocks of slices and references: compiled loops over slices, bands, rows and blocks.

Images come flat, with the place of their first sample and their strides. Results of slice n, band i and block j are
written at [n, i, j], those of reference k at [k, n, i, j]: who sums which band is nobody's concern.
"""

from __future__ import annotations

import numpy as np

from . import centred_sums, integer_sums
from .compiler import REASSOCIATED, jit

add_integer_row, add_integer_products = integer_sums.add_row, integer_sums.add_products
total_y, total_products = integer_sums.total_y, integer_sums.total_products
add_centred_row, add_centred_products = centred_sums.add_row, centred_sums.add_products

SLICES = 2
"""Slices of integers that are read side by side, so that the rows of references are taken from the nearest cache."""

CENTRED_SLICES = 8
"""The same of floats. With two, four references took 2.9 times as long as one in float32, and float64 a tenth longer,
on two cores of a Zen 5."""

ask_for = centred_sums.ask_for
_Y = integer_sums.WORDS_Y
_YY = integer_sums.WORDS_YY
_XY = integer_sums.WORDS_XY
_LANES = centred_sums.WORDS
_WINDOW = centred_sums.LANES


@jit
def sum_integers(  # type: ignore[no-untyped-def]
    y, y_place, x, x_place, references, rows, columns, keep, part, sums_y, sums_yy, sums_xy
) -> None:
    """Write the sums of y, yy and, for each reference, xy over the bands of some slices.

    `y_place` and `x_place` hold an origin, the stride of slices or references and that of rows; `part` the first and
    last slice and the first and last band. Without references pass y as x.
    """
    blocks = len(columns)
    size = _Y + _YY + _XY * max(references, 1)
    lanes = np.empty(SLICES * blocks * size, np.int64)
    for start in range(part[0], part[1], SLICES):
        stop = min(start + SLICES, part[1])
        for i in range(part[2], part[3]):
            lanes[:] = 0
            for row in range(rows[i], rows[i + 1]):
                for n in range(start, stop):
                    y_row, x_row = y_place[0] + n * y_place[1] + row * y_place[2], x_place[0] + row * x_place[2]
                    at, xy = (n - start) * blocks * size, _Y + _YY
                    add_integer_row(y, y_row, x, x_row, columns, keep, lanes, at, size, xy)
                    for k in range(1, references):
                        x_k, xy = x_row + k * x_place[1], xy + _XY
                        add_integer_products(y, y_row, x, x_k, columns, keep, lanes, at, size, xy)
            height = rows[i + 1] - rows[i]
            for n in range(start, stop):
                for j in range(blocks):
                    at = ((n - start) * blocks + j) * size
                    windows = height * (columns[j, 2] + (columns[j, 4] >= 0))
                    sums_y[n, i, j] = total_y(lanes, at)
                    missing = 128 * sums_y[n, i, j] if keep.itemsize == 1 else 0  # of factors less 128
                    sums_yy[n, i, j] = missing + total_products(y, x, lanes, at + _Y, 0)
                    for k in range(references):
                        xy = total_products(y, x, lanes, at + _Y + _YY + k * _XY, windows)
                        sums_xy[k, n, i, j] = missing + xy


@jit
def _sum_of_lanes(lanes, at):  # type: ignore[no-untyped-def]
    """Return the sum of eight lanes, in one order."""
    one = (lanes[at] + lanes[at + 4]) + (lanes[at + 2] + lanes[at + 6])
    other = (lanes[at + 1] + lanes[at + 5]) + (lanes[at + 3] + lanes[at + 7])
    return one + other


@jit
def sum_centred(  # type: ignore[no-untyped-def]
    y, y_place, x, x_place, references, rows, columns, keep, part, shifted, y_shift, x_shift, sums_y, sums_yy, sums_xy
) -> None:
    """Write the sums of y, yy and, for each reference, xy about shifts over the bands of some slices.

    As `sum_integers`. The shift of a block of y is the mean of its first row, which is at most eight standard
    deviations of the block, the root of its rows, from its mean; it is written to `y_shift` unless it is `shifted`.
    """
    bands, blocks, width = len(rows) - 1, len(columns), columns[-1, 0] + columns[-1, 1]
    size = _LANES * (2 + max(references, 1))
    lanes = np.empty(CENTRED_SLICES * blocks * size, np.float64)
    x_step = max(width, _WINDOW)
    x_rows = np.zeros(max(references, 1) * x_step, np.float64)
    shifts = y_shift.reshape(-1)
    for start in range(part[0], part[1], CENTRED_SLICES):
        stop = min(start + CENTRED_SLICES, part[1])
        for i in range(part[2], part[3]):
            if not shifted:
                for n in range(start, stop):
                    y_row = y_place[0] + n * y_place[1] + rows[i] * y_place[2]
                    _mean_of_row(y, y_row, columns, rows[i + 1] > rows[i], y_shift[n, i])
            lanes[:] = 0.0
            for row in range(rows[i], rows[i + 1]):
                for k in range(references):
                    x_row = x_place[0] + k * x_place[1] + row * x_place[2]
                    ask_for(x, x_row + x_place[2], width)
                    _centre_row(x, x_row, columns, x_shift[k, i], x_rows, k * x_step)
                for n in range(start, stop):
                    y_row, own = y_place[0] + n * y_place[1] + row * y_place[2], (n * bands + i) * blocks
                    at, xy = (n - start) * blocks * size, 2 * _LANES
                    add_centred_row(y, y_row, shifts, own, x_rows, 0, columns, keep, lanes, at, size, xy)
                    for k in range(1, references):
                        x_k, xy = k * x_step, xy + _LANES
                        add_centred_products(y, y_row, shifts, own, x_rows, x_k, columns, keep, lanes, at, size, xy)
            for n in range(start, stop):
                for j in range(blocks):
                    at = ((n - start) * blocks + j) * size
                    sums_y[n, i, j] = _sum_of_lanes(lanes, at)
                    sums_yy[n, i, j] = _sum_of_lanes(lanes, at + _LANES)
                    for k in range(references):
                        sums_xy[k, n, i, j] = _sum_of_lanes(lanes, at + (2 + k) * _LANES)


@jit(fastmath=REASSOCIATED)  # type: ignore[untyped-decorator]
def _mean_of_row(y, row, columns, exists, means) -> None:  # type: ignore[no-untyped-def]
    """Write the mean of the pixels of each block in one row, 0 where there are none."""
    for j in range(len(columns)):
        width, total = columns[j, 1] if exists else 0, 0.0
        for value in y[row + columns[j, 0] : row + columns[j, 0] + width]:
            total += np.float64(value)
        means[j] = total / max(width, 1)


@jit
def _centre_row(x, row, columns, shifts, deviations, place) -> None:  # type: ignore[no-untyped-def]
    """Write a row less the shift of each block."""
    for j in range(len(columns)):
        first, width, shift = columns[j, 0], columns[j, 1], shifts[j]
        source, target = x[row + first : row + first + width], deviations[place + first : place + first + width]
        for column in range(width):
            target[column] = np.float64(source[column]) - shift


@jit
def count_valid(mask, rows, columns, counts) -> None:  # type: ignore[no-untyped-def]
    """Write the valid pixels of each block of a mask (uint8, C-contiguous)."""
    for i in range(len(rows) - 1):
        for j in range(len(columns)):
            valid = 0
            for row in range(rows[i], rows[i + 1]):
                for m in mask[row, columns[j, 0] : columns[j, 0] + columns[j, 1]]:
                    valid += m
            counts[i, j] = valid


@jit
def fill_invalid(values, place, mask, fill, filled) -> None:  # type: ignore[no-untyped-def]
    """Write an integer image (flat) with the value in `fill`, an array of its dtype, where a mask is 0."""
    height, width = mask.shape
    other = fill[0]
    for row in range(height):
        start = place[0] + row * place[2]
        source, valid, target = values[start : start + width], mask[row], filled[row]
        for column in range(width):
            value = source[column]
            target[column] = value if valid[column] != 0 else other


@jit(fastmath=REASSOCIATED)
def _mean(values, place, mask, first, last, start, stop, count):  # type: ignore[no-untyped-def]
    """Return the mean of the valid pixels of a block."""
    total = 0.0
    for row in range(first, last):
        source = values[place[0] + row * place[2] + start : place[0] + row * place[2] + stop]
        valid = mask[row, start:stop]
        for column in range(stop - start):
            value = np.float64(source[column])
            total += value if valid[column] != 0 else 0.0
    return total / max(count, 1)


@jit
def centre_valid(values, place, mask, rows, columns, counts, shifts, deviations) -> None:  # type: ignore[no-untyped-def]
    """Write a floating image less the mean of the valid pixels of each block, 0 where a mask is 0; and those means."""
    for i in range(len(rows) - 1):
        for j in range(len(columns)):
            start, stop = columns[j, 0], columns[j, 0] + columns[j, 1]
            shift = _mean(values, place, mask, rows[i], rows[i + 1], start, stop, counts[i, j])
            shifts[i, j] = shift
            for row in range(rows[i], rows[i + 1]):
                source = values[place[0] + row * place[2] + start : place[0] + row * place[2] + stop]
                valid, target = mask[row, start:stop], deviations[row, start:stop]
                for column in range(stop - start):
                    deviation = np.float64(source[column]) - shift
                    target[column] = deviation if valid[column] != 0 else 0.0

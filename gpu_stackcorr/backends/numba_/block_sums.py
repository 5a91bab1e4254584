"""Sums over blocks of slices and references: compiled loops over slices, bands, rows and blocks.

Images come flat, with the place of their first sample and their strides. Results of slice n, band i and block j are
written at [n, i, j], those of reference k at [k, n, i, j]: who sums which band is nobody's concern.
"""

from __future__ import annotations

import numpy as np

from . import centred_sums, integer_sums
from .compiler import REASSOCIATED, borrowing, jit

add_integer_rows, add_integer_products = integer_sums.add_rows, integer_sums.add_products
total_y, total_products = integer_sums.total_y, integer_sums.total_products
add_centred_rows, add_centred_products = centred_sums.add_rows, centred_sums.add_products

SLICES = 2
"""Slices of integers that are read side by side, so that the rows of references are taken from the nearest cache."""

CENTRED_SLICES = 8
"""The same of floats. With two, four references took 2.9 times as long as one in float32, and float64 a tenth longer,
on two cores of a Zen 5."""

NARROW_WINDOWS = 8
"""Windows below which a row of a block is short beside what it takes to keep its sums."""

AHEAD_BYTES = 16384
"""How far ahead of a sum its pixels are asked for at most: those of the rows that come next; in long rows, which the
nearest cache would not hold, some in the same row. Without that uint8 takes 1.3 times as long on a Zen 3."""

ask_for = centred_sums.ask_for
_WORDS = integer_sums.WORDS
_INTEGER_ROWS, _FEWER_ROWS = integer_sums.ROWS, integer_sums.FEWER_ROWS
_LANES = centred_sums.WORDS
_WINDOW = centred_sums.LANES
_ROWS = centred_sums.ROWS


@jit
def _rows_at_once(columns, narrow, references):  # type: ignore[no-untyped-def]
    """Return how many rows of integers to take at once; `narrow` says that both images are bytes."""
    if narrow:
        return _INTEGER_ROWS if references < 2 else _FEWER_ROWS
    return _FEWER_ROWS if references < 2 and np.max(columns[:, 2]) < NARROW_WINDOWS else 1


@jit
def sum_integers(  # type: ignore[no-untyped-def]
    y, y_place, x, x_place, references, rows, columns, keep, part, offsets, counts, sums_x, sums_y, sums_yy, sums_xy
) -> None:
    """Write the sums of y, yy and, for each reference, xy over the bands of some slices.

    `y_place` and `x_place` hold an origin, the stride of slices or references and that of rows; `part` the first and
    last slice and the first and last band; `offsets` what the loops subtract from y and from x; `counts` the pixels of
    the blocks, and `sums_x` the sums of the references over them. Without references pass y as x.
    """
    blocks = len(columns)
    size = _WORDS * (2 + max(references, 1))
    lanes = np.empty(SLICES * blocks * size, np.int64)
    step = _rows_at_once(columns, y.itemsize == 1 and x.itemsize == 1, references)
    y_step, x_step = y_place[2], x_place[2]
    y_ahead = min(max(step, 2) * y_step, AHEAD_BYTES // y.itemsize)
    x_ahead = min(max(step, 2) * x_step, AHEAD_BYTES // x.itemsize)
    for start in range(part[0], part[1], SLICES):
        stop = min(start + SLICES, part[1])
        for i in range(part[2], part[3]):
            lanes[:] = 0
            for row in range(rows[i], rows[i + 1], step):
                count = min(step, rows[i + 1] - row)
                for n in range(start, stop):
                    y_row, x_row = y_place[0] + n * y_place[1] + row * y_step, x_place[0] + row * x_step
                    at, xy = (n - start) * blocks * size, 2 * _WORDS
                    add_integer_rows(
                        y, y_row, y_step, y_ahead, x, x_row, x_step, x_ahead, count, columns, keep, lanes, at, size, xy
                    )
                    for k in range(1, references):
                        x_k, xy = x_row + k * x_place[1], xy + _WORDS
                        add_integer_products(
                            y, y_row, y_step, y_ahead, x, x_k, x_step, x_ahead, count, columns, keep, lanes, at, size,
                            xy,
                        )  # fmt: skip
            height = rows[i + 1] - rows[i]
            for n in range(start, stop):
                of_band, band_y, band_yy = counts[i], sums_y[n, i], sums_yy[n, i]
                for j in range(blocks):
                    at = ((n - start) * blocks + j) * size
                    moved, lost = total_y(lanes, at), offsets[0] * of_band[j]
                    missing = 128 * moved if keep.itemsize == 1 else 0  # of factors less 128
                    squares = missing + total_products(y, x, lanes, at + _WORDS, 0)
                    band_y[j] = moved + lost
                    band_yy[j] = squares + offsets[0] * (2 * moved + lost)
                for k in range(references):
                    band_x, band_xy = sums_x[k, i], sums_xy[k, n, i]
                    for j in range(blocks):
                        at = ((n - start) * blocks + j) * size
                        windows = height * (columns[j, 2] + (columns[j, 4] >= 0))
                        moved = band_y[j] - offsets[0] * of_band[j]
                        missing = 128 * moved if keep.itemsize == 1 else 0
                        products = missing + total_products(y, x, lanes, at + (2 + k) * _WORDS, windows)
                        band_xy[j] = products + offsets[0] * band_x[j] + offsets[1] * moved


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
    step = _ROWS if y.itemsize == 8 or references < 2 else 1  # two rows of float32 are less than four times those of x
    y_step, x_step = y_place[2], max(width, _WINDOW)
    ahead = min(max(step, 2) * y_step, AHEAD_BYTES // y.itemsize)
    x_rows = np.zeros(step * max(references, 1) * x_step, np.float64)
    x_shifts = np.empty(max(references, 1) * width, np.float64)
    shifts = y_shift.reshape(-1)
    for start in range(part[0], part[1], CENTRED_SLICES):
        stop = min(start + CENTRED_SLICES, part[1])
        for i in range(part[2], part[3]):
            if not shifted:
                for n in range(start, stop):
                    y_row = y_place[0] + n * y_place[1] + rows[i] * y_place[2]
                    _mean_of_row(y, y_row, columns, rows[i + 1] > rows[i], y_shift[n, i])
            for k in range(references):
                _spread(x_shift[k, i], columns, x_shifts[k * width : (k + 1) * width])
            lanes[:] = 0.0
            for row in range(rows[i], rows[i + 1], step):
                count = min(step, rows[i + 1] - row)
                for k in range(references):
                    for r in range(count):
                        x_row = x_place[0] + k * x_place[1] + (row + r) * x_place[2]
                        ask_for(x, x_row + step * x_place[2], width)
                        _centre_row(x, x_row, x_shifts, k * width, x_rows, (k * step + r) * x_step, width)
                for n in range(start, stop):
                    y_row, own = y_place[0] + n * y_place[1] + row * y_step, (n * bands + i) * blocks
                    at, xy = (n - start) * blocks * size, 2 * _LANES
                    add_centred_rows(
                        y, y_row, y_step, ahead, shifts, own, x_rows, 0, x_step, count, columns, keep, lanes, at, size,
                        xy,
                    )  # fmt: skip
                    for k in range(1, references):
                        x_k, xy = k * step * x_step, xy + _LANES
                        add_centred_products(
                            y, y_row, y_step, ahead, shifts, own, x_rows, x_k, x_step, count, columns, keep, lanes, at,
                            size, xy,
                        )  # fmt: skip
            for n in range(start, stop):
                for j in range(blocks):
                    at = ((n - start) * blocks + j) * size
                    sums_y[n, i, j] = _sum_of_lanes(lanes, at)
                    sums_yy[n, i, j] = _sum_of_lanes(lanes, at + _LANES)
                    for k in range(references):
                        sums_xy[k, n, i, j] = _sum_of_lanes(lanes, at + (2 + k) * _LANES)


@jit(fastmath=REASSOCIATED, borrows=True)  # type: ignore[untyped-decorator]
def _mean_of_row(y, row, columns, exists, means) -> None:  # type: ignore[no-untyped-def]
    """Write the mean of the pixels of each block in one row, 0 where there are none."""
    for j in range(len(columns)):
        width, total = columns[j, 1] if exists else 0, 0.0
        for value in y[row + columns[j, 0] : row + columns[j, 0] + width]:
            total += np.float64(value)
        means[j] = total / max(width, 1)


@borrowing
def _spread(of_blocks, columns, of_pixels) -> None:  # type: ignore[no-untyped-def]
    """Write what each block has at all of its columns."""
    for j in range(len(columns)):
        of_pixels[columns[j, 0] : columns[j, 0] + columns[j, 1]] = of_blocks[j]


@borrowing
def _centre_row(x, row, shifts, start, deviations, place, width) -> None:  # type: ignore[no-untyped-def]
    """Write a row less the shifts of its pixels."""
    source, less, target = x[row : row + width], shifts[start : start + width], deviations[place : place + width]
    for column in range(width):
        target[column] = np.float64(source[column]) - less[column]


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

"""Sums over blocks of slices and references: compiled loops over slices, bands, rows and blocks.

Images come flat, with the place of their first sample and their strides. Results of slice n, band i and block j are
written at [n, i, j], those of reference k at [k, n, i, j]: who sums which band is nobody's concern.
"""

from __future__ import annotations

import numpy as np

from . import centred_sums, integer_sums
from .compiler import inner, jit, reassociated
from .vectors import has_many_registers

add_integer_rows, add_many_integer_rows = integer_sums.add_rows, integer_sums.add_many_rows
add_integer_slices, add_many_integer_slices = integer_sums.add_slices, integer_sums.add_many_slices
add_integer_products = integer_sums.add_products
total_y, total_products = integer_sums.total_y, integer_sums.total_products
add_centred_row, add_squares = centred_sums.add_row, centred_sums.add_squares
add_squares_of_slices = centred_sums.add_squares_of_slices
add_products, add_many = centred_sums.add_products, centred_sums.add_many
add_slices, add_many_slices = centred_sums.add_slices, centred_sums.add_many_slices
_MANY_INTEGERS, _REFERENCES = integer_sums.REFERENCES, centred_sums.REFERENCES

SLICES = 4
"""Slices that are read side by side, so that the rows of references are taken from the nearest cache. With two, eight
references took 1.2 times as long in float32, 1.5 times in float64, on two cores of a Zen 5; with eight, four references
took 1.1 times as long in float32 on a Zen 4, with cells 1.2 times."""

NARROW_WINDOWS = 8
"""Windows below which a row of a block is short beside what it takes to keep its sums."""

AHEAD_BYTES, FARTHEST_BYTES = 1 << 13, 1 << 14
"""How far ahead of a sum the pixels of slices are asked for: so many bytes in whole rows, at least those that are taken
at once, and at most so many, which in long rows are some of the same row. Without that uint8 takes 1.3 times as long on
a Zen 3 and with cells twice on a Zen 4; with 2 KB in place of 8 up to 1.2 times on a Zen 5. Those of references, which
many slices share, are not asked for: to do so took uint8 1.3 times as long on a Zen 4."""

_WORDS = integer_sums.WORDS
_LANES = centred_sums.WORDS
_TOGETHER = centred_sums.SLICES
_INTEGERS_TOGETHER = integer_sums.SLICES if has_many_registers() else 1


def rows_at_once(widest: int) -> int:
    """Return how many rows of integers to take at once, of blocks of so many windows at most.

    In rows of many windows one alone: with four, which are read from memory more slowly, uint8 took 1.1 times as long.
    """
    return 1 if widest >= NARROW_WINDOWS else integer_sums.ROWS


@inner
def _ahead(step, apart, itemsize):  # type: ignore[no-untyped-def]
    """Return how many pixels ahead to ask for those of slices, whose rows lie `apart`, in steps of some rows."""
    rows = max(step, AHEAD_BYTES // max(apart * itemsize, 1))
    return min(rows * apart, FARTHEST_BYTES // itemsize)


@jit
def sum_integers(  # type: ignore[no-untyped-def]
    y, y_place, x, x_place, references, rows, columns, keep, part, step, offsets, counts, sums_x, sums_y, sums_yy,
    sums_xy,
) -> None:  # fmt: skip
    """Write the sums of y, yy and, for each reference, xy over the bands of some slices.

    `y_place` and `x_place` hold an origin, the stride of slices or references and that of rows; `part` the first and
    last slice and the first and last band; `step` rows are taken at once; `offsets` is what the loops subtract from y,
    from x and from one factor of a product; `counts` the pixels of the blocks, and `sums_x` the sums of the references
    over them. Without references pass y as x.
    """
    blocks, size = len(columns), _WORDS * (2 + max(references, 1))
    apart, ahead = blocks * size, _ahead(step, y_place[2], y.itemsize)
    lanes = np.empty(SLICES * apart, np.int64)
    for start in range(part[0], part[1], SLICES):
        stop = min(start + SLICES, part[1])
        for i in range(part[2], part[3]):
            lanes[:] = 0
            for row in range(rows[i], rows[i + 1], step):
                count, n = min(step, rows[i + 1] - row), start
                x_at = x_place[0] + row * x_place[2], x_place[2], x_place[1]
                while n < stop:
                    done, together = 1, _INTEGERS_TOGETHER if n + _INTEGERS_TOGETHER <= stop else 1
                    y_at = y_place[0] + n * y_place[1] + row * y_place[2], y_place[2], y_place[1], ahead
                    at = (n - start) * apart, size, 2 * _WORDS, apart
                    if references >= _MANY_INTEGERS:
                        done = _MANY_INTEGERS
                        if together > 1:
                            add_many_integer_slices(y, y_at, x, x_at, count, columns, keep, lanes, at)
                        else:
                            add_many_integer_rows(y, y_at, x, x_at, count, columns, keep, lanes, at)
                    elif together > 1:
                        add_integer_slices(y, y_at, x, x_at, count, columns, keep, lanes, at)
                    else:
                        add_integer_rows(y, y_at, x, x_at, count, columns, keep, lanes, at)
                    for k in range(done, references):
                        x_k = x_at[0] + k * x_at[2], x_at[1], x_at[2]
                        for m in range(together):
                            y_m = y_at[0] + m * y_at[2], y_at[1], y_at[2], y_at[3]
                            own = at[0] + m * apart, size, (2 + k) * _WORDS, apart
                            add_integer_products(y, y_m, x, x_k, count, columns, keep, lanes, own)
                    n += together
            height = rows[i + 1] - rows[i]
            for n in range(start, stop):
                of_band, band_y, band_yy = counts[i], sums_y[n, i], sums_yy[n, i]
                for j in range(blocks):
                    at = ((n - start) * blocks + j) * size
                    moved, lost = total_y(lanes, at), offsets[0] * of_band[j]
                    squares = offsets[2] * moved + total_products(y, x, lanes, at + _WORDS, 0)
                    band_y[j] = moved + lost
                    band_yy[j] = squares + offsets[0] * (2 * moved + lost)
                for k in range(references):
                    band_x, band_xy = sums_x[k, i], sums_xy[k, n, i]
                    for j in range(blocks):
                        at = ((n - start) * blocks + j) * size
                        windows = height * (columns[j, 2] + (columns[j, 4] >= 0))
                        moved = band_y[j] - offsets[0] * of_band[j]
                        products = offsets[2] * band_x[j] + total_products(y, x, lanes, at + (2 + k) * _WORDS, windows)
                        band_xy[j] = products + offsets[0] * band_x[j] + offsets[1] * moved


@inner
def _sum_of_lanes(lanes, at):  # type: ignore[no-untyped-def]
    """Return the sum of four lanes, in one order."""
    return (lanes[at] + lanes[at + 2]) + (lanes[at + 1] + lanes[at + 3])


@jit
def _aligned(count):  # type: ignore[no-untyped-def]
    """Return memory for so many float64 from a cache line on, so that no vector lies in two."""
    memory = np.empty(count + _LANES, np.float64)
    first = -(memory.ctypes.data // memory.itemsize) % _LANES
    return memory[first : first + count]


@inner
def _places(place, n, row, of_bands, band, ahead):  # type: ignore[no-untyped-def]
    """Return the places of a row of an image that ``centred_sums.add_row`` takes."""
    return place[0] + n * place[1] + row * place[2], n * of_bands + band, place[1], of_bands, ahead


@inner
def _add_row(  # type: ignore[no-untyped-def]
    y, y_at, y_shifts, x, x_at, x_shifts, references, together, columns, keep, lanes, at
) -> None:
    """Add the sums over a row of one slice or of those that are taken together, with all references."""
    done = 1
    if references == 0:
        if together > 1:
            add_squares_of_slices(y, y_at, y_shifts, y, y_at, y_shifts, columns, keep, lanes, at)
        else:
            add_squares(y, y_at, y_shifts, y, y_at, y_shifts, columns, keep, lanes, at)
    elif references >= _REFERENCES:
        done = _REFERENCES
        if together > 1:
            add_many_slices(y, y_at, y_shifts, x, x_at, x_shifts, columns, keep, lanes, at)
        else:
            add_many(y, y_at, y_shifts, x, x_at, x_shifts, columns, keep, lanes, at)
    elif together > 1:
        add_slices(y, y_at, y_shifts, x, x_at, x_shifts, columns, keep, lanes, at)
    else:
        add_centred_row(y, y_at, y_shifts, x, x_at, x_shifts, columns, keep, lanes, at)
    for k in range(done, references):
        x_k = x_at[0] + k * x_at[2], x_at[1] + k * x_at[3], x_at[2], x_at[3], x_at[4]
        for n in range(together):
            y_n = y_at[0] + n * y_at[2], y_at[1] + n * y_at[3], y_at[2], y_at[3], y_at[4]
            own = at[0] + n * at[3], at[1], at[2] + k * _LANES, at[3]
            add_products(y, y_n, y_shifts, x, x_k, x_shifts, columns, keep, lanes, own)


@jit
def sum_centred(  # type: ignore[no-untyped-def]
    y, y_place, x, x_place, references, rows, columns, keep, part, shifted, y_shift, x_shift, sums_y, sums_yy, sums_xy
) -> None:
    """Write the sums of y, yy and, for each reference, xy about shifts over the bands of some slices.

    As `sum_integers`. The shift of a block of y is the mean of its first row, which is at most eight standard
    deviations of the block, the root of its rows, from its mean; it is written to `y_shift` unless it is `shifted`.
    """
    blocks = len(columns)
    size = _LANES * (2 + max(references, 1))
    apart, of_bands = blocks * size, (len(rows) - 1) * blocks
    lanes = _aligned(min(SLICES, part[1] - part[0]) * apart)
    ahead, zero = _ahead(1, y_place[2], y.itemsize), np.int64(0)
    y_shifts, x_shifts = y_shift.reshape(-1), x_shift.reshape(-1)
    for i in range(part[2], part[3]):
        band = i * blocks
        for start in range(part[0], part[1], SLICES):
            stop = min(start + SLICES, part[1])
            if not shifted:
                n = start
                while n < stop:
                    together = _TOGETHER if n + _TOGETHER <= stop else 1
                    y_at, own = _places(y_place, n, rows[i], of_bands, band, ahead), (zero, size, zero, apart)
                    y_shift[n : n + together, i] = 0.0
                    lanes[: together * apart] = 0.0
                    if rows[i + 1] > rows[i]:
                        _add_row(y, y_at, y_shifts, y, y_at, y_shifts, zero, together, columns, keep, lanes, own)
                    for m in range(together):
                        for j in range(blocks):
                            y_shift[n + m, i, j] = _sum_of_lanes(lanes, m * apart + j * size) / max(columns[j, 1], 1)
                    n += together
            lanes[: (stop - start) * apart] = 0.0
            for row in range(rows[i], rows[i + 1]):
                n = start
                x_at = _places(x_place, zero, row, of_bands, band, zero)
                while n < stop:
                    together = _TOGETHER if n + _TOGETHER <= stop else 1
                    y_at = _places(y_place, n, row, of_bands, band, ahead)
                    at = (n - start) * apart, size, 2 * _LANES, apart
                    _add_row(y, y_at, y_shifts, x, x_at, x_shifts, references, together, columns, keep, lanes, at)
                    n += together
            for n in range(start, stop):
                for j in range(blocks):
                    at = ((n - start) * blocks + j) * size
                    sums_y[n, i, j] = _sum_of_lanes(lanes, at)
                    sums_yy[n, i, j] = _sum_of_lanes(lanes, at + _LANES)
                    for k in range(references):
                        sums_xy[k, n, i, j] = _sum_of_lanes(lanes, at + (2 + k) * _LANES)


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


@reassociated
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

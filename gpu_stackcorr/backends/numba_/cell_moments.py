"""From sums over blocks to the moments of cells and of the whole image.

Integers are added up. Floats are merged by the formulas of Chan, Golub and LeVeque (see ``gpu_stackcorr.moments``),
neighbour with neighbour, in one order.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.moments import INT64_PIXELS, IntegerSums, Moments

from .cells import Grid
from .compiler import jit
from .parallel import cut, run

Integers = NDArray[np.int64]

CELLS_A_TASK = 1 << 12
"""Cells of all pairs that are finished at once."""


def integer_moments(sums: tuple[Integers, ...], offsets: tuple[int, int], grid: Grid, tiled: bool) -> Moments:
    """Return the moments of N pairs from sums over blocks.

    Parameters
    ----------
    sums : six int64 arrays (N, bands, blocks)
        The count and the sums of x, y, xx, yy and xy; those that are the same for all pairs may have one pair only.
    offsets : pair of ints
        What was subtracted from x and y.
    """
    of_cells = sums if grid.is_fine else tuple(_by_cells(array, grid) for array in sums)
    of_whole = tuple(array.sum(axis=(1, 2)) for array in of_cells)
    whole = _from_shifted(of_whole, offsets)
    return whole.with_cells(_from_shifted(of_cells, offsets)) if tiled else whole


def _by_cells(array: Integers, grid: Grid) -> Integers:
    """Return sums over cells from sums over blocks."""
    rows = np.add.reduceat(array, grid.row_cells[:-1], axis=1)
    return np.asarray(np.add.reduceat(rows, grid.column_cells[:-1], axis=2))


def _from_shifted(sums: tuple[Integers, ...], offsets: tuple[int, int]) -> Moments:
    """Return the moments of pairs whose images were less by offsets."""
    shape = sums[4].shape
    if int(np.max(sums[0], initial=0)) >= INT64_PIXELS:
        sums = tuple(array.astype(object) for array in sums)
        exact = _without_offsets(sums, *offsets)
        return Moments.from_sums(IntegerSums(*(np.broadcast_to(array, shape) for array in exact)))
    n, x, y, xx, yy, xy = exact = _without_offsets(sums, *offsets)
    of_x = Moments.from_sums(IntegerSums(n, x, x, xx, xx, xx))
    mean, squares, products = (np.empty(shape, np.float64) for _ in range(3))
    flat = [array.reshape(len(array), prod(shape[1:])) for array in (n, x, y, yy, xy, mean, squares, products)]
    parts = cut(len(y), -(-y.size // CELLS_A_TASK))
    run(lambda part: _centre_integers(*flat, parts[part].start, parts[part].stop), len(parts))
    fields = (n, of_x.mean_x, mean, of_x.ss_x, squares, products)
    moments = Moments.from_arrays(np.broadcast_to(array, shape) for array in fields)
    return moments.with_sums(IntegerSums(*(np.broadcast_to(array, shape) for array in exact)))


def _without_offsets(sums: tuple[NDArray[Any], ...], x_offset: int, y_offset: int) -> tuple[NDArray[Any], ...]:
    """Return the sums of images from those of images less by offsets."""
    n, x, y, xx, yy, xy = sums
    if x_offset or y_offset:
        xy = xy + x_offset * y + y_offset * x + x_offset * y_offset * n
    if x_offset:
        x, xx = x + x_offset * n, xx + 2 * x_offset * x + x_offset * x_offset * n
    if y_offset:
        y, yy = y + y_offset * n, yy + 2 * y_offset * y + y_offset * y_offset * n
    return n, x, y, xx, yy, xy


@jit
def _nearest_mean(total, count):  # type: ignore[no-untyped-def]
    """Return the integer nearest to a mean."""
    return (2 * total + count) // (2 * count)


@jit
def _centre_integers(n, x, y, yy, xy, mean, squares, products, first, last) -> None:  # type: ignore[no-untyped-def]
    """Write mean and centred sums of y and of xy, as ``Moments.from_sums`` does, operation by operation."""
    for pair in range(first, last):
        own_n, own_x = n[pair if len(n) > 1 else 0], x[pair if len(x) > 1 else 0]
        for cell in range(y.shape[1]):
            count, sum_x, sum_y = own_n[cell], own_x[cell], y[pair, cell]
            safe = max(count, 1)
            x_shift, y_shift = _nearest_mean(sum_x, safe), _nearest_mean(sum_y, safe)
            x_rest, y_rest = float(sum_x - count * x_shift), float(sum_y - count * y_shift)
            raw = yy[pair, cell] - 2 * y_shift * sum_y + count * y_shift * y_shift
            raw_xy = xy[pair, cell] - y_shift * sum_x - x_shift * sum_y + count * x_shift * y_shift
            share = y_rest / float(safe)
            mean[pair, cell] = float(y_shift) + share
            squares[pair, cell] = float(raw) - y_rest * share
            products[pair, cell] = float(raw_xy) - x_rest * share


def float_moments(sums: tuple[NDArray[Any], ...], grid: Grid, tiled: bool) -> Moments:
    """Return the moments of N pairs from sums over blocks.

    Parameters
    ----------
    sums : eight arrays (N, bands, blocks)
        The count; the shifts of x and y; the sums of x, y, xx, yy and xy about them. Those that are the same for all
        pairs may have one pair only.
    """
    pairs = len(sums[2])
    cells = np.zeros((6, pairs, len(grid.row_cells) - 1, len(grid.column_cells) - 1))
    whole = np.zeros((6, pairs))
    parts = cut(pairs, -(-sums[2].size // CELLS_A_TASK))

    def finish(part: int) -> None:
        _merge(*sums, grid.row_cells, grid.column_cells, cells, whole, parts[part].start, parts[part].stop)

    run(finish, len(parts))
    moments = _from_stacked(whole)
    return moments.with_cells(_from_stacked(cells)) if tiled else moments


def _from_stacked(arrays: NDArray[np.float64]) -> Moments:
    """Return the moments of six arrays."""
    return Moments.from_arrays([arrays[0].astype(np.int64), *arrays[1:]])


@jit
def _merge_neighbours(parts, length) -> None:  # type: ignore[no-untyped-def]
    """Merge rows of count, means and centred sums into the first: neighbour with neighbour, over and over."""
    while length > 1:
        for pair in range(length // 2):
            left, right, target = parts[2 * pair], parts[2 * pair + 1], parts[pair]
            count = left[0] + right[0]
            share = right[0] / max(count, 1.0)
            weight = left[0] * share
            x, y = right[1] - left[1], right[2] - left[2]
            xx = left[3] + right[3] + x * x * weight
            yy = left[4] + right[4] + y * y * weight
            xy = left[5] + right[5] + x * y * weight
            target[1], target[2] = left[1] + x * share, left[2] + y * share
            target[0], target[3], target[4], target[5] = count, xx, yy, xy
        if length % 2:
            for value in range(6):  # an assignment of rows would take Numba three seconds
                parts[length // 2, value] = parts[length - 1, value]
        length = (length + 1) // 2


@jit
def _merge(  # type: ignore[no-untyped-def]
    count, x_shift, y_shift, x, y, xx, yy, xy, row_cells, column_cells, cells, whole, first, last
) -> None:
    """Write the moments of the cells and of the whole of some pairs: (6, pairs, ...)."""
    parts = np.empty((count.shape[1] * count.shape[2], 6))
    merged = np.empty(((len(row_cells) - 1) * (len(column_cells) - 1), 6))
    for n in range(first, last):
        m = n if len(count) > 1 else 0
        for u in range(len(row_cells) - 1):
            for v in range(len(column_cells) - 1):
                length = 0
                for i in range(row_cells[u], row_cells[u + 1]):
                    for j in range(column_cells[v], column_cells[v + 1]):
                        pixels = float(count[m, i, j])
                        part = parts[length]
                        for value in range(6):
                            part[value] = 0.0
                        if pixels > 0:
                            x_mean, y_mean = x[m, i, j] / pixels, y[n, i, j] / pixels
                            part[0], part[1], part[2] = pixels, x_shift[m, i, j] + x_mean, y_shift[n, i, j] + y_mean
                            part[3] = xx[m, i, j] - x[m, i, j] * x_mean
                            part[4] = yy[n, i, j] - y[n, i, j] * y_mean
                            part[5] = xy[n, i, j] - x[m, i, j] * y_mean
                        length += 1
                _merge_neighbours(parts, length)
                for value in range(6):
                    cells[value, n, u, v] = merged[u * (len(column_cells) - 1) + v, value] = parts[0, value]
        _merge_neighbours(merged, len(merged))
        for value in range(6):
            whole[value, n] = merged[0, value]

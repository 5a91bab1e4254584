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
Floats = NDArray[np.float64]

CELLS_A_TASK = 1 << 12
"""Cells of all pairs that are finished at once."""


def integer_moments(sums: tuple[Integers, ...], grid: Grid, tiled: bool, space: Floats) -> Moments:
    """Return the moments of N pairs from sums over blocks.

    Parameters
    ----------
    sums : six int64 arrays (N, bands, blocks)
        The count and the sums of x, y, xx, yy and xy; those that are the same for all pairs may have one pair only.
    space : float64 array (3, N, bands, blocks)
        Where the moments of cells may lie.
    """
    of_cells = sums if grid.is_fine else tuple(_by_cells(array, grid) for array in sums)
    totals = tuple(array.sum(axis=(1, 2)) for array in of_cells)
    whole = _from_sums(totals, np.empty((3, *totals[4].shape)))
    return whole.with_cells(_from_sums(of_cells, _part(space, of_cells[4].shape))) if tiled else whole


def _part(space: Floats, shape: tuple[int, ...]) -> Floats:
    """Return arrays (3, *shape) in a space of at least that size."""
    return space.reshape(-1)[: 3 * prod(shape)].reshape(3, *shape)


def _by_cells(array: Integers, grid: Grid) -> Integers:
    """Return sums over cells from sums over blocks."""
    rows = np.add.reduceat(array, grid.row_cells[:-1], axis=1)
    return np.asarray(np.add.reduceat(rows, grid.column_cells[:-1], axis=2))


def _from_sums(sums: tuple[Integers, ...], space: Floats) -> Moments:
    """Return the moments of pairs, in a space of their size, from exact sums, those of x perhaps of one pair only."""
    n, x, y, xx, yy, xy = sums
    exact = IntegerSums(*(_for_all(array, xy.shape) for array in sums))
    if int(np.max(n, initial=0)) >= INT64_PIXELS:
        return Moments.from_sums(IntegerSums(*(array.astype(object) for array in exact.arrays())))
    mean_x, ss_x, _ = _centred((n, x, x, xx, xx), np.empty((3, *x.shape)))
    mean_y, ss_y, ss_xy = _centred((n, x, y, yy, xy), space)
    fields = (_for_all(array, xy.shape) for array in (n, mean_x, mean_y, ss_x, ss_y, ss_xy))
    return Moments.from_arrays(fields).with_sums(exact)


def _for_all(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array of one pair or all pairs as one of all."""
    return array if array.shape == shape else np.broadcast_to(array, shape)


def _centred(sums: tuple[Integers, ...], space: Floats) -> Floats:
    """Return mean and centred sums of y and of xy, in a space (3, N, ...), from sums of 1, x, y, yy and xy."""
    pairs, size = len(sums[4]), sums[4].size
    flat = [array.reshape(len(array), prod(array.shape[1:])) for array in (*sums, *space)]
    parts = cut(pairs, -(-size // CELLS_A_TASK))
    run(lambda part: _centre_integers(*flat, parts[part].start, parts[part].stop), len(parts))
    return space


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


def float_moments(sums: tuple[NDArray[Any], ...], grid: Grid, tiled: bool, space: Floats) -> Moments:
    """Return the moments of N pairs from sums over blocks.

    Parameters
    ----------
    sums : eight arrays (N, bands, blocks)
        The count; the shifts of x and y; the sums of x, y, xx, yy and xy about them. Those that are the same for all
        pairs may have one pair only.
    space : float64 array (3, N, bands, blocks)
        Where the moments of cells may lie.
    """
    masks, pairs = len(sums[0]), len(sums[2])
    shape = (len(grid.row_cells) - 1, len(grid.column_cells) - 1)
    of_x, of_y = np.zeros((3, masks, *shape)), _part(space, (pairs, *shape))
    whole = np.empty((6, pairs))
    parts = cut(pairs, -(-sums[2].size // CELLS_A_TASK))

    def finish(part: int) -> None:
        _merge(*sums, grid.row_cells, grid.column_cells, of_x, of_y, whole, parts[part].start, parts[part].stop)

    run(finish, len(parts))
    moments = _from_parts(*whole)
    if not tiled:
        return moments
    count, mean_x, squares_x = (_for_all(array, of_y.shape[1:]) for array in of_x)
    mean_y, squares_y, products = of_y
    return moments.with_cells(_from_parts(count, mean_x, mean_y, squares_x, squares_y, products))


def _from_parts(count: Floats, *others: Floats) -> Moments:
    """Return moments whose count is an array of floats."""
    return Moments.from_arrays([count.astype(np.int64), *others])


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
def _take_block(count, x_shift, y_shift, x, y, xx, yy, xy, part) -> None:  # type: ignore[no-untyped-def]
    """Write count, means and centred sums of a block, from its sums about shifts."""
    pixels = float(count)
    mean_x, mean_y = x / max(pixels, 1.0), y / max(pixels, 1.0)
    part[0], part[1], part[2] = pixels, x_shift + mean_x, y_shift + mean_y
    part[3], part[4], part[5] = xx - x * mean_x, yy - y * mean_y, xy - x * mean_y


@jit
def _merge(  # type: ignore[no-untyped-def]
    count, x_shift, y_shift, x, y, xx, yy, xy, row_cells, column_cells, of_x, of_y, whole, first, last
) -> None:
    """Write the moments of some pairs: those of the cells that are x alone, the others, and those of the whole.

    `of_x` holds count, mean and squares, `of_y` mean, squares and products, `whole` all six.
    """
    columns = len(column_cells) - 1
    cells = np.empty(((len(row_cells) - 1) * columns, 6))
    parts = np.empty((count.shape[1] * count.shape[2], 6))
    for n in range(first, last):
        m = n if len(count) > 1 else 0
        for u in range(len(row_cells) - 1):
            for v in range(columns):
                cell, length = cells[u * columns + v], 0
                for i in range(row_cells[u], row_cells[u + 1]):
                    for j in range(column_cells[v], column_cells[v + 1]):
                        _take_block(
                            count[m, i, j], x_shift[m, i, j], y_shift[n, i, j], x[m, i, j], y[n, i, j], xx[m, i, j],
                            yy[n, i, j], xy[n, i, j], parts[length],
                        )  # fmt: skip
                        length += 1
                _merge_neighbours(parts, length)
                for value in range(6):
                    cell[value] = parts[0, value]
                of_y[0, n, u, v], of_y[1, n, u, v], of_y[2, n, u, v] = cell[2], cell[4], cell[5]
                if m == n:
                    of_x[0, n, u, v], of_x[1, n, u, v], of_x[2, n, u, v] = cell[0], cell[1], cell[3]
        _merge_neighbours(cells, len(cells))
        for value in range(6):
            whole[value, n] = cells[0, value]

"""From sums over blocks to the moments of cells and of the whole image.

Integers are added up. Floats are merged by the formulas of Chan, Golub and LeVeque (see ``gpu_stackcorr.moments``),
neighbour with neighbour, in one order.
"""

from __future__ import annotations

from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.moments import INT64_PIXELS, IntegerSums, Moments

from .cells import Grid
from .compiler import inner, jit
from .merging import merge_blocks
from .parallel import cut, run

Integers = NDArray[np.int64]
Sums = tuple[Integers, Integers, Integers]
Floats = NDArray[np.float64]

CELLS_A_TASK, INTEGER_CELLS_A_TASK = 1 << 13, 1 << 15
"""Cells of all pairs that are finished at once: those of floats take 8 ns each to merge, those of integers 3, and 10
where vectors of int64 cannot be multiplied (a Zen 3)."""


def integer_moments(of_x: Sums, of_y: Sums, grid: Grid, tiled: bool, space: Floats) -> Moments:
    """Return the moments of N pairs from sums over blocks.

    Parameters
    ----------
    of_x : three int64 arrays (M, bands, blocks)
        The count and the sums of x and xx, of one mask for all pairs or of N.
    of_y : three int64 arrays (N, bands, blocks)
        The sums of y, yy and xy.
    space : float64 array (3, N, bands, blocks)
        Where the moments of cells may lie.
    """
    masks, pairs = len(of_x[0]), len(of_y[0])
    if int(of_x[0].sum(axis=(1, 2)).max(initial=0)) >= INT64_PIXELS:
        return _many_pixels((*of_x, *of_y), grid, tiled)
    cell_sums = (of_x, of_y) if grid.is_fine else (_like(of_x, grid.cells), _like(of_y, grid.cells))
    whole_sums = _like(of_x, (1,)), _like(of_y, (1,))
    cells = np.empty((2, masks, *grid.cells)), _part(space, (pairs, *grid.cells))
    whole = np.empty((2, masks, 1)), np.empty((3, pairs, 1))
    in_cells, in_whole = _in_rows(*cell_sums, *cells), (*whole_sums, *whole)

    def add(side: int, first: int, last: int) -> None:
        if not grid.is_fine:
            _add_blocks((of_x, of_y)[side], grid.row_cells, grid.column_cells, cell_sums[side], first, last)
        _add_cells(in_cells[:2][side], whole_sums[side], first, last)

    add(0, 0, masks)
    parts = cut(pairs, -(-of_y[0].size // INTEGER_CELLS_A_TASK))

    def finish(part: int) -> None:
        first, last = parts[part].start, parts[part].stop
        add(1, first, last)
        _centre_integers(*in_whole, first, last)
        if tiled:
            _centre_integers(*in_cells, first, last)

    run(finish, len(parts))
    x, y = (cast(Sums, tuple(array[:, 0] for array in arrays)) for arrays in whole_sums)
    moments_of_cells = _from_integers(*cell_sums, *cells) if tiled else None
    return _from_integers(x, y, whole[0][..., 0], whole[1][..., 0], moments_of_cells)


def _in_rows(of_x: Sums, of_y: Sums, moments_of_x: Floats, moments_of_y: Floats) -> tuple[Sums, Sums, Floats, Floats]:
    """Return sums (N, Y, X) and moments (..., N, Y, X) with their last two axes as one."""
    cells = prod(of_y[0].shape[1:])
    x, y = (cast(Sums, tuple(array.reshape(-1, cells) for array in arrays)) for arrays in (of_x, of_y))
    return x, y, moments_of_x.reshape(2, -1, cells), moments_of_y.reshape(3, -1, cells)


def _like(arrays: Sums, shape: tuple[int, ...]) -> Sums:
    """Return arrays of so many pairs as others, of another shape."""
    return cast(Sums, tuple(np.empty((len(array), *shape), array.dtype) for array in arrays))


def _many_pixels(sums: tuple[Integers, ...], grid: Grid, tiled: bool) -> Moments:
    """Return the moments of pairs whose sums int64 may not hold, from count, x, xx, y, yy and xy."""
    n, x, xx, y, yy, xy = (_by_cells(array.astype(object), grid) for array in sums)
    cells = IntegerSums(*(np.broadcast_to(array, xy.shape) for array in (n, x, y, xx, yy, xy)))
    whole = Moments.from_sums(IntegerSums(*(array.sum(axis=(1, 2)) for array in cells.arrays())))
    return whole.with_cells(Moments.from_sums(cells)) if tiled else whole


def _part(space: Floats, shape: tuple[int, ...]) -> Floats:
    """Return arrays (3, *shape) in a space of at least that size."""
    return space.reshape(-1)[: 3 * prod(shape)].reshape(3, *shape)


def _by_cells(array: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Return sums over cells from sums over blocks."""
    rows = np.add.reduceat(array, grid.row_cells[:-1], axis=1)
    return np.asarray(np.add.reduceat(rows, grid.column_cells[:-1], axis=2))


def _for_all(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array of numbers of one pair or all pairs as one of all, which nobody may write."""
    if array.shape == shape:
        return array
    # In a third of the time of np.broadcast_to, of which ten calls would take a tenth of the time of a pair of images.
    same: NDArray[Any] = np.ndarray(shape, array.dtype, np.ascontiguousarray(array), strides=(0, *array.strides[1:]))
    same.flags.writeable = False
    return same


def _from_integers(
    of_x: Sums, of_y: Sums, moments_of_x: Floats, moments_of_y: Floats, cells: Moments | None = None
) -> Moments:
    """Return moments with their exact sums, and with those of cells."""
    shape = of_y[0].shape
    n, x, xx, mean_x, ss_x = (_for_all(array, shape) for array in (*of_x, *moments_of_x))
    (y, yy, xy), (mean_y, ss_y, ss_xy) = of_y, moments_of_y
    return Moments(n, mean_x, mean_y, ss_x, ss_y, ss_xy, IntegerSums(n, x, y, xx, yy, xy), cells)


@jit
def _add_blocks(sums, row_cells, column_cells, cells, first, last) -> None:  # type: ignore[no-untyped-def]
    """Write sums over the cells of some pairs."""
    for which in range(3):
        for pair in range(first, last):
            for u in range(len(row_cells) - 1):
                for v in range(len(column_cells) - 1):
                    of_cell = 0
                    for i in range(row_cells[u], row_cells[u + 1]):
                        for j in range(column_cells[v], column_cells[v + 1]):
                            of_cell += sums[which][pair, i, j]
                    cells[which][pair, u, v] = of_cell


@jit
def _add_cells(cells, wholes, first, last) -> None:  # type: ignore[no-untyped-def]
    """Write sums over all cells (N, cells) of some pairs."""
    for which in range(3):
        for pair in range(first, last):
            wholes[which][pair, 0] = _sum(cells[which][pair])


@inner
def _sum(numbers):  # type: ignore[no-untyped-def]
    """Return a sum of integers: in a function of its own, where LLVM makes vectors of it."""
    total = np.int64(0)
    for c in range(numbers.size):
        total += numbers[c]
    return total


@inner
def _nearest_mean(total, count):  # type: ignore[no-untyped-def]
    """Return the integer nearest to a mean of fewer than 2^31 pixels.

    A quotient of floats is at most one off and put right: vectors divide floats, but not integers.
    """
    doubled, divisor = 2 * total + count, 2 * count
    quotient = np.int64(np.floor(np.float64(doubled) / np.float64(divisor)))
    rest = doubled - quotient * divisor
    return quotient + np.int64(rest >= divisor) - np.int64(rest < 0)


@jit
def _centre_integers(of_x, of_y, moments_of_x, moments_of_y, first, last) -> None:  # type: ignore[no-untyped-def]
    """Write means and centred sums of some pairs, as ``Moments.from_sums`` does, operation by operation.

    Sums are (M, cells) and (N, cells), moments (2, M, cells) and (3, N, cells).
    """
    cells, known = of_y[0].shape[1], -1
    shifts, rests = np.empty(cells, np.int64), np.empty(cells, np.float64)
    for pair in range(first, last):
        mask = pair if len(of_x[0]) > 1 else 0
        count, x, xx = of_x[0][mask], of_x[1][mask], of_x[2][mask]
        if mask != known:
            for c in range(cells):
                shifts[c] = _nearest_mean(x[c], max(count[c], 1))
                rests[c] = np.float64(x[c] - count[c] * shifts[c])
            known = mask
        if mask == pair:
            for c in range(cells):
                share = rests[c] / np.float64(max(count[c], 1))
                raw = xx[c] - 2 * shifts[c] * x[c] + count[c] * shifts[c] * shifts[c]
                moments_of_x[0, mask, c] = np.float64(shifts[c]) + share
                moments_of_x[1, mask, c] = np.float64(raw) - rests[c] * share
        y, yy, xy = of_y[0][pair], of_y[1][pair], of_y[2][pair]
        for c in range(cells):
            safe = max(count[c], 1)
            shift = _nearest_mean(y[c], safe)
            rest = np.float64(y[c] - count[c] * shift)
            share = rest / np.float64(safe)
            raw = yy[c] - 2 * shift * y[c] + count[c] * shift * shift
            raw_xy = xy[c] - shift * x[c] - shifts[c] * y[c] + count[c] * shifts[c] * shift
            moments_of_y[0, pair, c] = np.float64(shift) + share
            moments_of_y[1, pair, c] = np.float64(raw) - rest * share
            moments_of_y[2, pair, c] = np.float64(raw_xy) - rests[c] * share


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
    of_x, of_y = np.zeros((3, masks, *grid.cells)), _part(space, (pairs, *grid.cells))
    whole, cells = np.empty((6, pairs)), prod(grid.cells)
    blocks = [array.reshape(len(array), prod(grid.shape)) for array in sums]
    results = of_x.reshape(3, masks, cells), of_y.reshape(3, pairs, cells), whole
    parts = cut(pairs, -(-sums[2].size // CELLS_A_TASK))

    def finish(part: int) -> None:
        merge_blocks(*blocks, grid.row_cells, grid.column_cells, *results, parts[part].start, parts[part].stop)

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

"""Moments of floats from sums over blocks: merged neighbour with neighbour, over and over, in one order.

The formulas are those of Chan, Golub and LeVeque: see ``gpu_stackcorr.moments``.
"""

from __future__ import annotations

import numpy as np

from .compiler import inner, jit

_VALUES = 6
"""Of a part: count, means of x and y, centred sums of xx, yy and xy."""


@jit
def merge_blocks(  # type: ignore[no-untyped-def]
    count, x_shift, y_shift, x, y, xx, yy, xy, row_cells, column_cells, of_x, of_y, whole, first, last
) -> None:
    """Write the moments of some pairs: those of the cells that are x alone, the others, and those of the whole.

    The sums are (M or N, blocks). `of_x` (3, M, cells) holds count, mean and squares, `of_y` (3, N, cells) mean,
    squares and products, `whole` all six.
    """
    blocks = np.empty((count.shape[1], _VALUES))
    is_fine = of_y.shape[2] == len(blocks)
    cells, parts = blocks if is_fine else np.empty((of_y.shape[2], _VALUES)), np.empty((len(blocks), _VALUES))
    for n in range(first, last):
        m = n if len(count) > 1 else 0
        for b in range(len(blocks)):
            part, pixels = blocks[b], np.float64(count[m, b])
            mean_x, mean_y = x[m, b] / max(pixels, 1.0), y[n, b] / max(pixels, 1.0)
            part[0], part[1], part[2] = pixels, x_shift[m, b] + mean_x, y_shift[n, b] + mean_y
            part[3], part[4] = xx[m, b] - x[m, b] * mean_x, yy[n, b] - y[n, b] * mean_y
            part[5] = xy[n, b] - x[m, b] * mean_y
        if not is_fine:
            _merge_cells(blocks, row_cells, column_cells, parts, cells)
        for c in range(len(cells)):
            of_y[0, n, c], of_y[1, n, c], of_y[2, n, c] = cells[c, 2], cells[c, 4], cells[c, 5]
            if m == n:
                of_x[0, m, c], of_x[1, m, c], of_x[2, m, c] = cells[c, 0], cells[c, 1], cells[c, 3]
        _merge_neighbours(cells, len(cells))
        for value in range(_VALUES):
            whole[value, n] = cells[0, value]


@inner
def _merge_cells(blocks, row_cells, column_cells, parts, cells) -> None:  # type: ignore[no-untyped-def]
    """Write the parts that the blocks of each cell merge to."""
    cell, columns = np.int64(0), column_cells[-1]
    for u in range(len(row_cells) - 1):
        for v in range(len(column_cells) - 1):
            length = np.int64(0)
            for i in range(row_cells[u], row_cells[u + 1]):
                for j in range(column_cells[v], column_cells[v + 1]):
                    _copy(blocks, i * columns + j, parts, length)
                    length += 1
            _merge_neighbours(parts, length)
            _copy(parts, np.int64(0), cells, cell)
            cell += 1


@inner
def _copy(source, n, target, m) -> None:  # type: ignore[no-untyped-def]
    """Write a part elsewhere; an assignment of rows would take Numba three seconds."""
    for value in range(_VALUES):
        target[m, value] = source[n, value]


@inner
def _merge_neighbours(parts, length) -> None:  # type: ignore[no-untyped-def]
    """Merge parts (length, 6) into the first: neighbour with neighbour, over and over."""
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
            _copy(parts, length - 1, parts, length // 2)
        length = (length + 1) // 2

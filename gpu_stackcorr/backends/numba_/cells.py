"""The geometry of sums over cells: blocks of at most 64 rows and 1024 columns, each row of one in windows.

A cell is cut into blocks, small enough for one shift of floats and for int32 lanes of integers, and large enough for
their merging to cost nothing. A band is a row of blocks: it is summed row by row of the image, so that memory is read
in order.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Ends = tuple[int, ...]

BLOCK_ROWS = 64
BLOCK_COLUMNS = 1024


class Grid(NamedTuple):
    """Blocks and the cells that they make up.

    Attributes
    ----------
    width : int
        Columns that a row must have in memory: at least those of a window.
    widest : int
        Whole windows of the widest block.
    rows : (bands + 1,) int64 array
        Where bands begin, and the last one ends.
    row_cells, column_cells : (cells + 1,) int64 arrays
        Where the blocks of each cell begin, along y and along x.
    columns : (blocks, 5) int64 array
        Of each block along x: its first column; its columns; its whole windows; where its last, masked window begins,
        from the first column; where the mask of that begins in `keep`, -1 where none is needed.
    keep : flat array of integers
        Masks of last windows: all bits set where a pixel counts, none where not.
    pixels : (bands, blocks) int64 array
        Of each block.
    """

    width: int
    widest: int
    rows: Indices
    row_cells: Indices
    column_cells: Indices
    columns: Indices
    keep: NDArray[Any]
    pixels: Indices

    @property
    def shape(self) -> tuple[int, int]:
        """Bands, and blocks of each."""
        return len(self.rows) - 1, len(self.columns)

    @property
    def cells(self) -> tuple[int, int]:
        """Cells along y and along x."""
        return len(self.row_cells) - 1, len(self.column_cells) - 1

    @property
    def is_fine(self) -> bool:
        """Whether every cell is one block."""
        return self.shape == self.cells


@lru_cache(maxsize=32)
def grid_of(y_edges: Ends, x_edges: Ends, lanes: int, dtype: type) -> Grid:
    """Return the grid of cells with these edges, for windows of so many pixels, masked by values of `dtype`."""
    width = max(x_edges[-1], lanes)
    rows, row_cells = _refine(y_edges, BLOCK_ROWS)
    ends, column_cells = _refine(x_edges, BLOCK_COLUMNS)
    columns = np.zeros((len(ends) - 1, 5), np.int64)
    masks: list[NDArray[Any]] = []
    for block, (start, stop) in enumerate(pairwise(ends.tolist())):
        whole, left = divmod(stop - start, lanes)
        rest = min(stop - left, width - lanes)
        columns[block] = start, stop - start, whole, rest - start, len(masks) * lanes if left else -1
        if left:
            position = rest + np.arange(lanes)
            masks.append(-((position >= stop - left) & (position < stop)).astype(dtype))
    keep = np.concatenate(masks) if masks else np.zeros(lanes, dtype)
    arrays = rows, row_cells, column_cells, columns, keep, np.outer(np.diff(rows), columns[:, 1])
    for array in arrays:
        array.flags.writeable = False  # they are shared by all who ask for the same grid
    return Grid(width, int(columns[:, 2].max()), *arrays)


def _refine(edges: Ends, longest: int) -> tuple[Indices, Indices]:
    """Return the edges of blocks of cells, nearly equal, and the number of the first block of each cell."""
    starts, firsts = [np.zeros(0, np.int64)], [0]
    for start, stop in pairwise(edges):
        parts = max(1, -(-(stop - start) // longest))
        starts.append(start + (stop - start) * np.arange(parts) // parts)
        firsts.append(firsts[-1] + parts)
    return np.concatenate([*starts, edges[-1:]]).astype(np.int64), np.array(firsts, np.int64)

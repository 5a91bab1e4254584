"""How cells are cut into the blocks that a warp sums: see ``kernels/moments.cu``.

A row of a block has at most 32 units, one a lane; where it has fewer, the lanes take several rows at once. Cells are
cut so that few lanes go idle: a cell of 20 units would leave 12 of 32, two blocks of 10 leave 2.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Edges

LANES = 32

BLOCK_COST = 0.1
"""What one more block costs, in passes of a warp a row: the sums over its lanes, and shorter runs of memory."""


class Blocks(NamedTuple):
    """Blocks and the cells that they make up.

    Attributes
    ----------
    rows, columns : int32 arrays
        Where block rows and block columns begin, and the last one ends.
    row_cells, column_cells : int32 arrays
        The first block row, or column, of each cell, and the number of all.
    """

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    row_cells: NDArray[np.int32]
    column_cells: NDArray[np.int32]

    @property
    def shape(self) -> tuple[int, int]:
        """Block rows and block columns."""
        return len(self.rows) - 1, len(self.columns) - 1

    @property
    def cells(self) -> tuple[int, int]:
        """Cells along y and along x."""
        return len(self.row_cells) - 1, len(self.column_cells) - 1

    @property
    def number(self) -> int:
        """Number of blocks."""
        return self.shape[0] * self.shape[1]

    def pixels(self) -> NDArray[np.int64]:
        """Return the pixels of each block."""
        return np.outer(np.diff(self.rows), np.diff(self.columns)).astype(np.int64)

    def blocks_a_cell(self) -> int:
        """Return the number of blocks of the largest cell."""
        return int(np.diff(self.row_cells).max(initial=1) * np.diff(self.column_cells).max(initial=1))


def cut_cells(edges: Edges, *, unit: int, passes: int, aligned: bool = True) -> Blocks:
    """Return blocks of cells with these edges.

    Parameters
    ----------
    edges : Edges
    unit : int
        Pixels of a unit.
    passes : int
        Most units that a lane takes.
    aligned : bool
        Whether units begin at every `unit`-th pixel of a row; otherwise they may begin anywhere.
    """
    return _cut_cells(tuple(edges[0].tolist()), tuple(edges[1].tolist()), unit, passes, aligned)


@lru_cache(maxsize=64)
def _cut_cells(y_edges: tuple[int, ...], x_edges: tuple[int, ...], unit: int, passes: int, aligned: bool) -> Blocks:
    """Return blocks of cells."""
    columns, column_cells = [np.zeros(0, np.int64)], [0]
    rows_at_once = LANES
    for start, stop in pairwise(x_edges):
        count, units = _best_cut(start, stop, unit, aligned)
        columns.append(_cut(start, stop, count, unit if aligned else 1))
        column_cells.append(column_cells[-1] + count)
        rows_at_once = min(rows_at_once, LANES // units)
    rows, row_cells = [np.zeros(0, np.int64)], [0]
    for start, stop in pairwise(y_edges):
        count = max(1, -(-(stop - start) // (passes * rows_at_once)))
        rows.append(_cut(start, stop, count, 1))
        row_cells.append(row_cells[-1] + count)
    arrays = np.concatenate([*rows, y_edges[-1:]]), np.concatenate([*columns, x_edges[-1:]]), row_cells, column_cells
    return Blocks(*(np.asarray(array, np.int32) for array in arrays))


def _best_cut(start: int, stop: int, unit: int, aligned: bool) -> tuple[int, int]:
    """Return the number of blocks of a cell's row that costs least, and the units of its widest block."""
    least = max(1, -(-(stop - start) // (unit * LANES)))
    cuts = []
    for count in range(least, least + least // 8 + 17):
        edges = np.append(_cut(start, stop, count, unit if aligned else 1), stop)
        touched = np.diff(edges) + 2 * unit - 2 if not aligned else (-(-edges[1:] // unit) - edges[:-1] // unit) * unit
        units = max(1, int(touched.max()) // unit)
        if units <= LANES:
            cuts.append((count / (LANES // units) + BLOCK_COST * count, count, units))
    _, count, units = min(cuts)
    return count, units


def _cut(start: int, stop: int, count: int, unit: int) -> NDArray[np.int64]:
    """Return where blocks begin: nearly equal, and on whole units."""
    first, last = start // unit, -(-stop // unit)
    return np.clip((first + (last - first) * np.arange(count) // count) * unit, start, stop)


TILE = (32, 64)
"""Most rows and columns of a tile; as in ``kernels/warp_moments.cu``."""

BOX = (8, 32)
"""Most rows and columns of a block of a tile: a row has a pixel a lane, and a full tile has a block for each of its
eight warps. With 16 rows half of the warps waited: a twelfth of the time of `warp_moments` on an H200."""


class Tiles(NamedTuple):
    """Blocks of at most BOX pixels, and boxes of them that a thread block takes.

    Attributes
    ----------
    blocks : Blocks
    rows, columns : int32 arrays
        The first block row, or column, of each tile, and the number of all.
    """

    blocks: Blocks
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]

    @property
    def number(self) -> int:
        """Number of tiles."""
        return (len(self.rows) - 1) * (len(self.columns) - 1)


def cut_tiles(edges: Edges) -> Tiles:
    """Return tiles: cells are cut into blocks of nearly the same size, and what follows each other fills a tile."""
    along = (_tiles(tuple(ends.tolist()), box, tile) for ends, box, tile in zip(edges, BOX, TILE, strict=True))
    starts, firsts, tiles = zip(*along, strict=True)
    return Tiles(Blocks(*starts, *firsts), *tiles)


@lru_cache(maxsize=64)
def _tiles(edges: tuple[int, ...], box: int, tile: int) -> tuple[NDArray[np.int32], ...]:
    """Return, along one axis, where blocks begin, the first block of each cell, and that of each tile."""
    counts = np.maximum(1, -(-np.diff(edges) // box)).tolist()
    spans = zip(pairwise(edges), counts, strict=True)
    starts = np.concatenate([*(_cut(start, stop, count, 1) for (start, stop), count in spans), edges[-1:]])
    tiles = [0]
    for block, stop in enumerate(starts.tolist()[1:]):
        if stop - starts[tiles[-1]] > tile:
            tiles.append(block)
    arrays = starts, np.cumsum([0, *counts]), [*tiles, len(starts) - 1]
    return tuple(np.asarray(array, np.int32) for array in arrays)

"""How cells are cut into the blocks that a warp sums: see ``kernels/moments.cu``.

A row of a block has at most 32 units, one a lane; where it has fewer, the lanes take several rows at once. Cells are
cut so that few lanes go idle: a cell of 20 units would leave 12 of 32, two blocks of 10 leave 2.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Edges

LANES = 32

LINE_UNITS = 8
"""Units of a line of memory: where a row takes several items, each begins with one."""

NO_LANE = (0, 0, 2**30, 0)
"""What a lane takes that has nothing to do: a row beyond every image."""

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
    rows, row_cells = _cut_rows(y_edges, passes * rows_at_once)
    arrays = rows, np.concatenate([*columns, x_edges[-1:]]), row_cells, column_cells
    return Blocks(*(np.asarray(array, np.int32) for array in arrays))


def _cut_rows(edges: tuple[int, ...], most: int) -> tuple[NDArray[np.int64], list[int]]:
    """Return where block rows of so many rows at most begin and end, and the first of each cell."""
    rows, row_cells = [np.zeros(0, np.int64)], [0]
    for start, stop in pairwise(edges):
        count = max(1, -(-(stop - start) // most))
        rows.append(_cut(start, stop, count, 1))
        row_cells.append(row_cells[-1] + count)
    return np.concatenate([*rows, edges[-1:]]), row_cells


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


class Units(NamedTuple):
    """Blocks whose columns are units of a row, and which of them a lane takes: see ``kernels/moments.cu``.

    Attributes
    ----------
    blocks : Blocks
    lanes : (items of a row, LANES, 4) int32 array
        Block column, unit, first row and the lane at which the block's own end.
    rows_at_once : int
    """

    blocks: Blocks
    lanes: NDArray[np.int32]
    rows_at_once: int


def cut_units(edges: Edges, *, unit: int, rows: int) -> Units:
    """Return blocks of cells with these edges, cut where the lanes of a warp are full.

    Parameters
    ----------
    edges : Edges
    unit : int
        Pixels of a unit; the image's rows are whole units.
    rows : int
        Most rows that a lane takes.
    """
    return _cut_units(tuple(edges[0].tolist()), tuple(edges[1].tolist()), unit, rows)


@lru_cache(maxsize=64)
def _cut_units(y_edges: tuple[int, ...], x_edges: tuple[int, ...], unit: int, rows: int) -> Units:
    """Return blocks of cells, and their lanes."""
    spans = [range(start // unit, -(-stop // unit)) for start, stop in pairwise(x_edges)]
    slots = [(cell, place) for cell, span in enumerate(spans) for place in span]  # where two cells share one: twice
    items = max(1, -(-len(slots) // LANES))
    across = -(-len(slots) // items)
    if items > 1:
        across = -(-across // LINE_UNITS) * LINE_UNITS
    rows_at_once = max(1, LANES // max(1, across))
    columns: list[int] = []
    counts, lanes = [0] * len(spans), []
    for first in range(0, len(slots), max(1, across)):
        item: list[tuple[int, int, int, int]] = []
        for cell, run in groupby(slots[first : first + across], key=itemgetter(0)):
            places = [place for _, place in run]
            stop = len(item) + rows_at_once * len(places)
            item += [(len(columns), place, row, stop) for row in range(rows_at_once) for place in places]
            columns.append(max(x_edges[cell], places[0] * unit))
            counts[cell] += 1
        lanes.append(item + [NO_LANE] * (LANES - len(item)))
    starts, row_cells = _cut_rows(y_edges, rows * rows_at_once)
    arrays = starts, [*columns, x_edges[-1]], row_cells, np.cumsum([0, *counts])
    return Units(Blocks(*(np.asarray(array, np.int32) for array in arrays)), np.array(lanes, np.int32), rows_at_once)


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

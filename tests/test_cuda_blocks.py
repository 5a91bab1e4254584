"""How cells are cut into the blocks that warps of a GPU sum, and what lanes take of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gpu_stackcorr.backends.cuda_.blocks import LANES, NO_LANE, cut_cells, cut_units


def linspace(n, cells):
    return np.rint(np.linspace(0, n, cells + 1)).astype(np.intp)


@pytest.mark.parametrize("unit", [1, 4, 8, 16])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (7, 15), (48, 64), (5, 1000), (300, 496), (33, 513), (1009, 4099)])
@pytest.mark.parametrize("cells", [1, 2, 16])
def test_blocks_fill_their_cells_and_lanes(unit, aligned, shape, cells):
    edges = linspace(shape[0], cells), linspace(shape[1], cells)
    blocks = cut_cells(edges, unit=unit, passes=16, aligned=aligned)
    for ends, starts, firsts in (
        (edges[0], blocks.rows, blocks.row_cells),
        (edges[1], blocks.columns, blocks.column_cells),
    ):
        assert (np.diff(starts) >= 0).all()
        np.testing.assert_array_equal(starts[firsts], ends)
    rows_at_once = LANES
    for left, right in pairwise(blocks.columns.tolist()):
        if aligned:
            units = -(-right // unit) - left // unit
            assert left % unit == 0 or left in edges[1]
        else:
            units = (right - left + 2 * unit - 2) // unit
        assert units <= LANES
        rows_at_once = min(rows_at_once, LANES // max(1, units))
    assert np.diff(blocks.rows).max() <= 16 * rows_at_once
    assert blocks.pixels().sum() == shape[0] * shape[1]
    assert np.diff(blocks.rows).max() * np.diff(blocks.columns).max() * 65025 < 2**32 or unit < 16


@pytest.mark.parametrize("unit", [8, 16])
@pytest.mark.parametrize("units", [1, 3, 16, 17, 32, 33, 64, 100])
@pytest.mark.parametrize("cells", [1, 3, 16])
def test_lanes_take_every_unit_of_every_cell(unit, units, cells):
    edges = linspace(70, 2), linspace(units * unit, cells)
    found = cut_units(edges, unit=unit, rows=8)
    blocks, lanes = found.blocks, found.lanes.tolist()
    np.testing.assert_array_equal(blocks.columns[blocks.column_cells], edges[1])
    np.testing.assert_array_equal(blocks.rows[blocks.row_cells], edges[0])
    assert np.diff(blocks.rows).max() <= 8 * found.rows_at_once
    taken = []
    for item in lanes:
        assert len(item) == LANES
        for lane, (block, place, row, stop) in enumerate(item):
            if row == NO_LANE[2]:
                continue
            left, right = blocks.columns[block : block + 2].tolist()
            assert left < (place + 1) * unit
            assert right > place * unit
            assert [other[0] for other in item[lane:stop]] == [block] * (stop - lane)
            assert stop == LANES or item[stop][0] != block or item[stop][2] == NO_LANE[2]
            taken += [
                (max(left, place * unit) + i, row)
                for i in range(min(right, (place + 1) * unit) - max(left, place * unit))
            ]
    pixels = [(x, row) for x in range(units * unit) for row in range(found.rows_at_once)]
    assert sorted(taken) == pixels

"""From sums of blocks to the moments of cells and of the whole: launches ``kernels/moments_total.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from gpu_stackcorr.backends.base import Array

from .blocks import Blocks
from .device import Device
from .layout import grid

THREADS = 256
"""Of a thread block that takes small cells, or a large one; as in the kernel."""

BLOCKS_A_THREAD, BLOCKS_A_WARP = 16, 64
"""Blocks of a cell up to which one thread, or one warp, adds them up."""


class Steps(NamedTuple):
    """Sums, and the steps from those of a reference to the next and of a slice to the next, in blocks."""

    sums: Array
    of_reference: int
    of_slice: int


class Pairs(NamedTuple):
    """What the first stage found, and what was added to pixels of x and of y."""

    x: Steps
    y: Steps
    products: Array
    counts: Steps
    offsets: tuple[int, int]


class Totals(NamedTuple):
    """What cells have, as ``kernels/moments_total.cu`` writes it.

    Attributes
    ----------
    shared_x, shared_y : bool
        Whether what x has is the same for all slices, and given once; what y has, for all references.
    of_x, of_y, of_xy : (3, K, 1 or n, cells), (2, 1 or K, n, cells) and (1, K, n, cells) arrays
        Count, x and xx; y and yy; xy: exact sums, or means and centred sums.
    moments_of_x, moments_of_y, moments_of_xy : like arrays of float64, optional
        Means and centred sums, of exact sums.
    """

    shared_x: bool
    shared_y: bool
    of_x: Array
    of_y: Array
    of_xy: Array
    moments_of_x: Array | None = None
    moments_of_y: Array | None = None
    moments_of_xy: Array | None = None

    def arrays(self) -> list[Array]:
        """Return what there is of the arrays, in turn."""
        return [array for array in self[2:] if array is not None]


def total_cells(device: Device, blocks: Blocks, on_device: Sequence[Array], pairs: Pairs) -> list[Totals]:
    """Return what cells have, and behind it what exact sums over all cells are, if there are several.

    Parameters
    ----------
    device : Device
    blocks : Blocks
    on_device : four arrays
        The same on the device.
    pairs : Pairs
    """
    cells, area = blocks.cells, prod(blocks.cells)
    found = _empty(device, pairs, area)
    references, slices, number = pairs.products.shape
    dtype, blocks_a_cell = pairs.products.dtype, blocks.blocks_a_cell()
    is_small = blocks_a_cell <= BLOCKS_A_THREAD
    threads = 32 if not is_small and blocks_a_cell <= BLOCKS_A_WARP else THREADS
    given = [(each.sums, *map(np.int64, each[1:])) for each in (pairs.x, pairs.y, pairs.counts)]
    sizes = *map(np.int32, (*cells, blocks.shape[1])), *map(np.int64, (number, references, slices))
    alone = np.int64(found.of_x.shape[2]), np.int64(found.of_y.shape[1])
    name = f"total_cells<{'long long' if dtype == np.int64 else 'double'}, {str(is_small).lower()}>"
    arguments = *given[0], *given[1], pairs.products, *given[2], *on_device[2:], *sizes
    device.kernel("moments_total.cu", name)(
        grid(-(-area // threads), slices) if is_small else grid(area, slices, references),
        (threads,),
        (*arguments, *map(dtype.type, pairs.offsets), *alone, *found[2:]),
    )
    if dtype != np.int64 or area == 1:
        return [found]
    whole = _empty(device, pairs, 1)
    device.kernel("moments_total.cu", "add_cells")(
        grid(slices, references),
        (THREADS,),
        (*found[2:5], *map(np.int64, (references, slices, area)), *alone, *whole[2:]),
    )
    return [found, whole]


def _empty(device: Device, pairs: Pairs, cells: int) -> Totals:
    """Return where what cells have will stand."""
    references, slices, _ = pairs.products.shape
    shared_x, shared_y = pairs.x.of_slice == pairs.counts.of_slice == 0, pairs.y.of_reference == 0
    of_x = 3, references, 1 if shared_x else slices, cells
    of_y, of_xy = (2, 1 if shared_y else references, slices, cells), (1, references, slices, cells)
    sums = [device.empty(shape, pairs.products.dtype) for shape in (of_x, of_y, of_xy)]
    shapes = ((2, *of_x[1:]), of_y, of_xy) if pairs.products.dtype == np.int64 else ()
    return Totals(shared_x, shared_y, *sums, *(device.empty(shape, np.float64) for shape in shapes))

"""From sums of blocks to the moments of cells and of the whole: launches ``kernels/moments_total.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from gpu_stackcorr.backends.base import Array

from .blocks import Blocks
from .device import Device
from .layout import grid

THREADS = 256
"""Of a thread block that takes small cells, or a large one; as in the kernel."""

SLICES_A_MULTIPROCESSOR = 3
"""Thread blocks that run at once where each takes all cells of a slice, as registers allow."""

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
    """What cells have, as ``kernels/moments_total.cu`` writes it; on the device or on the host.

    Attributes
    ----------
    of_x, of_y, of_xy : (3, K, 1 or n, cells), (2, 1 or K, n, cells) and (1, K, n, cells) arrays
        Count, x and xx; y and yy; xy: exact sums, or means and centred sums.
    moments_of_x, moments_of_y, moments_of_xy : like arrays of float64, optional
        Means and centred sums, of exact sums.
    """

    of_x: Array
    of_y: Array
    of_xy: Array
    moments_of_x: Array | None = None
    moments_of_y: Array | None = None
    moments_of_xy: Array | None = None


@dataclass(frozen=True)
class Layout:
    """How what cells have lies in one piece of memory, and behind it what exact sums over all cells are.

    Attributes
    ----------
    exact : bool
    references, slices : int
    cells : tuple of int
        How many there are; and 1 for the whole, of exact sums of several.
    shared_x, shared_y : bool
        Whether what x has is the same for all slices, and given once; what y has, for all references.
    """

    exact: bool
    references: int
    slices: int
    cells: tuple[int, ...]
    shared_x: bool
    shared_y: bool

    @classmethod
    def of(cls, pairs: Pairs, cells: int) -> Layout:
        """Return that of so many cells."""
        references, slices, _ = pairs.products.shape
        exact = pairs.products.dtype == np.int64
        shared_x, shared_y = pairs.x.of_slice == pairs.counts.of_slice == 0, pairs.y.of_reference == 0
        return cls(exact, references, slices, (cells, 1) if exact and cells > 1 else (cells,), shared_x, shared_y)

    @property
    def size(self) -> int:
        """Number of values, of 8 bytes each."""
        return sum(prod(shape) for cells in self.cells for shape in self._shapes(cells))

    def _shapes(self, cells: int) -> list[tuple[int, ...]]:
        """Return the shapes of the arrays of `Totals`."""
        of_xy = self.references, self.slices, cells
        of_x = self.references, 1 if self.shared_x else self.slices, cells
        of_y = 1 if self.shared_y else self.references, self.slices, cells
        moments = [(2, *of_x), (2, *of_y), (1, *of_xy)] if self.exact else []
        return [(3, *of_x), (2, *of_y), (1, *of_xy), *moments]

    def totals(self, memory: Array) -> list[Totals]:
        """Return the arrays that lie in flat memory of int64, or of float64."""
        results, start = [], 0
        for cells in self.cells:
            arrays = []
            for number, shape in enumerate(self._shapes(cells)):
                part = memory[start : start + prod(shape)].reshape(shape)
                arrays.append(part if number < 3 else part.view(np.float64))
                start += prod(shape)
            results.append(Totals(*arrays))
        return results


class Found(NamedTuple):
    """What cells have, on the device."""

    memory: Array
    layout: Layout


def total_cells(device: Device, blocks: Blocks, on_device: Sequence[Array], pairs: Pairs) -> Found:
    """Launch the second stage.

    Parameters
    ----------
    device : Device
    blocks : Blocks
    on_device : four arrays
        The same on the device.
    pairs : Pairs
    """
    cells, area = blocks.cells, prod(blocks.cells)
    layout = Layout.of(pairs, area)
    memory = device.empty((layout.size,), pairs.products.dtype)
    totals = layout.totals(memory)
    references, slices, number = pairs.products.shape
    dtype, blocks_a_cell = pairs.products.dtype, blocks.blocks_a_cell()
    given = [(each.sums, *map(np.int64, each[1:])) for each in (pairs.x, pairs.y, pairs.counts)]
    sizes = *map(np.int32, (*cells, blocks.shape[1])), *map(np.int64, (number, references, slices))
    alone = np.int64(totals[0].of_x.shape[2]), np.int64(totals[0].of_y.shape[1])
    sums = *given[0], *given[1], pairs.products, *given[2], *on_device[2:]
    arguments = *sums, *sizes, *map(dtype.type, pairs.offsets), *alone, *totals[0]
    is_small = blocks_a_cell <= BLOCKS_A_THREAD
    if is_small and len(totals) > 1 and area <= THREADS:
        at_once = SLICES_A_MULTIPROCESSOR * device.multiprocessors
        by_slice = grid(1, min(slices, at_once), min(references, -(-at_once // slices)))
        device.kernel("moments_total.cu", "total_slices")(by_slice, (THREADS,), (*arguments, *totals[1]))
        return Found(memory, layout)
    threads = 32 if not is_small and blocks_a_cell <= BLOCKS_A_WARP else THREADS
    name = f"total_cells<{'long long' if dtype == np.int64 else 'double'}, {str(is_small).lower()}>"
    by_cell = grid(-(-area // threads), slices) if is_small else grid(area, slices, references)
    device.kernel("moments_total.cu", name)(by_cell, (threads,), arguments)
    for whole in totals[1:]:
        device.kernel("moments_total.cu", "add_cells")(
            grid(slices, references),
            (THREADS,),
            (*totals[0][:3], *map(np.int64, (references, slices, area)), *alone, *whole),
        )
    return Found(memory, layout)

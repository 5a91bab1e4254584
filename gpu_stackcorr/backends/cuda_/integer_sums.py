"""Exact sums over blocks of integers of 8 and 16 bits: launches ``kernels/moments.cu`` and ``moments_shifted.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array, Edges

from .block_sums import (
    ALONE,
    MOST_REFERENCES,
    TYPES,
    WORD,
    StoredSums,
    address,
    aligned,
    as_bytes,
    is_aligned,
    sizes,
    stacked,
)
from .blocks import LANES, Blocks, Units, cut_cells, cut_units
from .cell_totals import Found, Steps
from .layout import grid

WORDS_A_LANE = 16
"""Most that a lane takes of a block where rows begin anywhere."""

FEWEST_ROWS, MOST_ROWS = 8, 64
"""Of a lane in a block of integers whose rows are whole units, where there is work for few and for many warps."""

ITEMS_A_WARP = 4
"""That there should be for warps to end together."""

RESIDENT_WARPS = 24
"""Of a multiprocessor, as the kernels' bounds have it."""

OFFSETS = {"int8": 1 << 7, "int16": 1 << 15}
"""What turning the highest bit adds to a signed pixel."""

FLIPS = {"int8": 0x80808080, "int16": 0x80008000}
"""The highest bits of the pixels in four bytes."""


class IntegerSums(StoredSums):
    """Of integers of 8 and 16 bits without masks, exact."""

    images: Array | None = None
    alone_x: Array | None = None

    units: Units | None = None
    """Where every row is whole words: what lanes take; and that on the device."""
    lanes: Array | None = None

    def _cut(self, edges: Edges) -> Blocks:
        unit = WORD // self.kind.itemsize
        if self.shape[2] % unit:
            return cut_cells(edges, unit=unit, passes=WORDS_A_LANE, aligned=False)
        turns = prod(self.shape) // (unit * LANES * RESIDENT_WARPS * self.device.multiprocessors)
        self.units = cut_units(edges, unit=unit, rows=min(max(FEWEST_ROWS, turns // ITEMS_A_WARP), MOST_ROWS))
        self.lanes = self.device.keep(self.units.lanes)
        return self.units.blocks

    def _prepare(self, references: list[Array]) -> None:
        self.references = [self.device.to_device(image) for image in references]
        are_given = all(image is reference for image, reference in zip(self.references, references, strict=True))
        self.places = [address(image) for image in self.references] if are_given else []
        self.counts = self.device.keep(self.blocks.pixels().ravel())

    def _split(self, images: Array) -> None:
        """Keep the references as planes of bytes; those of uint8 whose units are whole are that already."""
        count, pixels, planes = self.count, images[0].size, self.x_kind.itemsize
        self.plane = -(-pixels // WORD) * WORD
        is_split = planes == 1 and self.x_kind.name not in FLIPS and pixels == self.plane
        if is_split and self.units and is_aligned(images):
            self.planes, self.front = as_bytes(images), 0
            return
        self.front = WORD  # units begin before the first pixel, and end behind the last one
        self.planes = self.device.empty((self.front + count * planes * self.plane + 2 * WORD,), np.uint8)
        unsigned = f"uint{8 * planes}"
        flip = np.uint32(FLIPS.get(self.x_kind.name, 0) & ((1 << 8 * planes) - 1))
        self.device.kernel("moments.cu", f"split_bytes<{TYPES[unsigned]}>")(
            grid(-(-pixels // 256), count),
            (256,),
            (
                images.view(unsigned),
                self._planes_from(0),
                np.int64(count),
                np.int64(self.plane),
                np.int64(pixels),
                flip,
            ),
        )

    def _planes_from(self, k: int) -> Array:
        """Return the bytes from the k-th reference on."""
        return self.planes[self.front + k * self.x_kind.itemsize * self.plane :]

    def of_slab(self, start: int, slab: Array) -> Found:
        number, numbers = self.blocks.number, self._numbers_in(slab)
        if self.images is None:
            self.images = self._stacked_in(slab, numbers)
            self._split(self.images)
        alone, products = self._sum(slab)
        if self.alone_x is None:
            self.alone_x = self._alone_of_references(numbers, alone)
        offsets = OFFSETS.get(self.x_kind.name, 0), OFFSETS.get(self.kind.name, 0)
        x, y, counts = Steps(self.alone_x, number, 0), Steps(alone, 0, number), Steps(self.counts, 0, 0)
        return self._total(x, y, products, counts, offsets)

    def _numbers_in(self, slab: Array) -> list[int]:
        """Return which slices of a slab the references are; none where one is not among them."""
        if self.x_kind != self.kind or not self.places:
            return []
        numbers = [divmod(place - address(slab), slab[0].nbytes) for place in self.places]
        return [n for n, _ in numbers] if all(not rest and 0 <= n < len(slab) for n, rest in numbers) else []

    def _stacked_in(self, slab: Array, numbers: list[int]) -> Array:
        """Return the references as one array: a part of the slab where they are neighbours there."""
        if _follow_each_other(numbers):
            return slab[numbers[0] : numbers[-1] + 1]
        return stacked(self.device, self.references)

    def _sum(self, slab: Array) -> tuple[Array, Array]:
        """Return what slices have alone, and their products with the references."""
        if self.units:
            slab = aligned(self.device, slab)
        count, number = len(slab), self.blocks.number
        alone = self.device.empty((count, number, ALONE), np.int64)
        products = self.device.empty((self.count, count, number), np.int64)
        flip = np.uint32(FLIPS.get(self.kind.name, 0))
        for k in range(0, self.count, MOST_REFERENCES):
            references = min(MOST_REFERENCES, self.count - k)
            images = as_bytes(slab), self._planes_from(k), np.int64(self.plane), np.int32(references)
            self._launch_some(references, images, count, (flip, alone, products[k:]))
        return alone, products

    def _launch_some(self, references: int, images: Sequence[Any], slices: int, results: Sequence[Any]) -> None:
        """Launch the first stage for no more references than a launch takes."""
        most, slices_a_warp = sizes(references, slices)
        if self.units is not None:
            slices_a_warp = slices_at_once(most * self.kind.itemsize * self.x_kind.itemsize, slices)
        types = f"{self.kind.itemsize}, {self.x_kind.itemsize}, {most}, {slices_a_warp}"
        if self.units is None:
            self._launch("moments_shifted.cu", f"sum_shifted<{types}>", images, slices, slices_a_warp, results)
            return
        row_items = len(self.units.lanes)
        layout = self.lanes, np.int32(row_items), np.int32(self.units.rows_at_once)
        items = self.blocks.shape[0] * row_items
        self._launch("moments.cu", f"sum_units<{types}>", images, slices, slices_a_warp, (*layout, *results), items)

    def _alone_of_references(self, numbers: list[int], alone: Array) -> Array:
        """Return what the references have alone: as slices that they are, as slices of their type, or in pairs."""
        assert self.images is not None
        if self.x_kind != self.kind or self.x_kind.name in FLIPS:
            return self._sum_pairs(self.images[:1], self.images, (None, np.int64(0)) * 2)[0]
        if not numbers:
            return self._sum(self.images)[0]
        if _follow_each_other(numbers):
            return alone[numbers[0] : numbers[-1] + 1]
        return stacked(self.device, [alone[n] for n in numbers])


def _follow_each_other(numbers: list[int]) -> bool:
    """Whether numbers are those of neighbours, in order."""
    return bool(numbers) and numbers == [*range(numbers[0], numbers[-1] + 1)]


def slices_at_once(sums: int, slices: int) -> int:
    """Return how many slices a warp of ``sum_units`` takes at once."""
    most = 2 if sums == 1 or sums > 8 else 4
    return 1 if sums > 16 else min(most, 1 << (slices - 1).bit_length())

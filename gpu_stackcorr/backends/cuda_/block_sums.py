"""Sums over blocks of the pairs of K references with a slab of slices: launches ``kernels/moments*.cu``.

There are three ways to them: integers of 8 and 16 bits without masks go by planes of bytes, other images without masks
in float64, and whatever has masks pair by pair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array, Edges
from gpu_stackcorr.moments import EXACT_DTYPES

from .blocks import LANES, Blocks, cut_cells, cut_units
from .cell_totals import Found, Pairs, Steps, total_cells
from .device import Device
from .layout import grid

WORD = 16
"""Bytes of a load, on which what is loaded so begins; as in the kernels."""

UNIT = 4
"""Pixels of a unit of floats where every row begins on one."""

WORDS_A_LANE = 16
PIXELS_A_LANE = 64
"""Most that a lane takes of a block, of integers whose rows begin anywhere and of floats. The order of sums depends on
it."""

FEWEST_ROWS, MOST_ROWS = 8, 64
"""Of a lane in a block of integers whose rows are whole units, where there is work for few and for many warps."""

ITEMS_A_WARP = 4
"""That there should be for warps to end together."""

RESIDENT_WARPS = 24
"""Of a multiprocessor, as the kernels' bounds have it."""

WARPS = 8
"""Warps of a thread block; as in the kernels."""

THREAD_BLOCKS = 32
"""Of the first stage that are enough for a multiprocessor: beyond them, warps take further slices in turn."""

MOST_REFERENCES = 8
"""References that a launch takes: the sums of more do not fit into registers."""

ALONE = 3
"""Numbers of the struct ``Alone``."""

TYPES = {
    "bool": "bool", "int8": "signed char", "uint8": "unsigned char", "int16": "short", "uint16": "unsigned short",
    "int32": "int", "uint32": "unsigned int", "int64": "long long", "uint64": "unsigned long long",
    "float32": "float", "float64": "double",
}  # fmt: skip

OFFSETS = {"int8": 1 << 7, "int16": 1 << 15}
"""What turning the highest bit adds to a signed pixel."""

FLIPS = {"int8": 0x80808080, "int16": 0x80008000}
"""The highest bits of the pixels in four bytes."""


def is_exact(dtype: np.dtype[Any]) -> bool:
    """Whether images of a dtype have exact sums with each other."""
    return dtype.newbyteorder("=") in EXACT_DTYPES


class Sums(ABC):
    """The sums of references of one dtype and grid of cells with any slices.

    Parameters
    ----------
    device : Device
    references : list of (Y, X) arrays
    shape : tuple
        Of the slices; not empty.
    kind : dtype
        Of the slices, in native byte order.
    edges : Edges
    masks : list of (Y, X) bool arrays
        None, one for all references or one each.
    slice_mask : (Y, X) or (N, Y, X) bool array, optional
    """

    def __init__(
        self,
        device: Device,
        references: list[Array],
        shape: tuple[int, ...],
        kind: np.dtype[Any],
        edges: Edges,
        masks: list[Array],
        slice_mask: Array | None,
    ) -> None:
        self.device, self.kind, self.shape = device, kind, shape
        self.x_kind = references[0].dtype.newbyteorder("=")
        self.count = len(references)
        self.masks, self.slice_mask = masks, slice_mask
        self.exact = is_exact(kind) and is_exact(self.x_kind)
        self.sum_dtype = np.dtype(np.int64 if self.exact else np.float64)
        self.blocks = self._cut(edges)
        self.grid = [device.keep(array) for array in self.blocks]
        self._prepare(references)

    @abstractmethod
    def _cut(self, edges: Edges) -> Blocks:
        """Return the blocks that the kernel takes."""

    @abstractmethod
    def _prepare(self, references: list[Array]) -> None:
        """Bring the references to the device, as the kernel takes them."""

    def bytes_a_slice(self) -> int:
        """Return the device memory that a slice takes beside itself."""
        of_cells = prod(self.blocks.cells) + 1
        return 8 * ((ALONE + self.count) * self.blocks.number + 11 * self.count * of_cells)

    def _launch(
        self,
        file: str,
        name: str,
        images: Sequence[Any],
        slices: int,
        slices_a_warp: int,
        results: Sequence[Any],
        items: int | None = None,
    ) -> None:
        """Launch a kernel of the first stage, for each block or so many pairs of them.

        With few slices a thread block takes several.
        """
        items = self.blocks.number if items is None else items
        groups = -(-slices // slices_a_warp)
        slice_warps = min(WARPS, 1 << (groups - 1).bit_length())
        across, along = -(-items * slice_warps // WARPS), -(-groups // slice_warps)
        turns = max(1, across * along // (THREAD_BLOCKS * self.device.multiprocessors))
        geometry = *self.grid[:2], np.int32(self.blocks.shape[1]), np.int64(self.blocks.number)
        counts = *map(np.int32, self.shape[1:]), np.int64(slices), np.int32(slice_warps)
        self.device.kernel(file, name)(
            grid(across, -(-along // turns)),
            (32 * WARPS,),
            (*images, *geometry, *counts, *results),
        )

    def _sum_pairs(self, slices: Array, references: Array, masks: Sequence[Any]) -> tuple[Array, ...]:
        """Return what x has alone, what y has alone, the products and the counts of every pair."""
        shape = len(references), len(slices), self.blocks.number
        sums = [self.device.empty((*shape, *numbers), self.sum_dtype) for numbers in ((ALONE,), (ALONE,), ())]
        counts = self.device.empty(shape, np.int64)
        name = f"sum_pairs<{TYPES[slices.dtype.name]}, {TYPES[references.dtype.name]}>"
        images = slices, references, *masks, np.int64(len(references))
        self._launch("moments_floats.cu", name, images, len(slices), 1, (*sums, counts))
        return *sums, counts

    def _total(self, x: Steps, y: Steps, products: Array, counts: Steps, offsets: tuple[int, int] = (0, 0)) -> Found:
        """Launch the second stage."""
        return total_cells(self.device, self.blocks, self.grid, Pairs(x, y, products, counts, offsets))


class StoredSums(Sums):
    """Sums with slices as they lie in memory."""

    @abstractmethod
    def of_slab(self, start: int, slab: Array) -> Found:
        """Return what cells have, and the whole, of a slab whose first slice is `start`."""


class IntegerSums(StoredSums):
    """Of integers of 8 and 16 bits without masks, exact."""

    images: Array | None = None
    alone_x: Array | None = None

    def _cut(self, edges: Edges) -> Blocks:
        self.aligned = self.shape[2] * self.kind.itemsize % WORD == 0
        unit = WORD // self.kind.itemsize
        if not self.aligned:
            return cut_cells(edges, unit=unit, passes=WORDS_A_LANE, aligned=False)
        words = prod(self.shape) // (unit * LANES * RESIDENT_WARPS * self.device.multiprocessors)
        units = cut_units(edges, unit=unit, rows=min(max(FEWEST_ROWS, words // ITEMS_A_WARP), MOST_ROWS))
        self.lanes, self.step = self.device.keep(units.lanes), units.rows_at_once
        return units.blocks

    def _prepare(self, references: list[Array]) -> None:
        self.references = [self.device.to_device(image) for image in references]
        are_given = all(image is reference for image, reference in zip(self.references, references, strict=True))
        self.places = [_address(image) for image in self.references] if are_given else []
        self.counts = self.device.keep(self.blocks.pixels().ravel())

    def _split(self, images: Array) -> None:
        """Keep the references as planes of bytes; those of uint8 whose units are whole are that already."""
        count, pixels, planes = self.count, images[0].size, self.x_kind.itemsize
        self.plane = -(-pixels // WORD) * WORD
        is_split = planes == 1 and self.x_kind.name not in FLIPS and pixels == self.plane
        if is_split and self.aligned and _is_aligned(images):
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
        numbers = [divmod(place - _address(slab), slab[0].nbytes) for place in self.places]
        return [n for n, _ in numbers] if all(not rest and 0 <= n < len(slab) for n, rest in numbers) else []

    def _stacked_in(self, slab: Array, numbers: list[int]) -> Array:
        """Return the references as one array: a part of the slab where they are neighbours there."""
        return (
            slab[numbers[0] : numbers[-1] + 1] if _follow_each_other(numbers) else stacked(self.device, self.references)
        )

    def _sum(self, slab: Array) -> tuple[Array, Array]:
        """Return what slices have alone, and their products with the references."""
        if self.aligned:
            slab = _aligned(self.device, slab)
        count, number = len(slab), self.blocks.number
        alone = self.device.empty((count, number, ALONE), np.int64)
        products = self.device.empty((self.count, count, number), np.int64)
        flip = np.uint32(FLIPS.get(self.kind.name, 0))
        kernel = ("moments.cu", "sum_units") if self.aligned else ("moments_shifted.cu", "sum_shifted")
        layout = (self.lanes, np.int32(len(self.lanes)), np.int32(self.step)) if self.aligned else ()
        items = self.blocks.shape[0] * len(self.lanes) if self.aligned else None
        for k in range(0, self.count, MOST_REFERENCES):
            references = min(MOST_REFERENCES, self.count - k)
            most, slices_a_warp = _sizes(references, count)
            if self.aligned:
                slices_a_warp = _slices_a_warp(most * self.kind.itemsize * self.x_kind.itemsize, count)
            name = f"{kernel[1]}<{self.kind.itemsize}, {self.x_kind.itemsize}, {most}, {slices_a_warp}>"
            images = as_bytes(slab), self._planes_from(k), np.int64(self.plane), np.int32(references)
            results = *layout, flip, alone, products[k:]
            self._launch(kernel[0], name, images, count, slices_a_warp, results, items)
        return alone, products

    def _alone_of_references(self, numbers: list[int], alone: Array) -> Array:
        """Return what the references have alone: as slices that they are, as slices of their type, or in pairs."""
        assert self.images is not None
        if self.x_kind != self.kind or self.x_kind.name in FLIPS:
            return self._sum_pairs(self.images[:1], self.images, (None, np.int64(0)) * 2)[0]
        if not numbers:
            return self._sum(self.images)[0]
        return (
            alone[numbers[0] : numbers[-1] + 1]
            if _follow_each_other(numbers)
            else stacked(self.device, [alone[n] for n in numbers])
        )


class CentredSums(StoredSums):
    """Of images without masks of which one at least is not of exact integers, in float64."""

    def _cut(self, edges: Edges) -> Blocks:
        self.unit = 1 if self.shape[2] % UNIT else UNIT
        return cut_cells(edges, unit=self.unit, passes=PIXELS_A_LANE // self.unit)

    def _prepare(self, references: list[Array]) -> None:
        self.images = self.device.empty((self.count, *self.shape[1:]), np.float64)
        for k, reference in enumerate(references):
            self.images[k] = self.device.to_device(reference)
        # As slices, so that an image has the same bits as a reference and as a slice.
        self.alone_x = self._sum_centred(self.images, self.images[:1])[0]
        self.counts = self.device.keep(self.blocks.pixels().ravel())

    def of_slab(self, start: int, slab: Array) -> Found:
        alone, products = self._sum_centred(_aligned(self.device, slab), self.images)
        number = self.blocks.number
        return self._total(Steps(self.alone_x, number, 0), Steps(alone, 0, number), products, Steps(self.counts, 0, 0))

    def _sum_centred(self, slices: Array, references: Array) -> tuple[Array, Array]:
        """Return what the slices have alone, and their products with references."""
        alone = self.device.empty((len(slices), self.blocks.number, ALONE), np.float64)
        products = self.device.empty((len(references), len(slices), self.blocks.number), np.float64)
        for k in range(0, len(references), MOST_REFERENCES):
            images = references[k : k + MOST_REFERENCES]
            most, slices_a_warp = _sizes(len(images), len(slices))
            name = f"sum_centred<{TYPES[slices.dtype.name]}, {most}, {slices_a_warp}, {self.unit}>"
            data = slices, images, np.int32(len(images))
            self._launch("moments_floats.cu", name, data, len(slices), slices_a_warp, (alone, products[k:]))
        return alone, products


class MaskedSums(StoredSums):
    """Of images of any dtypes under masks, pair by pair."""

    def _cut(self, edges: Edges) -> Blocks:
        return cut_cells(edges, unit=1, passes=PIXELS_A_LANE)

    def _prepare(self, references: list[Array]) -> None:
        self.images = stacked(self.device, references)
        self.own_masks = stacked(self.device, self.masks) if self.masks else None

    def bytes_a_slice(self) -> int:
        """Return the device memory that a slice takes beside itself: its mask, and sums of both images of each pair."""
        mask = 0 if self.slice_mask is None else self.slice_mask[:1].size
        return super().bytes_a_slice() + mask + 8 * (2 * ALONE + 1) * self.count * self.blocks.number

    def of_slab(self, start: int, slab: Array) -> Found:
        mask, pixels = self.slice_mask, self.shape[1] * self.shape[2]
        each = mask is not None and mask.ndim == 3
        if mask is not None:
            mask = self.device.to_device(mask[start : start + len(slab)] if each else mask)
        steps = np.int64(pixels if each else 0), np.int64(pixels if len(self.masks) > 1 else 0)
        x, y, products, counts = self._sum_pairs(slab, self.images, (mask, steps[0], self.own_masks, steps[1]))
        of_pair = len(slab) * self.blocks.number, self.blocks.number
        return self._total(Steps(x, *of_pair), Steps(y, *of_pair), products, Steps(counts, *of_pair))


def _sizes(references: int, slices: int) -> tuple[int, int]:
    """Return for how many references and slices a warp holds sums."""
    most = 1 << (references - 1).bit_length()
    return most, 1 if slices == 1 or most == MOST_REFERENCES else 2


def _follow_each_other(numbers: list[int]) -> bool:
    return bool(numbers) and numbers == [*range(numbers[0], numbers[-1] + 1)]


def _slices_a_warp(sums: int, slices: int) -> int:
    """Return how many slices a warp of ``sum_units`` takes at once."""
    most = 2 if sums == 1 or sums > 8 else 4
    return 1 if sums > 16 else min(most, 1 << (slices - 1).bit_length())


def stacked(device: Device, images: Sequence[Array], dtype: np.dtype[Any] | None = None) -> Array:
    """Return images of one dtype as one array on the device, of that dtype or another."""
    kind = images[0].dtype.newbyteorder("=") if dtype is None else dtype
    if len(images) == 1 and images[0].dtype.newbyteorder("=") == kind:
        return device.to_device(images[0])[None]
    stack = device.empty((len(images), *images[0].shape), kind)
    for k, image in enumerate(images):
        stack[k] = device.to_device(image)
    return stack


def as_bytes(images: Array) -> Array:
    """Return contiguous images as bytes, where they are."""
    return images.reshape(-1).view(np.uint8)


def _aligned(device: Device, images: Array) -> Array:
    """Return images that begin on 16 bytes: a copy where a view begins elsewhere."""
    if _is_aligned(images):
        return images
    copy = device.empty(images.shape, images.dtype)
    copy[...] = images
    return copy


def _is_aligned(images: Array) -> bool:
    """Whether an array on the device begins on 16 bytes."""
    return _address(images) % WORD == 0


def _address(images: Array) -> int:
    """Return where an array on the device begins."""
    interface = getattr(images, "__cuda_array_interface__", None) or images.__array_interface__
    return int(interface["data"][0])

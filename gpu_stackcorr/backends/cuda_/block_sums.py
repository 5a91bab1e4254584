"""Sums over blocks of the pairs of K references with a slab of slices: launches ``kernels/moments_floats.cu``.

There are three ways to them: integers of 8 and 16 bits without masks go by planes of bytes (`integer_sums`), other
images without masks in float64, and whatever has masks pair by pair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array, Edges
from gpu_stackcorr.moments import EXACT_DTYPES

from .blocks import Blocks, cut_cells
from .cell_totals import Found, Pairs, Steps, total_cells
from .device import Device
from .layout import grid

WORD = 16
"""Bytes of a load, on which what is loaded so begins; as in the kernels."""

UNIT = 4
"""Pixels of a unit of floats where every row begins on one."""

PIXELS_A_LANE = 64
"""Most that a lane takes of a block. The order of sums depends on it."""

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
        """Launch a kernel of the first stage, for each block or for so many items.

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
        alone, products = self._sum_centred(aligned(self.device, slab), self.images)
        number = self.blocks.number
        return self._total(Steps(self.alone_x, number, 0), Steps(alone, 0, number), products, Steps(self.counts, 0, 0))

    def _sum_centred(self, slices: Array, references: Array) -> tuple[Array, Array]:
        """Return what the slices have alone, and their products with references."""
        alone = self.device.empty((len(slices), self.blocks.number, ALONE), np.float64)
        products = self.device.empty((len(references), len(slices), self.blocks.number), np.float64)
        for k in range(0, len(references), MOST_REFERENCES):
            images = references[k : k + MOST_REFERENCES]
            most, slices_a_warp = sizes(len(images), len(slices))
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


def sizes(references: int, slices: int) -> tuple[int, int]:
    """Return for how many references and slices a warp holds sums."""
    most = 1 << (references - 1).bit_length()
    return most, 1 if slices == 1 or most == MOST_REFERENCES else 2


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


def aligned(device: Device, images: Array) -> Array:
    """Return images that begin on 16 bytes: a copy where a view begins elsewhere."""
    if is_aligned(images):
        return images
    copy = device.empty(images.shape, images.dtype)
    copy[...] = images
    return copy


def is_aligned(images: Array) -> bool:
    """Whether an array on the device begins on 16 bytes."""
    return address(images) % WORD == 0


def address(images: Array) -> int:
    """Return where an array on the device begins."""
    interface = getattr(images, "__cuda_array_interface__", None) or images.__array_interface__
    return int(interface["data"][0])

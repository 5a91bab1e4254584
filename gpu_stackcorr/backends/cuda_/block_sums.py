"""Sums over cells of the pairs of K references with a slab of slices: launches ``kernels/moments*.cu``.

There are three ways to them: integers of 8 and 16 bits without masks go by planes of bytes, other images without masks
in float64, and whatever has masks pair by pair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from gpu_stackcorr.backends.base import Array, Edges
from gpu_stackcorr.moments import EXACT_DTYPES

from .blocks import Blocks, cut_cells
from .device import Device
from .layout import grid

WORD = 16
"""Bytes of a load, on which what is loaded so begins; as in the kernels."""

UNIT = 4
"""Pixels of a unit of floats where every row begins on one."""

WORDS_A_LANE = 16
PIXELS_A_LANE = 64
"""Most that a lane takes of a block, of integers and of floats. The order of sums depends on it."""

WARPS = 8
"""Warps of a thread block; as in the kernels."""

THREAD_BLOCKS = 32
"""Of the first stage that are enough for a multiprocessor: beyond them, warps take further slices in turn."""

BLOCKS_A_THREAD, BLOCKS_A_WARP = 4, 64
"""Blocks of a cell up to which one thread, or one warp, adds them up."""

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


class Steps(NamedTuple):
    """Sums, and the steps from those of a reference to the next and of a slice to the next, in blocks."""

    sums: Array
    of_reference: int
    of_slice: int


class Totals(NamedTuple):
    """What cells have, as ``kernels/moments_total.cu`` writes it.

    Attributes
    ----------
    shared : bool
        Whether what x has is the same for all slices, and given once.
    of_x, of_y : (3, K, 1 or n, cells) and (3, K, n, cells) arrays
        Count, x and xx; y, yy and xy: exact sums, or means and centred sums.
    moments_of_x, moments_of_y : (2, K, 1 or n, cells) and (3, K, n, cells) float64 arrays, optional
        Means and centred sums, of exact sums.
    """

    shared: bool
    of_x: Array
    of_y: Array
    moments_of_x: Array | None = None
    moments_of_y: Array | None = None

    def arrays(self) -> list[Array]:
        """Return what there is of the four arrays, in turn."""
        return [array for array in (self.of_x, self.of_y, self.moments_of_x, self.moments_of_y) if array is not None]


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
        self.grid = [device.to_device(array) for array in self.blocks]
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
        self, file: str, name: str, images: Sequence[Any], slices: int, slices_a_warp: int, results: Sequence[Any]
    ) -> None:
        """Launch a kernel of the first stage. With few slices a thread block takes several blocks of them."""
        groups = -(-slices // slices_a_warp)
        slice_warps = min(WARPS, 1 << (groups - 1).bit_length())
        across, along = -(-self.blocks.number * slice_warps // WARPS), -(-groups // slice_warps)
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

    def _total(
        self, x: Steps, y: Steps, products: Array, counts: Steps, offsets: tuple[int, int] = (0, 0)
    ) -> list[Totals]:
        """Launch the second stage: return what cells have, and behind it what exact sums over all cells are."""
        blocks = self.blocks
        cells = [self._of_cells(self.grid[2:], blocks.cells, blocks.blocks_a_cell(), x, y, products, counts, offsets)]
        if self.exact and prod(blocks.cells) > 1:
            edges = [self.device.to_device(np.array([0, n], np.int32)) for n in blocks.shape]
            cells.append(self._of_cells(edges, (1, 1), blocks.number, x, y, products, counts, offsets))
        return cells

    def _of_cells(
        self,
        edges: Sequence[Array],
        cells: tuple[int, int],
        blocks_a_cell: int,
        x: Steps,
        y: Steps,
        products: Array,
        counts: Steps,
        offsets: tuple[int, int],
    ) -> Totals:
        """Return what cells have that begin at these block rows and columns."""
        references, slices, number = products.shape
        shared, area = x.of_slice == counts.of_slice == 0, prod(cells)
        of_x = self.device.empty((3, references, 1 if shared else slices, area), self.sum_dtype)
        of_y = self.device.empty((3, references, slices, area), self.sum_dtype)
        moments: list[Array | None] = [None, None]
        if self.exact:
            moments = [self.device.empty(shape, np.float64) for shape in ((2, *of_x.shape[1:]), of_y.shape)]
        is_small = blocks_a_cell <= BLOCKS_A_THREAD
        threads = 32 if not is_small and blocks_a_cell <= BLOCKS_A_WARP else 32 * WARPS
        given = [(each.sums, *map(np.int64, each[1:])) for each in (x, y, counts)]
        sizes = *map(np.int32, (*cells, self.blocks.shape[1])), *map(np.int64, (number, references, slices))
        name = f"total_cells<{'long long' if self.exact else 'double'}, {str(is_small).lower()}>"
        self.device.kernel("moments_total.cu", name)(
            grid(-(-area // threads) if is_small else area, slices, references),
            (threads,),
            (
                *given[0],
                *given[1],
                products,
                *given[2],
                *edges,
                *sizes,
                *map(self.sum_dtype.type, offsets),
                np.int64(of_x.shape[2]),
                of_x,
                of_y,
                *moments,
            ),
        )
        return Totals(shared, of_x, of_y, *moments)


class StoredSums(Sums):
    """Sums with slices as they lie in memory."""

    @abstractmethod
    def of_slab(self, start: int, slab: Array) -> list[Totals]:
        """Return what cells have, and the whole, of a slab whose first slice is `start`."""


class IntegerSums(StoredSums):
    """Of integers of 8 and 16 bits without masks, exact."""

    def _cut(self, edges: Edges) -> Blocks:
        self.aligned = self.shape[2] * self.kind.itemsize % WORD == 0
        unit = WORD // self.kind.itemsize
        return cut_cells(edges, unit=unit, passes=WORDS_A_LANE, aligned=self.aligned)

    def _prepare(self, references: list[Array]) -> None:
        images = stacked(self.device, references)
        self.alone_x = self._sum_pairs(images[:1], images, (None, np.int64(0)) * 2)[0]
        self.counts = self.device.to_device(self.blocks.pixels().ravel())
        self._split(images)

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

    def of_slab(self, start: int, slab: Array) -> list[Totals]:
        if self.aligned:
            slab = _aligned(self.device, slab)
        count, number = len(slab), self.blocks.number
        alone = self.device.empty((count, number, ALONE), np.int64)
        products = self.device.empty((self.count, count, number), np.int64)
        flip = np.uint32(FLIPS.get(self.kind.name, 0))
        for k in range(0, self.count, MOST_REFERENCES):
            references = min(MOST_REFERENCES, self.count - k)
            most, slices_a_warp = _sizes(references, count)
            types = (
                f"{self.kind.itemsize}, {self.x_kind.itemsize}, {most}, {slices_a_warp}, {str(self.aligned).lower()}"
            )
            images = as_bytes(slab), self._planes_from(k), np.int64(self.plane), np.int32(references)
            results = flip, alone, products[k:]
            self._launch("moments.cu", f"sum_integers<{types}>", images, count, slices_a_warp, results)
        offsets = OFFSETS.get(self.x_kind.name, 0), OFFSETS.get(self.kind.name, 0)
        x, y, counts = Steps(self.alone_x, number, 0), Steps(alone, 0, number), Steps(self.counts, 0, 0)
        return self._total(x, y, products, counts, offsets)


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
        self.counts = self.device.to_device(self.blocks.pixels().ravel())

    def of_slab(self, start: int, slab: Array) -> list[Totals]:
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

    def of_slab(self, start: int, slab: Array) -> list[Totals]:
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
    interface = getattr(images, "__cuda_array_interface__", None) or images.__array_interface__
    return bool(interface["data"][0] % WORD == 0)

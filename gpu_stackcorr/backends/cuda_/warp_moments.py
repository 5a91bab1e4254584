"""Moments with elastically deformed slices: launches ``kernels/noise_columns.cu`` and ``kernels/warp_moments.cu``.

Of bool, 8 and 16 bits and float32 at order 1, two kernels a slab: noise and its smoothing along y, and all the rest;
neither noise nor deformed slices are ever in memory. What else there is - other orders and types, and a Gaussian whose
halo leaves no room - goes by `displacement` and `warp` of a slab and its moments, each a launch or a few.

Device memory beyond input and result: a copy of each reference in int32 or float64, the sums of the boxes of a slab,
and 8 bytes a pixel of it for noise smoothed along y, COLUMNS_BYTES in all or those of a slice. By the composition: what
`moments` needs, the fields of a slab, GROUP_BYTES of `passes`, its deformed slices, and what `displacement` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array, Edges, field_dtype
from gpu_stackcorr.moments import Moments

from . import passes
from .block_sums import ALONE, TYPES, Sums, stacked
from .blocks import TILE, Blocks, cut_tiles
from .boundary import INTERPOLATION
from .cell_totals import Found, Steps
from .device import Device
from .displacement import displacement
from .gaussian import half_kernel, up
from .layout import grid
from .moments import of_slabs, stored_kind
from .warp import warp

OUT, LANES, WARPS = 8, 32, 8
"""As in the kernels."""

NOISE_WARPS, SPAN, PITCH = 4, 128, 36
"""Of `noise_columns`: rows of a step, and words from a row to the next."""

COLUMNS_BYTES = 2**30
"""Noise smoothed along y that is in memory at once: of 170 slices of 768 x 1024 pixels. In groups of 42 the last blocks
of each left a sixth of an H200 idle."""

COLUMNS_SHARED_BYTES = 64 * 1024
"""Of a block of `noise_columns`, at most: what every device gives. A halo of radius 160; at 20 it takes 25 KiB."""

SHARED_BYTES = 46 * 1024 - 256
"""Of a block of `warp_moments`, with its own all that a launch may have unasked: a halo of radius 128, or a copy of the
slice that reaches 80 pixels around a tile of bytes, 50 of 16 bits, 29 of floats. Where there is room, it has twice that
halo, a tile and the copy."""

RESERVED_BYTES = 3 * 1024 + 256
"""What a block of `warp_moments` takes beside that: its own, and 1 KiB of the system's."""

SPREAD = 5.0
"""Standard deviations of a displacement that the copy reaches: of the pixels beyond, a warp waits for each."""

BLOCKS_A_MULTIPROCESSOR = 16
"""Blocks of `noise_columns` that are enough, two times those that run at once: where fields are few, they are cut into
more segments."""

WARP_BLOCKS_A_MULTIPROCESSOR = 48
"""Blocks of `warp_moments` that are enough, 16 times those that run at once, so that the last ones leave little idle.
Where there would be more, each takes several slices."""

FUSED = ("bool", "int8", "uint8", "int16", "uint16", "float32")
"""Types of slices whose deformed pixels the kernel keeps to itself."""

MOST_REFERENCES = 4
"""References that a warp takes at once."""


@dataclass(frozen=True)
class Weights:
    """Half of a Gaussian on the device, as ``fir.cuh`` reads it."""

    taps: Array
    centre: Any
    radius: int
    power: float
    """What the filter leaves of the variance of noise."""


@dataclass(frozen=True)
class Fields:
    """The displacements of the slices of a stack."""

    device: Device
    shape: tuple[int, int]
    seed: int
    streams: NDArray[np.uint64]
    scales: NDArray[np.float32]
    y: Weights
    x: Weights

    def columns(self, part: slice) -> Array:
        """Return noise smoothed along y, (2, n, Y, X), of some slices."""
        height, width = self.shape
        streams = self.device.to_device(np.ascontiguousarray(self.streams[:, part]).reshape(-1))
        columns = self.device.empty((2, len(streams) // 2, height, width), np.float32)
        strips = -(-width // LANES)
        wanted = BLOCKS_A_MULTIPROCESSOR * self.device.multiprocessors // (strips * len(streams))
        segment = up(-(-height // max(1, wanted)), SPAN)
        self.device.kernel("noise_columns.cu", "noise_columns")(
            grid(strips * -(-height // segment), len(streams)),
            (LANES * NOISE_WARPS,),
            (
                columns,
                streams,
                np.int64(len(streams)),
                np.int32(height),
                np.int32(width),
                np.int32(segment),
                self.y.taps,
                self.y.centre,
                np.int32(self.y.radius),
                np.uint64(self.seed),
            ),
            shared_bytes=_columns_bytes(self.y.radius),
        )
        return columns

    def reach(self, itemsize: int) -> int:
        """Return how far around a tile its copy reaches: as far as displacements do, or shared memory."""
        alpha = float(np.abs(self.scales).max(initial=0))
        far = min(SPREAD * alpha * sqrt(self.y.power * self.x.power / 3), alpha + 1, SHARED_BYTES)
        reach = max(1, ceil(far))
        while _copy_bytes(reach, itemsize) > SHARED_BYTES:
            reach -= 1
        return reach


class WarpedSums(Sums):
    """Of slices that are deformed on the way, with references in int32 where sums are exact, else in float64."""

    def _cut(self, edges: Edges) -> Blocks:
        self.tiles = cut_tiles(edges)
        axes = (self.tiles.rows, self.tiles.blocks.rows), (self.tiles.columns, self.tiles.blocks.columns)
        self.tile_edges = [self.device.keep(_tile_edges(*axis)) for axis in axes]
        return self.tiles.blocks

    def _prepare(self, references: list[Array]) -> None:
        kind = np.dtype(np.int32 if self.exact else np.float64)
        self.images = stacked(self.device, references, kind)
        self.own_masks = stacked(self.device, self.masks) if self.masks else None
        number = self.blocks.number
        self.alone_x = self.device.empty((self.count, number, ALONE), self.sum_dtype)
        self.counts = self.device.empty((self.count, number), np.int64)
        for k, reference in enumerate(references):  # each as its own slice
            image = self.device.to_device(reference)[None] if self.exact else self.images[k : k + 1]
            mask = None if self.own_masks is None else self.own_masks[min(k, len(self.masks) - 1)]
            alone, _, _, counts = self._sum_pairs(image, image, (None, np.int64(0), mask, np.int64(0)))
            self.alone_x[k], self.counts[k] = alone[0, 0], counts[0, 0]

    def bytes_a_slice(self) -> int:
        """Return the device memory that a slice takes beside itself: under masks what it has alone for each."""
        more = ALONE * (self.count - 1) * self.blocks.number if self.masks else 0
        return super().bytes_a_slice() + 8 * more

    def of_fields(self, slab: Array, columns: Array, fields: Fields, part: slice, mode: int, cval: float) -> Found:
        """Return what cells have, and the whole, of slices of a stack after deformation."""
        count, number = len(slab), self.blocks.number
        masked = self.own_masks is not None
        alone = self.device.empty((self.count if masked else 1, count, number, ALONE), self.sum_dtype)
        products = self.device.empty((self.count, count, number), self.sum_dtype)
        most = 1 if masked or self.count == 1 else MOST_REFERENCES
        types = f"{TYPES[self.kind.name]}, {'int' if self.exact else 'double'}, {most}, {str(masked).lower()}"
        reach = fields.reach(self.kind.itemsize)
        windows, copy = _rows_bytes(fields.x.radius), _copy_bytes(reach, self.kind.itemsize)
        tile = prod(TILE) * self.kind.itemsize
        wanted = 2 * windows + tile + copy
        blocks = 3 if self.exact and most == 1 and not masked else 2  # that run at once, as registers allow
        beside = blocks * (wanted + RESERVED_BYTES) <= self.device.shared_bytes
        wanted_blocks = WARP_BLOCKS_A_MULTIPROCESSOR * self.device.multiprocessors
        slices_a_block = max(1, count * self.tiles.number // max(1, wanted_blocks))
        self.device.kernel("warp_moments.cu", f"warp_moments<{types}>")(
            grid(*(len(edges) for edges in reversed(self.tile_edges)), -(-count // slices_a_block)),
            (LANES * WARPS,),
            (
                slab,
                columns,
                self.device.to_device(np.ascontiguousarray(fields.scales[:, part])),
                fields.x.taps,
                fields.x.centre,
                np.int32(fields.x.radius),
                self.images,
                self.own_masks,
                np.int64(self.shape[1] * self.shape[2] if len(self.masks) > 1 else 0),
                np.int32(self.count),
                self.alone_x,
                *self.tile_edges,
                *(np.int32(len(edges)) for edges in self.tile_edges),
                *self.grid[:2],
                np.int32(self.blocks.shape[1]),
                np.int64(number),
                *map(np.int32, (*self.shape[1:], count)),
                np.int32(reach),
                np.int32(windows // 4 // TILE[0]),
                np.int32(windows // 4 if beside else 0),
                np.int32(2 * windows + tile if beside else 0),
                np.int32(mode),
                np.float64(cval),
                alone,
                products,
            ),
            shared_bytes=wanted if beside else max(windows, copy, tile),
        )
        x, counts = Steps(self.alone_x, number, 0), Steps(self.counts, number, 0)
        return self._total(x, Steps(alone, count * number if masked else 0, number), products, counts)


def warp_moments(
    device: Device,
    references: Sequence[Array],
    slices: Array,
    *,
    seed: int,
    stream: NDArray[np.uint64],
    alpha: float | NDArray[np.float64],
    sigma: Sequence[float],
    truncate: float = 4.0,
    order: int = 1,
    mode: str = "reflect",
    cval: float = 0.0,
    reference_mask: Array | None = None,
    tiles: Edges | Sequence[Edges] | None = None,
) -> list[Moments]:
    """See ``Backend.warp_moments``."""
    shape, dtype = slices.shape[1:], field_dtype(slices.dtype)
    field_bytes = 2 * np.dtype(dtype).itemsize * prod(shape)
    of_axis = np.reshape(alpha, (-1, 1))
    kernels = [half_kernel(width, truncate, np.float32) for width in sigma]
    is_fused = order == 1 and slices.dtype.name in FUSED and _fit(kernels)
    if is_fused:
        scales = np.broadcast_to(of_axis.astype(np.float32), stream.shape)
        fields = Fields(device, shape, seed, stream, scales, *(_weights(device, kernel) for kernel in kernels))

    def work(sums: Sequence[Any], start: int, slab: Array) -> list[Found]:
        part = slice(start, start + len(slab))
        if is_fused:
            columns = fields.columns(part)
            return [each.of_fields(slab, columns, fields, part, INTERPOLATION[mode], cval) for each in sums]
        field = displacement(
            device, seed, stream[:, part], shape, alpha=of_axis, sigma=sigma, truncate=truncate, dtype=dtype
        )
        warped = device.to_device(warp(device, slab, field, axes=(1, 2), order=order, mode=mode, cval=cval))
        return [each.of_slab(start, warped) for each in sums]

    return of_slabs(
        device,
        references,
        slices,
        lambda exact: WarpedSums if is_fused else stored_kind(exact=exact, masked=reference_mask is not None),
        work,
        reference_mask=reference_mask,
        tiles=tiles,
        bytes_a_slice=field_bytes + (0 if is_fused else slices.dtype.itemsize * prod(shape)),
        most=max(1, (COLUMNS_BYTES if is_fused else passes.GROUP_BYTES) // max(1, field_bytes)),
    )


def _tile_edges(tiles: NDArray[np.int32], blocks: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return, along one axis, the first block of each tile and of the next one, and where these begin."""
    return np.stack([tiles[:-1], tiles[1:], blocks[tiles[:-1]], blocks[tiles[1:]]], axis=1)


def _fit(kernels: Sequence[Array]) -> bool:
    """Whether the halos of a Gaussian along y and x leave room in shared memory."""
    y, x = (max(0, len(kernel) - 1) for kernel in kernels)
    return _columns_bytes(y) <= COLUMNS_SHARED_BYTES and _rows_bytes(x) <= SHARED_BYTES


def _weights(device: Device, kernel: Array) -> Weights:
    """Return the weights of one axis on the device; of radius 0 where it is left alone."""
    if not len(kernel):
        kernel = np.ones(1, np.float32)
    radius = len(kernel) - 1
    taps = np.zeros(up(max(1, radius), OUT), np.float32)
    taps[:radius] = kernel[1:]
    power = float(kernel[0] ** 2 + 2 * (kernel[1:] ** 2).sum())
    return Weights(device.keep(taps), kernel[0], radius, power)


def _columns_bytes(radius: int) -> int:
    """Return the shared memory of `noise_columns`: rows of a step and their halo."""
    return 4 * PITCH * (SPAN + 2 * up(radius, OUT))


def _rows_bytes(radius: int) -> int:
    """Return the shared memory of the windows of all warps; four rows are as one of 32 threads."""
    halo, row = ((OUT + 1) * samples // OUT for samples in (2 * up(radius, OUT), TILE[1]))
    return 4 * TILE[0] * (up(halo, 32) + row)


def _copy_bytes(reach: int, itemsize: int) -> int:
    """Return the shared memory of a copy of a tile and what is around it, of rows that begin on 16 bytes."""
    rows, columns = (side + 2 * reach for side in TILE)
    return rows * up((columns + 16 // itemsize - 1) * itemsize, 16)

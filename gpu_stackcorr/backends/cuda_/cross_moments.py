"""Moments of all pairs of images: launches ``kernels/cross_moments.cu``.

What an image has alone comes from `moments`. A box too large for the device is halved until it fits, and the halves are
merged. Device memory beyond the images: an int64 or float64 a pair and part, at most PART_BYTES in all from the second
part on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array
from gpu_stackcorr.cross_moments import CrossMoments

from .block_sums import TYPES, as_bytes, is_exact
from .device import Device
from .integer_sums import FLIPS, OFFSETS
from .layout import grid
from .moments import moments

THREADS = 256
TILE = 64
"""Images a side of the pairs of a thread block; as in the kernel."""

CHUNKS = {True: 1 << 15, False: 1 << 12}
"""Pixels that are summed at once, of integers and of floats; as in the kernel."""

FEWEST_BLOCKS = 1 << 10
"""Thread blocks wanted: eight for each multiprocessor of the largest GPUs."""

PART_BYTES = 1 << 28
"""Most memory for parts."""


def cross_moments(
    device: Device, slices: Array, others: Array | None = None, *, mask: Array | None = None
) -> CrossMoments:
    """See ``Backend.cross_moments``."""
    try:
        return _box(device, slices, others, mask)
    except MemoryError:
        axis = int(np.argmax(slices.shape[1:]))
        half = slices.shape[1 + axis] // 2
        if not half:
            raise
    halves = []
    for part in (slice(None, half), slice(half, None)):
        box = (part, slice(None)) if axis == 0 else (slice(None), part)
        of_others = None if others is None else others[:, *box]
        halves.append(cross_moments(device, slices[:, *box], of_others, mask=None if mask is None else mask[box]))
    return halves[0].merge(halves[1])


def _box(device: Device, slices: Array, others: Array | None, mask: Array | None) -> CrossMoments:
    """Return the moments over a box that is on the device at once."""
    exact = is_exact(slices.dtype)
    count = slices.shape[1] * slices.shape[2]
    on_device = None
    if mask is not None:
        on_device = device.to_device(mask)
        count = int(device.to_host(on_device).sum())
    images = [device.to_device(slices)] + ([] if others is None else [device.to_device(others)])
    if not count or not all(len(each) for each in images):
        return _nothing(exact, count, len(images[0]), len(images[-1]))
    alone = [_alone(device, each, on_device) for each in images]
    xy = _products(device, images, [mean for mean, _ in alone], on_device, exact=exact)
    if others is None:
        xy = np.triu(xy) + np.triu(xy, 1).T
    (x, xx), (y, yy) = alone[0], alone[-1]
    if exact and (offset := OFFSETS.get(images[0].dtype.name, 0)):
        xy = xy - offset * (x[:, np.newaxis] + y) - count * offset * offset
    return CrossMoments(count, exact, x, y, xx, yy, xy)


def _nothing(exact: bool, count: int, n: int, m: int) -> CrossMoments:
    """Return the moments of no pixels, or of no images."""
    dtype: Any = np.int64 if exact else np.float64
    return CrossMoments(count, exact, *(np.zeros(shape, dtype) for shape in (n, m, n, m, (n, m))))


def _alone(device: Device, images: Array, mask: Array | None) -> tuple[Array, Array]:
    """Return sums and sums of squares of integers, or means and centred sums of squares."""
    (pairs,) = moments(device, [images[0]], images, reference_mask=mask)
    return (pairs.mean_y, pairs.ss_y) if pairs.sums is None else (pairs.sums.y, pairs.sums.yy)


def _products(device: Device, images: list[Array], means: list[Array], mask: Array | None, *, exact: bool) -> Array:
    """Return the sums of products (N, M): of pixels with their highest bit turned, or of deviations from the means."""
    n, m, pixels = len(images[0]), len(images[-1]), images[0][0].size
    dtype = np.dtype(np.int64 if exact else np.float64)
    tiles = -(-n // TILE), -(-m // TILE)
    of_memory = max(1, PART_BYTES // (n * m * dtype.itemsize))
    count = min(-(-pixels // CHUNKS[exact]), -(-FEWEST_BLOCKS // (tiles[0] * tiles[1])), of_memory)
    parts, sums = device.empty((count, n, m), dtype), device.empty((n, m), dtype)
    kind = images[0].dtype
    last: list[Any] = [np.bool_(len(images) == 1), parts]
    if exact:
        name = f"integer_products<{kind.itemsize}>"
        data = [as_bytes(images[0]), as_bytes(images[-1])]
        last.insert(0, np.uint32(FLIPS.get(kind.name, 0)))
    else:
        name = f"centred_products<{TYPES[kind.name]}>"
        data = [images[0], images[-1], *(device.to_device(means[k]) for k in (0, -1))]
    sizes = np.int64(n), np.int64(m), np.int64(pixels)
    device.kernel("cross_moments.cu", name)(grid(tiles[1], tiles[0], count), (THREADS,), (*data, mask, *sizes, *last))
    device.kernel("cross_moments.cu", f"add_parts<{'long long' if exact else 'double'}>")(
        grid(-(-n * m // THREADS)), (THREADS,), (parts, sums, np.int64(n * m), np.int64(count))
    )
    return device.to_host(sums)

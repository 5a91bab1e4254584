"""Displacements: noise drawn, smoothed and scaled on the device.

The noise is drawn as 2 u - 1 at once, and the last pass of the smoothing multiplies by alpha, so that a field of two
axes is written three times and read twice. Where a box needs a margin it is cut out, and scaled, by one pass more.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpu_stackcorr.backends.base import Array, Box
from gpu_stackcorr.random_fields import grow_box, whole_box

from .device import Device
from .gaussian import Smoothing, smoothings
from .layout import axes as axes_of
from .layout import grid
from .passes import GROUP_BYTES, REAL, Pass, run_passes
from .random_field import random_field

THREADS = 256
"""As in the kernel."""


def displacement(
    device: Device,
    seed: int,
    stream: int | NDArray[np.uint64],
    shape: Sequence[int],
    *,
    alpha: float | NDArray[np.float64],
    sigma: Sequence[float],
    box: Box | None = None,
    mode: str = "constant",
    truncate: float = 4.0,
    dtype: DTypeLike = np.float32,
) -> Array:
    """See ``Backend.displacement``; on the device.

    Beside the result it takes two arrays of GROUP_BYTES, or of one field with its margin; three where a box is cut out.
    """
    box = whole_box(shape) if box is None else box
    margin = [int(truncate * width + 0.5) for width in sigma]
    if mode in ("wrap", "grid-wrap"):  # what lies beyond one border is at the other
        margin = list(shape)
    grown, _ = grow_box(box, margin, shape)
    sizes, grown_sizes = ([stop - start for start, stop in ends] for ends in (box, grown))
    fields = np.broadcast_shapes(np.shape(alpha), np.shape(stream))
    streams = np.broadcast_to(np.asarray(stream, np.uint64), fields).reshape(-1)
    scales = np.broadcast_to(np.asarray(alpha, dtype), fields).reshape(-1)
    result = device.empty((len(streams), *sizes), dtype)
    step = max(1, GROUP_BYTES // max(1, prod(grown_sizes) * result.dtype.itemsize))
    filtered, filters = smoothings(
        device,
        sigma,
        axes=range(1, len(shape) + 1),
        mode=[mode] * len(shape),
        cval=0.0,
        truncate=truncate,
        dtype=dtype,
    )
    for start in range(0, len(streams) if result.size else 0, step):
        group = slice(start, start + step)
        noise = random_field(device, seed, streams[group], shape, box=grown, distribution="centred", dtype=result.dtype)
        smooth_box(device, noise, result[group], filtered, filters, device.to_device(scales[group]), box, grown)
    return result.reshape(*fields, *sizes)


def smooth_box(
    device: Device,
    noise: Array,
    result: Array,
    axes: Sequence[int],
    filters: Sequence[Smoothing],
    scales: Array,
    box: Box,
    grown: Box,
) -> None:
    """Fill `result` with `box` of fields (n, ...) of `grown`, filtered along some axes, each field times its scale."""
    if filters and grown == box:
        scaled: list[Pass] = [*filters[:-1], partial(filters[-1], scales=scales)]
        run_passes(device, noise, result, axes, scaled)
        return
    smooth = noise
    if filters:
        smooth = device.empty(noise.shape, noise.dtype)
        run_passes(device, noise, smooth, axes, filters)
    _cut_out(device, smooth, result, scales, box, grown)


def _cut_out(device: Device, smooth: Array, result: Array, scales: Array, box: Box, grown: Box) -> None:
    """Copy `box` of fields of `grown`, each times its scale."""
    sizes, grown_sizes = ([stop - start for start, stop in ends] for ends in (box, grown))
    steps = [prod(grown_sizes[axis + 1 :]) for axis in range(len(sizes))]
    whole = next((axis for axis in range(len(sizes)) if sizes[axis + 1 :] == grown_sizes[axis + 1 :]), 0)
    first = sum((b - g) * step for (b, _), (g, _), step in zip(box, grown, steps, strict=True))
    runs, length = prod(sizes[:whole]), prod(sizes[whole:])
    device.kernel("displacement.cu", f"scaled_box<{REAL[result.dtype.type]}>")(
        grid(-(-length // THREADS), runs, len(result)),
        (THREADS,),
        (
            smooth,
            result,
            scales,
            np.int64(len(result)),
            np.int64(prod(grown_sizes)),
            np.int64(runs),
            np.int64(length),
            np.int64(first),
            axes_of(sizes[:whole], steps[:whole]),
        ),
    )

"""Positional random fields: launches ``kernels/random_field.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpu_stackcorr.backends.base import Array, Box
from gpu_stackcorr.random_fields import whole_box

from .device import Device
from .layout import axes, grid

THREADS = 256
"""As in the kernel."""

DISTRIBUTIONS = {"uniform": "UNIFORM", "centred": "CENTRED", "normal": "NORMAL"}

NUMBERS_A_BLOCK = {("float32", "uniform"): 8, ("float32", "centred"): 8, ("float64", "centred"): 8} | {
    ("float64", "uniform"): 4,
    ("float32", "normal"): 2,
    ("float64", "normal"): 2,
}


def random_field(
    device: Device,
    seed: int,
    stream: int | NDArray[np.uint64],
    shape: Sequence[int],
    *,
    box: Box | None = None,
    distribution: str = "uniform",
    dtype: DTypeLike = np.float32,
) -> Array:
    """See ``Backend.random_field``; on the device. ``"centred"`` is 2 u - 1 of the uniform float32 numbers."""
    box = whole_box(shape) if box is None else box
    sizes = tuple(stop - start for start, stop in box)
    streams = np.asarray(stream, np.uint64)
    kind = np.dtype(dtype)
    field = device.empty(streams.shape + sizes, kind)
    if not field.size:
        return field
    whole = next((axis for axis in range(len(shape)) if box[axis + 1 :] == whole_box(shape[axis + 1 :])), 0)
    steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    first = sum(start * step for (start, _), step in zip(box, steps, strict=True))
    runs, length = prod(sizes[:whole]), prod(sizes[whole:])
    name = f"random_field<{'double' if kind == np.float64 else 'float'}, {DISTRIBUTIONS[distribution]}>"
    blocks = length // NUMBERS_A_BLOCK[kind.name, distribution] + 2
    device.kernel("random_field.cu", name)(
        grid(-(-blocks // THREADS), runs, streams.size),
        (THREADS,),
        (
            field,
            device.to_device(streams.reshape(-1)),
            np.int64(streams.size),
            np.int64(runs),
            np.int64(length),
            np.int64(first),
            axes(sizes[:whole], steps[:whole]),
            np.uint64(seed),
        ),
    )
    return field

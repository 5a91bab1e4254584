"""B-spline coefficients: launches ``kernels/spline.cu``, a pass an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log, prod, sqrt
from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array

from .boundary import GRID_WRAP, MIRROR, REFLECT
from .device import Device
from .layout import grid
from .passes import REAL, TYPES, around, convert, real_type, run_passes, samples

LANES, THREADS, SPAN = 32, 256, 128
"""As in the kernel."""

POLES = {
    2: (sqrt(8.0) - 3.0,),
    3: (sqrt(3.0) - 2.0,),
    4: (
        sqrt(664.0 - sqrt(438976.0)) + sqrt(304.0) - 19.0,
        sqrt(664.0 + sqrt(438976.0)) - sqrt(304.0) - 19.0,
    ),
    5: (
        sqrt(67.5 - sqrt(4436.25)) + sqrt(26.25) - 6.5,
        sqrt(67.5 + sqrt(4436.25)) - sqrt(26.25) - 6.5,
    ),
}
"""Roots of the B-spline's polynomial inside of the unit circle (M. Unser, A. Aldroubi and M. Eden, table I)."""

BOUNDARIES = {"reflect": REFLECT, "grid-mirror": REFLECT, "nearest": REFLECT, "grid-wrap": GRID_WRAP}
"""How a line goes on beyond its ends, where it does not mirror."""

NEGLIGIBLE = 2.0**-54
"""What a sample so far away weighs is below the last bit; 56 samples in all at order 5, 28 at order 3."""

STRUCT = np.dtype(
    [("pole", np.float64, 2), ("gain", np.float64), ("reach", np.int32, 2), ("count", np.int32), ("halo", np.int32)]
)
"""``Poles`` of the kernel."""


@dataclass(frozen=True)
class Prefilter:
    """The filter of one axis, for arrays on the device."""

    device: Device
    poles: Any
    mode: int

    def __call__(self, source: Array, target: Array, axis: int) -> None:
        """Filter an array into another, along an axis."""
        outer, length, inner = around(source.shape, axis)
        types = f"{TYPES[source.dtype.name]}, {REAL[target.dtype.type]}"
        samples_of_tile = min(SPAN, length) + 2 * int(self.poles["halo"])
        self.device.kernel("spline.cu", f"spline<{types}, {'true' if inner == 1 else 'false'}>")(
            grid(-(-length // SPAN), -(-(outer * inner) // LANES)),
            (THREADS,),
            (source, target, np.int64(outer), np.int64(length), np.int64(inner), self.poles, np.int32(self.mode)),
            shared_bytes=samples_of_tile * (LANES + 1) * target.dtype.itemsize,
        )


def poles_of(order: int) -> Any:
    """Return the ``Poles`` of an order."""
    poles = POLES[order]
    reaches = [ceil(log(NEGLIGIBLE) / log(-pole)) for pole in poles]
    packed = np.zeros((), STRUCT)
    packed["pole"][: len(poles)] = poles
    packed["reach"][: len(poles)] = reaches
    packed["gain"] = prod((1 - pole) * (1 - 1 / pole) for pole in poles)
    packed["count"], packed["halo"] = len(poles), sum(reaches)
    return packed[()]


def spline_filter(device: Device, image: Array, order: int, *, axes: Sequence[int], mode: str) -> Array:
    """See ``Backend.spline_filter``; on the device, float32 for float32 images, else float64.

    Beside image and result it takes the scratch of ``run_passes``.
    """
    source = device.to_device(image)
    result = device.empty(source.shape, real_type(source.dtype))
    axes = [axis for axis in axes if source.shape[axis] > 1]
    if axes and source.size:
        prefilter = Prefilter(device, poles_of(order), BOUNDARIES.get(mode, MIRROR))
        run_passes(device, samples(source), result, axes, [prefilter] * len(axes))
    else:
        convert(device, samples(source), result)
    return result

"""Sampling at coordinates: launches ``kernels/map_coordinates.cu``.

Coordinates of the host are taken in slabs; the image is on the device whole. Device memory beyond image, coordinates
and result (of the host: two slabs of them): a copy of an image that is computed or copied in another type, or is not
contiguous, and of coordinates that are integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gpu_stackcorr.backends.base import Array
from gpu_stackcorr.backends.numpy_.interpolation import fill_value

from . import pulling
from .boundary import INTERPOLATION
from .device import Device
from .layout import axes as axes_of
from .layout import grid
from .passes import TYPES, convert, real_type, samples
from .pixels import THREADS, cast, code, word
from .slabs import slab_length, through_slabs
from .views import View


def map_coordinates(
    device: Device,
    image: Array,
    coordinates: Array,
    *,
    order: int,
    mode: str,
    cval: float = 0.0,
    dtype: DTypeLike | None = None,
) -> Array:
    """See ``Backend.map_coordinates``; the result lies where the image does.

    float32 where image and result are, else float64. A coordinate that is NaN, infinite or beyond 2^62 gives `cval`.
    """
    native = image.dtype.newbyteorder("=")
    wanted = native if dtype is None else np.dtype(dtype)
    shape = coordinates.shape[1:]
    on_host = isinstance(image, np.ndarray)
    if 0 in (*image.shape, *shape):
        result = np.full(shape, fill_value(cval, wanted), wanted)
        return result if on_host else device.to_device(result)
    kind = wanted if wanted.isnative else wanted.newbyteorder("=")
    sampler = _Sampler(device, _source(device, device.to_device(image), order, kind), order, mode, cval, kind)
    points = coordinates if shape else coordinates[:, np.newaxis]
    if on_host:
        return _in_slabs(sampler, points).astype(wanted, copy=False).reshape(shape)
    return sampler(device.to_device(points)).reshape(shape)


def _source(device: Device, image: Array, order: int, dtype: np.dtype[Any]) -> Array:
    """Return the image in the type that it is sampled in for results of `dtype`."""
    if order == 0:
        return cast(device, image, dtype)
    single = image.dtype == np.float32 and dtype == np.float32
    if single or (order == 1 and image.dtype != np.float32):
        return image
    return cast(device, image, np.dtype(np.float64))


@dataclass(frozen=True)
class _Sampler:
    """Samples a contiguous image on the device, in `dtype`."""

    device: Device
    image: Array
    order: int
    mode: str
    cval: float
    dtype: np.dtype[Any]

    def __call__(self, coordinates: Array) -> Array:
        """Return samples at coordinates on the device, of the shape of one component."""
        device, ndim, shape = self.device, self.image.ndim, coordinates.shape[1:]
        if coordinates.dtype.kind != "f":
            numbers = device.empty(coordinates.shape, np.float64)
            convert(device, samples(coordinates), numbers)
            coordinates = numbers
        result, points = device.empty(shape, self.dtype), prod(shape)
        view = View.of(self.image)
        steps = [step * self.image.itemsize for step in view.steps]
        integer = "int" if max(view.shape) < pulling.NARROW and self.image.nbytes < pulling.NEAR else "i64"
        wide = np.int32(coordinates.dtype == np.float64)
        common = (coordinates, wide, np.int64(points), axes_of(view.shape, steps))
        size = np.int32(result.dtype.itemsize)
        mode, image, out = np.int32(INTERPOLATION[self.mode]), samples(self.image), samples(result)
        if self.order == 0:
            name = f"map_labels<{ndim}, {integer}>"
            arguments: tuple[Any, ...] = (image, out, size, word(self.cval, self.dtype), *common, mode)
        else:
            name = f"map_coordinates<{TYPES[image.dtype.name]}, {ndim}, {self.order}, {integer}>"
            arguments = (image, out, size, code(self.dtype), *common, mode, real_type(image.dtype)(self.cval))
        device.kernel("map_coordinates.cu", name)(grid(-(-points // THREADS)), (THREADS,), arguments)
        return result


def _in_slabs(sampler: _Sampler, coordinates: Array) -> Array:
    """Return samples at coordinates of the host, on the host."""
    device = sampler.device
    if coordinates.flags.c_contiguous:
        coordinates = coordinates.reshape(len(coordinates), -1)
    result = np.empty(coordinates.shape[1:], sampler.dtype)

    uploaded = coordinates[:, :1].nbytes
    length = slab_length(device, len(result), uploaded + result[:1].nbytes, uploaded)
    through_slabs(
        device,
        len(result),
        length,
        cut=lambda slab: [coordinates[:, slab]],
        work=lambda _, part: sampler(part),
        targets=lambda slab, part: [(result[slab], part)],
    )
    return result

"""Sampling at coordinates: SciPy's own, but for copies at order 0, where every bit of every dtype is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from scipy import ndimage

from gpu_stackcorr.backends.base import Array

from .interpolation import CHUNK, Source, boxes, fill_value, place, sample

scipy_map_coordinates: Any = ndimage.map_coordinates


def map_coordinates(
    image: Array, coordinates: Array, *, order: int, mode: str, cval: float = 0.0, dtype: DTypeLike | None = None
) -> Array:
    """See ``Backend.map_coordinates``.

    At order 0, where the result has the dtype of the image, a coordinate that is NaN, infinite or beyond 2^62 gives
    `cval`; else it is SciPy's affair.
    """
    native = image.dtype.newbyteorder("=")
    dtype = native if dtype is None else np.dtype(dtype)
    shape = coordinates.shape[1:]
    points = coordinates.reshape(len(coordinates), *(shape or (1,)))
    if not image.size or not points.size:  # SciPy would read beside an empty image
        return np.full(shape, fill_value(cval, dtype), dtype)
    if order == 0 and dtype.newbyteorder("=") == native:
        return _copy(image, points, mode, cval, dtype).reshape(shape)
    result: Array = scipy_map_coordinates(
        image, points, output=dtype, order=order, mode=mode, cval=cval, prefilter=False
    )
    return result.reshape(shape)


def _copy(image: Array, points: Array, mode: str, cval: float, dtype: np.dtype[Any]) -> Array:
    """Copy the sample next to each point; `dtype` is that of the image, perhaps in another byte order."""
    source, fill = Source(image), fill_value(cval, image.dtype)
    result = np.empty(points.shape[1:], dtype)
    for box in boxes(result.shape, CHUNK):
        placed = [
            place(x, 0, n, order=0, mode=mode) for n, x in zip(image.shape, points[(slice(None), *box)], strict=True)
        ]
        result[box] = sample(source, [], placed, fill)
    return result

"""Sampling at coordinates: SciPy's own, but for copies at order 0, where every bit of every dtype is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from scipy import ndimage

from gpu_stackcorr.backends.base import Array

from .interpolation import CHUNK, Source, boxes, fill_value, place, round_to, sample

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
    own = dtype.newbyteorder("=") == native if order == 0 else not image.dtype.isnative
    if own:  # SciPy would pass labels through float64, and copy an image in foreign byte order whole
        return _sampled(image, points, order, mode, cval, dtype).reshape(shape)
    result: Array = scipy_map_coordinates(
        image, points, output=dtype, order=order, mode=mode, cval=cval, prefilter=False
    )
    return result.reshape(shape)


def _sampled(image: Array, points: Array, order: int, mode: str, cval: float, dtype: np.dtype[Any]) -> Array:
    """Return samples at points, some thousand at a time; at order 0 in the dtype of the image, in any byte order."""
    source, fill = Source(image), cval if order else fill_value(cval, image.dtype)
    result = np.empty(points.shape[1:], dtype)
    for box in boxes(result.shape, CHUNK):
        placed = [
            place(x, 0, n, order=order, mode=mode)
            for n, x in zip(image.shape, points[(slice(None), *box)], strict=True)
        ]
        values = sample(source, [], placed, fill)
        result[box] = round_to(values, dtype) if order else values
    return result

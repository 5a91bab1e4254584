"""Gaussian smoothing: the float64 specification of ``Backend.gaussian_filter`` is SciPy's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scipy import ndimage

from gpu_stackcorr.backends.base import Array

scipy_gaussian_filter: Any = ndimage.gaussian_filter


def gaussian_filter(
    image: Array,
    sigma: Sequence[float],
    *,
    axes: Sequence[int],
    mode: Sequence[str],
    cval: float = 0.0,
    truncate: float = 4.0,
) -> Array:
    """See ``Backend.gaussian_filter``. The result is in native byte order."""
    output = None
    if not image.dtype.isnative:  # SciPy would copy it whole, beside the result
        image = output = image.astype(image.dtype.newbyteorder("="))
    result: Array = scipy_gaussian_filter(
        image, list(sigma), output=output, mode=list(mode), cval=cval, truncate=truncate, axes=tuple(axes)
    )
    return result

"""Images pulled through random displacements by the operations of a backend, a few slices at a time."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array, Backend, Folds, field_dtype
from gpu_stackcorr.threads import allowed_threads

from .interpolation import boxes
from .jacobian import folds_of_parts

GROUP_VOXELS = 1 << 22
"""Voxels of the slices that are deformed together, at most, if that is a slice for each thread: 32 MB of displacement
in two dimensions and float32."""


def elastic_in_groups(
    backend: Backend,
    image: Array,
    seed: int,
    stream: NDArray[np.uint64],
    *,
    alpha: float | NDArray[np.float64],
    sigma: Sequence[float],
    truncate: float,
    order: int,
    mode: str,
    cval: float,
    count_folds: bool,
) -> tuple[Array, Folds | None]:
    """See ``Backend.elastic``, for images of the host."""
    fixed = image.ndim - len(sigma)
    slices, shape, axes = image.shape[:fixed], image.shape[fixed:], range(fixed, image.ndim)
    scales = np.broadcast_to(alpha, stream.shape)
    result = np.empty(image.shape, image.dtype.newbyteorder("="))
    found: list[Folds] = []
    for group in boxes(slices, max(allowed_threads(), GROUP_VOXELS // max(1, prod(shape)))):
        both = slice(None), *group
        how: dict[str, Any] = {"alpha": scales[both], "sigma": sigma, "truncate": truncate}
        field = backend.displacement(seed, stream[both], shape, **how, dtype=field_dtype(image.dtype))
        if count_folds:
            found.append(backend.count_folds(field, axes=axes))
        result[group] = backend.warp(image[group], field, axes=axes, order=order, mode=mode, cval=cval)
    return result, folds_of_parts(found) if count_folds else None

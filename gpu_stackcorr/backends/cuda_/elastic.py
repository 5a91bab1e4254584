"""Images pulled through random displacements: drawn, looked through for folds and read by the warp slab by slab.

Device memory beside image and result: the displacement of a slab and what `displacement` and `warp` take for one. A
stack on the device of which more than one slab is needed has its result copied once; where there is one slice, the
displacement is of all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array, Folds, field_dtype
from gpu_stackcorr.backends.numpy_.jacobian import folds_of_parts

from . import jacobian
from .device import Device
from .displacement import displacement
from .slabs import slab_length, through_slabs
from .warp import warp


def elastic(
    device: Device,
    image: Array,
    seed: int,
    stream: NDArray[np.uint64],
    *,
    alpha: float | NDArray[np.float64],
    sigma: Sequence[float],
    truncate: float = 4.0,
    order: int,
    mode: str,
    cval: float = 0.0,
    count_folds: bool = False,
) -> tuple[Array, Folds | None]:
    """See ``Backend.elastic``; the result lies where the image does."""
    fixed, components = image.ndim - len(sigma), len(sigma)
    shape, dtype = image.shape[fixed:], field_dtype(image.dtype)
    slices = image.reshape(prod(image.shape[:fixed]), *shape)
    streams, scales = stream.reshape(components, -1), np.broadcast_to(alpha, stream.shape).reshape(components, -1)
    axes = range(1, slices.ndim)
    found: list[Folds] = []

    def deform(slab: slice, part: Array) -> Array:
        field = displacement(
            device, seed, streams[:, slab], shape, alpha=scales[:, slab], sigma=sigma, truncate=truncate, dtype=dtype
        )
        folds = jacobian.count_folds(device, field, axes=axes) if count_folds else None
        warped = warp(device, part, field, axes=axes, order=order, mode=mode, cval=cval)
        if folds is not None:  # kept once the slab is done: one for which memory runs out is taken again
            found.append(folds)
        return warped

    on_host, size = isinstance(image, np.ndarray), slices[:1].nbytes
    field_bytes = components * prod(shape) * np.dtype(dtype).itemsize
    length = slab_length(device, len(slices), 2 * size + field_bytes, size if on_host else 0)
    if len(slices) == 1 or (length == len(slices) and not on_host):
        result = deform(slice(None), slices)
    else:
        result = (np.empty if on_host else device.empty)(slices.shape, slices.dtype.newbyteorder("="))

        def work(slab: slice, part: Array) -> Array:
            warped = deform(slab, part)
            if not on_host:
                result[slab] = warped
            return warped

        through_slabs(
            device,
            len(slices),
            length,
            cut=lambda slab: [slices[slab]],
            work=work,
            targets=lambda slab, warped: [(result[slab], warped)] if on_host else [],
        )
    return result.reshape(image.shape), folds_of_parts(found) if count_folds else None

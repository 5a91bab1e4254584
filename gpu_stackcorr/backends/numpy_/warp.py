"""Warping in plain NumPy: the float64 specification of ``Backend.warp``.

The image goes through in chunks of a few thousand samples. A displacement that broadcasts is split, folded and
weighted once, not once a slice. For orders above 1 the coefficients of one group of slices are held in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from gpu_stackcorr.backends.base import SPLINE_PADDING, Array

from .interpolation import CHUNK, Source, boxes, fill_value, place, round_to, sample
from .spline import spline_filter

GROUP = 1 << 20
"""Samples whose spline coefficients are held at once, where one slice does not have more."""


def warp(image: Array, displacement: Array, *, axes: Sequence[int], order: int, mode: str, cval: float = 0.0) -> Array:
    """See ``Backend.warp``.

    Displacements are split in float64; one that is NaN, infinite or beyond 2^62 voxels gives `cval`. NaN and infinite
    samples spread to every position one of whose taps they are, be its weight 0. Values in between the samples of bool
    images are rounded, so that 0.5 and more is True. The result is in native byte order.
    """
    batch = [axis for axis in range(image.ndim) if axis not in axes]
    result = np.empty(image.shape, image.dtype.newbyteorder("="))
    if not result.size:
        return result
    missing = image.ndim + 1 - displacement.ndim
    field = displacement.reshape(len(displacement), *(1,) * missing, *displacement.shape[1:])
    source, target = (array.transpose(*batch, *axes) for array in (image, result))
    field = field.transpose(0, *(axis + 1 for axis in (*batch, *axes)))
    slices, moving = target.shape[: len(batch)], target.shape[len(batch) :]
    for group in boxes(slices, max(1, GROUP // prod(moving))):
        coefficients, padding = _coefficients(source[group], len(batch), order, mode, cval)
        part = field[_cut(field, group)]
        _warp_group(Source(coefficients), part, target[group], padding, order=order, mode=mode, cval=cval)
    return result


def _cut(field: Array, box: Sequence[slice]) -> tuple[slice, ...]:
    """Return where `box` lies in a field (axes, ...), some axes of which are of length 1 and broadcast."""
    return (slice(None), *(s if n > 1 else slice(None) for s, n in zip(box, field.shape[1:], strict=False)))


def _coefficients(image: Array, fixed: int, order: int, mode: str, cval: float) -> tuple[Array, int]:
    """Return the B-spline coefficients along the axes after the first `fixed`, and the padding of those axes."""
    if order < 2:
        return image, 0
    image = image.astype(np.float64, copy=False)
    padding = SPLINE_PADDING if mode in ("nearest", "grid-constant") else 0
    if padding:
        widths = [(0, 0)] * fixed + [(padding, padding)] * (image.ndim - fixed)
        image = np.pad(image, widths, "edge") if mode == "nearest" else np.pad(image, widths, constant_values=cval)
    return spline_filter(image, order, axes=range(fixed, image.ndim), mode=mode), padding


def _warp_group(
    source: Source, field: Array, target: Array, padding: int, *, order: int, mode: str, cval: float
) -> None:
    """Fill `target` (slices..., moving axes...) from a source with the same axes, padded along the moving ones."""
    fixed = target.ndim - len(field)
    fill = cval if order else fill_value(cval, target.dtype)
    for box in boxes(target.shape, CHUNK):
        grid = np.ogrid[box]
        lookups = [source.offset(axis, grid[axis]) for axis in range(fixed)]
        placed = [
            place(d, grid[axis] + padding, source.values.shape[axis], order=order, mode=mode)
            for axis, d in enumerate(field[_cut(field, box)], fixed)
        ]
        values = sample(source, lookups, placed, fill)
        target[box] = round_to(values, target.dtype) if order else values

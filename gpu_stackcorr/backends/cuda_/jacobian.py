"""Determinants of the derivative of a displaced position: launches ``kernels/jacobian.cu``.

A displacement of the host is taken in boxes, each with the voxels around it that its differences need. Device memory
beyond the displacement (of the host: one box) and the determinants: 16 bytes a thread block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array, Box, Folds
from gpu_stackcorr.backends.numpy_.interpolation import boxes
from gpu_stackcorr.backends.numpy_.jacobian import folds_of_parts
from gpu_stackcorr.random_fields import grow_box, whole_box

from .device import Device
from .layout import MAX_AXES, grid
from .layout import axes as packed_axes
from .passes import REAL
from .slabs import slab_length
from .views import View

COLUMNS, ROWS, THREADS = 32, 8, 256
"""As in the kernel."""

BLOCKS = 16
"""Thread blocks a multiprocessor that leave a minimum each: twice as many as are there at once."""

BOX = np.dtype([("first", np.int64, MAX_AXES), ("size", np.int64, MAX_AXES)])


def jacobian_determinant(device: Device, displacement: Array, *, axes: Sequence[int], box: Box | None = None) -> Array:
    """See ``Backend.jacobian_determinant``; the result lies where the displacement does."""
    box = whole_box(displacement.shape[1:]) if box is None else box
    sizes = [stop - start for start, stop in box]
    dtype = displacement.dtype.newbyteorder("=")
    on_host = isinstance(displacement, np.ndarray)
    if not on_host:
        result = device.empty(sizes, dtype)
        _determinants(device, device.to_device(displacement), axes, box, result)
        return result
    result = np.empty(sizes, dtype)
    for part, piece, inner in _pieces(device, displacement, axes, box):
        found = device.empty([stop - start for start, stop in inner], dtype)
        _determinants(device, piece, axes, inner, found)
        result[part] = device.to_host(found)
    return result


def count_folds(device: Device, displacement: Array, *, axes: Sequence[int]) -> Folds:
    """See ``Backend.count_folds``."""
    box = whole_box(displacement.shape[1:])
    on_host = isinstance(displacement, np.ndarray)
    if not on_host:
        return _folds(device, device.to_device(displacement), axes, box)
    found = [_folds(device, piece, axes, inner) for _, piece, inner in _pieces(device, displacement, axes, box)]
    return folds_of_parts(found)


def _pieces(
    device: Device, displacement: Array, axes: Sequence[int], box: Box
) -> Iterator[tuple[tuple[slice, ...], Array, Box]]:
    """Yield the parts of a box, each with a piece of the displacement on the device and where it lies in that."""
    shape, sizes = displacement.shape[1:], [stop - start for start, stop in box]
    if not prod(sizes):
        return
    a_voxel = displacement.itemsize * len(displacement)
    capacity = slab_length(device, prod(sizes), a_voxel + displacement.itemsize, a_voxel)
    margin = [int(axis in axes) for axis in range(len(shape))]
    parts = list(boxes(sizes, capacity))
    here = [tuple((start + s.start, start + s.stop) for (start, _), s in zip(box, p, strict=True)) for p in parts]
    grown = [grow_box(each, margin, shape) for each in here]
    pieces = (displacement[(slice(None), *(slice(*ends) for ends in outer))] for outer, _ in grown)
    for part, (_, inner), piece in zip(parts, grown, device.upload(pieces), strict=True):
        yield part, piece, tuple((s.start, s.stop) for s in inner)


def _arguments(displacement: Array, axes: Sequence[int], box: Box) -> tuple[list[Any], list[int], list[int]]:
    """Return what the kernels know of a field, the sizes of the box in their order of axes, and that order."""
    ndim = displacement.ndim - 1
    order = [*(axis for axis in range(ndim) if axis not in axes), *axes]
    view = View.of(displacement).transpose([0, *(axis + 1 for axis in order)])
    missing = MAX_AXES - ndim
    where = np.zeros((), BOX)
    where["first"] = [0] * missing + [box[axis][0] for axis in order]
    where["size"] = sizes = [1] * missing + [box[axis][1] - box[axis][0] for axis in order]
    field = packed_axes(view.shape[1:], view.steps[1:])
    return [displacement, np.int64(view.steps[0]), field, where[()]], sizes, order


def _name(kernel: str, displacement: Array) -> str:
    """Return the instantiation for a displacement."""
    return f"{kernel}<{REAL[displacement.dtype.type]}, {len(displacement)}>"


def _determinants(device: Device, displacement: Array, axes: Sequence[int], box: Box, result: Array) -> None:
    """Fill a result of the shape of a box; all on the device."""
    if not result.size:
        return
    arguments, sizes, order = _arguments(displacement, axes, box)
    target = View.of(result).transpose(order)
    device.kernel("jacobian.cu", _name("determinants", displacement))(
        grid(-(-sizes[3] // COLUMNS), -(-sizes[2] // ROWS), sizes[0] * sizes[1]),
        (COLUMNS, ROWS),
        (*arguments, result, packed_axes(target.shape, target.steps)),
    )


def _folds(device: Device, displacement: Array, axes: Sequence[int], box: Box) -> Folds:
    """Return the folds of a box of a displacement on the device."""
    arguments, sizes, _ = _arguments(displacement, axes, box)
    if not prod(sizes):
        return Folds(np.inf, 0)
    most = BLOCKS * device.multiprocessors
    x = min(-(-sizes[3] // COLUMNS), most)
    y = min(-(-sizes[2] // ROWS), max(1, most // x))
    blocks = grid(x, y, min(sizes[0] * sizes[1], max(1, most // (x * y))))
    minima, counts = device.empty((prod(blocks),), np.float64), device.empty((prod(blocks),), np.int64)
    found = device.empty((2,), np.float64)
    device.kernel("jacobian.cu", _name("folds_of_blocks", displacement))(
        blocks, (COLUMNS, ROWS), (*arguments, minima, counts)
    )
    device.kernel("jacobian.cu", "folds_of_all")((1,), (THREADS,), (minima, counts, np.int64(prod(blocks)), found))
    minimum, folded = device.to_host(found)
    return Folds(float(minimum) + 0.0, int(folded))  # -0.0 and 0.0 are one minimum

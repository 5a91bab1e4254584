"""Warping: where the slices lie that ``kernels/warp.cu`` pulls: on the host, on the device, or as spline coefficients.

Arrays of the host are taken in slabs along the longest of their batch axes. Where every axis moves, they are on the
device whole, and displacement and result are taken in slabs along the first axis.

Device memory beyond arrays, displacement and results (of the host: two slabs of them): at orders above 1 the
coefficients of GROUP_BYTES of slices, or of one, and a scratch array of that size, two in the modes that pad; a copy of
what is not contiguous, and at orders above 1 of slices that do not lie one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import SPLINE_PADDING, Array
from gpu_stackcorr.backends.numpy_.interpolation import boxes

from . import passes
from .device import Device
from .pixels import coefficients
from .pulling import Moved, Pull
from .slabs import slab_length, through_slabs
from .views import View


def warp(
    device: Device,
    image: Array,
    displacement: Array,
    *,
    axes: Sequence[int],
    order: int,
    mode: str,
    cval: float = 0.0,
) -> Array:
    """See ``Backend.warp``; the result lies where the image does."""
    arrays = {"image" if order else "labels": image}
    return _warped(device, arrays, displacement, axes, order, mode, cval)[0]


def warp_with_labels(
    device: Device,
    image: Array,
    labels: Array,
    displacement: Array,
    *,
    axes: Sequence[int],
    order: int,
    mode: str,
    cval: float = 0.0,
) -> tuple[Array, Array]:
    """See ``Backend.warp_with_labels``; each result lies where its array does. Orders above 0 take one launch."""
    if order == 0:
        how: dict[str, Any] = {"axes": axes, "order": 0, "mode": mode, "cval": cval}
        return warp(device, image, displacement, **how), warp(device, labels, displacement, **how)
    both = {"image": image, "labels": labels}
    warped, copied = _warped(device, both, displacement, axes, order, mode, cval)
    return warped, copied


def _warped(
    device: Device,
    arrays: dict[str, Array],
    displacement: Array,
    axes: Sequence[int],
    order: int,
    mode: str,
    cval: float,
) -> list[Array]:
    """Return the image at `order`, the labels at order 0, or both; each where it lies."""
    shape = next(iter(arrays.values())).shape
    on_host = [isinstance(array, np.ndarray) for array in arrays.values()]
    batch = sorted((axis for axis in range(len(shape)) if axis not in axes), key=lambda axis: -shape[axis])
    all_axes = (*batch, *axes)
    field = displacement.reshape(len(axes), *(1,) * (len(shape) + 1 - displacement.ndim), *displacement.shape[1:])
    pull = Pull(device, len(axes), order, mode, cval)
    if all(on_host) and prod(shape):
        return _of_host(pull, arrays, field, all_axes)
    moved = {name: device.to_device(array) for name, array in arrays.items()}
    results = _pulled(pull, moved, _transposed(View.of(device.to_device(field)), all_axes), all_axes)
    return [device.to_host(result) if host else result for result, host in zip(results, on_host, strict=True)]


def _transposed(field: View, axes: Sequence[int]) -> View:
    """Return a displacement with the axes of the image in another order."""
    return field.transpose([0, *(axis + 1 for axis in axes)])


def _pulled(pull: Pull, arrays: dict[str, Array], field: View, axes: Sequence[int]) -> list[Array]:
    """Return what arrays on the device become; `axes` are theirs in the order (batch..., moving axes...)."""
    device, fixed = pull.device, len(axes) - pull.ndim
    results = [device.empty(array.shape, array.dtype) for array in arrays.values()]
    moved: dict[str, Any] = {
        name: Moved(View.of(array).transpose(axes), View.of(result).transpose(axes))
        for (name, array), result in zip(arrays.items(), results, strict=True)
    }
    shape = next(iter(moved.values())).target.shape
    field = field.broadcast((pull.ndim, *shape))
    if "image" not in arrays or pull.order < 2 or not prod(shape):
        pull(field, **moved)
        return results
    image = arrays["image"].transpose(axes)
    for group in boxes(shape[:fixed], _slices_a_group(image, fixed)):
        _pull_group(pull, image[group], fixed, field.part([slice(None), *group]), moved, group)
    return results


def _pull_group(
    pull: Pull, image: Array, fixed: int, field: View, moved: dict[str, Moved], group: Sequence[slice]
) -> None:
    """Filter a group of slices and pull it. Its coefficients are given back before the next group's are made."""
    filtered, padding = _coefficients(pull, image, fixed)
    here: dict[str, Any] = {name: Moved(*(view.part(group) for view in views)) for name, views in moved.items()}
    here["image"] = Moved(filtered, here["image"].target)
    pull(field, **here, padding=padding)


def _slices_a_group(image: Array, fixed: int) -> int:
    """Return how many slices are filtered at once."""
    sizes = [n + 2 * SPLINE_PADDING for n in image.shape[fixed:]]
    return max(1, int(passes.GROUP_BYTES // (prod(sizes) * np.dtype(passes.real_type(image.dtype)).itemsize)))


def _coefficients(pull: Pull, image: Array, fixed: int) -> tuple[View, int]:
    """Return spline coefficients on the device, and how far they are padded."""
    array = pull.device.to_device(image)
    filtered, padding = coefficients(pull.device, array, fixed, order=pull.order, mode=pull.mode, cval=pull.cval)
    return View.of(filtered), padding


def _of_host(pull: Pull, arrays: dict[str, Array], field: Array, axes: Sequence[int]) -> list[Array]:
    """Return what arrays of the host become, on the host."""
    field = field.transpose(0, *(axis + 1 for axis in axes))
    sources = {name: array.transpose(axes) for name, array in arrays.items()}
    results = [np.empty(array.shape, array.dtype.newbyteorder("=")) for array in arrays.values()]
    targets = [result.transpose(axes) for result in results]
    several = prod(targets[0].shape[: len(axes) - pull.ndim]) > 1
    (_slices_in_turn if several else _rows_in_turn)(pull, sources, field, targets)
    return results


def _slices_in_turn(pull: Pull, sources: dict[str, Array], field: Array, targets: list[Array]) -> None:
    """Fill targets (batch..., moving axes...) of the host slab by slab along the first axis."""
    device, axes = pull.device, range(targets[0].ndim)
    shared = pull.device.to_device(field) if field.shape[1] == 1 else None

    def cut(slab: slice) -> list[Array]:
        return [*(source[slab] for source in sources.values()), *([field[:, slab]] if shared is None else [])]

    def work(_: slice, *parts: Array) -> list[Array]:
        part = parts[-1] if shared is None else shared
        return _pulled(pull, dict(zip(sources, parts, strict=False)), View.of(part), axes)

    _in_slabs(device, targets, cut, work)


def _rows_in_turn(pull: Pull, sources: dict[str, Array], field: Array, targets: list[Array]) -> None:
    """Fill targets of which every axis moves, or has one sample, slab by slab along the first that moves."""
    device, fixed, padding = pull.device, targets[0].ndim - pull.ndim, 0
    views = {name: View.of(device.to_device(source)) for name, source in sources.items()}
    if pull.order > 1 and "image" in sources:
        views["image"], padding = _coefficients(pull, views["image"].array, fixed)
    before = (slice(None),) * fixed
    shared = device.to_device(field) if field.shape[1 + fixed] == 1 else None

    def cut(slab: slice) -> list[Array]:
        return [field[(slice(None), *before, slab)]] if shared is None else []

    def work(slab: slice, *parts: Array) -> list[Array]:
        shape = (*targets[0].shape[:fixed], slab.stop - slab.start, *targets[0].shape[fixed + 1 :])
        results = [device.empty(shape, target.dtype) for target in targets]
        moved = {name: Moved(view, View.of(part)) for (name, view), part in zip(views.items(), results, strict=True)}
        part = View.of(parts[0] if shared is None else shared).broadcast((pull.ndim, *shape))
        pull(part, **moved, padding=padding, start=slab.start)
        return results

    _in_slabs(device, targets, cut, work, axis=fixed)


def _in_slabs(
    device: Device,
    targets: list[Array],
    cut: Callable[[slice], list[Array]],
    work: Callable[..., list[Array]],
    *,
    axis: int = 0,
) -> None:
    """Go through the slabs along an axis of the targets, before which there are axes of one sample only."""
    before = (slice(None),) * axis
    uploaded = sum(part.nbytes for part in cut(slice(0, 1)))
    size = uploaded + sum(target[(*before, slice(1))].nbytes for target in targets)
    count = targets[0].shape[axis]
    through_slabs(
        device,
        count,
        slab_length(device, count, size, uploaded),
        cut=cut,
        work=work,
        targets=lambda slab, parts: [(t[(*before, slab)], part) for t, part in zip(targets, parts, strict=True)],
    )

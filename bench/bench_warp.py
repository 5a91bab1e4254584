"""Warping by a given displacement, beside SciPy, OpenCV, PyTorch, kornia, MONAI and CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpu_stackcorr import warp

from . import counts, reasons, rivals_sampling
from .harness import Case, Skip
from .images import CUBE, LARGE_CUBE, SLICE, STACK, free_memory, shown
from .interpolated import BYTES_PER_PIXEL, tolerance, work
from .paths import Path, device, ours

QUICK = (("float32", SLICE, 1), ("uint8", SLICE, 1), ("float32", (32, 64, 128), 1))
FULL = (
    ("float32", SLICE, 1),
    ("uint8", SLICE, 1),
    ("uint16", SLICE, 1),
    ("float64", SLICE, 1),
    ("float32", SLICE, 3),
    ("float32", SLICE, 0),
    ("float32", STACK, 1),
    ("float32", CUBE, 1),
    ("float32", CUBE, 3),
    ("float32", LARGE_CUBE, 1),
)


def case(dtype: str, shape: tuple[int, ...], order: int, *, slices: bool = False) -> Case:
    """Return the race over one image, or over slices each with a field of its own, in mode reflect."""
    given = work(dtype, shape, order, slices=slices)
    axes = tuple(range(len(shape)))[-given.axes :]

    def warped(path: Path) -> Any:
        image, field = path.place(given.image), path.place(given.field)
        return lambda: warp(image, field, axes=axes, order=order, mode="reflect", backend=path.backend)

    contestants = [
        *ours(warped, given.own_error, tolerance(dtype)),
        *rivals_sampling.on_host(given.images, given.coordinates, order, given.error),
        *rivals_sampling.with_tensors(given.images, given.coordinates, order, given.error),
        *rivals_sampling.kornia(given.images, given.coordinates, order, given.inside),
        *rivals_sampling.monai(given.images, given.fields, order, given.inside),
        *rivals_sampling.on_device(device(), given.images, given.coordinates, order, given.error),
    ]
    return Case(
        "warp",
        f"{shown(dtype, shape)}, order {order}, reflect{', a field a slice' if slices else ''}",
        given.image.size,
        contestants,
        bytes=2 * given.image.nbytes + given.field.nbytes,
        written=given.image.nbytes,
        operations=counts.warp(given.image.size, given.axes, order),
        arithmetic="float64" if dtype == "float64" else "float32",
        reason=reasons.NEW_MEMORY if slices else _reason(dtype, order),
    )


def _reason(dtype: str, order: int) -> str:
    """Return why a rival may be ahead."""
    linear = reasons.REMAP_FLOAT64 if dtype == "float64" else reasons.REMAP
    return {0: reasons.NEAREST, 1: linear, 3: reasons.CONVOLUTION}.get(order, "")


def cases(*, quick: bool = False) -> Iterator[Case | Skip]:
    """Yield a case a dtype, shape and order."""
    for dtype, shape, order in QUICK if quick else FULL:
        needed = BYTES_PER_PIXEL * int(np.prod(shape))
        if needed > free_memory():
            yield Skip("warp", f"{shown(dtype, shape)}, order {order}", f"needs {needed / 1e9:.3g} GB of memory")
        else:
            yield case(dtype, shape, order, slices=shape == STACK)

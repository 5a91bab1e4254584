"""Sampling at given coordinates, with SciPy's signature, beside SciPy, OpenCV, PyTorch, kornia and CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpu_stackcorr import map_coordinates

from . import counts, reasons, rivals_sampling
from .harness import Case, Skip
from .images import CUBE, LARGE_CUBE, SLICE, free_memory, shown
from .interpolated import BYTES_PER_PIXEL, tolerance, work
from .paths import Path, device, ours

QUICK = (("float32", SLICE, 1),)
FULL = (
    ("uint8", SLICE, 1),
    ("uint16", SLICE, 1),
    ("float32", SLICE, 1),
    ("float64", SLICE, 1),
    ("float32", SLICE, 3),
    ("float64", SLICE, 3),
    ("float32", CUBE, 1),
    ("float32", LARGE_CUBE, 1),
)


def case(dtype: str, shape: tuple[int, ...], order: int) -> Case:
    """Return the race over one image in mode reflect; coordinates are float64, as SciPy makes them."""
    given = work(dtype, shape, order)
    (coordinates,) = given.coordinates

    def sampled(path: Path) -> Any:
        image, where = path.place(given.image), path.place(coordinates)
        return lambda: map_coordinates(image, where, order=order, mode="reflect", backend=path.backend)

    contestants = [
        *ours(sampled, given.own_error, tolerance(dtype)),
        *rivals_sampling.on_host(given.images, given.coordinates, order, given.error),
        *rivals_sampling.with_tensors(given.images, given.coordinates, order, given.error),
        *rivals_sampling.kornia(given.images, given.coordinates, order, given.inside),
        *rivals_sampling.on_device(device(), given.images, given.coordinates, order, given.error),
    ]
    return Case(
        "map_coordinates",
        f"{shown(dtype, shape)}, order {order}, reflect",
        given.image.size,
        contestants,
        bytes=2 * given.image.nbytes + coordinates.nbytes,
        written=given.image.nbytes,
        operations=counts.interpolation(given.image.size, given.axes, order),
        arithmetic="float64" if dtype == "float64" else "float32",
        reason=reasons.CONVOLUTION if order == 3 else reasons.COORDINATES,
    )


def cases(*, quick: bool = False) -> Iterator[Case | Skip]:
    """Yield a case a dtype, shape and order."""
    for dtype, shape, order in QUICK if quick else FULL:
        needed = BYTES_PER_PIXEL * int(np.prod(shape))
        if needed > free_memory():
            name = f"{shown(dtype, shape)}, order {order}"
            yield Skip("map_coordinates", name, f"needs {needed / 1e9:.3g} GB of memory")
        else:
            yield case(dtype, shape, order)

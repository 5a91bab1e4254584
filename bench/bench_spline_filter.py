"""Spline coefficients, beside SciPy and CuPy; PyTorch, OpenCV and their kin have no such filter."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage

from . import counts
from .harness import Case, Contestant, Skip
from .images import CUBE, LARGE_CUBE, SLICE, free_memory, highest, shown, smooth
from .paths import Path, device, difference, ours

QUICK = (("float64", SLICE, 3),)
FULL = (
    ("uint8", SLICE, 3),
    ("uint16", SLICE, 3),
    ("float32", SLICE, 3),
    ("float64", SLICE, 3),
    ("float64", SLICE, 5),
    ("float64", CUBE, 3),
    ("float32", CUBE, 3),
    ("float32", LARGE_CUBE, 3),
)


def case(dtype: str, shape: tuple[int, ...], order: int) -> Case:
    """Return the race over one image in mode mirror; the coefficients are float64, and float32 inside for float32."""
    image = smooth(shape, dtype, highest(dtype))
    # The filter is recursive: coefficients depend on the whole line, so that no part can stand for it.
    error = difference(ndimage.spline_filter(image, order))
    axes = tuple(range(image.ndim))

    def filtered(path: Path) -> Any:
        placed, engine = path.place(image), path.engine
        return lambda: engine.spline_filter(placed, order, axes=axes, mode="mirror")

    contestants = [
        *ours(filtered, error, 1e-5 * highest(dtype) if dtype == "float32" else 1e-12 * highest(dtype)),
        Contestant("SciPy spline_filter", partial(ndimage.spline_filter, image, order), error, note="float64"),
    ]
    if (path := device()) is not None:
        from cupyx.scipy import ndimage as cupyx

        rival = partial(cupyx.spline_filter, path.place(image), order)
        contestants.append(
            Contestant("cupyx spline_filter", rival, error, note="float64", synchronise=path.synchronise)
        )
    written = image.size * (4 if dtype == "float32" else 8)
    return Case(
        "spline_filter",
        f"{shown(dtype, shape)}, order {order}",
        image.size,
        contestants,
        bytes=image.nbytes + written,
        written=written,
        operations=counts.spline(image.size, image.ndim, order),
        arithmetic="float32" if dtype == "float32" else "float64",
    )


def cases(*, quick: bool = False) -> Iterator[Case | Skip]:
    """Yield a case a dtype, shape and order."""
    for dtype, shape, order in QUICK if quick else FULL:
        needed = 40 * int(np.prod(shape))  # the image, two sets of coefficients in float64, their difference, and some
        if needed > free_memory():
            yield Skip("spline_filter", shown(dtype, shape), f"needs {needed / 1e9:.3g} GB of memory")
        else:
            yield case(dtype, shape, order)

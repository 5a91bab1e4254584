"""Gaussian smoothing, beside SciPy, OpenCV and what stands on PyTorch and CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from gpu_stackcorr import gaussian_filter

from . import counts, rivals_smoothing
from .harness import Case, Skip
from .images import CUBE, LARGE_CUBE, SLICE, STACK, free_memory, highest, is_large, shown, smooth
from .paths import Path, device, difference, middle, ours

QUICK = (("float32", SLICE, 5.0), ("float32", (40, 64, 128), 4.0))
FULL = (
    ("uint8", SLICE, 5.0),
    ("uint16", SLICE, 5.0),
    ("float32", SLICE, 5.0),
    ("float64", SLICE, 5.0),
    ("float32", SLICE, 10.0),
    ("float32", SLICE, 20.0),
    ("float32", STACK, (0.0, 5.0, 5.0)),
    ("float32", CUBE, 4.0),
    ("float64", CUBE, 4.0),
    ("float32", LARGE_CUBE, 4.0),
)


def case(dtype: str, shape: tuple[int, ...], sigma: float | tuple[float, ...]) -> Case:
    """Return the race over one image, along every axis whose sigma is not 0."""
    image = smooth(shape, dtype, highest(dtype))
    sigmas = sigma if isinstance(sigma, tuple) else (sigma,) * len(shape)
    error, inside = _errors(image, sigmas)

    def filtered(path: Path) -> Any:
        placed = path.place(image)
        return lambda: gaussian_filter(placed, sigmas, truncate=counts.TRUNCATE, backend=path.backend)

    contestants = [
        *ours(filtered, error, _tolerance(dtype, len(shape))),
        *rivals_smoothing.on_host(image, sigmas, error),
        *rivals_smoothing.with_tensors(image, sigmas, inside),
        *rivals_smoothing.on_device(device(), image, sigmas, error),
    ]
    return Case(
        "gaussian_filter",
        f"{shown(dtype, shape)}, sigma {' x '.join(f'{s:g}' for s in dict.fromkeys(sigmas) if s)}",
        image.size,
        contestants,
        bytes=2 * image.nbytes,
        written=image.nbytes,
        operations=counts.gaussian(image.size, sigmas),
        arithmetic="float64" if dtype == "float64" else "float32",
    )


def _tolerance(dtype: str, axes: int) -> float:
    """Return what errors of ours may be: integers are truncated after each axis, which costs up to 1 each."""
    return {"float32": 1e-5 * 255.0, "float64": 1e-12 * 255.0}.get(dtype, float(axes))


def _errors(image: Any, sigma: tuple[float, ...]) -> tuple[Any, Any]:
    """Return what holds a result against SciPy in float64, and what does away from the border."""
    reach = [min(int(counts.TRUNCATE * s + 0.5), (n - 1) // 2) for s, n in zip(sigma, image.shape, strict=True)]
    part, planes = slice(None), slice(None)
    if is_large(image.shape):  # some planes with all that they depend on
        part = middle(len(image))
        planes = slice(part.start - reach[0], part.stop + reach[0])
    exact = ndimage.gaussian_filter(image[planes].astype(np.float64), sigma, truncate=counts.TRUNCATE)
    if is_large(image.shape):
        exact, reach = exact[reach[0] : len(exact) - reach[0]], [0, *reach[1:]]
    return difference(exact, part), difference(exact, part, margin=reach)


def cases(*, quick: bool = False) -> Iterator[Case | Skip]:
    """Yield a case a dtype, shape and sigma."""
    for dtype, shape, sigma in QUICK if quick else FULL:
        needed = 8 * int(np.prod(shape)) * np.dtype(dtype).itemsize  # MONAI pads, and keeps each axis
        if needed > free_memory():
            yield Skip("gaussian_filter", shown(dtype, shape), f"needs {needed / 1e9:.3g} GB of memory")
        else:
            yield case(dtype, shape, sigma)

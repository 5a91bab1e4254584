"""Elastic deformation from the seed to the image, beside its rivals.

Random numbers differ from one to the next: ours is held against SciPy in float64 with our own displacement, and a rival
against SciPy with the noise that it drew, where it computes the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from gpu_stackcorr import displacement_field, elastic_transform

from . import counts, rivals_elastic
from .harness import Case, Skip
from .images import CUBE, LARGE_CUBE, SLICE, SMALL_SLICE, free_memory, highest, is_large, shown, smooth
from .paths import Path, device, difference, middle, ours
from .recipe import Given

ALPHA, SEED = 250.0, 1
QUICK = (("float32", SMALL_SLICE, 5.0),)
FULL = (
    ("uint8", SLICE, 5.0),
    ("uint16", SLICE, 5.0),
    ("float32", SLICE, 5.0),
    ("float64", SLICE, 5.0),
    ("float32", CUBE, 4.0),
    ("float32", LARGE_CUBE, 4.0),
)
TOLERANCES = {"uint8": 0.51 / 255, "uint16": 2e-5, "float32": 1e-5, "float64": 1e-12}
"""Errors of ours, as parts of the range: integers are rounded, float32 displacements of 20 voxels known to 1e-6."""

BYTES_PER_PIXEL = 100
"""Of memory in three dimensions: displacements, positions and coordinates of the recipe, in 64 bits."""


def case(dtype: str, shape: tuple[int, ...], sigma: float) -> Case:
    """Return the race over one image, along all its axes."""
    image = smooth(shape, dtype, highest(dtype))
    axes, sigmas = tuple(range(image.ndim)), [sigma] * image.ndim

    def deformed(path: Path) -> Any:
        placed = path.place(image)
        return lambda: elastic_transform(
            placed, ALPHA, sigma, axes=axes, seed=SEED, check_folds=False, backend=path.backend
        )

    given = Given(image, ALPHA, sigma)
    contestants = [
        *ours(deformed, _error(given), TOLERANCES[dtype]),
        *rivals_elastic.on_host(given),
        *rivals_elastic.with_tensors(given),
        *rivals_elastic.on_device(device(), given),
    ]
    return Case(
        "elastic_transform",
        f"{shown(dtype, shape)}, alpha {ALPHA:g}, sigma {sigma:g}",
        image.size,
        contestants,
        bytes=2 * image.nbytes,
        written=image.nbytes,
        operations=counts.elastic(image.size, sigmas),
        arithmetic="float64" if dtype == "float64" else "float32",
    )


def _error(given: Given) -> Any:
    """Return what holds our result against SciPy in float64, as a part of the range; on planes of large ones."""
    image = given.image
    part, box = slice(None), None
    if is_large(image.shape):
        part = middle(len(image))
        box = ((part.start, part.stop), *((0, size) for size in image.shape[1:]))
    how: dict[str, Any] = {"seed": SEED, "box": box, "backend": "numpy", "dtype": np.float64}
    field = displacement_field(image.shape, given.alpha, given.sigma, **how)
    where = np.indices(field.shape[1:]) + field
    where[0] += part.start or 0
    exact = ndimage.map_coordinates(image.astype(np.float64), where, order=1, mode="reflect")
    error = difference(exact, part)
    return lambda result: error(result) / given.span


def cases(*, quick: bool = False) -> Iterator[Case | Skip]:
    """Yield a case a dtype, shape and sigma."""
    for dtype, shape, sigma in QUICK if quick else FULL:
        needed = BYTES_PER_PIXEL * int(np.prod(shape))
        if needed > free_memory():
            yield Skip("elastic_transform", shown(dtype, shape), f"needs {needed / 1e9:.3g} GB of memory")
        else:
            yield case(dtype, shape, sigma)

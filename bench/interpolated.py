"""What the cases of `map_coordinates` and `warp` share: an image, a displacement, and SciPy's result in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from gpu_stackcorr import displacement_field

from .images import highest, is_large, smooth
from .paths import difference, middle

ALPHA, SIGMA, SEED = 250.0, 5.0, 1

BYTES_PER_PIXEL = 110
"""Of memory that a case holds, its rivals' coordinates, maps and grids included, in three dimensions."""


@dataclass(frozen=True)
class Work:
    """An image, or slices each with a field of its own, and where each pixel takes its value.

    Attributes
    ----------
    image : (Y, X) array, or (Z, Y, X): a volume, or slices
    field : (2, Y, X), (3, Z, Y, X) or for slices (2, Z, Y, X)
    images, fields, coordinates : lists, one an image that is sampled
    error : callable
        From the list of results of a rival to the largest error.
    inside : callable
        The same away from the border.
    own_error : callable
        From our result.
    """

    image: Any
    field: Any
    images: Sequence[Any]
    fields: Sequence[Any]
    coordinates: Sequence[Any]
    error: Callable[[Any], float]
    inside: Callable[[Any], float]
    own_error: Callable[[Any], float]

    @property
    def axes(self) -> int:
        """How many axes move."""
        return len(self.field)


def work(dtype: str, shape: tuple[int, ...], order: int, *, slices: bool = False) -> Work:
    """Return the work on a smooth image moved by our own displacement; with `slices` by a field a slice."""
    image = smooth(shape, dtype, highest(dtype))
    kind = np.float64 if dtype == "float64" else np.float32
    axes = (1, 2) if slices else None
    field = displacement_field(shape, ALPHA, SIGMA, seed=SEED, axes=axes, dtype=kind)
    images, fields = (list(image), list(np.moveaxis(field, 1, 0))) if slices else ([image], [field])
    # Coordinates are float64: p + d is exact for float32 displacements.
    coordinates = [np.indices(i.shape, np.float64) + f for i, f in zip(images, fields, strict=True)]
    which = range(min(4, len(images)))
    part = middle(len(image)) if is_large(shape) and not slices else slice(None)
    exact = [
        ndimage.map_coordinates(images[n].astype(np.float64), coordinates[n][:, part], order=order, mode="reflect")
        for n in which
    ]
    margin = [_margin(field)] * images[0].ndim
    if part.start is not None:
        margin[0] = 0
    checks = [difference(e, part) for e in exact]
    inner = [difference(e, part, margin=margin) for e in exact]
    return Work(
        image,
        field,
        images,
        fields,
        coordinates,
        lambda results: max(check(results[n]) for n, check in enumerate(checks)),
        lambda results: max(check(results[n]) for n, check in enumerate(inner)),
        (lambda r: max(check(r[n]) for n, check in enumerate(checks))) if slices else checks[0],
    )


def _margin(field: Any) -> int:
    """Return how far from the border nothing from beyond it is sampled, with the taps of order 1; at most a third."""
    return min(int(np.abs(field).max()) + 2, min(field.shape[-2:]) // 3)


def tolerance(dtype: str) -> float:
    """Return what errors of ours may be: 1e-5 of the range in float32; integers are rounded after that."""
    if dtype == "float64":
        return 1e-12 * highest(dtype)
    return 1e-5 * highest(dtype) + (0.0 if dtype == "float32" else 0.5)

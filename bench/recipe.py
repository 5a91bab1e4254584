"""The notebook's recipe of elastic deformation, by SciPy in float64: a rival, and what others are held against."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from .images import highest
from .paths import difference

SEED = 0
"""Of the generators of rivals, made anew in each call (some ten microseconds).

The result is then the same at each call, and can be held against float64 SciPy with the very noise that was drawn.
"""


class Given(NamedTuple):
    """An image and how it is deformed."""

    image: Any
    alpha: float
    sigma: float

    @property
    def span(self) -> float:
        """The range of the image, which errors are a part of."""
        return highest(str(self.image.dtype)) if self.image.dtype.kind == "u" else float(np.ptp(self.image))


def smoothed(noise: Any, given: Given) -> Any:
    """Return displacements (y, x or z, y, x) from noise on [-1, 1), by SciPy in float64."""
    smooth = partial(ndimage.gaussian_filter, sigma=given.sigma, mode="constant", cval=0)
    return np.stack([smooth(component.astype(np.float64)) * given.alpha for component in noise])


def against(noise: Any, given: Given) -> Callable[[Any], float]:
    """Return what holds a deformed image against SciPy's in float64 with `noise`, as a part of the range."""
    where = np.indices(given.image.shape) + smoothed(noise, given)
    exact = ndimage.map_coordinates(given.image.astype(np.float64), where, order=1, mode="reflect")
    error = difference(exact)
    return lambda result: error(result) / given.span


def recipe_field(shape: tuple[int, ...], alpha: float, sigma: float, rng: Any) -> list[Any]:
    """Draw displacements as the notebook did: the last axis first, in float64."""
    field = [ndimage.gaussian_filter(rng.rand(*shape) * 2 - 1, sigma, mode="constant", cval=0) * alpha for _ in shape]
    return field[::-1]


def recipe(image: Any, alpha: float, sigma: float, rng: Any) -> Any:
    """Deform as the notebook did: noise, smoothing and sampling by SciPy, in float64; any number of dimensions."""
    field = recipe_field(image.shape, alpha, sigma, rng)
    grid = np.meshgrid(*map(np.arange, image.shape), indexing="ij")
    coordinates = [(position + d).reshape(-1) for position, d in zip(grid, field, strict=True)]
    return ndimage.map_coordinates(image, coordinates, order=1, mode="reflect").reshape(image.shape)


def recipe_noise(shape: tuple[int, ...]) -> Any:
    """Return the noise of the recipe with its seed, the first axis first."""
    rng = np.random.RandomState(SEED)
    return np.stack([rng.rand(*shape) * 2 - 1 for _ in shape])[::-1]


def standardised(image: Any) -> Any:
    """Return an image with mean 0 and standard deviation 1."""
    return (image - image.mean()) / image.std()


def correlations(slices: Any, transformation: Callable[[Any], Any], noise: Any = 0) -> Any:
    """Correlate slice 0 with every slice as the notebook did: transformed, standardised, with noise, by np.corrcoef."""
    bottom = standardised(slices[0]).ravel()
    moved = (standardised(transformation(image)) + noise for image in slices)
    return np.array([np.corrcoef(bottom, image.ravel())[0, 1] for image in moved])


def deformed(slices: Any, alpha: float, sigma: float) -> Any:
    """Deform every slice by the recipe with a new field, and correlate with slice 0."""
    rng = np.random.RandomState(SEED)
    return correlations(slices, lambda image: recipe(image, alpha, sigma, rng))

"""The functions of the notebook that this package grew from: the same names and results, three repairs.

A slice against itself gives the interval [1, 1] without a warning; nothing modifies its input; the critical value of
the interval comes from the confidence level (1.959964 at 95 %).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import correlation, deformation, transforms
from .errors import ParameterError


def image_correlation(image_1: Any, image_2: Any) -> tuple[float, list[float]]:
    """Return the correlation of two images with its 95 % interval (Fisher's).

    Parameters
    ----------
    image_1, image_2 : (Y, X) arrays

    Returns
    -------
    r : float
    interval : [lower, upper]

    Examples
    --------
    >>> image = np.arange(16.0).reshape(4, 4)
    >>> image_correlation(image, image)
    (1.0, [1.0, 1.0])
    """
    result = correlation.image_correlation(image_1, image_2, ci="fisher")
    low, high = result.confidence_interval(0.95)
    return result.statistic, [float(low), float(high)]


def z_correlation(
    image_stack: Any, transformation: Callable[[Any], Any], noise: Any = 0, plot: bool = True
) -> NDArray[np.float64]:
    """Return the correlation of the bottom image with every image of a stack after a transformation.

    The bottom image and each transformed image are standardised, noise is added to the latter, and the two are
    correlated.

    Parameters
    ----------
    image_stack : (N, 1, H, W) array
    transformation : callable
        From an image (H, W) to one: `identity`, `flip_right_left`, `flip_up_down`, or any other function.
    noise : (H, W) array or number
        Added as it is to every standardised image. A new field for each magnitude is the caller's to draw:
        ``noise=magnitude * numpy.random.normal(size=(H, W))``. A number moves the mean, and changes nothing.
    plot : bool
        Draw the correlations against "Distance from bottom image in pixels" with their 95 % band.

    Returns
    -------
    (N,) float64 array

    Examples
    --------
    >>> stack = np.random.default_rng(0).normal(size=(3, 1, 16, 16))
    >>> float(z_correlation(stack, identity, plot=False)[0])
    1.0
    """
    shape = np.shape(image_stack)
    if len(shape) != 4 or shape[1] != 1:
        raise ParameterError(f"image_stack has shape {shape}: allowed is (N, 1, H, W)")
    result = correlation.stack_correlation(
        image_stack,
        0,
        transform=transformation,
        noise=0 if np.ndim(noise) == 0 else noise,
        ci="fisher",
        nan_policy="propagate",
    )
    assert not isinstance(result, tuple)
    if plot:
        ax = result.plot()
        ax.set_xlabel("Distance from bottom image in pixels")
        ax.set_ylabel("Correlation")
    return result.statistic


def identity(image: Any) -> Any:
    """Return the image as it is."""
    return transforms.identity(image)


def flip_right_left(image: Any) -> Any:
    """Return the image with right and left exchanged."""
    return transforms.flip_right_left(image)


def flip_up_down(image: Any) -> Any:
    """Return the image with up and down exchanged."""
    return transforms.flip_up_down(image)


def elastic_transform(
    image: Any,
    alpha: float,
    sigma: float,
    random_state: np.random.RandomState | np.random.Generator | None = None,
) -> Any:
    """Return the image deformed elastically: order 1, mode reflect, noise drawn for x first and then for y.

    Parameters
    ----------
    image : (H, W) array
    alpha : float
        Scale of the displacement in pixels.
    sigma : float
        Standard deviation of the Gaussian in pixels.
    random_state : numpy.random.RandomState or Generator, optional
        A new, unseeded RandomState by default.

    Examples
    --------
    >>> image = np.random.default_rng(0).normal(size=(32, 32))
    >>> elastic_transform(image, 50, 10, np.random.RandomState(0)).shape
    (32, 32)
    """
    random_state = np.random.RandomState() if random_state is None else random_state
    return deformation.elastic_transform(image, alpha, sigma, random_state, check_folds=False)


def grid_lines(image: Any, grid_spacing: int, thickness: int) -> Any:
    """Return a copy of an image with a grid drawn over it, in its largest value.

    Parameters
    ----------
    image : (H, W) array
    grid_spacing : int
        Pixels from line to line, 1 or more; the first line is at 0.
    thickness : int
        Of a line in pixels, 1 or more.

    Examples
    --------
    >>> grid_lines(np.eye(4, dtype=np.uint8), 3, 1)
    array([[1, 1, 1, 1],
           [1, 1, 0, 1],
           [1, 0, 1, 1],
           [1, 1, 1, 1]], dtype=uint8)
    """
    for name, value in (("grid_spacing", grid_spacing), ("thickness", thickness)):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ParameterError(f"{name} = {value!r}: allowed are integers of 1 or more")
    marked = np.array(image)
    if marked.ndim != 2:
        raise ParameterError(f"image has {marked.ndim} dimensions: allowed are 2")
    on_line_y, on_line_x = (np.arange(n) % grid_spacing < thickness for n in marked.shape)
    marked[on_line_y[:, np.newaxis] | on_line_x] = marked.max()
    return marked

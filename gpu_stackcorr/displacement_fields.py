"""Random displacement fields: noise smoothed by a Gaussian, as a function of seed and position.

P. Y. Simard, D. Steinkraus and J. C. Platt, "Best practices for convolutional neural networks applied to visual
document analysis", ICDAR 2003: uniform noise on [-1, 1) for each axis, smoothed by a Gaussian, times alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .arrays import get_backend
from .backends.base import INTERPOLATION_MODES, Backend
from .deformation_checks import check_alpha_sigma, check_box, check_choice, moving_axes
from .errors import ParameterError
from .random_fields import Box, Purpose, indices, seed_or_fresh, stream, whole_box

TRUNCATE = 4.0
"""Standard deviations at which the Gaussian is cut off, as SciPy's default."""


def displacement_field(
    shape: Sequence[int],
    alpha: float | Sequence[float],
    sigma: float | Sequence[float],
    *,
    seed: int | None = None,
    index: int = 0,
    box: Box | None = None,
    axes: Sequence[int] | None = None,
    mode: str = "constant",
    dtype: DTypeLike = np.float32,
    backend: str | None = None,
) -> NDArray[Any]:
    """Return a random displacement field: uniform noise on [-1, 1), smoothed, times `alpha`.

    The field is a function of seed, index and position: a box equals the same box of the whole, to the bit.

    Parameters
    ----------
    shape : sequence of 1 to 3 ints
        Of the image or stack.
    alpha : float or one an axis of `axes`
        Scale in voxels, 0 or more.
    sigma : float or one an axis of `axes`
        Standard deviation of the Gaussian in voxels, 0 or more; 0 leaves an axis unsmoothed.
    seed : int, optional
        0 to 2^64 - 1; drawn and logged where it is missing.
    index : int
        Which of the seed's fields: a slice or sample.
    box : tuple of (start, stop) pairs, optional
        The part of `shape` to return; all of it by default.
    axes : sequence of ints, optional
        The axes that move, the last ones of `shape`; all by default. Along the others every slice has a field of its
        own, with the indices ``index``, ``index + 1``, ...
    mode : str
        Boundary mode of the smoothing, as in ``scipy.ndimage.gaussian_filter``.
    dtype : float32 or float64
        Of the arithmetic and the result. The noise is the same.
    backend : str, optional
        Where to compute.

    Returns
    -------
    (len(axes), ...) array
        Displacements in voxels along each axis of `axes`, over the box.

    Examples
    --------
    >>> displacement_field((64, 64), 250.0, 10.0, seed=1).shape
    (2, 64, 64)
    """
    if not 1 <= len(shape) <= 3 or not all(n == int(n) and n >= 0 for n in shape):
        raise ParameterError(f"shape = {tuple(shape)}: allowed are 1 to 3 integers of 0 or more")
    shape = tuple(int(n) for n in shape)
    axes = moving_axes(axes, len(shape), trailing=True)
    check_choice("mode", mode, INTERPOLATION_MODES)
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ParameterError(f"dtype = {np.dtype(dtype)}: allowed are float32 and float64")
    box = whole_box(shape) if box is None else check_box(box, shape)
    engine = get_backend(backend)
    how: dict[str, Any] = {"seed": seed, "index": index, "box": box, "axes": axes, "mode": mode, "dtype": dtype}
    return engine.to_host(displacement_on(engine, shape, alpha, sigma, **how))


def displacement_on(
    engine: Backend,
    shape: tuple[int, ...],
    alpha: float | Sequence[float],
    sigma: float | Sequence[float],
    *,
    seed: int | None,
    index: int,
    box: Box,
    axes: tuple[int, ...],
    mode: str,
    dtype: DTypeLike,
) -> NDArray[Any]:
    """Return a displacement field where the backend makes it."""
    alpha, sigma = check_alpha_sigma(alpha, sigma, len(axes))
    fixed = len(shape) - len(axes)
    numbers = indices(index, int(np.prod(shape[:fixed]))).reshape(shape[:fixed])
    numbers = numbers[tuple(slice(*ends) for ends in box[:fixed])]
    streams = displacement_streams(len(axes), numbers)
    return engine.displacement(
        seed_or_fresh(seed),
        streams,
        shape[fixed:],
        alpha=np.reshape(alpha, (-1,) + (1,) * fixed),
        sigma=sigma,
        box=box[fixed:],
        mode=mode,
        truncate=TRUNCATE,
        dtype=dtype,
    )


def displacement_streams(ndim: int, index: Any) -> NDArray[np.uint64]:
    """Return the streams of the components (z, y, x or y, x) of each index: (ndim, \\*index.shape)."""
    return np.stack([stream(Purpose.DISPLACEMENT, axis, index) for axis in reversed(range(ndim))])

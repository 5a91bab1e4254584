"""Random displacement fields, as a function of seed and position: smoothed noise, or a spline through random vectors.

P. Y. Simard, D. Steinkraus and J. C. Platt, "Best practices for convolutional neural networks applied to visual
document analysis", ICDAR 2003: uniform noise on [-1, 1) for each axis, smoothed by a Gaussian, times alpha.

O. Ronneberger, P. Fischer and T. Brox, "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015:
normal vectors on a coarse grid, interpolated by cubic B-splines.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .arrays import get_backend
from .backends.base import INTERPOLATION_MODES, Backend
from .deformation_checks import check_box, check_choice, check_float, check_shape, moving_axes
from .errors import ParameterError
from .random_fields import Box, Purpose, indices, seed_or_fresh, stream, whole_box

TRUNCATE = 4.0
"""Standard deviations at which the Gaussian is cut off, as SciPy's default."""

METHODS = ("gaussian", "grid")

SMALLEST_SPACING = float(np.finfo(np.float64).tiny)


def displacement_field(
    shape: Sequence[int],
    alpha: float | Sequence[float],
    sigma: float | Sequence[float],
    *,
    seed: int | None = None,
    index: int = 0,
    box: Box | None = None,
    axes: Sequence[int] | None = None,
    method: str = "gaussian",
    mode: str = "constant",
    spacing: float | Sequence[float] = 1.0,
    shared: bool = False,
    dtype: DTypeLike = np.float32,
    backend: str | None = None,
) -> NDArray[Any]:
    """Return a random displacement field: smoothed noise, or a spline through random vectors, times `alpha`.

    The field is a function of seed, index and position: a box equals the same box of the whole, to the bit.

    Parameters
    ----------
    shape : sequence of 1 to 3 ints
        Of the image or stack, (z, y, x).
    alpha : float or one an axis of `axes`
        Scale, 0 or more, in the unit of `spacing`. Gaussian: what the smoothed noise is multiplied by. Grid: the
        standard deviation of the control vectors.
    sigma : float, or one an axis of `axes`, or one an axis of `shape`
        In the unit of `spacing`. Gaussian: its standard deviation, 0 or more; 0 leaves an axis unsmoothed. Grid: the
        distance of the control points, 1 voxel or more. With an entry for every axis of `shape`, where `axes` are
        fewer, there is one field over the whole volume, smooth along all its axes, of which `axes` move.
    seed : int, optional
        0 to 2^64 - 1; drawn and logged where it is missing.
    index : int
        Which of the seed's fields: a slice or sample.
    box : tuple of (start, stop) pairs, optional
        The part of `shape` to return; all of it by default.
    axes : sequence of ints, optional
        The axes that move, the last ones of `shape`, or any with a `sigma` for every axis; all by default. Along the
        others every slice has a field of its own, with the indices ``index``, ``index + 1``, ..., unless `shared` or
        `sigma` say otherwise.
    method : str
        ``"gaussian"``: uniform noise on [-1, 1), smoothed. ``"grid"``: a cubic spline through normal vectors at control
        points `sigma` apart, laid out around the middle of `shape` and one cell beyond its ends.
    mode : str
        Boundary mode of the smoothing, as in ``scipy.ndimage.gaussian_filter``. A grid has no use for it.
    spacing : float or one an axis of `shape`
        Size of a voxel, above 0, in the unit that `alpha` and `sigma` are given in, such as nm. The field itself is in
        voxels.
    shared : bool
        Whether all slices share the field of `index`, which has then length 1 along the axes that do not move.
    dtype : float32 or float64
        Of the result. The random numbers are the same.
    backend : str, optional
        Where to compute.

    Returns
    -------
    (len(axes), ...) array
        Displacements in voxels along each axis of `axes`, over the box.

    Raises
    ------
    ParameterError
        If a parameter has a value that is not allowed.

    Notes
    -----
    Gaussian: Simard, Steinkraus and Platt, ICDAR 2003. Grid: Ronneberger, Fischer and Brox, MICCAI 2015; where `sigma`
    divides n - 1, the first and the last of n voxels are control points. The root mean square of a component is `alpha`
    at the control points and somewhat less between them.

    Examples
    --------
    >>> displacement_field((64, 64), 250.0, 10.0, seed=1).shape
    (2, 64, 64)

    Motion in plane by about 20 nm, smooth over 100 nm along every axis, of voxels of 30 x 8 x 8 nm:

    >>> how = {"axes": (1, 2), "method": "grid", "spacing": (30.0, 8.0, 8.0)}
    >>> displacement_field((10, 64, 64), 20.0, (100.0, 100.0, 100.0), seed=1, **how).shape
    (2, 10, 64, 64)
    """
    shape = check_shape(shape)
    axes = moving_axes(axes, len(shape), trailing=entries(sigma) < len(shape))
    check_choice("mode", mode, INTERPOLATION_MODES)
    box = None if box is None else check_box(box, shape)
    engine, dtype = get_backend(backend), check_float(dtype)
    how: dict[str, Any] = {"axes": axes, "method": method, "spacing": spacing, "shared": shared}
    field = RandomField.of(shape, alpha, sigma, seed=seed, index=index, box=box, **how)
    return engine.to_host(field.displacement(engine, mode=mode, dtype=dtype))


class RandomField(NamedTuple):
    """Random displacements as backends take them: one a slice, or one for all, of the axes that are smoothed."""

    method: str
    seed: int
    streams: NDArray[np.uint64]
    """Of the components, first axis first, of each displacement: (len(axes), axes that are not smoothed...)."""
    shape: tuple[int, ...]
    box: Box
    alpha: NDArray[np.float64]
    sigma: tuple[float, ...]

    @classmethod
    def of(
        cls,
        shape: tuple[int, ...],
        alpha: float | Sequence[float],
        sigma: float | Sequence[float],
        *,
        seed: int | None,
        index: int,
        axes: tuple[int, ...],
        box: Box | None = None,
        method: str = "gaussian",
        spacing: float | Sequence[float] = 1.0,
        shared: bool = False,
    ) -> RandomField:
        """Return those of `displacement_field` with these parameters, or raise ParameterError."""
        alphas, sigmas = scales_in_voxels(alpha, sigma, len(shape), axes, method=method, spacing=spacing, shared=shared)
        box = whole_box(shape) if box is None else box
        fixed = len(shape) - len(sigmas)
        if shared:
            numbers = indices(index, 1).reshape((1,) * fixed)
        else:
            numbers = indices(index, prod(shape[:fixed])).reshape(shape[:fixed])
            numbers = numbers[tuple(slice(*ends) for ends in box[:fixed])]
        streams = _streams([len(shape) - 1 - axis for axis in axes], numbers)
        scale = np.reshape(alphas, (-1,) + (1,) * fixed)
        return cls(method, seed_or_fresh(seed), streams, shape[fixed:], box[fixed:], scale, sigmas)

    def of_slices(self, part: slice) -> RandomField:
        """Return those of some slices along the first axis, which has a displacement a slice."""
        return self._replace(streams=self.streams[:, part])

    def displacement(
        self, engine: Backend, *, dtype: DTypeLike, mode: str = "constant", temporary: bool = False
    ) -> NDArray[Any]:
        """Return the displacement where the backend makes it. It may be `temporary`: see ``Backend.displacement``."""
        place = self.seed, self.streams, self.shape
        how: dict[str, Any] = {"alpha": self.alpha, "box": self.box, "dtype": dtype}
        if self.method == "grid":
            return engine.control_grid(*place, distance=self.sigma, **how)
        how |= {"mode": mode, "truncate": TRUNCATE, "temporary": temporary}
        return engine.displacement(*place, sigma=self.sigma, **how)


def scales_in_voxels(
    alpha: float | Sequence[float],
    sigma: float | Sequence[float],
    ndim: int,
    axes: Sequence[int],
    *,
    method: str = "gaussian",
    spacing: float | Sequence[float] = 1.0,
    shared: bool = False,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return alpha for each axis that moves, and sigma for these or, of a field over the whole volume, for all axes.

    Raises ParameterError where one of the parameters is not allowed; see `displacement_field`.
    """
    check_choice("method", method, METHODS)
    check_choice("shared", shared, (False, True))
    count = len(axes)
    sizes = _numbers(
        "spacing", spacing, [1.0] * ndim, f"a number above 0, or {ndim} of them", smallest=SMALLEST_SPACING
    )
    moving = [sizes[axis] for axis in axes]
    alphas = _numbers("alpha", alpha, moving, f"a number of 0 or more, or {count} of them")
    whole = count < ndim and entries(sigma) == ndim
    if whole and shared:
        raise ParameterError(
            f"shared = True with sigma = {sigma!r}: allowed is a sigma for the {count} axes that move, "
            "as one for every axis makes one field of the whole volume"
        )
    smallest, least = (1.0, "1 voxel") if method == "grid" else (0.0, "0")
    allowed = f"a number of {least} or more, or {count} of them"
    if count < ndim:
        allowed += f", or {ndim} for one field of the whole volume"
    sigmas = _numbers("sigma", sigma, sizes if whole else moving, allowed, smallest=smallest)
    return alphas, sigmas


def _numbers(
    name: str, value: Any, sizes: Sequence[float], allowed: str, *, smallest: float = 0.0
) -> tuple[float, ...]:
    """Return a number, or one a size, divided by sizes; raise ParameterError unless all are `smallest` or more."""
    try:
        numbers = [float(v) for v in value] if np.ndim(value) else [float(value)] * len(sizes)
    except (TypeError, ValueError):
        numbers = []
    quotients = tuple(v / size for v, size in zip(numbers, sizes, strict=False))
    if len(numbers) != len(sizes) or not all(isfinite(v) and v >= smallest for v in quotients):
        raise ParameterError(f"{name} = {value!r}: allowed is {allowed}")
    return quotients


def entries(value: Any) -> int:
    """Return how many entries a parameter has; 0 for a number."""
    try:
        return len(value)
    except TypeError:
        return 0


def _streams(numbers: Sequence[int], index: Any) -> NDArray[np.uint64]:
    """Return the streams of components, by the number of their axis, of each index: (len(numbers), \\*index.shape)."""
    index = np.asarray(index)
    return stream(Purpose.DISPLACEMENT, np.reshape(numbers, (-1,) + (1,) * index.ndim), index)


def displacement_streams(ndim: int, index: Any) -> NDArray[np.uint64]:
    """Return the streams of the components (z, y, x or y, x) of each index: (ndim, \\*index.shape)."""
    return _streams(range(ndim)[::-1], index)

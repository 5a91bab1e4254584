"""Elastic deformation: displacement fields from smoothed noise, and images pulled through them.

P. Y. Simard, D. Steinkraus and J. C. Platt, "Best practices for convolutional neural networks applied to visual
document analysis", ICDAR 2003: uniform noise on [-1, 1) for each axis, smoothed by a Gaussian, times alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .arrays import choose, get_backend, take
from .backends.base import INTERPOLATION_MODES, Backend, field_dtype
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
    axes = _moving_axes(axes, len(shape), trailing=True)
    _check_choice("mode", mode, INTERPOLATION_MODES)
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ParameterError(f"dtype = {np.dtype(dtype)}: allowed are float32 and float64")
    box = whole_box(shape) if box is None else _check_box(box, shape)
    engine = get_backend(backend)
    how: dict[str, Any] = {"seed": seed, "index": index, "box": box, "axes": axes, "mode": mode, "dtype": dtype}
    return engine.to_host(_displacement(engine, shape, alpha, sigma, **how))


def _displacement(
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


def warp(
    image: Any,
    displacement: Any,
    *,
    labels: Any = None,
    axes: Sequence[int] | None = None,
    order: int = 1,
    mode: str = "reflect",
    cval: float = 0.0,
    backend: str | None = None,
) -> Any:
    """Pull an image through a displacement: ``result(p) = image(p + displacement(p))``.

    Parameters
    ----------
    image : array of 1 to 4 dimensions
        bool, integers, float32 or float64.
    displacement : (len(axes), ...) float32 or float64 array
        In voxels; trailing dimensions broadcast against ``image.shape``.
    labels : integer array of the shape of `image`, optional
        Pulled through the same displacement at order 0: every bit of an identifier is kept.
    axes : sequence of 1 to 3 ints, optional
        The axes that move, increasing; the last ones by default.
    order : int
        Of the spline, 0 to 5.
    mode : str
        Boundary mode, as in ``scipy.ndimage.map_coordinates``.
    cval : float
        Value beyond the border in the modes constant and grid-constant.
    backend : str, optional
        Where to compute.

    Returns
    -------
    array, or a pair of arrays with `labels`
        Shape and dtype of the input; integers are rounded and clipped as SciPy does.

    Raises
    ------
    ParameterError
        If a shape, order or mode is not allowed.

    Examples
    --------
    >>> warp(np.arange(4.0), np.ones((1, 4)), mode="nearest")
    array([1., 2., 3., 3.])
    """
    engine = choose(backend, image=image, displacement=displacement, labels=labels)
    _, image, give_back = take("image", image, engine.name)
    _, displacement, _ = take("displacement", displacement, engine.name)
    if displacement.dtype.kind != "f":
        raise ParameterError(f"displacement has dtype {displacement.dtype}: allowed are float32 and float64")
    if not 1 <= image.ndim <= 4:
        raise ParameterError(f"image has {image.ndim} dimensions: allowed are 1 to 4")
    count = len(displacement) if displacement.ndim else 0
    axes = _moving_axes(axes if axes is not None else range(image.ndim - count, image.ndim), image.ndim)
    if count != len(axes) or not _broadcasts(displacement.shape[1:], image.shape):
        raise ParameterError(
            f"displacement has shape {displacement.shape}: "
            f"allowed is ({len(axes)}, ...) that broadcasts to {image.shape}"
        )
    check_interpolation(order, mode)
    how: dict[str, Any] = {"axes": axes, "order": order, "mode": mode, "cval": cval}
    if labels is None:
        return give_back(engine.warp(image, displacement, **how))
    _, labels, labels_back = take("labels", labels, engine.name)
    if labels.dtype.kind not in "biu" or labels.shape != image.shape:
        raise ParameterError(
            f"labels has shape {labels.shape} and dtype {labels.dtype}: allowed are integers of shape {image.shape}"
        )
    warped, copied = engine.warp_with_labels(image, labels, displacement, **how)
    return give_back(warped), labels_back(copied)


def elastic_transform(
    image: Any,
    alpha: float | Sequence[float],
    sigma: float | Sequence[float],
    random_state: np.random.RandomState | np.random.Generator | None = None,
    *,
    labels: Any = None,
    axes: Sequence[int] | None = None,
    order: int = 1,
    mode: str = "reflect",
    cval: float = 0.0,
    seed: int | None = None,
    index: int = 0,
    backend: str | None = None,
) -> Any:
    """Deform an image, volume or stack elastically by smoothed uniform noise.

    Parameters
    ----------
    image : array of 2 or 3 dimensions
        bool, integers, float32 or float64.
    alpha : float or one an axis of `axes`
        Scale of the displacement in voxels, applied after the smoothing; 0 or more.
    sigma : float or one an axis of `axes`
        Standard deviation of the Gaussian in voxels; 0 or more.
    random_state : numpy.random.RandomState or Generator, optional
        Drawn from in the order of the notebook: the field of the last axis first, float64. Not together with `seed`.
    labels : integer array of the shape of `image`, optional
        Deformed by the same field at order 0, to the bit.
    axes : sequence of ints, optional
        The axes that move, the last ones; all by default. With ``axes=(1, 2)`` every slice of a stack is deformed in
        its own plane by a field of its own.
    order, mode, cval
        As in `warp`.
    seed : int, optional
        0 to 2^64 - 1: the same seed gives the same field on every backend. Drawn and logged where it is missing.
    index : int
        Which of the seed's fields: a slice or sample.
    backend : str, optional
        Where to compute.

    Returns
    -------
    array, or a pair of arrays with `labels`
        Shape and dtype of the input.

    Raises
    ------
    ParameterError
        If alpha or sigma is negative, or both `seed` and `random_state` are given.

    Notes
    -----
    A large alpha with a small sigma folds the image over itself (alpha 250 with sigma 5 does).

    Examples
    --------
    >>> image = np.eye(32)
    >>> same = elastic_transform(image, 0.0, 4.0, seed=1)
    >>> bool((same == image).all())
    True
    """
    if seed is not None and random_state is not None:
        raise ParameterError("seed and random_state are both given: allowed is one of them")
    engine = choose(backend, image=image, labels=labels)
    _, taken, _ = take("image", image, engine.name)
    if taken.ndim not in (2, 3):
        raise ParameterError(f"image has {taken.ndim} dimensions: allowed are 2 and 3")
    axes = _moving_axes(axes, taken.ndim, trailing=True)
    alpha, sigma = check_alpha_sigma(alpha, sigma, len(axes))
    check_interpolation(order, mode)
    if random_state is None:
        dtype = field_dtype(taken.dtype)
        box = whole_box(taken.shape)
        field = _displacement(
            engine, taken.shape, alpha, sigma, seed=seed, index=index, box=box, axes=axes, mode="constant", dtype=dtype
        )
    else:
        field = _drawn_displacement(taken.shape, alpha, sigma, random_state, len(axes), engine)
    return warp(image, field, labels=labels, axes=axes, order=order, mode=mode, cval=cval, backend=engine.name)


def _drawn_displacement(
    shape: tuple[int, ...],
    alpha: Sequence[float],
    sigma: Sequence[float],
    random_state: np.random.RandomState | np.random.Generator,
    ndim: int,
    backend: Backend,
) -> NDArray[np.float64]:
    """Return a displacement drawn from the caller's generator, slice by slice, the last axis first."""
    if not isinstance(random_state, (np.random.RandomState, np.random.Generator)):
        raise ParameterError(
            f"random_state = {random_state!r}: allowed are numpy.random.RandomState and Generator (or seed=...)"
        )
    fixed, moving = shape[: len(shape) - ndim], shape[len(shape) - ndim :]
    field = np.empty((ndim, *shape))
    for position in np.ndindex(*fixed):
        for axis in reversed(range(ndim)):
            noise = random_state.random(moving) * 2 - 1
            smooth = backend.gaussian_filter(
                noise, sigma, axes=range(ndim), mode=["constant"] * ndim, truncate=TRUNCATE
            )
            field[(axis, *position)] = smooth * alpha[axis]
    return field


def check_alpha_sigma(alpha: Any, sigma: Any, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return alpha and sigma with one entry an axis, or raise ParameterError where one is not 0 or more."""
    return _per_axis("alpha", alpha, count), _per_axis("sigma", sigma, count)


def _per_axis(name: str, value: Any, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(v) for v in value) if np.ndim(value) else (float(value),) * count
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or not all(isfinite(v) and v >= 0 for v in values):
        raise ParameterError(f"{name} = {value!r}: allowed is a number of 0 or more, or {count} of them")
    return values


def check_interpolation(order: int, mode: str) -> None:
    """Raise ParameterError unless `order` is 0 to 5 and `mode` one of SciPy's."""
    _check_choice("order", order, range(6))
    _check_choice("mode", mode, INTERPOLATION_MODES)


def _check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise ParameterError(f"{name} = {value!r}: allowed are {', '.join(map(repr, allowed))}")


def _check_box(box: Box, shape: Sequence[int]) -> Box:
    if len(box) != len(shape) or not all(0 <= a <= b <= n for (a, b), n in zip(box, shape, strict=True)):
        raise ParameterError(f"box = {box!r}: allowed are {len(shape)} pairs (start, stop) inside {tuple(shape)}")
    return tuple((int(a), int(b)) for a, b in box)


def _moving_axes(axes: Sequence[int] | None, ndim: int, *, trailing: bool = False) -> tuple[int, ...]:
    """Return the moving axes as increasing non-negative ints; all of 1 to 3 by default."""
    given = range(ndim) if axes is None else np.atleast_1d(axes) if isinstance(axes, Sequence) else ()
    moving = tuple(int(a) + ndim if a < 0 else int(a) for a in given)
    increasing = list(moving) == sorted(set(moving)) and all(0 <= a < ndim for a in moving)
    last = moving == tuple(range(ndim - len(moving), ndim))
    if not 1 <= len(moving) <= 3 or not increasing or (trailing and not last):
        which = "the last ones, " if trailing else ""
        raise ParameterError(f"axes = {axes!r}: allowed are 1 to 3 of the {ndim} axes, {which}in increasing order")
    return moving


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of `shape` broadcasts to `target`."""
    return len(shape) <= len(target) and all(n in (1, t) for n, t in zip(shape[::-1], target[::-1], strict=False))

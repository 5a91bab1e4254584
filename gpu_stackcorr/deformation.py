"""Elastic deformation: images pulled through displacements, given or random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import choose, take
from .backends.base import Backend, field_dtype
from .deformation_checks import broadcasts, check_alpha_sigma, check_interpolation, moving_axes
from .displacement_fields import TRUNCATE, displacement_on
from .errors import ParameterError
from .random_fields import whole_box


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
    axes = moving_axes(axes if axes is not None else range(image.ndim - count, image.ndim), image.ndim)
    if count != len(axes) or not broadcasts(displacement.shape[1:], image.shape):
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
    axes = moving_axes(axes, taken.ndim, trailing=True)
    alpha, sigma = check_alpha_sigma(alpha, sigma, len(axes))
    check_interpolation(order, mode)
    if random_state is None:
        dtype = field_dtype(taken.dtype)
        box = whole_box(taken.shape)
        field = displacement_on(
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

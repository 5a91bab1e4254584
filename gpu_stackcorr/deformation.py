"""Elastic deformation: images pulled through displacements, given or random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import choose, on_device, take
from .backends.base import Backend, Folds, field_dtype
from .backends.numpy_.jacobian import folds_of_parts
from .deformation_checks import broadcasts, check_finite, check_interpolation, moving_axes
from .displacement_fields import TRUNCATE, RandomField, entries, scales_in_voxels
from .errors import ParameterError
from .folds import warn_of_folds
from .inversion import transform_points


def warp(
    image: Any,
    displacement: Any,
    *,
    labels: Any = None,
    points: ArrayLike | None = None,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
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
        In voxels; trailing dimensions broadcast against the shape of `image` without its channels.
    labels : integer array of the shape of `image` without its channels, optional
        Pulled through the same displacement at order 0: every bit of an identifier is kept.
    points : (n, ndim) array_like, optional
        Positions in `image` without its channels, moved to where their content goes (see `transform_points`).
    axes : sequence of 1 to 3 ints, optional
        The axes that move, increasing, of the image without its channels; the last ones by default.
    channel_axis : int, optional
        The axis of `image` that holds channels, all of which move alike; none by default.
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
    array, or a tuple of arrays with `labels` and `points`
        The image, the labels and the points, in this order. Shape and dtype of the input; integers are rounded and
        clipped as SciPy does. Points are float64 on the host.

    Raises
    ------
    ParameterError
        If a shape, order or mode is not allowed, or the displacement is not finite. One that lies on a device is not
        read for that: where it is not finite, the result is `cval`.
    InputTypeError
        If the image has another dtype.
    InversionError
        If the displacement folds where a point comes to lie.

    Examples
    --------
    >>> warp(np.arange(4.0), np.ones((1, 4)), mode="nearest")
    array([1., 2., 3., 3.])
    """
    engine = choose(backend, image=image, displacement=displacement, labels=labels)
    subject = _Subject.take(engine, image, labels, points, channel_axis)
    if not 1 <= subject.image.ndim <= 4:
        raise ParameterError(f"image has {subject.image.ndim} dimensions: allowed are 1 to 4")
    _, field, _ = take("displacement", displacement, engine.name)
    if field.dtype.kind != "f":
        raise ParameterError(f"displacement has dtype {field.dtype}: allowed are float32 and float64")
    count, ndim = len(field) if field.ndim else 0, len(subject.shape)
    axes = moving_axes(axes if axes is not None else range(ndim - count, ndim), ndim)
    if count != len(axes) or not broadcasts(field.shape[1:], subject.shape):
        raise ParameterError(
            f"displacement has shape {field.shape}: allowed is ({len(axes)}, ...) that broadcasts to {subject.shape}"
        )
    check_interpolation(order, mode)
    on_host = not on_device(displacement)
    alone = on_host and order < 2 and labels is None and points is None
    if on_host and not alone and check_finite("displacement", field) == (0, 0):
        order = min(order, 1)  # what does not move comes back to the bit
    return subject.given_back(
        subject.pulled(engine, field, axes=axes, order=order, mode=mode, cval=cval, checked=not alone)
    )


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is deformed, as backends take it: image, channels, labels and points, and the ways back to the caller."""

    image: NDArray[Any]
    channel: int | None
    labels: NDArray[Any] | None
    points: ArrayLike | None
    give_back: Callable[[Any], Any]
    labels_back: Callable[[Any], Any]

    @classmethod
    def take(
        cls, engine: Backend, image: Any, labels: Any, points: ArrayLike | None, channel_axis: int | None
    ) -> _Subject:
        """Return an image and its labels, checked against one another."""
        _, image, give_back = take("image", image, engine.name)
        channel = None
        if channel_axis is not None:
            whole = isinstance(channel_axis, (int, np.integer)) and not isinstance(channel_axis, bool)
            if not whole or not -image.ndim <= channel_axis < image.ndim:
                raise ParameterError(f"channel_axis = {channel_axis!r}: allowed is an axis of {image.shape}, or None")
            channel = int(channel_axis) % image.ndim
        subject = cls(image, channel, None, points, give_back, give_back)
        if labels is None:
            return subject
        _, labels, labels_back = take("labels", labels, engine.name)
        if labels.dtype.kind not in "biu" or labels.shape != subject.shape:
            raise ParameterError(
                f"labels has shape {labels.shape} and dtype {labels.dtype}: "
                f"allowed are integers of shape {subject.shape}"
            )
        return cls(image, channel, labels, points, give_back, labels_back)

    @property
    def is_alone(self) -> bool:
        """Whether there is nothing to deform but an image without channels."""
        return self.channel is None and self.labels is None and self.points is None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the image without its channels."""
        return tuple(n for axis, n in enumerate(self.image.shape) if axis != self.channel)

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """The image, and the labels where there are any."""
        return [self.image] if self.labels is None else [self.image, self.labels]

    def of_slices(self, part: slice) -> _Subject:
        """Return some of the slices along the first axis, as views."""
        image = self.image[(slice(None),) * (self.channel == 0) + (part,)]
        return replace(self, image=image, labels=None if self.labels is None else self.labels[part])

    def of_no_content(self) -> _Subject:
        """Return new arrays for what the image and the labels become."""
        image, *labels = (np.empty_like(array, array.dtype.newbyteorder("=")) for array in self.arrays)
        return replace(self, image=image, labels=labels[0] if labels else None)

    def pulled(
        self,
        engine: Backend,
        field: NDArray[Any],
        *,
        axes: Sequence[int],
        order: int,
        checked: bool = True,
        **how: Any,
    ) -> list[Any]:
        """Return the image pulled through a field, with the labels and points where there are any.

        A field that is not `checked` lies on the host, and is to be found finite or refused.
        """
        field = field.reshape(len(field), *(1,) * (len(self.shape) + 1 - field.ndim), *field.shape[1:])
        moved = [] if self.points is None else [transform_points(self.points, engine.to_host(field), axes=axes)]
        if self.channel is None and self.labels is not None:
            warped, copied = engine.warp_with_labels(self.image, self.labels, field, axes=axes, order=order, **how)
            return [warped, copied, *moved]
        one_for_all, places = field, axes
        if self.channel is not None:
            one_for_all = field[(slice(None),) * (self.channel + 1) + (np.newaxis,)]
            places = [axis + (axis >= self.channel) for axis in axes]
        found = None if checked else engine.warp_if_finite(self.image, one_for_all, axes=places, order=order, **how)
        if found is None and not checked:
            check_finite("displacement", field)
        warped = engine.warp(self.image, one_for_all, axes=places, order=order, **how) if found is None else found
        if self.labels is not None:
            moved.insert(0, engine.warp(self.labels, field, axes=axes, order=0, **how))
        return [warped, *moved]

    def given_back(self, moved: Sequence[Any]) -> Any:
        """Return what `pulled` returns as the caller's kinds of arrays, an image alone as itself."""
        image, *rest = moved
        if self.labels is not None:
            rest[0] = self.labels_back(rest[0])
        return (self.give_back(image), *rest) if rest else self.give_back(image)


def elastic_transform(
    image: Any,
    alpha: float | Sequence[float],
    sigma: float | Sequence[float],
    random_state: np.random.RandomState | np.random.Generator | None = None,
    *,
    labels: Any = None,
    points: ArrayLike | None = None,
    axes: Sequence[int] | None = None,
    channel_axis: int | None = None,
    order: int = 1,
    mode: str = "reflect",
    cval: float = 0.0,
    method: str = "gaussian",
    spacing: float | Sequence[float] = 1.0,
    shared: bool = False,
    seed: int | None = None,
    index: int = 0,
    check_folds: bool | None = None,
    backend: str | None = None,
) -> Any:
    """Deform an image, volume or stack elastically by a random displacement.

    Parameters
    ----------
    image : array of 2 or 3 dimensions, and one more with `channel_axis`
        bool, integers, float32 or float64.
    alpha, sigma, method, spacing, shared
        Of the field, as in `displacement_field`.
    random_state : numpy.random.RandomState or Generator, optional
        Drawn from in the order of the notebook: the field of the last axis first, float64. Not together with `seed`,
        and for smoothed noise alone.
    labels : integer array of the shape of `image` without its channels, optional
        Deformed by the same field at order 0, to the bit.
    points : (n, ndim) array_like, optional
        Positions in `image` without its channels, moved to where their content goes (see `transform_points`).
    axes : sequence of ints, optional
        The axes that move, as in `displacement_field`, of the image without its channels; all by default. With
        ``axes=(1, 2)`` every slice of a stack is deformed in its own plane, by a field of its own unless `shared`.
    channel_axis : int, optional
        The axis of `image` that holds channels, all of which are deformed alike; none by default.
    order, mode, cval
        As in `warp`.
    seed : int, optional
        0 to 2^64 - 1: the same seed gives the same field on every backend. Drawn and logged where it is missing.
    index : int
        Which of the seed's fields: a slice or sample.
    check_folds : bool, optional
        Whether to look for places where the field folds, and to warn of them. By default where the image lies on the
        host: on a device it means to wait for the field.
    backend : str, optional
        Where to compute.

    Returns
    -------
    array, or a tuple of arrays with `labels` and `points`
        The image, the labels and the points, in this order; shape and dtype of the input, points float64 on the host.

    Raises
    ------
    ParameterError
        If alpha or sigma is negative, both `seed` and `random_state` are given, or another parameter is not allowed.
    InputTypeError
        If the image has another dtype.
    InversionError
        If the field folds where a point comes to lie.

    Warns
    -----
    FoldWarning
        Where the field folds the image over itself, with the part that it folds: alpha 250 with sigma 5 does. See
        `fold_report` and `limit_folds`.

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
    subject = _Subject.take(engine, image, labels, points, channel_axis)
    shape = subject.shape
    if len(shape) not in (2, 3):
        raise ParameterError(f"image has {len(shape)} dimensions: allowed are 2 and 3, and channels by channel_axis")
    axes = moving_axes(axes, len(shape), trailing=entries(sigma) < len(shape))
    check_interpolation(order, mode)
    how: dict[str, Any] = {"axes": axes, "method": method, "spacing": spacing, "shared": shared}
    interpolated: dict[str, Any] = {"order": order, "mode": mode, "cval": cval}
    if not np.any(alpha):
        interpolated["order"] = min(order, 1)  # what does not move comes back to the bit
        check_folds = False
    elif check_folds is None:
        check_folds = not on_device(image)
    if random_state is not None:
        field = _drawn_displacement(engine, shape, alpha, sigma, random_state, **how)
        folds, voxels = engine.count_folds(field, axes=axes) if check_folds else None, prod(field.shape[1:])
        moved = subject.pulled(engine, field, axes=axes, **interpolated)
    else:
        noise = RandomField.of(shape, alpha, sigma, seed=seed, index=index, **how)
        voxels = prod(noise.streams.shape[1:] + noise.shape)
        if subject.is_alone and _is_drawn_slice_by_slice(noise, shape, axes):
            interpolated |= {"alpha": noise.alpha, "sigma": noise.sigma, "truncate": TRUNCATE}
            place = subject.image, noise.seed, noise.streams
            warped, folds = engine.elastic(*place, **interpolated, count_folds=check_folds)
            moved = [warped]
        else:
            moved, folds = _pulled_by_slices(noise, engine, subject, axes=axes, count_folds=check_folds, **interpolated)
    if folds is not None:
        warn_of_folds(folds, voxels)
    return subject.given_back(moved)


def _is_drawn_slice_by_slice(noise: RandomField, shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether each slice, or the whole image, moves along its last axes by smooth noise of its own."""
    fixed = len(shape) - len(noise.shape)
    alone = axes == tuple(range(fixed, len(shape))) and noise.streams.shape[1:] == shape[:fixed]
    return alone and noise.method == "gaussian"


def _pulled_through(
    noise: RandomField, engine: Backend, subject: _Subject, *, count_folds: bool, axes: Sequence[int], **how: Any
) -> tuple[list[Any], Folds | None]:
    """Return a subject pulled through noise, and how that folds where asked for."""
    field = noise.displacement(engine, dtype=field_dtype(subject.image.dtype), temporary=True)
    folds = engine.count_folds(field, axes=axes) if count_folds else None
    return subject.pulled(engine, field, axes=axes, **how), folds


def _pulled_by_slices(
    noise: RandomField, engine: Backend, subject: _Subject, **how: Any
) -> tuple[list[Any], Folds | None]:
    """Return what `_pulled_through` does, with the displacement of a few slices at a time where each has its own.

    Points ask for that of all slices.
    """
    slices = noise.streams.shape[1] if noise.streams.ndim > 1 and subject.points is None else 1
    needed = noise.streams.size * prod(noise.shape) * np.dtype(field_dtype(subject.image.dtype)).itemsize
    parts = min(slices, -(-needed // engine.slab_bytes))
    if parts <= 1:
        return _pulled_through(noise, engine, subject, **how)
    result, found = subject.of_no_content(), []
    for part in (slice(slices * k // parts, slices * (k + 1) // parts) for k in range(parts)):
        moved, folds = _pulled_through(noise.of_slices(part), engine, subject.of_slices(part), **how)
        for target, values in zip(result.of_slices(part).arrays, moved, strict=True):
            target[...] = values
        found.append(folds)
    counted = [folds for folds in found if folds is not None]
    return result.arrays, folds_of_parts(counted) if counted else None


def _drawn_displacement(
    engine: Backend,
    shape: tuple[int, ...],
    alpha: float | Sequence[float],
    sigma: float | Sequence[float],
    random_state: np.random.RandomState | np.random.Generator,
    *,
    axes: tuple[int, ...],
    method: str,
    spacing: float | Sequence[float],
    shared: bool,
) -> NDArray[np.float64]:
    """Return a displacement drawn from the caller's generator, slice by slice, the last axis first."""
    if not isinstance(random_state, (np.random.RandomState, np.random.Generator)):
        raise ParameterError(
            f"random_state = {random_state!r}: allowed are numpy.random.RandomState and Generator (or seed=...)"
        )
    if method != "gaussian":
        raise ParameterError(f"method = {method!r}: allowed with random_state is 'gaussian' (or seed=...)")
    ndim = len(shape)
    alphas, sigmas = scales_in_voxels(alpha, sigma, ndim, axes, method=method, spacing=spacing, shared=shared)
    fixed, smoothed = shape[: ndim - len(sigmas)], shape[ndim - len(sigmas) :]
    field = np.empty((len(axes), *((1,) * len(fixed) if shared else fixed), *smoothed))
    how: dict[str, Any] = {"axes": range(len(sigmas)), "mode": ["constant"] * len(sigmas), "truncate": TRUNCATE}
    for position in np.ndindex(field.shape[1 : 1 + len(fixed)]):
        for axis in reversed(range(len(axes))):
            noise = random_state.random(smoothed) * 2 - 1
            field[(axis, *position)] = engine.gaussian_filter(noise, sigmas, **how) * alphas[axis]
    return field

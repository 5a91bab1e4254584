"""Displacements of affine maps, and several displacements in one, so that an image is interpolated once.

``warp(warp(image, first), second)`` reads the image at p + second(p) + first(p + second(p)): that is the composition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .arrays import choose, on_device, take
from .backends.base import Array, Backend
from .deformation_checks import check_box, check_finite, check_float, check_shape, moving_axes
from .errors import ParameterError
from .random_fields import Box, whole_box

Floats = NDArray[np.float64]

ORDER, MODE = 3, "nearest"
"""Of the spline by which a displacement is read between its voxels, and what goes on beyond its border."""


def affine_displacement(
    shape: Sequence[int],
    matrix: ArrayLike,
    offset: ArrayLike = 0.0,
    *,
    box: Box | None = None,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Return the displacement of an affine map: voxel p takes its value at ``matrix @ p + offset``.

    That is the convention of ``scipy.ndimage.affine_transform``, and the origin the first voxel.

    Parameters
    ----------
    shape : sequence of 1 to 3 ints
        Of the image.
    matrix : (ndim, ndim) or (ndim,) array_like
        From output to input positions; a vector is a diagonal.
    offset : float or (ndim,) array_like
        In voxels.
    box : tuple of (start, stop) pairs, optional
        The part of `shape` to return; all of it by default.
    dtype : float32 or float64
        Of the result, which is computed in float64.

    Returns
    -------
    (ndim, ...) array
        In voxels, over the box.

    Examples
    --------
    >>> affine_displacement((4,), [[-1.0]], 3.0)  # the mirror image
    array([[ 3.,  1., -1., -3.]], dtype=float32)
    """
    shape, dtype = check_shape(shape), check_float(dtype)
    box = whole_box(shape) if box is None else check_box(box, shape)
    pull, offsets = check_matrix(matrix, offset)
    if len(pull) != len(shape):
        raise ParameterError(f"matrix has {len(pull)} rows: allowed are {len(shape)}, one an axis of {shape}")
    grid = np.ogrid[tuple(slice(*ends) for ends in box)]
    field = np.empty((len(shape), *(stop - start for start, stop in box)), dtype)
    for target, row, shift in zip(field, pull - np.eye(len(shape)), offsets, strict=True):
        target[...] = sum((factor * position for factor, position in zip(row, grid, strict=True)), start=shift)
    return field


def compose_displacements(*displacements: Any, axes: Sequence[int] | None = None, backend: str | None = None) -> Any:
    """Return one displacement that does what several do one after the other, the first one first.

    Between its voxels a displacement is interpolated by cubic splines, and beyond its border it goes on with the value
    there.

    Parameters
    ----------
    *displacements : (len(axes), ...) float32 or float64 arrays
        In voxels, all of one shape.
    axes : sequence of 1 to 3 ints, optional
        The axes that move, of those after the first; the last ones by default.
    backend : str, optional
        Where to compute.

    Returns
    -------
    array
        Of the shape and dtype of the first.

    Raises
    ------
    ParameterError
        If there are none, or one has another shape or is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> compose_displacements(np.full((1, 4), 1.0), np.full((1, 4), 0.5))
    array([[1.5, 1.5, 1.5, 1.5]])
    """
    if not displacements:
        raise ParameterError("displacements are none: allowed are one or more")
    engine = choose(backend, **{f"displacement {k}": array for k, array in enumerate(displacements, 1)})
    fields: list[Array] = []
    back: Callable[[Any], Any] | None = None
    for number, displacement in enumerate(displacements, 1):
        name = f"displacement {number}"
        _, field, give_back = take(name, displacement, engine.name)
        back = back or give_back
        if field.dtype.kind != "f" or field.ndim < 2 or (fields and field.shape != fields[0].shape):
            allowed = f"shape {fields[0].shape}" if fields else "(len(axes), ...)"
            raise ParameterError(
                f"{name} has shape {field.shape} and dtype {field.dtype}: allowed are float32 and float64 of {allowed}"
            )
        if not on_device(displacement):
            check_finite(name, field)
        fields.append(field)
    ndim, count = fields[0].ndim - 1, len(fields[0])
    moving = moving_axes(axes if axes is not None else range(max(0, ndim - count), ndim), ndim)
    if len(moving) != count:
        raise ParameterError(f"displacement 1 has {count} components: allowed are {len(moving)}, one a moving axis")
    composed = fields[-1]
    for field in reversed(fields[:-1]):
        composed = followed_by(engine, field, composed, moving)
    assert back is not None
    return back(composed.astype(fields[0].dtype, copy=len(fields) == 1))


def followed_by(engine: Backend, first: Array, second: Array, axes: Sequence[int] | None = None) -> Array:
    """Return the displacement that does `first`, then `second`: of the same shape, where the backend computes."""
    axes = range(first.ndim - 1) if axes is None else axes
    places = [axis + 1 for axis in axes]  # the components of `first` are a batch
    moved = engine.warp(first, second[:, np.newaxis], axes=places, order=ORDER, mode=MODE)
    return second + engine.beside(second, moved)


def followed_by_affine(engine: Backend, field: Array, matrix: Floats, offset: Floats) -> Array:
    """Return the displacement that reads at ``matrix @ p + offset``, followed by that of `field`; exact everywhere."""
    # matrix @ (p + d) + offset - p is the affine map's own displacement, and matrix @ d.
    shape = field.shape[1:]
    own = engine.beside(field, affine_displacement(shape, matrix, offset, dtype=field.dtype))
    turned = [sum(float(factor) * d for factor, d in zip(row, field, strict=True)) for row in matrix]
    composed: Array = own + np.stack(turned)
    return composed


def check_matrix(matrix: Any, offset: Any, name: str = "offset") -> tuple[Floats, Floats]:
    """Return a matrix, of which a vector is the diagonal, and one offset an axis, or raise ParameterError."""
    try:
        array, offsets = np.asarray(matrix, np.float64), np.asarray(offset, np.float64)
    except (TypeError, ValueError):
        raise ParameterError(f"matrix = {matrix!r}, {name} = {offset!r}: allowed are numbers") from None
    array = np.diag(array) if array.ndim == 1 else array
    square = array.ndim == 2 and array.shape[0] == array.shape[1] and 1 <= len(array) <= 3
    if not square or not np.isfinite(array).all():
        raise ParameterError(f"matrix = {matrix!r}: allowed are 1 to 3 rows of as many finite numbers, or a diagonal")
    if offsets.shape not in ((), (len(array),)) or not np.isfinite(offsets).all():
        raise ParameterError(f"{name} = {offset!r}: allowed is a finite number, or {len(array)} of them")
    return array, np.array(np.broadcast_to(offsets, len(array)))

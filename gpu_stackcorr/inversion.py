"""The way back through a displacement: its inverse, and where points of the input come to lie in the output.

An image is pulled: voxel y of the output shows what was at y + d(y). What was at x is therefore shown at the y with
y + d(y) = x. Between its voxels d is linear along each axis, and beyond its border it goes on with the value there: so
there is a y for every x, one alone where nothing folds, and it may lie outside of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .backends.base import Array, Backend
from .backends.numpy_.interpolation import boxes
from .errors import InversionError, ParameterError
from .folds import BLOCK, take_displacement
from .inverse_points import solve_linear, solve_points

Floats = NDArray[np.float64]

STEPS = 8
"""Of the iteration on all voxels. Smooth fields take 3 to 6; what takes more is left to the way of points."""

ROUNDING = 0.9
"""What is asked for of a tolerance, as the inverse of a float32 displacement is rounded."""


def invert_displacement(
    displacement: Any, *, axes: Sequence[int] | None = None, tolerance: float = 1e-3, backend: str | None = None
) -> Any:
    """Return the displacement that takes back what another does: ``e(p) + d(p + e(p)) = 0``.

    ``warp(warp(image, displacement), inverse)`` is the image again, but for what two interpolations smooth and for what
    was moved out of it.

    Parameters
    ----------
    displacement : (len(axes), ...) float32 or float64 array
        In voxels. It is linear between its voxels and goes on beyond its border with the value there, which is what the
        inverse has where it comes from outside of the image.
    axes : sequence of 1 to 3 ints, optional
        The axes that move, of those after the first; the last ones by default. ``(2, n, y, x)`` with axes (1, 2) is a
        field a slice.
    tolerance : float
        Largest distance in voxels that ``p + e(p) + d(p + e(p))`` may have from p.
    backend : str, optional
        Where to compute.

    Returns
    -------
    array
        Of the shape and dtype of `displacement`.

    Raises
    ------
    InversionError
        If the displacement folds, by `fold_report`, or the tolerance is not reached somewhere: float32 has no more than
        six digits of the largest displacement.
    ParameterError
        If the displacement is empty, not finite or of another shape or dtype, or `tolerance` is not above 0.

    Notes
    -----
    Newton's iteration on all voxels at once by the backend's `warp`, with differences of the displacement for its
    derivative, and steps that are halved where they lead astray. Where that does not end, as in fields that are rough
    from voxel to voxel, the way of `transform_points` is taken, on the host. It takes memory for 13 displacements of a
    plane or 16 of a volume: of all slices or, where the first axis does not move, of a block of them.

    Examples
    --------
    >>> invert_displacement(np.full((1, 4), 0.5))
    array([[-0.5, -0.5, -0.5, -0.5]])
    """
    check_tolerance(tolerance)
    engine, field, axes, give_back = take_displacement(displacement, axes, backend)
    refuse_folds(engine, field, axes)
    if 0 in axes:
        return give_back(_inverted(engine, field, axes, tolerance, 0))
    rest = int(np.prod(field.shape[2:]))
    step = max(1, BLOCK // rest)
    starts = range(0, field.shape[1], step)
    parts = [_inverted(engine, field[:, start : start + step], axes, tolerance, start) for start in starts]
    return give_back(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))


def transform_points(
    points: ArrayLike, displacement: Any, *, axes: Sequence[int] | None = None, tolerance: float = 1e-3
) -> Floats:
    """Return where points of an image lie after it was pulled through a displacement: the y with ``y + d(y) = x``.

    Parameters
    ----------
    points : (n, ndim) array_like
        Positions x in the image, in voxels, along all axes of the image and in their order.
    displacement : (len(axes), ...) float32 or float64 array
        That of `warp`: linear between its voxels, and going on beyond its border with the value there. Points may come
        to lie outside of the image.
    axes : sequence of 1 to 3 ints, optional
        The axes that move, of those after the first; the last ones by default. Along the others a point's coordinate
        says which slice it is on, and where the displacement has one for all it may be any.
    tolerance : float
        Largest distance in voxels that y + d(y) may have from x.

    Returns
    -------
    (n, ndim) float64 array
        On the host, whatever the displacement lies on.

    Raises
    ------
    InversionError
        If the displacement folds where a point comes to lie, or none is found to which it comes.
    ParameterError
        If the points have another shape or are not finite, or are between slices or outside of them; if the
        displacement is empty, not finite or of another shape or dtype; or if `tolerance` is not above 0.

    Examples
    --------
    >>> transform_points([[1.0, 2.5]], np.full((2, 5, 6), 0.5))
    array([[0.5, 2. ]])
    """
    check_tolerance(tolerance)
    engine, field, axes, _ = take_displacement(displacement, axes, None)
    shape = field.shape[1:]
    places = _checked_points(points, shape, axes)
    found, solved, folded = solve_points(places, engine.to_host(field), axes, tolerance)
    for wrong, said in ((~solved, "have no place that was found"), (folded, "come to where the displacement folds")):
        if wrong.any():
            first = int(np.argmax(wrong))
            raise InversionError(
                f"{int(wrong.sum())} of {len(places)} points {said}, first point {first} at {_text(places[first])}: "
                "fold_report says where a displacement folds, limit_folds makes one that does not"
            )
    return found


def check_tolerance(tolerance: float) -> None:
    """Raise ParameterError unless a tolerance is a number above 0."""
    if not isinstance(tolerance, (int, float, np.floating)) or not 0 < tolerance < inf:
        raise ParameterError(f"tolerance = {tolerance!r}: allowed are numbers above 0")


def refuse_folds(engine: Backend, field: Array, axes: Sequence[int]) -> None:
    """Raise InversionError where a displacement folds."""
    minimum, folded = engine.count_folds(field, axes=axes)
    if not folded:
        return
    for part in boxes(field.shape[1:], BLOCK):
        box = tuple((s.start, s.stop) for s in part)
        below = engine.to_host(engine.jacobian_determinant(field, axes=axes, box=box)) <= 0
        if below.any():
            break
    place = np.unravel_index(int(np.argmax(below)), below.shape)
    first = [int(i) + start for i, (start, _) in zip(place, box, strict=True)]
    raise InversionError(
        f"displacement folds at {folded} voxels (least determinant {minimum:.3g}), first at {_text(first)}: "
        "allowed are displacements that do not, as limit_folds makes them"
    )


def _checked_points(points: ArrayLike, shape: tuple[int, ...], axes: Sequence[int]) -> Floats:
    """Return points as float64, or raise ParameterError."""
    try:
        places = np.array(points, np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"points are no array of numbers: {error}") from error
    if places.ndim != 2 or places.shape[1] != len(shape):
        raise ParameterError(f"points has shape {places.shape}: allowed is (n, {len(shape)}), a coordinate an axis")
    lost = ~np.isfinite(places).all(axis=1)
    if lost.any():
        raise ParameterError(f"{int(lost.sum())} points are NaN or infinite, first point {int(np.argmax(lost))}")
    for axis in set(range(len(shape))) - set(axes):
        along, count = places[:, axis], shape[axis]
        wrong = (along != np.rint(along)) | ((count > 1) & ((along < 0) | (along > count - 1)))
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ParameterError(
                f"point {first} at {_text(places[first])} is on no slice along axis {axis}, which does not move: "
                f"allowed are integers, 0 to {count - 1} where the displacement has several"
            )
    return places


def _text(place: Sequence[Any] | Floats) -> str:
    """Return a position as text."""
    return "(" + ", ".join(f"{float(each):g}" for each in place) + ")"


def _inverted(engine: Backend, field: Array, axes: Sequence[int], tolerance: float, first: int) -> Array:
    """Return the inverse of a displacement, or of its slices from `first` on."""
    inverse, wrong = _newton(engine, field, axes, ROUNDING * tolerance)
    left = np.flatnonzero(engine.to_host(wrong))
    if not len(left):
        return inverse
    shape = field.shape[1:]
    places = np.stack(np.unravel_index(left, shape), axis=1).astype(np.float64)
    found, _, _ = solve_points(places, engine.to_host(field), axes, ROUNDING * tolerance)
    moved = np.ascontiguousarray((found - places)[:, list(axes)].T, inverse.dtype)
    inverse.reshape(len(field), -1)[:, engine.beside(inverse, left)] = engine.beside(inverse, moved)
    wrong = engine.to_host(~(_missed(engine, field, axes, inverse)[1] < tolerance**2))
    if wrong.any():
        place = np.unravel_index(int(np.argmax(wrong)), shape)
        raise InversionError(
            f"no inverse to {tolerance:g} voxel was found at {np.count_nonzero(wrong)} voxels, first at "
            f"{_text([place[0] + first, *place[1:]])}: allowed are displacements that do not fold, in float64 where "
            "the tolerance is small"
        )
    return inverse


def _missed(engine: Backend, field: Array, axes: Sequence[int], inverse: Array) -> tuple[list[Array], Array]:
    """Return by how much an inverse misses, along each axis, and the square of the distance."""
    miss = [
        e + engine.warp(d, inverse, axes=axes, order=1, mode="nearest") for e, d in zip(inverse, field, strict=True)
    ]
    return miss, sum(m * m for m in miss)


def _newton(engine: Backend, field: Array, axes: Sequence[int], tolerance: float) -> tuple[Array, Array]:
    """Return an inverse and where it is not one yet, by steps on all voxels at once.

    A step that does not bring a voxel nearer is not taken there, and the next one is half as long; where a voxel is
    near enough no more are taken: what becomes of it does not depend on the others.
    """
    slopes = [[_gradient(component, axis) for axis in axes] for component in field]
    best = -field
    miss, distance = _missed(engine, field, axes, best)
    factor = distance * 0 + 1
    for _ in range(STEPS):
        wrong = ~(distance < tolerance**2)
        if not wrong.any():
            break
        matrix = [[engine.warp(slope, best, axes=axes, order=1, mode="nearest") for slope in row] for row in slopes]
        for k in range(len(axes)):
            matrix[k][k] = matrix[k][k] + 1
        with np.errstate(all="ignore"):  # a derivative of 0 leads nowhere: the step is not taken
            trial = best - factor * np.stack(solve_linear(matrix, miss))
            trial_miss, trial_distance = _missed(engine, field, axes, trial)
            nearer = wrong & (trial_distance < distance)
        best = np.where(nearer, trial, best)
        miss = [np.where(nearer, new, old) for new, old in zip(trial_miss, miss, strict=True)]
        distance = np.where(nearer, trial_distance, distance)
        factor = np.where(nearer, np.minimum(2 * factor, 1), factor / 2)
    return best, ~(distance < tolerance**2)


def _gradient(component: Array, axis: int) -> Array:
    """Return the differences along an axis, of the dtype of the component; along one of one voxel 0."""
    return np.gradient(component, axis=axis) if component.shape[axis] > 1 else component * 0

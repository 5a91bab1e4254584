"""Determinants of the derivative of a displaced position in plain NumPy: the specification.

They are computed in boxes whose differences stay in the caches of a processor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpu_stackcorr.backends.base import Array, Backend, Box, Folds
from gpu_stackcorr.random_fields import whole_box

from .interpolation import boxes

BLOCK = 1 << 16
"""Voxels whose differences and determinants are held at once: few enough for the caches of a processor."""


def jacobian_determinant(displacement: Array, *, axes: Sequence[int], box: Box | None = None) -> Array:
    """See ``Backend.jacobian_determinant``."""
    box = whole_box(displacement.shape[1:]) if box is None else box
    result = np.empty([stop - start for start, stop in box], displacement.dtype.newbyteorder("="))
    for part in boxes(result.shape, BLOCK):
        here = tuple((start + s.start, start + s.stop) for (start, _), s in zip(box, part, strict=True))
        with np.errstate(invalid="ignore", over="ignore"):  # infinity less itself
            matrix = derivative(displacement, axes, here)
            for k in range(len(axes)):
                matrix[k][k] += 1
            result[part] = determinant(matrix)
    return result


def count_in_boxes(backend: Backend, displacement: Array, axes: Sequence[int]) -> Folds:
    """Return how a displacement folds, of determinants that a backend gives box by box."""
    minimum, folded = np.inf, 0
    for part in boxes(displacement.shape[1:], BLOCK):
        box = tuple((here.start, here.stop) for here in part)
        values = backend.to_host(backend.jacobian_determinant(displacement, axes=axes, box=box))
        minimum = np.fmin(minimum, np.fmin.reduce(values, axis=None))
        folded += int(np.count_nonzero(values <= 0))
    return Folds(float(minimum) + 0.0, folded)  # -0.0 and 0.0 are one minimum


def folds_of_parts(parts: Sequence[Folds]) -> Folds:
    """Return how a displacement folds from how its parts do."""
    return Folds(min((part.minimum for part in parts), default=np.inf), sum(part.folded for part in parts))


def derivative(displacement: Array, axes: Sequence[int], box: Box) -> list[list[Array]]:
    """Return the derivative in a box: entry [i][j] is that of component i along ``axes[j]``."""
    return [[difference(component, axis, box) for axis in axes] for component in displacement]


def difference(values: Array, axis: int, box: Box) -> Array:
    """Return ``numpy.gradient(values, axis=axis)`` in a box; along an axis of one voxel a sample less itself."""
    result = np.empty([stop - start for start, stop in box], values.dtype.newbyteorder("="))
    count, (start, stop) = values.shape[axis], box[axis]
    if not result.size:
        return result
    inside = [slice(*ends) for ends in box]

    def subtract(first: int, last: int, above: int, below: int) -> Array:
        """Fill the result from `first` to `last` along the axis, and return that part of it."""
        ends = first - start, last - start
        target = result[(slice(None),) * axis + (slice(*ends),)]
        upper, lower = (
            values[(*inside[:axis], slice(first + by, last + by), *inside[axis + 1 :])] for by in (above, -below)
        )
        return np.subtract(upper, lower, out=target)

    first, last = max(start, 1), min(stop, count - 1)
    if first < last:
        central = subtract(first, last, 1, 1)
        central *= 0.5
    if start == 0:
        subtract(0, 1, min(1, count - 1), 0)
    if stop == count > 1:
        subtract(count - 1, count, 0, 1)
    return result


def determinant(m: Sequence[Sequence[Array]]) -> Array:
    """Return the determinant of matrices of 1 to 3 rows, in the order of operations of every backend."""
    if len(m) == 1:
        return m[0][0]
    if len(m) == 2:
        of_two: Array = m[0][0] * m[1][1] - m[0][1] * m[1][0]
        return of_two
    (a, b, c), (d, e, f), (g, h, i) = m
    of_three: Array = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return of_three

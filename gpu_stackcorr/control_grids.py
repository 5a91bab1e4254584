"""Control grids: where control points lie over an image, and the cubic spline through what stands at them.

Random vectors on a coarse grid, interpolated by cubic B-splines: O. Ronneberger, P. Fischer and T. Brox, "U-Net:
convolutional networks for biomedical image segmentation", MICCAI 2015. The spline goes through its control vectors
(M. Unser, A. Aldroubi and M. Eden, IEEE Trans. Signal Process. 41 (1993) 821-833).

Along an axis of n voxels, control points at a distance d are laid out around its middle: k = max(1, ceil((n - 1) / d))
cells cover the voxels, and there is one cell more on each side, so that the four points around every voxel exist. Point
i of these k + 3 lies at voxel (n - 1) / 2 + (i - 1 - k / 2) d. Where d divides n - 1, the first and the last voxel are
control points. At the ends of the grid the spline is mirrored.

Everything here is computed in float64, the same on every backend. The position of a voxel decides about its digits, and
what is asked for beside it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .random_fields import Box, grow_box

TAPS = 4
"""Control points along an axis that a voxel depends on."""

RADIUS = 32
"""Control points on each side that a coefficient depends on: those beyond weigh less than 2^-60."""

PREFILTER = sqrt(3.0) * (sqrt(3.0) - 2.0) ** np.arange(RADIUS + 1)
"""Weights, at distances 0 to RADIUS, of the control vectors in a coefficient of the spline through them: the inverse of
the filter (1, 4, 1) / 6, of pole sqrt(3) - 2, written out. A sum, unlike the two recursions, begins and ends with the
coefficient, so that a box of coefficients has the bits of the whole."""


class Taps(NamedTuple):
    """The control points around each voxel of a box, along one axis.

    Attributes
    ----------
    first : (n,) array
        The first of four points that follow each other; never decreasing.
    weights : (4, n) float64 array
        Of the cubic B-spline.
    """

    first: NDArray[np.int64]
    weights: NDArray[np.float64]


class ControlGrid(NamedTuple):
    """The control points of a box of an image.

    Attributes
    ----------
    shape : tuple of ints
        Of the grid of the whole image.
    box : tuple of (start, stop) pairs
        The control points that the box depends on.
    inner : tuple of slices
        Those of `box` whose coefficients the box is interpolated from.
    taps : tuple of Taps
        One an axis; they count from the first point of `inner`.
    """

    shape: tuple[int, ...]
    box: Box
    inner: tuple[slice, ...]
    taps: tuple[Taps, ...]

    @classmethod
    def over(cls, shape: Sequence[int], distance: Sequence[float], box: Box) -> ControlGrid:
        """Return the control points of a box that is not empty; `distance` is in voxels, 1 or more an axis."""
        counts = tuple(_cells(n, d) + TAPS - 1 for n, d in zip(shape, distance, strict=True))
        taps = [_taps(n, d, ends) for n, d, ends in zip(shape, distance, box, strict=True)]
        needed = tuple((int(along.first[0]), int(along.first[-1]) + TAPS) for along in taps)
        from_needed = [along._replace(first=along.first - along.first[0]) for along in taps]
        grown, inner = grow_box(needed, [RADIUS] * len(counts), counts)
        return cls(counts, grown, inner, tuple(from_needed))

    def coefficients(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the spline's coefficients at `inner` from what stands at `box`; leading axes are fields."""
        from scipy.ndimage import correlate1d  # slow to import, and moments do without

        weights = np.concatenate([PREFILTER[:0:-1], PREFILTER])
        for axis in range(-len(self.shape), 0):
            vectors = correlate1d(vectors, weights, axis, mode="mirror")
        inside: tuple[Any, ...] = (..., *self.inner)
        coefficients: NDArray[np.float64] = vectors[inside]
        return coefficients

    def interpolated(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the spline at every voxel: along the last axis first, then along the others in their order.

        Four products are added from the first to the last. In this order every backend computes.
        """
        values = coefficients
        for axis in (-1, *range(-len(self.shape), -1)):
            first, weights = self.taps[axis]
            along = weights.reshape(TAPS, -1, *(1,) * (-1 - axis))
            total = values.take(first, axis) * along[0]
            for k in range(1, TAPS):
                total += values.take(first + k, axis) * along[k]
            values = total
        return values


def _cells(length: int, distance: float) -> int:
    """Return how many cells of the grid cover an axis."""
    return max(1, ceil((length - 1) / distance))


def _taps(length: int, distance: float, ends: tuple[int, int]) -> Taps:
    """Return the taps of the voxels ``range(*ends)`` along an axis, counted from the first point of the whole grid."""
    cells = _cells(length, distance)
    positions = (np.arange(*ends) - (length - 1) / 2) / distance + cells / 2
    first = np.clip(np.floor(positions), 0, cells - 1)  # the last voxel may be at the end of the last cell
    t = positions - first
    s = 1 - t
    weights = np.stack([s**3, 4 - 3 * t**2 * (1 + s), 4 - 3 * s**2 * (1 + t), t**3]) / 6
    return Taps(first.astype(np.int64), weights)

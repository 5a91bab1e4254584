"""Newton's iteration for the y with y + d(y) = x of single points, with the exact derivative of a linear interpolant.

d is linear along each axis between its voxels, so that y + d(y) has kinks where cells of voxels meet: a step that leads
into another cell may miss. Steps are halved then, and every other one is taken by the derivative of the cell that was
met. Points that come to no end so, few in ten thousand where nothing folds, begin anew in every cell whose corners lead
around x, as y is in one of them, and in halves of these where that is not enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import inf, prod

import numpy as np
from numpy.typing import NDArray

from .backends.base import Array
from .backends.numpy_.jacobian import determinant

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

STEPS = 60
"""Of an iteration. Points that take more than ten have gone astray."""

CHUNK = 1 << 17
"""Points that are solved at once."""

SEARCHED = 1000
"""Points of a chunk, beside one in a hundred, that are searched for: where more are lost, the displacement folds."""

PARTS = 1 << 14
"""Of cells that may hold a point, at most, and of those that are tried at once, of however many points, about."""

HALVINGS = 24
"""Of a cell in which a point is searched for."""


class Interpolant:
    """A displacement (K, ...) of the host, linear between its voxels and constant beyond its border.

    Parameters
    ----------
    field : (K, ...) array
    axes : sequence of K ints
        Those that move.
    slices : (n, ndim) array
        Positions of points, of which the coordinates along the other axes say which slice they are on.
    """

    def __init__(self, field: Array, axes: Sequence[int], slices: Floats) -> None:
        self.field, self.axes = field, list(axes)
        self.sizes = np.array([field.shape[1 + axis] for axis in axes])
        fixed = [axis for axis in range(field.ndim - 1) if axis not in axes]
        # One displacement for all slices stands for every one of them.
        self.fixed = {
            axis: (slices[:, axis] if field.shape[1 + axis] > 1 else 0 * slices[:, axis]).astype(np.intp)
            for axis in fixed
        }

    def samples(self, component: int, grid: Sequence[Array], point: int) -> Floats:
        """Return a component at whole positions, beyond its border too, on the slice of a point."""
        index = {axis: np.clip(q, 0, n - 1) for axis, q, n in zip(self.axes, grid, self.sizes, strict=True)}
        index |= {axis: slices[point] for axis, slices in self.fixed.items()}
        values: Array = self.field[component][tuple(index[axis] for axis in range(self.field.ndim - 1))]
        return values.astype(np.float64)

    def __call__(self, y: Floats, cell: Floats, which: NDArray[np.intp]) -> tuple[Floats, list[list[Floats]]]:
        """Return value and derivative at positions y (n, K) of the points `which`, by the cells that hold `cell`."""
        top = self.sizes - 1
        low = np.clip(np.floor(cell), 0, np.maximum(top - 1, 0)).astype(np.intp)
        high = np.minimum(low + 1, top)
        share = np.clip(y, 0, top) - low
        inside = (cell >= 0) & (cell <= top) & (top > 0)
        count = len(self.axes)
        value = [np.zeros(len(y)) for _ in range(count)]
        slope = [[np.zeros(len(y)) for _ in range(count)] for _ in range(count)]
        for corner in product((0, 1), repeat=count):
            index = {
                axis: (high if up else low)[:, a] for a, (axis, up) in enumerate(zip(self.axes, corner, strict=True))
            }
            index |= {axis: slices[which] for axis, slices in self.fixed.items()}
            place = tuple(index[axis] for axis in range(self.field.ndim - 1))
            weight = [share[:, a] if up else 1 - share[:, a] for a, up in enumerate(corner)]
            for i in range(count):
                sample = self.field[i][place].astype(np.float64)
                value[i] += prod(weight) * sample
                for j in range(count):
                    others = prod(weight[:j] + weight[j + 1 :])
                    slope[i][j] += np.where(inside[:, j], (1 if corner[j] else -1) * others * sample, 0)
        return np.stack(value, axis=1), slope


def solve_points(places: Floats, field: Array, axes: Sequence[int], tolerance: float) -> tuple[Floats, Mask, Mask]:
    """Return where points (n, ndim) come to lie, for which of them that was found, and where the interpolant folds."""
    found, solved, folded = places.copy(), np.ones(len(places), bool), np.zeros(len(places), bool)
    reach = np.array([int(max(component.max(), -component.min())) + 1 for component in field])
    for start in range(0, len(places), CHUNK):
        part = slice(start, start + CHUNK)
        moving = Interpolant(field, axes, places[part])
        x = places[part][:, moving.axes]
        everyone = np.arange(len(x))
        y, distance = _iterate(moving, x, x - moving(x, x, everyone)[0], everyone, tolerance)
        lost = np.flatnonzero(~(distance < tolerance))
        if 0 < len(lost) <= SEARCHED + len(x) // 100:
            y[lost], distance[lost] = _by_search(moving, x[lost], lost, reach, tolerance)
        found[part, moving.axes] = y
        solved[part] = distance < tolerance
        _, slope = moving(y, y, everyone)
        folded[part] = determinant(_with_identity(slope)) <= 0
    return found, solved, folded


def _with_identity(slope: list[list[Floats]]) -> list[list[Floats]]:
    """Return the derivative of y + d(y) from that of d."""
    return [[each + (i == j) for j, each in enumerate(row)] for i, row in enumerate(slope)]


def _iterate(
    moving: Interpolant, x: Floats, y: Floats, which: NDArray[np.intp], tolerance: float
) -> tuple[Floats, Floats]:
    """Return positions y, from those given on, with y + d(y) near x, and how far it is from x.

    Of several positions for one of the points `which`, all stop when one has come near enough.
    """
    y, cell = y.copy(), y.copy()  # `cell` lies in the cell whose derivative is taken
    miss = y + moving(y, y, which)[0] - x
    distance, factor, own = np.linalg.norm(miss, axis=1), np.ones(len(x)), np.ones(len(x), bool)
    solved = np.zeros(which.max(initial=0) + 1, bool)
    for _ in range(STEPS):
        solved[which[distance < tolerance]] = True
        at = np.flatnonzero(~solved[which])
        if not len(at):
            break
        _, slope = moving(y[at], cell[at], which[at])
        with np.errstate(all="ignore"):  # a derivative of 0 leads nowhere: the step is not taken
            step = np.stack(solve_linear(_with_identity(slope), list(miss[at].T)), axis=1)
            trial = y[at] - factor[at, np.newaxis] * step
        trial = np.where(np.isfinite(trial).all(axis=1, keepdims=True), trial, y[at])
        trial_miss = trial + moving(trial, trial, which[at])[0] - x[at]
        trial_distance = np.linalg.norm(trial_miss, axis=1)
        nearer = trial_distance < distance[at]
        took, missed = at[nearer], at[~nearer]
        y[took], miss[took], distance[took] = trial[nearer], trial_miss[nearer], trial_distance[nearer]
        factor[took] = np.minimum(2 * factor[took], 1)
        factor[missed[~own[missed]]] /= 2
        cell[took], cell[missed] = y[took], np.where(own[missed, np.newaxis], trial[~nearer], y[missed])
        own[missed], own[took] = ~own[missed], True
    return y, distance


def _by_search(
    moving: Interpolant, x: Floats, points: NDArray[np.intp], reach: NDArray[np.intp], tolerance: float
) -> tuple[Floats, Floats]:
    """Return what comes of the iteration from every cell near an x that may hold its y, or from ever smaller parts.

    What becomes of a point does not depend on the others.
    """
    best, least, size = x.copy(), np.full(len(x), inf), 1.0
    around = [_cells_around(moving, each, point, reach) for each, point in zip(x, points.tolist(), strict=True)]
    owners, boxes = np.repeat(np.arange(len(x)), [len(cells) for cells in around]), np.concatenate(around)
    for _ in range(HALVINGS):
        halves, theirs = [boxes[:0]], [owners[:0]]
        for part in _parts(owners):
            own, corner = owners[part], boxes[part]
            y, distance = _iterate(moving, x[own], corner + size / 2, points[own], tolerance)
            order = np.lexsort((distance, own))
            nearest = order[np.diff(own[order], prepend=-1) > 0]  # of each point
            nearest = nearest[distance[nearest] < least[own[nearest]]]
            best[own[nearest]], least[own[nearest]] = y[nearest], distance[nearest]
            left = ~(least[own] < tolerance)
            held, of_held = _halves_around(moving, x, points, corner[left], own[left], size / 2)
            halves.append(held)
            theirs.append(of_held)
        boxes, owners, size = np.concatenate(halves), np.concatenate(theirs), size / 2
        if not len(boxes):
            break
    return best, least


def _parts(owners: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Return which boxes to try at a time, all those of some owners; none of those that have more than PARTS."""
    counts = np.bincount(owners)
    counts[counts > PARTS] = 0
    number = (np.cumsum(counts) - counts) // PARTS
    number[counts == 0] = -1
    for part in range(number.max(initial=-1) + 1):
        yield np.flatnonzero(number[owners] == part)


def _cells_around(moving: Interpolant, x: Floats, point: int, reach: NDArray[np.intp]) -> Floats:
    """Return the cells near the x of a point that may hold its y, as their first corners.

    What is linear along each axis takes all its values in a box between those at the corners.
    """
    first = np.floor(x).astype(np.intp) - reach
    grid = np.ogrid[tuple(slice(start, start + 2 * n + 2) for start, n in zip(first, reach, strict=True))]
    held = np.ones(2 * reach + 1, bool)
    for component, (q, goal) in enumerate(zip(grid, x, strict=True)):
        miss = q + moving.samples(component, grid, point) - goal
        sides = [
            miss[tuple(slice(up, n - 1 + up) for up, n in zip(corner, miss.shape, strict=True))]
            for corner in product((0, 1), repeat=len(x))
        ]
        held &= (np.minimum.reduce(sides) <= 0) & (np.maximum.reduce(sides) >= 0)
    return (np.argwhere(held) + first).astype(np.float64)


def _halves_around(
    moving: Interpolant,
    x: Floats,
    points: NDArray[np.intp],
    boxes: Floats,
    owners: NDArray[np.intp],
    size: float,
) -> tuple[Floats, NDArray[np.intp]]:
    """Return those halves (along each axis) of boxes, now of that size, whose corners lead around x; and whose x."""
    corners = np.array(list(product((0.0, 1.0), repeat=x.shape[1])))
    boxes = (boxes[:, np.newaxis] + size * corners).reshape(-1, x.shape[1])
    ends = (boxes[:, np.newaxis] + size * corners).reshape(-1, x.shape[1])
    cells, owners = np.repeat(boxes + size / 2, len(corners), axis=0), np.repeat(owners, len(corners))
    of_ends = np.repeat(owners, len(corners))
    miss = ends + moving(ends, cells, points[of_ends])[0] - x[of_ends]
    miss = miss.reshape(len(boxes), *corners.shape)
    around = ((miss.min(axis=1) <= 0) & (miss.max(axis=1) >= 0)).all(axis=1)
    return boxes[around], owners[around]


def solve_linear(matrix: Sequence[Sequence[Array]], right: Sequence[Array]) -> list[Array]:
    """Return the solutions of systems of 1 to 3 equations, by Cramer's rule; not finite where there is none."""
    whole = determinant(matrix)
    replaced = ([[*row[:j], r, *row[j + 1 :]] for row, r in zip(matrix, right, strict=True)] for j in range(len(right)))
    return [determinant(each) / whole for each in replaced]

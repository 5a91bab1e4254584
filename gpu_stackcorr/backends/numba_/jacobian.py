"""Determinants of the derivative of a displaced position by compiled loops over rows, and their minimum.

A row goes through in pieces: first the differences of every component along every moving axis, a loop of two reads and
a write each, then their determinant. Both are taken from the nearest cache, and a compiler makes vectors of both, which
it does not of one loop with up to 18 reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np

from gpu_stackcorr.backends.base import Array, Box, Folds
from gpu_stackcorr.backends.numpy_.interpolation import boxes
from gpu_stackcorr.random_fields import grow_box, whole_box
from gpu_stackcorr.threads import allowed_threads

from .compiler import jit
from .flat_images import flatten, is_flat
from .parallel import cut, run

NDIM = 4
"""Axes of a shape; missing ones stand in front, with one voxel."""

CHUNK = 1024
"""Voxels of a piece of a row: 512 took 30 % longer. Their differences and determinants are 40 KB of float32."""

ROWS = 10
"""Rows of working memory: nine differences and the determinants."""

COPIED = 1 << 18
"""Voxels copied at once of a displacement whose rows do not lie in one piece."""

SHARES = 1 << 14, 1 << 20
"""Voxels a task, at least and, where that makes more tasks than threads, at most."""


class Field(NamedTuple):
    """A displacement in flat memory, and the box of it that is asked for."""

    values: Array
    origins: Array
    """Where each component begins."""
    sizes: Array
    strides: Array
    moving: Array
    """Which of the axes move."""
    box: Array
    """First voxels and those after the last, (2, NDIM)."""
    numbers: Array
    """0, 1/2 and 1 in the dtype of the displacement."""


def jacobian_determinant(displacement: Array, *, axes: Sequence[int], box: Box | None = None) -> Array:
    """See ``Backend.jacobian_determinant``."""
    box = whole_box(displacement.shape[1:]) if box is None else box
    result = np.empty([stop - start for start, stop in box], displacement.dtype.newbyteorder("="))
    for field, part in _parts(displacement, axes, box):
        target = result[part]
        rows = target if target.flags.c_contiguous else np.empty(target.shape, target.dtype)
        tasks = _tasks(field)
        run(partial(_write_rows, field, tasks, rows.reshape(-1)), len(tasks))
        if rows is not target:
            target[...] = rows
    return result


def count_folds(displacement: Array, *, axes: Sequence[int]) -> Folds:
    """See ``Backend.count_folds``."""
    minimum, folded = np.inf, 0
    for field, _ in _parts(displacement, axes, whole_box(displacement.shape[1:])):
        tasks = _tasks(field)
        found = np.empty((len(tasks), 2))
        run(partial(_fold_rows, field, tasks, found), len(tasks))
        minimum, folded = min(minimum, float(found[:, 0].min())), folded + int(found[:, 1].sum())
    return Folds(minimum + 0.0, folded)  # -0.0 and 0.0 are one minimum


def _parts(displacement: Array, axes: Sequence[int], box: Box) -> Iterator[tuple[Field, tuple[slice, ...]]]:
    """Yield fields that loops can read, and which part of `box` is that of each: all of it where nothing is copied."""
    sizes = [stop - start for start, stop in box]
    if not prod(sizes):
        return
    shape = displacement.shape[1:]
    if is_flat(displacement) and displacement.strides[-1] == displacement.itemsize:
        yield _field(displacement, axes, box), tuple(slice(n) for n in sizes)
        return
    margin = [int(axis in axes) for axis in range(len(shape))]
    for part in boxes(sizes, COPIED):
        here = tuple((start + s.start, start + s.stop) for (start, _), s in zip(box, part, strict=True))
        grown, inner = grow_box(here, margin, shape)
        piece = displacement[(slice(None), *(slice(*ends) for ends in grown))]
        copy = np.ascontiguousarray(piece, piece.dtype.newbyteorder("="))
        yield _field(copy, axes, tuple((s.start, s.stop) for s in inner)), part


def _field(displacement: Array, axes: Sequence[int], box: Box) -> Field:
    """Return a displacement as loops read it. At the ends of a copy differences are one-sided, but not in its box."""
    flat = flatten(displacement)
    missing = NDIM + 1 - displacement.ndim
    dtype = displacement.dtype
    return Field(
        flat.values,
        flat.origin + flat.strides[0] * np.arange(len(displacement)),
        np.array((1,) * missing + displacement.shape[1:], np.int64),
        np.array((0,) * missing + flat.strides[1:], np.int64),
        np.array([axis + missing for axis in axes], np.int64),
        np.array([(0, 1)] * missing + list(box), np.int64).T.copy(),
        np.array([0, 0.5, 1], dtype),
    )


def _tasks(field: Field) -> list[slice]:
    """Cut the rows of a box into tasks: one a thread, as a small field takes less time than threads take to start."""
    *outer, length = (int(n) for n in field.box[1] - field.box[0])
    size = prod(outer) * length
    return cut(prod(outer), min(max(allowed_threads(), size // SHARES[1]), size // SHARES[0]))


def _write_rows(field: Field, tasks: Sequence[slice], flat: Array, number: int) -> None:
    """Write the determinants of a task's rows of a box, which lies in `flat` row after row."""
    write_rows(field, tasks[number].start, tasks[number].stop, flat)


def _fold_rows(field: Field, tasks: Sequence[slice], found: Array, number: int) -> None:
    """Write the minimum and the number of folds of a task's rows of a box."""
    found[number] = fold_rows(field, tasks[number].start, tasks[number].stop)


@jit
def write_rows(field, first, last, flat) -> None:  # type: ignore[no-untyped-def]
    """Write the determinants of the rows `first` to `last` of a box."""
    work = np.empty(ROWS * CHUNK, field.values.dtype)
    start, stop = field.box[0, 3], field.box[1, 3]
    for row in range(first, last):
        for x in range(start, stop, CHUNK):
            count = min(CHUNK, stop - x)
            found = determinants(field, row, x, count, work)
            at = row * (stop - start) + x - start
            flat[at : at + count] = found


@jit
def fold_rows(field, first, last):  # type: ignore[no-untyped-def]
    """Return the least determinant of the rows `first` to `last` of a box, and how many are 0 or less."""
    work, lowest = np.empty(ROWS * CHUNK, field.values.dtype), np.empty(CHUNK, field.values.dtype)
    start, stop = field.box[0, 3], field.box[1, 3]
    lowest[:] = np.inf
    total = 0
    for row in range(first, last):
        for x in range(start, stop, CHUNK):
            found = determinants(field, row, x, min(CHUNK, stop - x), work)
            total += note(found, lowest[: len(found)])
    return lowest.min(), total


@jit
def determinants(field, row, x, count, work):  # type: ignore[no-untyped-def]
    """Return the determinants of `count` voxels of a row of a box from `x` on, in working memory."""
    sizes, strides, box = field.sizes, field.strides, field.box
    deep, high = box[1, 1] - box[0, 1], box[1, 2] - box[0, 2]
    at = (box[0, 0] + row // (deep * high), box[0, 1] + row // high % deep, box[0, 2] + row % high)
    place = at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2] + x
    zero, half, one = field.numbers
    k = len(field.moving)
    for j in range(k):
        axis = field.moving[j]
        for i in range(k):
            here, target = field.origins[i] + place, (i * k + j) * CHUNK
            add = one if i == j else zero
            if axis < 3:
                below, above = at[axis] > 0, at[axis] + 1 < sizes[axis]
                step, scale = strides[axis], half if below and above else one
                difference(field.values, here + above * step, here - below * step, scale, add, work, target, count)
                continue
            first, last = x == 0, x + count == sizes[3]
            if first:
                one_sided(field.values, here, 0, min(1, sizes[3] - 1), add, work, target)
            inside = count - first - last
            if inside > 0:
                here += first
                difference(field.values, here + 1, here - 1, half, add, work, target + first, inside)
            if last and sizes[3] > 1:
                here, target = field.origins[i] + place + count - 1, target + count - 1
                one_sided(field.values, here, -1, 0, add, work, target)
    if k == 1:
        return work[:count]
    if k == 2:
        return of_two(work, count)
    return of_three(work, count)


@jit
def difference(values, above, below, scale, add, work, target, count) -> None:  # type: ignore[no-untyped-def]
    """Write ``(values[above] - values[below]) * scale + add`` of `count` voxels."""
    upper, lower, to = values[above : above + count], values[below : below + count], work[target : target + count]
    for x in range(count):
        to[x] = (upper[x] - lower[x]) * scale + add


@jit
def one_sided(values, here, below, above, add, work, target) -> None:  # type: ignore[no-untyped-def]
    """Write the difference at one end of a row."""
    work[target] = values[here + above] - values[here + below] + add


@jit
def of_two(work, count):  # type: ignore[no-untyped-def]
    """Return the determinants of matrices of two rows."""
    a, b = work[:count], work[CHUNK : CHUNK + count]
    c, d = work[2 * CHUNK : 2 * CHUNK + count], work[3 * CHUNK : 3 * CHUNK + count]
    found = work[9 * CHUNK : 9 * CHUNK + count]
    for x in range(count):
        found[x] = a[x] * d[x] - b[x] * c[x]
    return found


@jit
def of_three(work, count):  # type: ignore[no-untyped-def]
    """Return the determinants of matrices of three rows."""
    a, b, c = work[:count], work[CHUNK : CHUNK + count], work[2 * CHUNK : 2 * CHUNK + count]
    d, e, f = (
        work[3 * CHUNK : 3 * CHUNK + count],
        work[4 * CHUNK : 4 * CHUNK + count],
        work[5 * CHUNK : 5 * CHUNK + count],
    )
    g, h, i = (
        work[6 * CHUNK : 6 * CHUNK + count],
        work[7 * CHUNK : 7 * CHUNK + count],
        work[8 * CHUNK : 8 * CHUNK + count],
    )
    found = work[9 * CHUNK : 9 * CHUNK + count]
    for x in range(count):
        first = a[x] * (e[x] * i[x] - f[x] * h[x])
        second = b[x] * (d[x] * i[x] - f[x] * g[x])
        third = c[x] * (d[x] * h[x] - e[x] * g[x])
        found[x] = first - second + third
    return found


@jit
def note(found, lowest):  # type: ignore[no-untyped-def]
    """Return how many determinants are 0 or less, and note each that is less than what is noted in its place.

    A row of minima is made into vectors by a compiler, one minimum is not: it took 40 % of the time. NaN is not less.
    """
    total = 0
    for x in range(len(found)):
        value = found[x]
        total += value <= 0
        lowest[x] = value if value < lowest[x] else lowest[x]
    return total

"""Determinants of the derivative of a displaced position by compiled loops over rows, and their minimum.

A row goes through in pieces: first the differences of every component along every moving axis, a loop of two reads and
a write each, then their determinant, all in the nearest cache. A compiler makes vectors of these loops, but not of one
with up to 18 reads. A plane, which has 8, takes one loop.

Places are unsigned, as Numba asks of others whether they are negative; slices, which do without that as well, cost more
than the work on a row of 256 voxels. What a loop knows of a field is numbers and tuples: arrays would be counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from gpu_stackcorr.backends.base import Array, Box, Folds
from gpu_stackcorr.backends.numpy_.interpolation import boxes
from gpu_stackcorr.random_fields import grow_box, whole_box
from gpu_stackcorr.threads import allowed_threads

from .compiler import inner, jit
from .flat_images import flatten, is_flat
from .parallel import cut, run
from .volume_folds import fold_volume, highest_key, of_key

NDIM = 4
"""Axes of a shape; missing ones stand in front, with one voxel."""

CHUNK = 1024
"""Voxels of a piece of a row: 512 took 30 % longer. Their differences and determinants are 40 KB of float32."""

ROWS = 10
"""Rows of working memory: nine differences and the determinants."""

AT = tuple(np.uint64(row * CHUNK) for row in range(ROWS))
"""Where the rows of working memory begin."""

FOUND = AT[9]
"""Where the determinants begin."""

COPIED = 1 << 18
"""Voxels copied at once of a displacement whose rows do not lie in one piece."""

SHARES = 1 << 14, 1 << 20
"""Voxels a task, at least and, where that makes more tasks than threads, at most."""


class Field(NamedTuple):
    """A displacement in flat memory, and the box of it that is asked for."""

    values: Array
    origins: tuple[int, ...]
    """Where each component begins, and zeros up to three."""
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    components: int
    moving: tuple[int, ...]
    """Which of the axes move, and zeros up to three."""
    starts: tuple[int, ...]
    stops: tuple[int, ...]
    """The ends of the box."""
    numbers: tuple[Any, ...]
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
        found: list[tuple[float, int]] = [(np.inf, 0)] * len(tasks)
        run(partial(_fold_rows, field, tasks, found), len(tasks))
        minimum, folded = min(minimum, *(low for low, _ in found)), folded + sum(count for _, count in found)
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
    missing, count = NDIM + 1 - displacement.ndim, len(displacement)
    unused = (0,) * (3 - count)
    starts, stops = zip(*((0, 1),) * missing, *box, strict=True)
    return Field(
        flat.values,
        tuple(flat.origin + k * flat.strides[0] for k in range(count)) + unused,
        (1,) * missing + displacement.shape[1:],
        (0,) * missing + flat.strides[1:],
        count,
        tuple(axis + missing for axis in axes) + unused,
        starts,
        stops,
        tuple(map(displacement.dtype.type, (0, 0.5, 1))),
    )


def _tasks(field: Field) -> list[slice]:
    """Cut the rows of a box into tasks: one a thread, as a small field takes less time than threads take to start."""
    *outer, length = (stop - start for start, stop in zip(field.starts, field.stops, strict=True))
    size = prod(outer) * length
    return cut(prod(outer), min(max(allowed_threads(), size // SHARES[1]), size // SHARES[0]))


def _write_rows(field: Field, tasks: Sequence[slice], flat: Array, number: int) -> None:
    """Write the determinants of a task's rows of a box, which lies in `flat` row after row."""
    write_rows(field, tasks[number].start, tasks[number].stop, flat)


def _fold_rows(field: Field, tasks: Sequence[slice], found: list[tuple[float, int]], number: int) -> None:
    """Write the minimum and the number of folds of a task's rows of a box."""
    rows, dtype = (tasks[number].start, tasks[number].stop), field.values.dtype
    if field.moving == (1, 2, 3) and field.components == 3:
        key, folded = fold_volume(field, *rows, highest_key(dtype))
        found[number] = of_key(key, dtype), folded
    else:
        found[number] = fold_rows(field, *rows)


@jit
def write_rows(field, first, last, flat) -> None:  # type: ignore[no-untyped-def]
    """Write the determinants of the rows `first` to `last` of a box."""
    work = np.empty(ROWS * CHUNK, field.values.dtype)
    start, stop = field.starts[3], field.stops[3]
    for row in range(first, last):
        for x in range(start, stop, CHUNK):
            count = min(CHUNK, stop - x)
            determinants(field, row, x, count, work)
            to = np.uint64(row * (stop - start) + x - start)
            for i in range(np.uint64(count)):
                flat[to + i] = work[FOUND + i]


@jit
def fold_rows(field, first, last):  # type: ignore[no-untyped-def]
    """Return the least determinant of the rows `first` to `last` of a box, and how many are 0 or less.

    A row of minima is made into vectors by a compiler, one minimum is not: it took 40 % of the time. NaN is not less.
    """
    work, lowest = np.empty(ROWS * CHUNK, field.values.dtype), np.empty(CHUNK, field.values.dtype)
    start, stop = field.starts[3], field.stops[3]
    lowest[:] = np.inf
    total = 0
    for row in range(first, last):
        for x in range(start, stop, CHUNK):
            count = min(CHUNK, stop - x)
            determinants(field, row, x, count, work)
            for i in range(np.uint64(count)):
                value = work[FOUND + i]
                total += value <= 0
                lowest[i] = value if value < lowest[i] else lowest[i]
    return lowest.min(), total


@inner
def determinants(field, row, x, count, work) -> None:  # type: ignore[no-untyped-def]
    """Write the determinants of `count` voxels of a row of a box from `x` on into working memory, at FOUND."""
    sizes, strides, starts, stops = field.sizes, field.strides, field.starts, field.stops
    deep, high = stops[1] - starts[1], stops[2] - starts[2]
    at = (starts[0] + row // (deep * high), starts[1] + row // high % deep, starts[2] + row % high)
    place = at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2] + x
    zero, half, one = field.numbers
    k = field.components
    if k == 2 and field.moving[1] == 3:
        axis = field.moving[0]
        below, above = at[axis] > 0, at[axis] + 1 < sizes[axis]
        scale = half if below and above else one
        of_plane(field, place, above * strides[axis], below * strides[axis], scale, x, count, work)
        return
    for j in range(k):
        axis = field.moving[j]
        for i in range(k):
            here, add = field.origins[i] + place, one if i == j else zero
            target = (i * k + j) * CHUNK if k > 1 else FOUND
            if axis == 3:
                along_row(field, here, x, count, add, work, target)
                continue
            below, above = at[axis] > 0, at[axis] + 1 < sizes[axis]
            step, scale = strides[axis], half if below and above else one
            difference(field.values, here + above * step, here - below * step, scale, add, work, target, count)
    if k == 2:
        of_two(work, count)
    if k == 3:
        of_three(work, count)


@inner
def of_plane(field, place, above, below, scale, x, count, work) -> None:  # type: ignore[no-untyped-def]
    """Write the determinants of a plane of which rows and columns move: the usual case, for which one loop does."""
    values, length, (_, half, one) = field.values, field.sizes[3], field.numbers
    first, last, zero, single = np.int64(x == 0), x + count == length, np.int64(0), np.int64(1)
    a, b, end = field.origins[0] + place, field.origins[1] + place, count - 1
    rows, ends = (above, below, scale), min(1, length - 1)
    if first:
        plane_piece(values, a, b, rows, (ends, zero, one), one, work, zero, single)
    if last and length > 1:
        plane_piece(values, a + end, b + end, rows, (zero, single, one), one, work, end, single)
    plane_piece(values, a + first, b + first, rows, (single, single, half), one, work, first, count - first - last)


@inner
def plane_piece(values, a, b, rows, columns, one, work, to, count) -> None:  # type: ignore[no-untyped-def]
    """Write `count` determinants; `a` and `b` are where the components begin.

    `rows` and `columns` say how far the neighbours are, after and before, and the factor of their difference.
    """
    (above, below, in_rows), (right, left, in_columns) = rows, columns
    a_above, a_below, b_above, b_below = places(a + above, a - below, b + above, b - below)
    a_right, a_left, b_right, b_left = places(a + right, a - left, b + right, b - left)
    target = FOUND + np.uint64(to)
    for i in range(np.uint64(max(count, 0))):
        aa = (values[a_above + i] - values[a_below + i]) * in_rows + one
        ab = (values[a_right + i] - values[a_left + i]) * in_columns
        ba = (values[b_above + i] - values[b_below + i]) * in_rows
        bb = (values[b_right + i] - values[b_left + i]) * in_columns + one
        work[target + i] = aa * bb - ab * ba


@inner
def places(a, b, c, d):  # type: ignore[no-untyped-def]
    """Return four places as unsigned integers."""
    return np.uint64(a), np.uint64(b), np.uint64(c), np.uint64(d)


@inner
def along_row(field, here, x, count, add, work, target) -> None:  # type: ignore[no-untyped-def]
    """Write the differences along a row, from its voxel `x` on."""
    _, half, one = field.numbers
    length = field.sizes[3]
    first, last, single = x == 0, x + count == length, np.int64(1)
    if first:
        difference(field.values, here + min(1, length - 1), here, one, add, work, target, single)
    if last and length > 1:
        end = count - 1
        difference(field.values, here + end, here + end - 1, one, add, work, target + end, single)
    here += first
    difference(field.values, here + 1, here - 1, half, add, work, target + first, count - first - last)


@inner
def difference(values, above, below, scale, add, work, target, count) -> None:  # type: ignore[no-untyped-def]
    """Write ``(values[above] - values[below]) * scale + add`` of `count` voxels."""
    a, b, to = np.uint64(above), np.uint64(below), np.uint64(target)
    for x in range(np.uint64(max(count, 0))):
        work[to + x] = (values[a + x] - values[b + x]) * scale + add


@inner
def of_two(work, count) -> None:  # type: ignore[no-untyped-def]
    """Write the determinants of matrices of two rows."""
    for x in range(np.uint64(count)):
        work[FOUND + x] = work[x] * work[x + AT[3]] - work[x + AT[1]] * work[x + AT[2]]


@inner
def of_three(work, count) -> None:  # type: ignore[no-untyped-def]
    """Write the determinants of matrices of three rows."""
    for x in range(np.uint64(count)):
        a, b, c = work[x], work[x + AT[1]], work[x + AT[2]]
        d, e, f = work[x + AT[3]], work[x + AT[4]], work[x + AT[5]]
        g, h, i = work[x + AT[6]], work[x + AT[7]], work[x + AT[8]]
        work[FOUND + x] = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)

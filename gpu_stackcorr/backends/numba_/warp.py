"""Warping by compiled loops, block by block of the result.

There is no array of coordinates. An image is read where it lies, whatever its strides, or from a copy with margins
where that spares the exact path (see ``margins``); at orders above 1 from coefficients. Copies and coefficients are
held of one group of slices. Blocks of the result go to threads; within a block rows go through ``rows``. float32 images
are computed in float32, all others in float64.

A displacement that broadcasts over slices is split anew for each: that is a third of the time at order 1, but keeping
offsets and fractions would take four times the memory traffic of the displacement itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from gpu_stackcorr.backends.base import SPLINE_PADDING, Array
from gpu_stackcorr.backends.numpy_.interpolation import boxes, fill_value

from .compiler import borrowing, inner
from .flat_images import as_bytes, as_words, flatten, in_a_row, is_flat, is_too_large, lift, limits_of
from .folding import MODE_CODES
from .margins import margin_of, with_margins
from .memory import Memory, kept
from .parallel import run, samples_a_task
from .rows import (
    CHUNK,
    LOST,
    copy_row,
    linear_row,
    round_row,
    spline_row,
    spline_values,
    working_memory,
    write_values,
)
from .spline import coefficients

GROUP = 1 << 20
"""Samples whose spline coefficients are held at once, where one slice does not have more."""

SLACK = 64 * np.finfo(np.float32).eps
"""What weights of any order in float32 make of a constant, at most, as a part of it."""


def warp(image: Array, displacement: Array, **how: Any) -> Array:
    """See ``Backend.warp``."""
    return _warp(image, displacement, **how)[0]


def warp_if_finite(image: Array, displacement: Array, **how: Any) -> Array | None:
    """See ``Backend.warp_if_finite``. To look through a displacement before takes an eighth of the time of a slice."""
    warped, finite = _warp(image, displacement, **how)
    return warped if finite else None


def _warp(
    image: Array, displacement: Array, *, axes: Sequence[int], order: int, mode: str, cval: float = 0.0
) -> tuple[Array, bool]:
    """Return a warped image, and whether the displacement is known to be finite.

    Images in foreign byte order are converted a group of slices at a time, and slices that are too large for that left
    to the ``numpy`` backend.
    """
    batch = [axis for axis in range(image.ndim) if axis not in axes]
    one = image[tuple(slice(None) if axis in axes else slice(1) for axis in range(image.ndim))]
    if order < 2 and is_too_large(one):
        from gpu_stackcorr.backends.numpy_ import warp as specification  # brings scipy.ndimage

        warped = specification.warp(image, displacement, axes=axes, order=order, mode=mode, cval=cval)
        return warped, False
    result = np.empty(image.shape, image.dtype.newbyteorder("="))
    if not result.size:
        return result, False
    images, target = (array.transpose(*batch, *axes) for array in (image, result))
    missing = image.ndim + 1 - displacement.ndim
    field = displacement.reshape(len(displacement), *(1,) * missing, *displacement.shape[1:])
    field = field.transpose(0, *(axis + 1 for axis in (*batch, *axes)))
    field = np.broadcast_to(field, (len(field), *target.shape))
    slices, moving = target.shape[: len(batch)], target.shape[len(batch) :]
    together = prod(slices) if _stays(images, len(batch), order, mode) else max(1, GROUP // prod(moving))
    memory, finite = kept("margins", together * prod(moving) * image.itemsize), True
    for group in boxes(slices, together):
        source = ready(images[group], len(batch), order, mode, cval, memory)
        finite &= pull(source, field[(slice(None), *group)], target[group], order=order, mode=mode, cval=cval)
    for index in np.ndindex(*slices):
        keep_constant(images[index], target[index])
    return result, finite


def keep_constant(image: Array, warped: Array) -> None:
    """Give a slice that is constant its value back, from which weights in float32 go a few digits away.

    A correlation with it has no variance to divide by, and is to say so.
    """
    if warped.dtype != np.float32:
        return
    value = image[(0,) * image.ndim]
    if (image[(0,) * (image.ndim - 1)] == value).all() and (image == value).all():
        with np.errstate(invalid="ignore"):  # infinity less itself
            warped[np.abs(warped - value) <= SLACK * np.abs(value)] = value


class Source(NamedTuple):
    """Images that are ready to be pulled: along the moving axes padded on each side by `padding`, within a margin."""

    values: Array
    padding: int
    margin: int


def ready(images: Array, fixed: int, order: int, mode: str, cval: float, memory: Memory) -> Source:
    """Return images (slices..., moving axes...), the first `fixed` of whose axes do not move, as ``pull`` takes them.

    Their samples are copied into `memory`, if anywhere.
    """
    margin = margin_of(images.shape[fixed:], mode)
    padding = SPLINE_PADDING if order > 1 and mode in ("nearest", "grid-constant") else 0
    if order > 1:
        images = _spline(images, fixed, padding, order, mode, cval)
    if margin:
        images = with_margins(images, fixed, margin, mode, memory)
    elif order < 2 and not is_flat(images):
        images = images.astype(images.dtype.newbyteorder("="))
    return Source(images, padding, margin)


def _stays(images: Array, fixed: int, order: int, mode: str) -> bool:
    """Whether images are read where they lie."""
    return order < 2 and not margin_of(images.shape[fixed:], mode) and is_flat(images)


def _spline(image: Array, fixed: int, padding: int, order: int, mode: str, cval: float) -> Array:
    """Return the B-spline coefficients along the axes after the first `fixed`, which are padded first."""
    if padding:
        if image.dtype.kind != "f":
            image = image.astype(np.float64)  # np.pad would wrap a cval that the dtype does not hold
        widths = [(0, 0)] * fixed + [(padding, padding)] * (image.ndim - fixed)
        image = np.pad(image, widths, "edge") if mode == "nearest" else np.pad(image, widths, constant_values=cval)
    return coefficients(image, order, range(fixed, image.ndim), mode)


def pull(source: Source, field: Array, target: Array, *, order: int, mode: str, cval: float) -> bool:
    """Fill `target` (slices..., moving axes...) from a source; `field` has its shape, a component a moving axis.

    Return whether all displacements were finite.
    """
    ndim = len(field)
    fixed = target.ndim - ndim
    limits, rounded = limits_of(target.dtype), target.dtype.kind != "f"
    dtype = computed_dtype(target.dtype)
    if order:
        target = as_bytes(target)
    else:
        fill = as_words(np.asarray(fill_value(cval, target.dtype))[np.newaxis])[0]
        target = as_words(target)
    values, grid_at = as_loops_read(source, fixed, as_words if order == 0 else as_bytes)
    code, padding = MODE_CODES[mode], source.padding
    parts = list(boxes(target.shape[fixed:], samples_a_task(target.size)))
    places = list(np.ndindex(*target.shape[:fixed]))
    lost: list[int] = []

    def task(number: int) -> None:
        place, box = places[number // len(parts)], parts[number % len(parts)]
        grid = grid_at(place)
        start = lift(tuple(s.start + padding for s in box), 0)
        here: tuple[Any, ...] = (*place, *box)
        components = [in_a_row(component[here]) for component in field]
        moves = tuple([components[-1]] * (3 - ndim) + components)
        there = target[here]
        block = there.reshape(-1) if there.flags.c_contiguous else np.empty(there.size, there.dtype)
        place = (start, lift(there.shape, 1), (there.shape[-1], there.shape[-1], 0))
        offsets, floats, row = working_memory(order, dtype)
        if order == 0:
            _copy_block(values, grid, place, moves, code, fill, (offsets, floats, row), block)
        elif order == 1:
            memory = offsets, floats, row if rounded else block
            linear_block(values, grid, place, moves, code, float(cval), limits, rounded, memory, block)
        else:
            reals = spline_values(block.size) if rounded else block
            _spline_block(values, grid, place, moves, order, code, float(cval), (offsets, floats, reals))
            write_values(reals, block, limits)
        if not there.flags.c_contiguous:
            there[...] = block.reshape(there.shape)
        if offsets[LOST]:
            lost.append(number)

    run(task, len(places) * len(parts))
    return not lost


def computed_dtype(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """Return the dtype in which images are computed."""
    return np.float32 if dtype == np.float32 else np.float64


def as_loops_read(source: Source, fixed: int, view: Callable[[Array], Array]) -> tuple[Array, Callable[..., Any]]:
    """Return the flat memory of images under a `view`, and what gives the grid of one by its place (see ``rows``)."""
    images, _, margin = source
    flat = flatten(view(images))
    ndim = images.ndim - fixed
    strides = lift(flat.strides[fixed:], 0)
    shape = lift(tuple(n - 2 * margin for n in images.shape[fixed:]), 1)
    first = flat.origin + margin * sum(strides)

    def grid_at(place: Sequence[int]) -> tuple[Any, ...]:
        origin = first + sum(p * s for p, s in zip(place, flat.strides, strict=False))
        return origin, shape, strides, margin, ndim

    return flat.values, grid_at


@inner
def _part(place: Any, row: Any, x: Any, apart: Any) -> Any:
    """Return the position of a part of a row of a block, where it is among displacements, and where among results.

    `place` is the position and the shape of the block, how far apart its rows are among displacements and results, and
    where results begin; `apart` says that they are interpolated into a row apart.
    """
    start, (_, height, width), (of_moves, of_results, begin) = place
    at = (start[0] + row // height, start[1] + row % height, start[2] + x)
    to = begin + row * of_results + x
    return at, (row * of_moves + x, min(CHUNK, width - x), 0 if apart else to), to


@borrowing
def _copy_block(source: Any, grid: Any, place: Any, moves: Any, mode: Any, fill: Any, memory: Any, target: Any) -> None:
    """Fill a block of the result with samples as they are."""
    depth, height, width = place[1]
    for row in range(depth * height):
        for x in range(0, width, CHUNK):
            at, part, _ = _part(place, row, x, False)
            copy_row(source, grid, at, 1, moves, part, mode, fill, memory, target)


@borrowing
def linear_block(
    source: Any, grid: Any, place: Any, moves: Any, mode: Any, cval: Any, limits: Any, rounded: Any, memory: Any,
    target: Any,
) -> None:  # fmt: skip
    """Fill a block of the result, row by row, at order 1.

    `rounded` says that it holds integers within `limits`; where it does not, it is where rows are interpolated.
    """
    depth, height, width = place[1]
    for row in range(depth * height):
        for x in range(0, width, CHUNK):
            at, part, to = _part(place, row, x, rounded)
            linear_row(source, grid, at, 1, moves, part, mode, cval, memory)
            if rounded:
                round_row(memory[2], target[to : to + part[1]], limits)


@borrowing
def _spline_block(
    source: Any, grid: Any, place: Any, moves: Any, order: Any, mode: Any, cval: Any, memory: Any
) -> None:
    """Fill ``memory[2]`` with a block of the result, row by row, at orders above 1."""
    depth, height, width = place[1]
    for row in range(depth * height):
        for x in range(0, width, CHUNK):
            at, part, _ = _part(place, row, x, False)
            spline_row(source, grid, at, 1, moves, part, order, mode, cval, memory)

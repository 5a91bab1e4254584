"""Displacements drawn, smoothed and scaled in one thread a plane, in the memory of the result.

The noise is drawn as 2 u - 1 at once and smoothed in place: nothing but the result and a thread's scratch memory is
held, or a plane a thread where a box needs a margin. Images of other than two dimensions, and planes fewer than the
threads, take the same steps one after the other, each with all threads inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpu_stackcorr.backends.base import Array, Box
from gpu_stackcorr.random_fields import grow_box, whole_box
from gpu_stackcorr.threads import allowed_threads

from .boundary import MODES
from .gaussian import LARGEST_RADIUS, filter_radius, gaussian_filter, half_kernel, plane_scratch, smooth_plane
from .memory import kept
from .parallel import run
from .random_field import SYMMETRIC, Layout, fill, fill_box, layout_of


class Smoothing(NamedTuple):
    """How the planes of a field are drawn and smoothed."""

    layout: Layout
    weights: tuple[Array, Array]
    mode: int

    @classmethod
    def plan(
        cls, shape: Sequence[int], box: Box, sigma: Sequence[float], truncate: float, mode: str, dtype: DTypeLike
    ) -> Smoothing:
        """Return the plan for the planes of `box`, which includes the margin."""
        weights = [half_kernel(width, truncate, dtype) for width in sigma]
        return cls(layout_of(box, shape), (weights[0], weights[1]), MODES[mode])

    def scratch(self) -> Array:
        """Return what ``draw`` needs, to be made once a thread."""
        return plane_scratch(*self.weights)

    def draw(
        self, field: Array, plane: Array, inner: tuple[slice, ...], seed: int, stream: int, scale: Any, scratch: Array
    ) -> None:
        """Fill a contiguous field with ``plane[inner]``, smooth noise of a stream, times `scale`, in one thread."""
        fill(plane.reshape(-1), 0, self.layout, seed, stream, SYMMETRIC)
        rows, columns = inner
        target = field if field.shape[1] == plane.shape[1] else plane[rows]
        smooth_plane(plane, rows, target, *self.weights, self.mode, scale, scratch)
        if target is not field:
            field[...] = target[:, columns]


def displacement(
    seed: int,
    stream: int | NDArray[np.uint64],
    shape: Sequence[int],
    *,
    alpha: float | NDArray[np.float64],
    sigma: Sequence[float],
    box: Box | None = None,
    mode: str = "constant",
    truncate: float = 4.0,
    dtype: DTypeLike = np.float32,
    temporary: bool = False,
    out: Array | None = None,
) -> Array:
    """See ``Backend.displacement``. `out` takes the fields, where many calls share it."""
    box = whole_box(shape) if box is None else box
    margin = [filter_radius(width, truncate) for width in sigma]
    if mode in ("wrap", "grid-wrap"):  # what lies beyond one border is at the other
        margin = list(shape)
    grown, inner = grow_box(box, margin, shape)
    streams = np.asarray(stream, np.uint64)
    scale = np.asarray(alpha, dtype)
    count = np.broadcast_shapes(scale.shape, streams.shape)
    if temporary and out is None:
        sizes = *count, *(stop - start for start, stop in box)
        out = kept("field", prod(sizes) * np.dtype(dtype).itemsize).array(sizes, dtype)
    alone = streams.size and count == streams.shape
    if not (len(shape) == 2 and alone and fits_threads(streams.size)) or max(margin) > LARGEST_RADIUS:
        noise = fill_box(seed, streams, shape, grown, SYMMETRIC, dtype)
        axes = range(streams.ndim, noise.ndim)
        smooth = gaussian_filter(noise, sigma, axes=axes, mode=[mode] * len(shape), truncate=truncate)
        inside: tuple[Any, ...] = (..., *inner)
        scaled: Array = np.multiply(smooth[inside], scale.reshape(scale.shape + (1,) * len(shape)), out=out)
        return scaled
    fields = np.empty(streams.shape + tuple(stop - start for start, stop in box), dtype) if out is None else out
    smoothing = Smoothing.plan(shape, grown, sigma, truncate, mode, dtype)
    places, scales = list(np.ndindex(streams.shape)), np.broadcast_to(scale, streams.shape)

    def draw(number: int) -> None:
        place = places[number]
        field = fields[place]
        plane = field if grown == box else np.empty([stop - start for start, stop in grown], dtype)
        smoothing.draw(field, plane, inner, seed, int(streams[place]), scales[place], smoothing.scratch())

    if fields.size:
        run(draw, len(places))
    return fields


def fits_threads(planes: int) -> bool:
    """Whether planes, one a thread at a time, keep all threads that are allowed busy nearly to the end."""
    threads = allowed_threads()
    return planes % threads == 0 or planes >= 8 * threads

"""Displacements: noise on [-1, 1), smoothed and scaled.

Planes are drawn and smoothed strip by strip (see ``smooth_noise``). Fields of other than two dimensions, and filters
that reach too far for strips, take one step after the other, each with all threads inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpu_stackcorr.backends.base import Array, Box
from gpu_stackcorr.random_fields import grow_box, whole_box
from gpu_stackcorr.threads import allowed_threads

from .gaussian import filter_radius, gaussian_filter
from .memory import kept
from .parallel import run
from .random_field import SYMMETRIC, fill_box
from .smooth_noise import LARGEST_RADIUS, smooth_noise


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
    streams, scale = np.asarray(stream, np.uint64), np.asarray(alpha, dtype)
    sizes = tuple(stop - start for start, stop in box)
    fields = np.broadcast_shapes(scale.shape, streams.shape) + sizes
    if out is None and temporary:
        out = kept("field", prod(fields) * np.dtype(dtype).itemsize).array(fields, dtype)
    elif out is None:
        out = np.empty(fields, dtype)
    shared = out.shape != streams.shape + sizes  # fields that differ in alpha alone are smoothed once
    smooth, factor = (np.empty(streams.shape + sizes, dtype), np.ones((), dtype)) if shared else (out, scale)
    fill = _fill_planes if fits_strips(sigma, truncate) else _fill_volumes
    if smooth.size:
        fill(smooth, seed, streams, shape, box, factor, sigma=sigma, mode=mode, truncate=truncate)
    if shared:
        np.multiply(smooth, _by_field(scale, shape), out=out)
    return out


def fits_strips(sigma: Sequence[float], truncate: float) -> bool:
    """Whether noise is smoothed strip by strip, along as many axes as there are sigmas."""
    return len(sigma) == 2 and all(0 <= filter_radius(width, truncate) <= LARGEST_RADIUS for width in sigma)


def _fill_planes(
    fields: Array, seed: int, streams: NDArray[np.uint64], shape: Sequence[int], box: Box, scale: Array, **how: Any
) -> None:
    """Fill the fields of some streams over a box of two dimensions."""
    places, scales = list(np.ndindex(streams.shape)), np.broadcast_to(scale, streams.shape)
    smoothing = tuple(how["sigma"]), how["truncate"], how["mode"], fields.dtype
    noise = smooth_noise(tuple(shape), box, *smoothing, len(places), allowed_threads())
    pieces = noise.pieces

    def fill_piece(number: int) -> None:
        place = places[number // len(pieces)]
        piece = pieces[number % len(pieces)]
        noise.draw(fields[place], box, piece, seed, int(streams[place]), scales[place])

    run(fill_piece, len(places) * len(pieces))


def _fill_volumes(
    fields: Array, seed: int, streams: NDArray[np.uint64], shape: Sequence[int], box: Box, scale: Array, **how: Any
) -> None:
    """Do the same in any number of dimensions."""
    mode, truncate = how["mode"], how["truncate"]
    wraps = mode in ("wrap", "grid-wrap")  # what lies beyond one border is at the other
    margin = shape if wraps else [filter_radius(width, truncate) for width in how["sigma"]]
    grown, inner = grow_box(box, margin, shape)
    noise = fill_box(seed, streams, shape, grown, SYMMETRIC, fields.dtype)
    axes = range(streams.ndim, noise.ndim)
    smooth = gaussian_filter(noise, how["sigma"], axes=axes, mode=[mode] * len(shape), truncate=truncate)
    inside: tuple[Any, ...] = (..., *inner)
    np.multiply(smooth[inside], _by_field(scale, shape), out=fields)


def _by_field(scale: Array, shape: Sequence[int]) -> Array:
    """Return factors that broadcast over fields."""
    return scale.reshape(scale.shape + (1,) * len(shape))

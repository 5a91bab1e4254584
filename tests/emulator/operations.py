"""Few calls of every operation that launch every kernel, for the runs that cost most: under sanitizers, with bugs.

Shapes are small and prime or just beyond a tile, so that every border of every kernel is met; grids are cut to a few
blocks, so that every loop over what a grid does not cover runs more than once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Backend
from gpu_stackcorr.backends.cuda_ import cross_moments as all_pairs
from gpu_stackcorr.backends.cuda_ import layout
from gpu_stackcorr.backends.cuda_.backend import CudaBackend

Arrays = list[NDArray[Any]]


class Case(NamedTuple):
    """One call of an operation."""

    call: Callable[[Backend], Arrays]
    """Returns everything that the operation gives."""
    tolerance: float = 0
    """By how much of its largest value a result may differ from the numpy backend's. 0: not at all."""


@contextmanager
def small_grids() -> Iterator[None]:
    """Let launches have few blocks along what kernels stride over."""
    largest = layout.LARGEST_GRID[0], 2, 2
    with mock.patch.object(layout, "LARGEST_GRID", largest), mock.patch.object(all_pairs, "FEWEST_BLOCKS", 2):
        yield


def images(dtype: str, *shape: int, seed: int = 0) -> NDArray[Any]:
    """Return images over the whole range of an integer dtype, or around 100."""
    rng = np.random.default_rng([seed, *shape])
    if np.dtype(dtype).kind == "f":
        return (100 + rng.normal(size=shape)).astype(dtype)
    return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def masks(*shape: int) -> NDArray[np.bool_]:
    """Return masks that leave out a third."""
    return np.random.default_rng(shape).random(shape) > 1 / 3


def moments(
    x: str, y: str, shape: tuple[int, int], *, references: int = 1, slices: int = 3, tiles: int = 0, **options: Any
) -> Callable[[Backend], Arrays]:
    """Moments of images of two dtypes; the slices are the last of a stack, and may begin at any address."""

    def call(backend: Backend) -> Arrays:
        stack = images(y, 1 + slices, *shape, seed=1)
        if isinstance(backend, CudaBackend):
            stack = backend.device.to_device(stack)
        edges = tuple(np.rint(np.linspace(0, n, tiles + 1)).astype(np.intp) for n in shape) if tiles else None
        found = backend.moments(list(images(x, references, *shape)), stack[1:], tiles=edges, **options)
        return [a for each in found for part in (each, each.cells) if part is not None for a in part.arrays()]

    return call


def cross_moments(dtype: str, *counts: int, masked: bool = False) -> Callable[[Backend], Arrays]:
    """Moments of all pairs of images of 7 x 13 pixels, or of 3 x 11003, which take several parts."""
    shape = (7, 13) if counts[0] > 3 else (3, 11003)

    def call(backend: Backend) -> Arrays:
        others = images(dtype, counts[1], *shape, seed=1) if len(counts) > 1 else None
        found = backend.cross_moments(images(dtype, counts[0], *shape), others, mask=masks(*shape) if masked else None)
        return list(found.arrays())

    return call


def smooth(
    dtype: str, shape: Sequence[int], sigma: Sequence[float], mode: str = "reflect"
) -> Callable[[Backend], Arrays]:
    """Gaussian smoothing of all axes."""
    options: Any = {"axes": range(len(shape)), "mode": [mode] * len(shape), "cval": 3.0}
    return lambda backend: [backend.gaussian_filter(images(dtype, *shape), sigma, **options)]


def spline(dtype: str, shape: Sequence[int], order: int, mode: str) -> Callable[[Backend], Arrays]:
    """The prefilter of all axes."""
    return lambda backend: [
        backend.spline_filter(images(dtype, *shape), order, axes=range(len(shape)), mode=mode),
    ]


def field(shape: Sequence[int], **options: Any) -> Callable[[Backend], Arrays]:
    """A random field of two streams."""
    streams = np.array([3, 1 << 56], np.uint64)
    return lambda backend: [backend.to_host(backend.random_field(2**64 - 5, streams, shape, **options))]


def displacement(shape: Sequence[int], **options: Any) -> Callable[[Backend], Arrays]:
    """Displacements of two streams, each with its alpha."""
    streams, alpha = np.array([5, 1 << 48], np.uint64), np.array([2.0, -30.0])
    return lambda backend: [backend.to_host(backend.displacement(7, streams, shape, alpha=alpha, **options))]


def folded(
    dtype: str, shape: Sequence[int], axes: Sequence[int], *, boxed: bool = False
) -> Callable[[Backend], Arrays]:
    """The determinants of a displacement, of all voxels or of all but those at the ends, and how it folds."""
    field = np.random.default_rng(shape).normal(size=(len(axes), *shape)).astype(dtype)
    field.reshape(-1)[::97] = np.nan
    box = tuple((1, n - 1) for n in shape) if boxed else None

    def call(backend: Backend) -> Arrays:
        found = backend.jacobian_determinant(field, axes=axes, box=box)
        return [np.nan_to_num(backend.to_host(found)), np.array(backend.count_folds(field, axes=axes))]

    return call


def control_grid(shape: Sequence[int], **options: Any) -> Callable[[Backend], Arrays]:
    """Splines through control vectors of two streams, each with its alpha."""
    streams, alpha = np.array([5, 1 << 48], np.uint64), np.array([2.0, -30.0])
    return lambda backend: [backend.to_host(backend.control_grid(7, streams, shape, alpha=alpha, **options))]


def warped(
    dtype: str,
    shape: Sequence[int],
    axes: Sequence[int],
    order: int,
    mode: str,
    *,
    labels: str = "",
    numbers: str = "f8",
) -> Callable[[Backend], Arrays]:
    """An image, and labels with it, pulled by a field of `numbers` a slice; by one for all where it is of float32."""
    rng = np.random.default_rng([order, *shape])
    alone = [1 if dtype == "f4" and axis not in axes else n for axis, n in enumerate(shape)]
    field = rng.normal(0, 4, (len(axes), *alone)).astype("f4" if dtype == "f4" else numbers)
    field.reshape(-1)[::29], field.reshape(-1)[5::29] = np.nan, 1e30
    how: dict[str, Any] = {"axes": axes, "order": order, "mode": mode, "cval": 3.0}

    def call(backend: Backend) -> Arrays:
        image = images(dtype, *shape)
        if labels:
            return list(backend.warp_with_labels(image, images(labels, *shape, seed=1), field, **how))
        return [backend.warp(image, field, **how)]

    return call


def sampled(dtype: str, shape: Sequence[int], order: int, mode: str, result: str = "") -> Callable[[Backend], Arrays]:
    """An image at 300 coordinates in and around it."""
    sizes = np.array(shape)[:, np.newaxis]
    points = np.random.default_rng(shape).uniform(-sizes, 2 * sizes, (len(shape), 300))
    how: dict[str, Any] = {"order": order, "mode": mode, "cval": 3.0, "dtype": result or dtype}
    return lambda backend: [backend.map_coordinates(images(dtype, *shape), points, **how)]


def deformed(
    x: str, y: str, shape: tuple[int, int], *, references: int = 1, tiles: int = 0, **options: Any
) -> Callable[[Backend], Arrays]:
    """Moments of three deformed slices, the last of a stack of five, which may begin and end at any address."""
    streams = np.arange(6, dtype=np.uint64).reshape(2, 3)
    how: dict[str, Any] = {"seed": 3, "stream": streams, "alpha": np.array([9.0, 25.0]), "sigma": (1.0, 2.5)} | options

    def call(backend: Backend) -> Arrays:
        stack = images(y, 5, *shape, seed=1)
        if isinstance(backend, CudaBackend):
            stack = backend.device.to_device(stack)
        edges = tuple(np.rint(np.linspace(0, n, tiles + 1)).astype(np.intp) for n in shape) if tiles else None
        found = backend.warp_moments(list(images(x, references, *shape)), stack[2:], tiles=edges, **how)
        return [a for each in found for part in (each, each.cells) if part is not None for a in part.arrays()]

    return call


CASES: dict[str, Case] = {
    # moments.cu, moments_floats.cu, moments_total.cu
    "moments of bytes in whole words": Case(moments("u1", "u1", (37, 64), references=3)),
    "moments of bytes in narrow cells": Case(moments("u1", "u1", (37, 96), references=2, slices=5, tiles=3)),
    "moments of bytes in many cells": Case(moments("u1", "u1", (40, 80), slices=2, tiles=20)),
    "moments of bytes at any address": Case(moments("u1", "i1", (21, 35), references=9, slices=5, tiles=2)),
    "moments of 16 bits in whole words": Case(moments("i2", "u2", (19, 40), references=2, tiles=3)),
    "moments of 16 bits at any address": Case(moments("i2", "i2", (7, 523))),
    "moments of bytes and 16 bits": Case(moments("u1", "i2", (5, 17), references=2, slices=1)),
    "moments of many blocks a cell": Case(moments("u1", "u1", (40009, 1), slices=5)),
    "moments of floats of many blocks a cell": Case(moments("f4", "f4", (140009, 1), slices=5), 1e-12),
    "moments of floats by fours": Case(moments("f4", "f4", (13, 36), references=3, tiles=2), 1e-12),
    "moments of floats by ones": Case(moments("f8", "f8", (13, 37), references=9, tiles=2), 1e-12),
    "moments of floats and integers": Case(moments("u1", "f4", (5, 70), slices=1), 1e-12),
    "moments of masked integers": Case(
        moments("u1", "i2", (9, 41), references=2, tiles=2, reference_mask=masks(2, 9, 41), slice_mask=masks(9, 41))
    ),
    "moments of masked floats": Case(
        moments("f4", "f8", (9, 41), tiles=2, reference_mask=masks(9, 41), slice_mask=masks(3, 9, 41)), 1e-12
    ),
    # cross_moments.cu
    "all pairs of bytes": Case(cross_moments("u1", 67)),
    "all pairs of 16 bits under a mask": Case(cross_moments("i2", 5, 67, masked=True)),
    "all pairs of large images": Case(cross_moments("u1", 3)),
    "all pairs of floats": Case(cross_moments("f4", 67, 5), 1e-12),
    "all pairs of large images of floats": Case(cross_moments("f8", 3, masked=True), 1e-12),
    # gaussian.cu, convert.cu
    "smoothing of float32": Case(smooth("f4", (37, 263), (1.5, 2.0)), 1e-6),
    "smoothing of float64 across many lines": Case(smooth("f8", (2, 67, 69), (0.0, 1.0, 3.0), "mirror")),
    "smoothing of bytes by loads of four": Case(smooth("u1", (67, 36), (2.5, 1.0), "constant")),
    "smoothing of one long line": Case(smooth("u2", (521,), (40.0,), "wrap")),
    "smoothing by chunks of taps": Case(smooth("f8", (140, 3), (40.0, 30.0), "grid-constant")),
    "smoothing by nothing": Case(smooth("i4", (11, 13), (0.0, 0.0))),
    # spline.cu
    "prefilter of order 3": Case(spline("f8", (131, 67), 3, "mirror"), 1e-13),
    "prefilter of order 5": Case(spline("u1", (3, 7, 33), 5, "grid-wrap"), 1e-13),
    "prefilter of one pixel": Case(spline("u1", (1, 1), 3, "mirror")),
    # random_field.cu, displacement.cu
    "uniform field": Case(field((5, 1031))),
    "box of a uniform field": Case(field((5, 9, 13), box=((1, 4), (2, 9), (3, 10)), dtype="f8")),
    "box of a normal field": Case(field((9, 13), box=((1, 8), (5, 6)), distribution="normal", dtype="f8"), 1e-12),
    "displacement": Case(displacement((13, 31), sigma=(1.0, 2.0)), 1e-6),
    "box of a displacement": Case(
        displacement((13, 7, 31), sigma=(0.0, 1.0, 2.0), box=((2, 9), (1, 5), (4, 30)), dtype="f8")
    ),
    # jacobian.cu
    "folds of lines": Case(folded("f4", (3, 5, 71), (2,))),
    "folds of planes": Case(folded("f4", (2, 5, 19, 35), (2, 3))),
    "folds of planes apart": Case(folded("f8", (9, 3, 37), (0, 2), boxed=True)),
    "folds of a volume": Case(folded("f8", (5, 11, 33), (0, 1, 2), boxed=True)),
    # control_grid.cu
    "control grid of a line": Case(control_grid((521,), distance=(3.7,)), 1e-6),
    "control grid of a plane": Case(control_grid((67, 131), distance=(1.0, 9.5), dtype="f8"), 1e-12),
    "box of a control grid": Case(
        control_grid((9, 140, 41), distance=(2.0, 1.5, 40.0), box=((2, 9), (71, 138), (3, 38))), 1e-6
    ),
    # warp.cu, pad.cu
    "warp of bytes": Case(warped("u1", (3, 21, 37), (1, 2), 1, "reflect")),
    "warp of bytes by rows": Case(warped("u1", (2, 77, 37), (1, 2), 1, "reflect", numbers="f4")),
    "warp of bytes by words": Case(warped("u1", (2, 21, 140), (1, 2), 1, "reflect", numbers="f4")),
    "warp of channels and their labels": Case(warped("f4", (5, 19, 35), (1, 2), 1, "constant", labels="u4"), 1e-6),
    "warp of lines at order 0": Case(warped("i8", (7, 31), (1,), 0, "mirror")),
    "warp of planes apart": Case(warped("f8", (13, 3, 17), (0, 2), 1, "grid-constant")),
    "warp of a volume at order 3": Case(warped("f8", (7, 11, 13), (0, 1, 2), 3, "nearest", labels="u1"), 1e-12),
    "warp at order 2": Case(warped("f4", (2, 20, 23), (1, 2), 2, "wrap"), 1e-5),
    # map_coordinates.cu
    "samples of 16 bits": Case(sampled("i2", (13, 17), 1, "grid-wrap")),
    "samples of order 4": Case(sampled("f8", (5, 6, 7), 4, "mirror"), 1e-12),
    "samples as they are": Case(sampled("u8", (7, 9), 0, "reflect")),
    "samples in another type": Case(sampled("f4", (31,), 0, "nearest", "i1")),
    # warp_moments.cu; a pixel may be rounded otherwise, as displacements differ by their rounding
    "deformed bytes in any words": Case(deformed("u1", "u1", (134, 65), references=2, tiles=3), 1e-3),
    "deformed 16 bits in whole words": Case(deformed("u1", "i2", (37, 232), mode="constant", cval=-7.0), 1e-3),
    "deformed floats": Case(deformed("f8", "f4", (35, 66), references=2, tiles=2, mode="mirror"), 1e-4),
    "deformed bytes in steps of noise": Case(
        deformed("u1", "u1", (150, 168), sigma=(5.0, 1.0), alpha=np.array([90.0, 9.0])), 1e-3
    ),
    "deformed bytes in full boxes": Case(deformed("u1", "u1", (71, 192)), 1e-3),
    # its halo leaves no room for the phases side by side
    "deformed bytes by a wide Gaussian": Case(deformed("u1", "u1", (41, 72), sigma=(1.0, 30.0)), 1e-3),
    "deformed bytes under masks": Case(
        deformed("i1", "u1", (9, 41), references=2, reference_mask=masks(2, 9, 41)), 1e-5
    ),
}
"""By what they are. A kernel that none of them launches fails ``test_operations.py``."""


def differences(found: Arrays, expected: Arrays, tolerance: float) -> list[str]:
    """Return how results differ from what they should be, NaN being no number like any other."""
    said = []
    for number, (one, two) in enumerate(zip(found, expected, strict=True)):
        if one.shape != two.shape:
            said.append(f"result {number} has the shape {one.shape} instead of {two.shape}")
        elif tolerance == 0 and one.dtype != two.dtype:
            said.append(f"result {number} is of {one.dtype} instead of {two.dtype}")
        else:
            room = tolerance * np.abs(two).max(initial=0) if tolerance else 0
            wrong = ~(np.abs(one - two) <= room) if tolerance else one != two
            if wrong.any():
                said.append(f"result {number}: {int(wrong.sum())} of {two.size} values are wrong")
    return said

"""Moments of a reference with a stack: the whole correlation of the notebook's stack, beside its rivals."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from . import counts, limits, rivals_correlation
from .harness import Case, Contestant
from .images import CUBE, DTYPES, LARGE_CUBE, SLICE, SMALL_SLICE, STACK, shown, stack
from .paths import Path, device, difference, ours

QUICK = (("uint8", (8, *SMALL_SLICE)),)
FULL = (
    *((dtype, STACK) for dtype in DTYPES),
    ("uint8", (1, *SLICE)),
    ("float64", (1, *SLICE)),
    ("uint8", CUBE),
    ("float32", CUBE),
    ("uint8", LARGE_CUBE),
)
ON_DEVICE = (("uint8", (2731, *SLICE)), ("uint8", (8 * 2731, *SLICE)), ("float32", (683, *SLICE)))
"""2.1 GB, 17 GB and 2.1 GB: on a GPU alone."""

PART = 3
"""Slices on which results are verified."""

Shape = tuple[int, int, int]


def operations(dtype: str, shape: Shape) -> int:
    """Return the arithmetic of one reference with a stack."""
    return counts.pair(int(np.prod(shape)), integer=dtype.startswith("u"))


def case(dtype: str, shape: Shape) -> Case:
    """Return the race over a stack in the memory of the host; the GPU has a copy of its own."""
    slices = stack(shape, dtype)
    error = difference(rivals_correlation.notebook(slices[:PART]), slice(PART))
    contestants = [
        *_ours(slices, error),
        Contestant("limit: memory read once", partial(limits.read, slices)),
        *rivals_correlation.on_host(slices, error),
        *rivals_correlation.with_tensors(slices, error),
    ]
    if (path := device()) is not None:
        contestants += rivals_correlation.on_device(path, path.place(slices), error)
    return _case(dtype, shape, contestants, slices)


def large_case(path: Path, dtype: str, shape: Shape) -> Case:
    """Return the race on a GPU over more slices than are made one by one: the same ones again and again."""
    import cupy

    some = stack((min(64, shape[0]), *shape[1:]), dtype)
    slices = cupy.empty(shape, dtype)
    for n in range(0, shape[0], len(some)):
        slices[n : n + len(some)] = cupy.asarray(some[: shape[0] - n])
    error = difference(rivals_correlation.notebook(some[:PART]), slice(PART))
    contestants = [*_ours(slices, error, backends=("cuda",)), *rivals_correlation.on_device(path, slices, error)]
    return _case(dtype, shape, contestants, slices)


def _ours(slices: Any, error: rivals_correlation.Error, **which: Any) -> Iterator[Contestant]:
    """Yield ours: one reference, one with tiles, four."""
    from gpu_stackcorr.intervals import cell_edges

    def moments(path: Path, count: int = 1, **how: Any) -> Any:
        placed, engine = path.place(slices), path.engine
        references = [placed[n % len(placed)] for n in range(count)]
        return lambda: engine.moments(references, placed, **how)[0].correlation()

    tiled = partial(moments, tiles=cell_edges(slices.shape[1:]))
    yield from ours(moments, error, 1e-12, **which)
    yield from ours(tiled, error, 1e-12, also="with tiles", note="what the intervals need", **which)
    yield from ours(partial(moments, count=4), error, 1e-12, also="4 references", work=4, **which)


def _case(dtype: str, shape: Shape, contestants: list[Contestant], slices: Any) -> Case:
    return Case(
        "moments",
        shown(dtype, shape),
        slices.size,
        contestants,
        bytes=slices.nbytes + slices[0].nbytes,  # the slices once, and the reference
        operations=operations(dtype, shape),
        arithmetic="float32" if dtype.startswith("u") else "float64",
    )


def cases(*, quick: bool = False) -> Iterator[Case]:
    """Yield a case a dtype and shape."""
    for dtype, shape in QUICK if quick else FULL:
        yield case(dtype, shape)
    if quick or (path := device()) is None:
        return
    import cupy

    for dtype, shape in ON_DEVICE:
        if 1.2 * np.prod(shape) * np.dtype(dtype).itemsize < cupy.cuda.Device().mem_info[0]:
            yield large_case(path, dtype, shape)

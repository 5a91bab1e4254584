"""All pairs of slices, beside np.corrcoef of the whole and plain products of float32 matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpu_stackcorr import correlation_matrix

from . import counts, reasons, rivals_pairs
from .harness import Case
from .images import SMALL_SLICE, STACK, shown, stack
from .paths import Path, device, difference, ours

QUICK = (("uint8", (24, *SMALL_SLICE)),)
FULL = (
    ("uint8", STACK),
    ("uint16", STACK),
    ("float32", STACK),
    ("float64", STACK),
    ("uint8", (500, 512, 512)),
)
PART = 8
"""Slices whose pairs are verified, against np.corrcoef."""


def case(dtype: str, shape: tuple[int, int, int]) -> Case:
    """Return the race over one stack."""
    slices = stack(shape, dtype)
    error = difference(rivals_pairs.corrcoef(slices[:PART], 1), np.s_[:PART, :PART])
    rows, columns = (index.ravel() for index in np.indices((PART, PART)))

    def moments(path: Path) -> Any:
        placed, engine = path.place(slices), path.engine
        return lambda: engine.cross_moments(placed).pairs(rows, columns).correlation().reshape(PART, PART)

    def matrix(path: Path) -> Any:
        placed = path.place(slices)
        return lambda: correlation_matrix(placed, backend=path.backend).statistic

    exact = dtype.startswith("u")
    contestants = [
        *ours(moments, error, 1e-11, note="exact" if exact else ""),
        *ours(matrix, error, 1e-11, also="correlation_matrix", note="r of every pair"),
        *rivals_pairs.on_host(slices, error),
        *rivals_pairs.with_tensors(slices, error),
        *rivals_pairs.on_device(device(), slices, error),
    ]
    return Case(
        "cross_moments",
        shown(dtype, shape),
        slices.size * len(slices),
        contestants,
        bytes=slices.nbytes + 8 * len(slices) ** 2,  # the slices once, and the sums of products
        written=8 * len(slices) ** 2,
        operations=counts.all_pairs(len(slices), slices[0].size),
        arithmetic="float32" if exact else "float64",
        reason="" if exact else reasons.FLOAT32_PRODUCTS,
    )


def cases(*, quick: bool = False) -> Iterator[Case]:
    """Yield a case a stack."""
    for parameters in QUICK if quick else FULL:
        yield case(*parameters)

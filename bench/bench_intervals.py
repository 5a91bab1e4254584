"""Correlations of a stack with their 95 % intervals, beside those who give intervals.

All rivals take Fisher's, which holds for independent pixels; ours by tiles, the default, stands apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from gpu_stackcorr import stack_correlation

from . import counts, reasons, rivals_correlation
from .harness import Case, Contestant
from .images import SLICE, SMALL_SLICE, STACK, shown, stack
from .paths import Path, difference, ours

QUICK = (("uint8", (8, *SMALL_SLICE)),)
FULL = (("uint8", STACK), ("float64", STACK), ("uint8", (4, *SLICE)))
PART = 3
"""Slices on which correlations are verified."""

LEVEL = 0.95


def with_fisher(slices: Any) -> tuple[Any, Any]:
    """Correlate as the notebook did, a slice at a time, with Fisher's interval."""
    r = rivals_correlation.notebook(slices)
    with np.errstate(divide="ignore"):  # of slice 0 with itself
        z = np.arctanh(np.clip(r, -1, 1))
    half = 1.959963984540054 / np.sqrt(slices[0].size - 3)
    return r, np.tanh([z - half, z + half])


def case(dtype: str, shape: tuple[int, int, int]) -> Case:
    """Return the race over a stack."""
    slices = stack(shape, dtype)
    error = difference(rivals_correlation.notebook(slices[:PART]), slice(PART))

    def correlated(path: Path, ci: str = "fisher") -> Any:
        placed = path.place(slices)

        def call() -> Any:
            result = stack_correlation(placed, ci=ci, backend=path.backend)
            result.confidence_interval(LEVEL)
            return result.statistic

        return call

    effective = len(slices) <= 4  # by Fourier transforms, some tenths of a second a slice
    contestants = [
        *ours(correlated, error, 1e-12, note="Fisher's, as the rivals'"),
        *ours(
            partial(correlated, ci="tiles"), error, 1e-12, also="tiles", note="holds where pixels depend on neighbours"
        ),
        *(ours(partial(correlated, ci="effective"), error, 1e-12, also="effective size") if effective else ()),
        Contestant(
            "scipy.stats.pearsonr along an axis",
            partial(rivals_correlation.with_scipy, slices),
            error,
            note=f"with p-values, Fisher's interval; {rivals_correlation.BLOCK} slices a call",
        ),
        Contestant(
            "the notebook: np.corrcoef per slice",
            partial(with_fisher, slices),
            lambda result: error(result[0]),
            note="Fisher's interval",
        ),
    ]
    return Case(
        "intervals",
        f"{shown(dtype, shape)}, {100 * LEVEL:g} %",
        slices.size,
        contestants,
        bytes=slices.nbytes + slices[0].nbytes,
        operations=counts.pair(slices.size, integer=dtype.startswith("u")),
        arithmetic="float32" if dtype.startswith("u") else "float64",
        reason=reasons.SMALL_STACKS,
    )


def cases(*, quick: bool = False) -> Iterator[Case]:
    """Yield a case a stack."""
    for parameters in QUICK if quick else FULL:
        yield case(*parameters)

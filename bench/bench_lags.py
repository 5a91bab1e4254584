"""The mean correlation of all pairs of slices at each distance, beside the diagonals of whole matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from gpu_stackcorr import lag_correlation
from gpu_stackcorr.threads import allowed_threads

from . import reasons, rivals_pairs
from .harness import Case, Contestant
from .images import SMALL_SLICE, STACK, shown, stack
from .paths import Path, difference, ours

QUICK = (("uint8", (16, *SMALL_SLICE), 8),)
FULL = (("uint8", STACK, 20), ("float32", STACK, 20))


def diagonals(matrix: Callable[[], Any], max_lag: int) -> Any:
    """Return the mean of each diagonal of a matrix of correlations."""
    r = matrix()
    return np.array([np.diagonal(r, lag).mean() for lag in range(max_lag + 1)])


def case(dtype: str, shape: tuple[int, int, int], max_lag: int) -> Case:
    """Return the race over a stack; the reference is np.corrcoef of the whole in float64."""
    slices, threads = stack(shape, dtype), allowed_threads()
    whole = partial(rivals_pairs.corrcoef, slices, threads)
    product = partial(rivals_pairs.float32_product, slices, threads)
    error = difference(diagonals(whole, max_lag))

    def lags(path: Path, ci: str | None = None) -> Any:
        placed = path.place(slices)
        return lambda: lag_correlation(placed, max_lag, ci=ci, backend=path.backend).statistic

    contestants = [
        *ours(lags, error, 1e-11),
        *ours(
            partial(lags, ci="tiles"), error, 1e-11, also="with intervals", note="by 256 tiles, each multiplied alone"
        ),
        Contestant("np.corrcoef of the whole", partial(diagonals, whole, max_lag), error, note="float64"),
        Contestant("float32 products", partial(diagonals, product, max_lag), error, note="rounded to float32"),
    ]
    pairs = sum(len(slices) - lag for lag in range(max_lag + 1))
    return Case(
        "lags",
        f"{shown(dtype, shape)}, to lag {max_lag}",
        pairs * slices[0].size,
        contestants,
        bytes=slices.nbytes,
        operations=2 * pairs * slices[0].size,  # a multiply-add a pixel of each pair
        arithmetic="float32" if dtype.startswith("u") else "float64",
        reason="" if dtype.startswith("u") else reasons.FLOAT32_PRODUCTS,
    )


def cases(*, quick: bool = False) -> Iterator[Case]:
    """Yield a case a stack."""
    for parameters in QUICK if quick else FULL:
        yield case(*parameters)

"""All pairs of slices, beside np.corrcoef of the whole and plain products of float32 matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from gpu_stackcorr import correlation_matrix
from gpu_stackcorr.arrays import get_backend

from .bench_moments import stack
from .harness import OURS, Case, Contestant, optional

CASES = (
    ("uint8", (165, 768, 1024)),
    ("uint16", (165, 768, 1024)),
    ("float32", (165, 768, 1024)),
    ("uint8", (500, 512, 512)),
)
BLOCK = 1 << 14
"""Pixels of all slices that are converted and multiplied at once."""


def corrcoef(slices: Any, threads: int) -> Any:
    """Correlate the whole at once, in float64."""
    with threadpool_limits(threads, "blas"):
        return np.corrcoef(slices.reshape(len(slices), -1))


def float32_product(slices: Any, threads: int) -> Any:
    """Correlate by products of float32 matrices over blocks of pixels, shifted by the first pixel."""
    rows = slices.reshape(len(slices), -1)
    total, sums = np.zeros((len(rows), len(rows))), np.zeros(len(rows))
    shift = np.float32(rows[0, :4096].mean())
    with threadpool_limits(threads, "blas"):
        for start in range(0, rows.shape[1], BLOCK):
            block = rows[:, start : start + BLOCK].astype(np.float32)
            block -= shift
            total += block @ block.T
            sums += block.sum(axis=1, dtype=np.float64)
    covariance = total - np.outer(sums, sums) / rows.shape[1]
    std = np.sqrt(np.diag(covariance))
    return covariance / np.outer(std, std)


def case(dtype: str, shape: tuple[int, int, int]) -> Case:
    """Return the race over one stack. The reference is np.corrcoef of the first slices."""
    slices = stack(shape, dtype)
    expected = corrcoef(slices[:8], 1)

    def error(r: Any) -> float:
        return float(np.abs(r[:8, :8] - expected).max())

    def ours(name: str) -> Any:
        pairs = get_backend(name).cross_moments(slices)
        everyone = np.arange(len(slices))
        rows, columns = (index.ravel() for index in np.meshgrid(everyone[:8], everyone[:8], indexing="ij"))
        return pairs.pairs(rows, columns).correlation().reshape(8, 8)

    contestants = [
        Contestant(OURS, lambda: ours("numba"), error, 1e-11, note="exact" if dtype.startswith("u") else ""),
        Contestant(
            f"{OURS}, correlation_matrix",
            lambda: correlation_matrix(slices, backend="numba").statistic,
            error,
            1e-11,
            note="r of every pair",
        ),
        Contestant(f"{OURS}, numpy backend", lambda: ours("numpy"), error, 1e-11),
    ]
    for threads in (1, 2):
        contestants += [
            Contestant(f"np.corrcoef of the whole, BLAS on {threads}", lambda t=threads: corrcoef(slices, t), error),
            Contestant(f"float32 products, BLAS on {threads}", lambda t=threads: float32_product(slices, t), error),
        ]
    if modules := optional("torch"):
        torch = modules[0]
        flat = slices.reshape(len(slices), -1)
        contestants.append(
            Contestant(
                "torch.corrcoef, float32",
                lambda: torch.corrcoef(torch.from_numpy(flat.astype(np.float32, copy=False))).numpy(),
                error,
            )
        )
    return Case("cross_moments", f"{dtype}, {' x '.join(map(str, shape))}", slices.size * len(slices), contestants)


def cases() -> Iterator[Case]:
    """Yield a case a stack."""
    for parameters in CASES:
        yield case(*parameters)

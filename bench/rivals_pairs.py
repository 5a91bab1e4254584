"""Correlation of all pairs of slices, by others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from gpu_stackcorr.threads import allowed_threads

from .harness import Contestant
from .paths import Path
from .tensors import fetch, places

BLOCK = 1 << 14
"""Pixels of all slices that are converted and multiplied at once."""

Error = Callable[[Any], float]


def corrcoef(slices: Any, threads: int) -> Any:
    """Correlate the whole at once, in float64."""
    with threadpool_limits(threads, "blas"):
        return np.corrcoef(slices.reshape(len(slices), -1))


def float32_product(slices: Any, threads: int) -> Any:
    """Correlate by products of float32 matrices over blocks of pixels, shifted by the first pixels."""
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


def on_host(slices: Any, error: Error) -> Iterator[Contestant]:
    """Yield NumPy's ways, with BLAS on one thread and on all: two were once slower than one."""
    for threads in sorted({1, allowed_threads()}):
        whole, product = partial(corrcoef, slices, threads), partial(float32_product, slices, threads)
        yield Contestant(f"np.corrcoef of the whole, BLAS on {threads}", whole, error, note="float64")
        yield Contestant(f"float32 products, BLAS on {threads}", product, error, note="rounded to float32")


def with_tensors(slices: Any, error: Error) -> Iterator[Contestant]:
    """Yield PyTorch's corrcoef, on the CPU and the GPU."""
    for place, *_ in places():
        tensor = place.put(slices).reshape(len(slices), -1)

        def correlated(place: Any = place, tensor: Any = tensor) -> Any:
            return place.torch.corrcoef(tensor.to(place.torch.float32))

        yield Contestant(
            f"torch.corrcoef{place.suffix}",
            correlated,
            lambda r: error(fetch(r)),
            note="float32",
            synchronise=place.synchronise,
        )


def on_device(path: Path | None, slices: Any, error: Error) -> Iterator[Contestant]:
    """Yield CuPy's corrcoef, which is cuBLAS's product of the whole in float64, and its product in float32."""
    if path is None:
        return
    import cupy

    rows = path.place(slices).reshape(len(slices), -1)

    def product() -> Any:
        centred = rows.astype(np.float32)
        centred -= centred.mean(axis=1, keepdims=True)
        covariance = centred @ centred.T
        std = cupy.sqrt(cupy.diagonal(covariance))
        return covariance / (std[:, None] * std)

    wait = path.synchronise
    yield Contestant("cupy.corrcoef of the whole", lambda: cupy.corrcoef(rows), error, note="float64", synchronise=wait)
    yield Contestant("cuBLAS product, float32", product, error, note="rounded to float32", synchronise=wait)

"""Correlation of a stack's first slice with every slice, by others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from .harness import Contestant, optional
from .paths import Path
from .tensors import fetch, places

BLOCK = 16
"""Slices that are converted at once, by those who convert: as fast as all at once or faster, and little memory."""

MOST_CALLS = 4096
"""Slices above which nothing is called slice by slice on a GPU: the launches alone would take seconds."""

Error = Callable[[Any], float]


def notebook(slices: Any) -> Any:
    """Correlate as the notebook did: one call of corrcoef a slice."""
    return np.array([np.corrcoef(slices[0].ravel(), image.ravel())[0, 1] for image in slices])


def float64_loop(slices: Any) -> Any:
    """Correlate with a standardised reference, a slice at a time, in float64."""
    x = slices[0].ravel().astype(np.float64)
    x -= x.mean()
    x /= np.sqrt(x @ x)
    r = np.empty(len(slices))
    for n, image in enumerate(slices):
        y = image.ravel().astype(np.float64)
        y -= y.mean()
        r[n] = (x @ y) / np.sqrt(y @ y)
    return r


def blocks(slices: Any) -> Iterator[Any]:
    """Yield some slices at a time, as rows."""
    for n in range(0, len(slices), BLOCK):
        yield slices[n : n + BLOCK].reshape(-1, slices.shape[1] * slices.shape[2])


def float32_product(xp: Any, slices: Any) -> Any:
    """Correlate by products of float32 matrices, on NumPy's BLAS or cuBLAS."""
    x = slices[0].ravel().astype(np.float32)
    x -= x.mean(dtype=np.float64).astype(np.float32)
    x /= xp.linalg.norm(x)
    parts = []
    for block in blocks(slices):
        y = block.astype(np.float32)
        y -= y.mean(axis=1, keepdims=True)
        parts.append((y @ x) / xp.sqrt(xp.einsum("np,np->n", y, y)))
    return xp.concatenate(parts)


def with_scipy(slices: Any) -> Any:
    """Correlate by scipy.stats.pearsonr along an axis, with its p-values and Fisher's interval."""
    x, parts = slices[0].reshape(1, -1), []
    for block in blocks(slices):
        result = stats.pearsonr(x, block, axis=1)
        result.confidence_interval(0.95)
        parts.append(result.statistic)
    return np.concatenate(parts)


def with_torch(torch: Any, tensor: Any) -> Any:
    """Correlate tensors in float32."""
    x = tensor[0].reshape(-1).to(torch.float32)
    x = x - x.mean()
    x = x / x.norm()
    parts = []
    for block in blocks(tensor):
        y = block.to(torch.float32)
        y = y - y.mean(dim=1, keepdim=True)
        parts.append((y @ x) / y.norm(dim=1))
    return torch.cat(parts)


def with_torchmetrics(torch: Any, correlate: Any, tensor: Any) -> Any:
    """Correlate by torchmetrics, which takes observations down and outputs across, in float32."""
    x, parts = tensor[0].reshape(-1, 1).to(torch.float32), []
    for block in blocks(tensor):
        y = block.to(torch.float32).T
        parts.append(correlate(y, x.expand_as(y)).reshape(-1))
    return torch.cat(parts)


def on_host(slices: Any, error: Error) -> Iterator[Contestant]:
    """Yield the rivals on the CPU."""
    yield Contestant("the notebook: np.corrcoef per slice", partial(notebook, slices), error)
    yield Contestant("NumPy, float64, per slice", partial(float64_loop, slices), error)
    yield Contestant("BLAS product, float32", partial(float32_product, np, slices), error, note="rounded to float32")
    yield Contestant(
        "scipy.stats.pearsonr along an axis",
        partial(with_scipy, slices),
        error,
        note=f"with p-values and Fisher's interval; {BLOCK} slices a call",
    )
    if modules := optional("skimage.measure"):
        pearson = modules[0].pearson_corr_coeff
        yield Contestant(
            "scikit-image pearson_corr_coeff",
            lambda: np.array([pearson(slices[0], image)[0] for image in slices]),
            error,
            note="with p-values; a slice a call",
        )


def with_tensors(slices: Any, error: Error, *, host: bool = True) -> Iterator[Contestant]:
    """Yield the rivals that stand on PyTorch, on the CPU and the GPU."""
    note = f"float32, {BLOCK} slices at a time"
    for place, *_ in places(host=host):
        tensor = place.put(slices)
        yield Contestant(
            f"torch products{place.suffix}",
            partial(with_torch, place.torch, tensor),
            lambda r: error(fetch(r)),
            note=note,
            synchronise=place.synchronise,
        )
    for place, functional in places("torchmetrics.functional.regression", host=host):
        tensor = place.put(slices)
        yield Contestant(
            f"torchmetrics pearson_corrcoef{place.suffix}",
            partial(with_torchmetrics, place.torch, functional.pearson_corrcoef, tensor),
            lambda r: error(fetch(r)),
            note=note,
            synchronise=place.synchronise,
        )


def on_device(path: Path | None, slices: Any, error: Error) -> Iterator[Contestant]:
    """Yield CuPy's ways, with the slices on the device."""
    if path is None:
        return
    import cupy

    def corrcoef() -> Any:
        pairs = (cupy.stack([slices[0].ravel(), image.ravel()]) for image in slices)
        return cupy.stack([cupy.corrcoef(pair)[0, 1] for pair in pairs])

    wait = path.synchronise
    if len(slices) <= MOST_CALLS:
        yield Contestant("cupy.corrcoef per slice", corrcoef, error, note="float64", synchronise=wait)
    product = partial(float32_product, cupy, slices)
    yield Contestant("cuBLAS product, float32", product, error, note="rounded to float32", synchronise=wait)

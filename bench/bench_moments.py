"""Moments of a reference with a stack: the whole correlation of the notebook's stack, beside its rivals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import stats

import gpu_stackcorr
from gpu_stackcorr import intervals
from gpu_stackcorr.arrays import get_backend

from . import limits
from .harness import OURS, Case, Contestant, optional

SHAPE = (165, 768, 1024)
DTYPES = ("uint8", "uint16", "float32", "float64")


def stack(shape: tuple[int, int, int], dtype: str) -> Any:
    """Return slices that decorrelate with depth, over most of the range of `dtype`."""
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype)
    middle, scale = (0.0, 1.0) if kind.kind == "f" else ((np.iinfo(kind).max + 1) / 2, np.iinfo(kind).max / 8)
    values = rng.standard_normal(shape[1:], np.float32)
    slices = np.empty(shape, kind)
    for image in slices:
        image[...] = np.clip(middle + scale * values, 0, 2 * middle - 1) if kind.kind != "f" else values
        values = np.float32(0.95) * values + np.float32(0.3122499) * rng.standard_normal(shape[1:], np.float32)
    return slices


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


def float32_product(slices: Any) -> Any:
    """Correlate by products of float32 matrices, 16 slices at a time."""
    x = slices[0].ravel().astype(np.float32)
    x -= x.mean(dtype=np.float64).astype(np.float32)
    x /= np.linalg.norm(x)
    parts = []
    for n in range(0, len(slices), 16):
        y = slices[n : n + 16].reshape(-1, x.size).astype(np.float32)
        y -= y.mean(axis=1, keepdims=True)
        parts.append((y @ x) / np.sqrt(np.einsum("np,np->n", y, y)))
    return np.concatenate(parts)


def with_scipy(slices: Any) -> Any:
    """Correlate by scipy.stats.pearsonr, a slice at a time."""
    return np.array([stats.pearsonr(slices[0].ravel(), image.ravel()).statistic for image in slices])


def with_torch(torch: Any, slices: Any) -> Any:
    """Correlate in float32 tensors, 16 slices at a time."""
    tensor = torch.from_numpy(slices)
    x = tensor[0].reshape(-1).to(torch.float32)
    x = x - x.mean()
    x = x / x.norm()
    parts = []
    for n in range(0, len(slices), 16):
        y = tensor[n : n + 16].reshape(-1, x.numel()).to(torch.float32)
        y = y - y.mean(dim=1, keepdim=True)
        parts.append((y @ x) / y.norm(dim=1))
    return torch.cat(parts).numpy()


def case(dtype: str, shape: tuple[int, int, int]) -> Case:
    """Return the race over a stack of one dtype."""
    slices = stack(shape, dtype)
    compiled, plain = get_backend("numba"), get_backend("numpy")
    tiles = intervals.cell_edges(shape[1:])
    expected = notebook(slices[:3])

    def ours(backend: Any, references: int = 1, **options: Any) -> Any:
        return backend.moments(list(slices[:references]), slices, **options)[0].correlation()

    def contestant(name: str, call: Callable[[], Any], **rest: Any) -> Contestant:
        return Contestant(name, call, lambda r: float(np.abs(r[:3] - expected).max()), tolerance=1e-12, **rest)

    contestants = [
        contestant(OURS, lambda: ours(compiled)),
        contestant(f"{OURS}, with tiles", lambda: ours(compiled, tiles=tiles)),
        contestant(f"{OURS}, 4 references", lambda: ours(compiled, 4), work=4),
        contestant(
            f"{OURS}, stack_correlation",
            lambda: gpu_stackcorr.stack_correlation(slices, backend="numba").statistic,
            note="with what the intervals need",
        ),
        contestant(f"{OURS}, numpy backend", lambda: ours(plain)),
        Contestant("limit: memory read once", lambda: limits.read(slices)),
        contestant("the notebook: np.corrcoef per slice", lambda: notebook(slices)),
        contestant("NumPy, float64, per slice", lambda: float64_loop(slices)),
        contestant("NumPy, float32 product of matrices", lambda: float32_product(slices)),
        contestant("scipy.stats.pearsonr per slice", lambda: with_scipy(slices)),
    ]
    if modules := optional("skimage.measure"):
        pearson = modules[0].pearson_corr_coeff
        contestants.append(
            contestant("scikit-image per slice", lambda: np.array([pearson(slices[0], image)[0] for image in slices]))
        )
    if (modules := optional("torch")) and dtype != "uint16":
        contestants.append(contestant("torch, float32", lambda: with_torch(modules[0], slices)))
    return Case("moments", f"{dtype}, {' x '.join(map(str, shape))}", slices.size, contestants)


def cases(shape: tuple[int, int, int] = SHAPE) -> Iterator[Case]:
    """Yield a case a dtype."""
    for dtype in DTYPES:
        yield case(dtype, shape)

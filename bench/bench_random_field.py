"""Random fields by position, uniform and normal, beside the generators of NumPy, PyTorch and CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from gpu_stackcorr.arrays import get_backend

from . import reasons
from .harness import Case, Contestant
from .images import LARGE_CUBE, SLICE, shown
from .paths import Path, device, difference, ours
from .tensors import places

QUICK = (("float32", "uniform", (2, *SLICE)),)
FULL = (
    ("float32", "uniform", (2, *SLICE)),
    ("float64", "uniform", (2, *SLICE)),
    ("float64", "normal", SLICE),
    ("float32", "uniform", LARGE_CUBE),
)
SEED = 7


def philox(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the uniform field by NumPy's own Philox."""
    generator = np.random.Generator(np.random.Philox(key=np.array([SEED, 0], np.uint64)))
    return generator.random(shape, np.dtype(dtype))


def case(dtype: str, distribution: str, shape: tuple[int, ...]) -> Case:
    """Return the race over one dtype. Other generators give other numbers: they are held against nothing."""
    uniform = distribution == "uniform"
    if uniform:
        exact = philox(dtype, shape)
    else:
        exact = get_backend("numpy").random_field(SEED, 0, shape, distribution=distribution, dtype=np.float64)
    error = difference(exact)

    def drawn(path: Path) -> Any:
        engine, how = path.engine, {"distribution": distribution, "dtype": np.dtype(dtype)}
        return lambda: engine.random_field(SEED, 0, shape, **how)

    contestants = [
        # Box-Muller's functions differ by some units in the last place from one library to the next.
        *ours(drawn, error, 0.0 if uniform else 1e-6),
        *([Contestant("NumPy Philox", partial(philox, dtype, shape), error)] if uniform else []),
        *_numpy(dtype, uniform, shape),
        *_others(dtype, uniform, shape),
    ]
    count = int(np.prod(shape))
    return Case(
        "random_field",
        f"{distribution} {shown(dtype, shape)}",
        count,
        contestants,
        bytes=count * np.dtype(dtype).itemsize,
        written=count * np.dtype(dtype).itemsize,
        # The work is in integers (see counts.displacement), for which no limit is measured.
        reason=reasons.PHILOX,
    )


def _numpy(dtype: str, uniform: bool, shape: tuple[int, ...]) -> Iterator[Contestant]:
    """Yield NumPy's generator and its old one."""
    new, old = np.random.default_rng(0), np.random.RandomState(0)
    draw = new.random if uniform else new.standard_normal
    yield Contestant("NumPy PCG64", partial(draw, shape, np.dtype(dtype)), note="other numbers")
    name = "rand" if uniform else "randn"
    yield Contestant(f"NumPy RandomState.{name}", partial(getattr(old, name), *shape), note="other numbers, float64")


def _others(dtype: str, uniform: bool, shape: tuple[int, ...]) -> Iterator[Contestant]:
    """Yield the generators of PyTorch and CuPy."""
    for place, *_ in places():
        draw = place.torch.rand if uniform else place.torch.randn
        how = {"generator": place.generator(SEED), "dtype": getattr(place.torch, dtype), "device": place.device}
        name = f"torch {'rand' if uniform else 'randn'}{place.suffix}"
        yield Contestant(name, partial(draw, shape, **how), note="other numbers", synchronise=place.synchronise)
    if (path := device()) is not None:
        import cupy

        rng = cupy.random.default_rng(SEED)
        draw = rng.random if uniform else rng.standard_normal
        drawn = partial(draw, shape, dtype=np.dtype(dtype))
        name = f"cupy.random {'random' if uniform else 'standard_normal'}"
        yield Contestant(name, drawn, note="other numbers", synchronise=path.synchronise)


def cases(*, quick: bool = False) -> Iterator[Case]:
    """Yield a case a dtype and distribution."""
    for parameters in QUICK if quick else FULL:
        yield case(*parameters)

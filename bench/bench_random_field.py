"""Uniform random fields by position, beside NumPy's generators."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpu_stackcorr.arrays import get_backend

from .harness import OURS, Case, Contestant, largest_difference

SHAPE = (2, 768, 1024)
SEED = 7


def philox(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the field by NumPy's own Philox."""
    generator = np.random.Generator(np.random.Philox(key=np.array([SEED, 0], np.uint64)))
    return generator.random(shape, np.dtype(dtype))


def case(dtype: str, shape: tuple[int, ...] = SHAPE) -> Case:
    """Return the race over one dtype. Other generators give other numbers: they are held against nothing."""
    backend, kind = get_backend("numba"), np.dtype(dtype)
    generator, old = np.random.default_rng(0), np.random.RandomState(0)
    contestants = [
        Contestant(
            OURS,
            lambda: backend.random_field(SEED, 0, shape, dtype=kind),
            largest_difference(philox(dtype, shape)),
            0.0,
        ),
        Contestant("NumPy Philox", lambda: philox(dtype, shape), largest_difference(philox(dtype, shape))),
        Contestant("NumPy PCG64", lambda: generator.random(shape, kind), note="other numbers"),
        Contestant("NumPy RandomState.rand", lambda: old.rand(*shape), note="other numbers, float64"),
    ]
    return Case("random_field", f"{dtype}, {' x '.join(map(str, shape))}", int(np.prod(shape)), contestants)


def cases() -> Iterator[Case]:
    """Yield a case a dtype."""
    yield case("float32")
    yield case("float64")

"""The notebook's four experiments from end to end, on a stack of its size, against its own way of computing.

The notebook standardises slice 0 and each transformed slice, adds noise, and calls np.corrcoef: a loop over slices, and
for the noise sweep a loop over magnitudes around that. Ours gives intervals (by tiles) as well, which the notebook's
loop here leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from gpu_stackcorr import noise_sweep, notebook, stack_correlation
from gpu_stackcorr.transforms import Elastic, flip_right_left, identity, noise_field

from . import bench_warp_moments, counts, recipe
from .harness import Case, Contestant
from .images import SMALL_SLICE, STACK, shown, stack
from .paths import Path, difference, ours

NAMES = ("identity", "flip", "noise sweep", "elastic")
QUICK = tuple((name, (8, *SMALL_SLICE)) for name in NAMES)
FULL = (*((name, STACK) for name in NAMES), ("elastic", STACK, "uint8"))
"""In float64, which the notebook computed in; the costliest also of bytes, as microscopes write them."""

MAGNITUDES = (0.0, 1.0, 2.0, 3.0, 4.0)
ALPHA, SIGMA, SEED = 250.0, 5.0, 1
PART = 3
"""Slices on which results are verified."""

THEIRS = "the notebook"
TILES = "with intervals by tiles"


def _plain(slices: Any, transform: Any, moved: Callable[[Any], Any]) -> list[Contestant]:
    """Return the race for a transform that only moves pixels: `moved` is the notebook's function."""
    error = difference(recipe.correlations(slices[:PART], moved), slice(PART))

    def correlated(path: Path) -> Any:
        placed = path.place(slices)
        return lambda: stack_correlation(placed, transform=transform, backend=path.backend).statistic

    def as_notebook(path: Path) -> Any:
        placed = path.place(slices)[:, np.newaxis]

        def call() -> Any:
            with path.used():
                return notebook.z_correlation(placed, transform, plot=False)

        return call

    return [
        *ours(correlated, error, 1e-12, note=TILES),
        *ours(as_notebook, error, 1e-12, also="notebook.z_correlation"),
        Contestant(THEIRS, partial(recipe.correlations, slices, moved), error),
    ]


def _noise_sweep(slices: Any) -> list[Contestant]:
    """Return the race over all magnitudes; one noise field serves all of ours, the notebook draws one a magnitude."""
    field = noise_field(slices.shape[1:], SEED, "numpy")
    error = difference([recipe.correlations(slices[:PART], np.asarray, m * field) for m in MAGNITUDES], np.s_[:, :PART])

    def swept(path: Path) -> Any:
        placed = path.place(slices)

        def call() -> Any:
            battery = noise_sweep(placed, MAGNITUDES, seed=SEED, backend=path.backend)
            return np.stack([curve.statistic for curve in battery.values()])

        return call

    def theirs() -> Any:
        rng = np.random.RandomState(SEED)
        noises = [m * rng.standard_normal(slices.shape[1:]) for m in MAGNITUDES]
        return np.stack([recipe.correlations(slices, np.asarray, noise) for noise in noises])

    return [
        *ours(swept, error, 1e-9, note=TILES),
        Contestant(THEIRS, theirs, note="its own noise, a field a magnitude"),
    ]


def _elastic(slices: Any) -> list[Contestant]:
    """Return the race over deformed slices, each with a field of its own."""
    transform = Elastic(ALPHA, SIGMA, seed=SEED)
    error = difference(bench_warp_moments.expected(slices), slice(PART))
    allowed = bench_warp_moments.tolerance(str(slices.dtype), slices[0].size)

    def deformed(path: Path) -> Any:
        placed = path.place(slices)
        return lambda: stack_correlation(placed, transform=transform, backend=path.backend).statistic

    theirs = partial(recipe.deformed, slices, ALPHA, SIGMA)
    return [*ours(deformed, error, allowed, note=TILES), Contestant(THEIRS, theirs, note="its own noise")]


def case(name: str, shape: tuple[int, int, int], dtype: str = "float64") -> Case:
    """Return the race over one experiment."""
    slices = stack(shape, dtype)
    make: dict[str, Callable[[Any], list[Contestant]]] = {
        "identity": partial(_plain, transform=identity, moved=np.asarray),
        "flip": partial(_plain, transform=flip_right_left, moved=np.fliplr),
        "noise sweep": _noise_sweep,
        "elastic": _elastic,
    }
    operations = counts.pair(slices.size, integer=dtype.startswith("u"))
    if name == "noise sweep":
        operations += 2 * slices.size  # the products of each slice with the noise
    if name == "elastic":
        operations += len(slices) * counts.elastic(slices[0].size, [SIGMA] * 2)
    return Case(
        "experiments",
        f"{name}: {shown(dtype, shape)}",
        slices.size * (len(MAGNITUDES) if name == "noise sweep" else 1),
        make[name](slices),
        bytes=slices.nbytes + slices[0].nbytes,  # all magnitudes in one read
        operations=operations,
        group="experiment",
        arithmetic="float64" if dtype == "float64" else "float32",
    )


def cases(*, quick: bool = False) -> Iterator[Case]:
    """Yield a case an experiment and dtype."""
    for parameters in QUICK if quick else FULL:
        yield case(*parameters)

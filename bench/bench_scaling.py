"""How time and memory grow: series of cases in which one number varies, ours alone.

Time should grow with slices, pixels and sigma as the arithmetic does, not with alpha nor with the budget of memory, and
fall with threads and Dask's workers; memory should grow with none of them but the budget, where a volume is read in
slabs.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np

from gpu_stackcorr import (
    elastic_transform,
    image_correlation,
    stack_correlation,
    use_backend,
    use_threads,
    warp,
)
from gpu_stackcorr.pipeline import correlate_volume
from gpu_stackcorr.threads import available_threads
from gpu_stackcorr.transforms import Elastic, identity
from gpu_stackcorr.volumes import open_volume

from . import counts, recipe
from .harness import Case, Skip, optional
from .images import SLICE, STACK, shown, smooth, stack
from .interpolated import work
from .paths import HOST, Path, difference, ours

ALPHA, SIGMA, SEED = 250.0, 5.0, 1
FEW = (16, *SLICE)
MEBIBYTE = 2**20

SLABS = 8
"""Tasks that Dask's workers share."""

Make = Callable[[Path], Callable[[], Any]]


class Point(NamedTuple):
    """A place in a series.

    Attributes
    ----------
    operation, parameter : str
        They name the series.
    value : float
        Of the parameter.
    on : str
        What stays the same.
    """

    operation: str
    parameter: str
    value: float
    on: str

    def case(
        self,
        make: Make,
        error: Callable[[Any], float] | None,
        tolerance: float,
        pixels: int,
        *,
        backends: Sequence[str] = (),
        **work: Any,
    ) -> Case:
        """Return the case with our contestants; `work` is its bytes, operations and arithmetic."""
        return Case(
            self.operation,
            f"{self.parameter} {self.value:g}: {self.on}",
            pixels,
            list(ours(make, error, tolerance, backends=backends)),
            group="scaling",
            parameters={self.parameter: self.value},
            **work,
        )


def correlation(point: Point, shape: tuple[int, int, int]) -> Case:
    """Return the correlation of a uint8 stack."""
    slices = stack(shape, "uint8")
    error = difference(recipe.correlations(slices[:3], np.asarray), slice(3))

    def correlated(path: Path) -> Any:
        placed = path.place(slices)
        return lambda: stack_correlation(placed, backend=path.backend).statistic

    operations = counts.pair(slices.size, integer=True)
    return point.case(
        correlated, error, 1e-12, slices.size, bytes=slices.nbytes + slices[0].nbytes, operations=operations
    )


def deformation(point: Point, shape: tuple[int, int], alpha: float, sigma: float) -> Case:
    """Return the elastic deformation of a float32 slice."""
    image = smooth(shape, "float32")
    exact = elastic_transform(image.astype(np.float64), alpha, sigma, seed=SEED, check_folds=False, backend="numpy")

    def deformed(path: Path) -> Any:
        placed = path.place(image)
        return lambda: elastic_transform(placed, alpha, sigma, seed=SEED, check_folds=False, backend=path.backend)

    # The displacement is known to 1e-6 of its size, and its largest slope here is a tenth of the range a pixel.
    tolerance = 255 * max(1e-5, 1e-6 * alpha / sigma)
    operations = counts.elastic(image.size, [sigma] * 2)
    return point.case(
        deformed,
        difference(exact),
        tolerance,
        image.size,
        bytes=2 * image.nbytes,
        written=image.nbytes,
        operations=operations,
    )


def warping(point: Point, shape: tuple[int, int], order: int) -> Case:
    """Return a warp of a float32 slice by a spline of some order."""
    given = work("float32", shape, order)

    def warped(path: Path) -> Any:
        image, field = path.place(given.image), path.place(given.field)
        return lambda: warp(image, field, order=order, mode="reflect", backend=path.backend)

    operations = counts.warp(given.image.size, 2, order)
    n_bytes = 2 * given.image.nbytes + given.field.nbytes
    # Splines of high order swing out between samples, and so do their errors.
    return point.case(
        warped,
        given.own_error,
        1e-3 * 2.55 * (1 + order),
        given.image.size,
        bytes=n_bytes,
        written=given.image.nbytes,
        operations=operations,
    )


def threaded(point: Point, shape: tuple[int, int, int]) -> Case:
    """Return the deformation and correlation of a uint8 stack on some threads."""
    slices, transform = stack(shape, "uint8"), Elastic(ALPHA, SIGMA, seed=SEED)

    def correlated(path: Path) -> Any:
        def call() -> Any:
            with use_threads(int(point.value)):
                return stack_correlation(slices, transform=transform, backend=path.backend).statistic

        return call

    return _deformed_and_correlated(point, slices, correlated)


def with_dask(point: Point, shape: tuple[int, int, int]) -> Case | Skip:
    """Return the same work, a slab a task of Dask, by some workers of its threaded scheduler with one thread each."""
    modules = optional("dask")
    if modules is None:
        return Skip(point.operation, f"{point.parameter} {point.value:g}", "dask cannot be imported")
    dask, slices, transform = modules[0], stack(shape, "uint8"), Elastic(ALPHA, SIGMA, seed=SEED)

    def correlated(path: Path) -> Any:
        def slab(numbers: Any) -> list[float]:
            with use_threads(1), use_backend(path.backend):
                deformed = [transform(slices[n], index=int(n)) for n in numbers]
                return [float(image_correlation(slices[0], image).statistic) for image in deformed]

        tasks = [dask.delayed(slab)(numbers) for numbers in np.array_split(np.arange(len(slices)), SLABS)]

        def call() -> Any:
            return np.concatenate(dask.compute(*tasks, scheduler="threads", num_workers=int(point.value)))

        return call

    return _deformed_and_correlated(point, slices, correlated)


def _deformed_and_correlated(point: Point, slices: Any, make: Make) -> Case:
    """Return the case of slices that are deformed and correlated with the first, whoever shares the work out."""
    transform = Elastic(ALPHA, SIGMA, seed=SEED)
    exact = stack_correlation(slices[:2], transform=transform, backend="numpy").statistic
    each = counts.elastic(slices[0].size, [SIGMA] * 2) + counts.pair(slices[0].size, integer=True)
    return point.case(
        make,
        difference(exact, slice(2)),
        1e-5,
        slices.size,
        backends=HOST,
        bytes=slices.nbytes,
        operations=len(slices) * each,
    )


class _Folder:
    """A temporary folder that goes when nothing refers to it any more."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="stackcorr-bench-")
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def budgeted(point: Point, shape: tuple[int, int, int]) -> Case:
    """Return the correlation of a float32 volume on disk within a budget of memory, which sets its slabs."""
    slices = stack(shape, "float32")
    error = difference(recipe.correlations(slices[:3], np.asarray), slice(3))
    folder = _Folder()
    file = FilePath(folder.path) / "stack.npy"
    np.save(file, slices)

    def correlated(path: Path) -> Any:
        def call(_folder: _Folder = folder) -> Any:  # the folder lasts as long as its calls
            how: dict[str, Any] = {"backend": path.backend, "threads": 1, "memory": int(point.value * MEBIBYTE)}
            with open_volume(file) as volume:
                return correlate_volume(volume, [identity], **how)["identity"].statistic

        return call

    operations = counts.pair(slices.size, integer=False)
    return point.case(
        correlated, error, 1e-6, slices.size, bytes=slices.nbytes, operations=operations, arithmetic="float64"
    )


Made = tuple[Point, Callable[[Point], Case | Skip]]


def _series(
    shapes: Sequence[tuple[int, int, int]],
    sides: Sequence[int],
    image: tuple[int, int],
    few: tuple[int, int, int],
    *,
    dense: bool,
) -> Iterator[Made]:
    """Yield every place of every series with what makes its case."""
    for shape in shapes:
        point = Point("stack_correlation", "slices", shape[0], shown("uint8 slices", shape[1:]))
        yield point, partial(correlation, shape=shape)
    for side in sides:
        point = Point("stack_correlation", "pixels a slice", side * side, f"uint8, {few[0]} slices")
        yield point, partial(correlation, shape=(few[0], side, side))
    on = shown("float32", image)
    for sigma in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0) if dense else (2.0, 8.0):
        point = Point("elastic_transform", "sigma", sigma, f"{on}, alpha {ALPHA:g}")
        yield point, partial(deformation, shape=image, alpha=ALPHA, sigma=sigma)
    for alpha in (1.0, 10.0, 100.0, 1000.0) if dense else (10.0, 1000.0):
        point = Point("elastic_transform", "alpha", alpha, f"{on}, sigma {SIGMA:g}")
        yield point, partial(deformation, shape=image, alpha=alpha, sigma=SIGMA)
    for order in range(6) if dense else (1, 3):
        yield Point("warp", "order", order, f"{on}, reflect"), partial(warping, shape=image, order=order)
    for threads in thread_counts(available_threads()):
        point = Point("deform and correlate", "threads", threads, shown("uint8", few))
        yield point, partial(threaded, shape=few)
    for workers in thread_counts(available_threads()):
        point = Point("deform and correlate", "workers", workers, f"{shown('uint8', few)}, {SLABS} tasks of Dask")
        yield point, partial(with_dask, shape=few)
    for memory in (40, 64, 128, 256) if dense else (40, 256):
        point = Point("correlate_volume", "MiB of memory", memory, f"{shown('float32', shapes[-1])}, on disk, 1 thread")
        yield point, partial(budgeted, shape=shapes[-1])


def thread_counts(available: int) -> list[int]:
    """Return powers of two up to the number of processors, and that."""
    return sorted({2**k for k in range(available.bit_length()) if 2**k <= available} | {available})


QUICK = tuple(_series([(n, 192, 256) for n in (4, 64)], (64, 256), (192, 256), (8, 192, 256), dense=False))
FULL = tuple(_series([(n, *SLICE) for n in (10, 20, 40, 80, STACK[0])], (256, 512, 1024, 2048), SLICE, FEW, dense=True))


def cases(*, quick: bool = False) -> Iterator[Case | Skip]:
    """Yield a case a place of a series."""
    for point, make in QUICK if quick else FULL:
        case = make(point)
        # Quick: on one backend.
        yield replace(case, contestants=case.contestants[:1]) if quick and isinstance(case, Case) else case

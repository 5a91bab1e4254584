"""The cases, tiny: every contestant that is installed does its work, and ours are right."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_stackcorr.benchmarks import module

module("harness")  # makes a package of the benchmarks of a source tree

from gpu_stackcorr._bench import (  # noqa: E402
    bench_cross_moments,
    bench_displacement,
    bench_elastic_transform,
    bench_experiments,
    bench_gaussian_filter,
    bench_intervals,
    bench_lags,
    bench_map_coordinates,
    bench_moments,
    bench_random_field,
    bench_scaling,
    bench_spline_filter,
    bench_warp,
    bench_warp_moments,
    images,
    limits,
)
from gpu_stackcorr._bench.harness import Skip, race  # noqa: E402
from gpu_stackcorr._bench.paths import paths  # noqa: E402

CASES = {
    "identity": lambda: bench_experiments.case("identity", (4, 48, 64)),
    "flip": lambda: bench_experiments.case("flip", (4, 48, 64)),
    "noise sweep": lambda: bench_experiments.case("noise sweep", (4, 48, 64)),
    "elastic": lambda: bench_experiments.case("elastic", (4, 48, 64)),
    "elastic, bytes": lambda: bench_experiments.case("elastic", (4, 48, 64), "uint8"),
    "moments of integers": lambda: bench_moments.case("uint8", (5, 64, 80)),
    "moments of floats": lambda: bench_moments.case("float64", (5, 64, 80)),
    "intervals": lambda: bench_intervals.case("uint8", (4, 64, 80)),
    "cross_moments": lambda: bench_cross_moments.case("uint8", (9, 16, 24)),
    "lags": lambda: bench_lags.case("uint8", (9, 32, 48), 3),
    "gaussian_filter": lambda: bench_gaussian_filter.case("float32", (60, 70), 2.0),
    "gaussian_filter of integers": lambda: bench_gaussian_filter.case("uint8", (60, 70), 2.0),
    "gaussian_filter in 3-D": lambda: bench_gaussian_filter.case("float64", (9, 10, 11), 1.0),
    "spline_filter": lambda: bench_spline_filter.case("float64", (33, 40), 3),
    "map_coordinates": lambda: bench_map_coordinates.case("float32", (60, 70), 1),
    "warp": lambda: bench_warp.case("float32", (60, 70), 1),
    "warp of slices": lambda: bench_warp.case("float32", (3, 60, 70), 1, slices=True),
    "random_field": lambda: bench_random_field.case("float32", "uniform", (2, 33, 40)),
    "normal random_field": lambda: bench_random_field.case("float64", "normal", (33, 40)),
    "displacement": lambda: bench_displacement.case("float32", (64, 80), 5.0),
    "displacement in 3-D": lambda: bench_displacement.case("float64", (16, 17, 18), 2.0),
    "elastic_transform": lambda: bench_elastic_transform.case("uint8", (64, 80), 5.0),
    "elastic_transform in 3-D": lambda: bench_elastic_transform.case("float32", (16, 17, 18), 2.0),
    "warp_moments": lambda: bench_warp_moments.case("uint8", (3, 48, 64)),
}


@pytest.mark.parametrize("name", CASES)
def test_contestants_do_their_work(name):
    case = CASES[name]()
    rows = race(case, seconds=0)
    assert [row.contestant for row in rows] == [contestant.name for contestant in case.contestants]
    assert {path.backend for path in paths()} == {row.backend for row in rows if row.backend}
    assert all(row.error is not None for row in rows if row.backend)
    assert case.bytes >= case.written > 0 or case.written == 0 < case.bytes
    assert case.operations is None or case.operations > 0


@pytest.mark.parametrize(
    "make", [module.case for module in (bench_gaussian_filter, bench_warp, bench_displacement, bench_elastic_transform)]
)
def test_large_images_are_verified_on_some_planes(make, monkeypatch):
    monkeypatch.setattr(images, "LARGE", 1000)
    case = make("float32", (20, 24, 28), 1)
    assert all(row.error < 1e-2 for row in race(case, seconds=0) if row.backend)


def test_a_series_grows():
    shapes, image, few = [(2, 32, 48), (4, 32, 48)], (32, 48), (2, 32, 48)
    points = list(bench_scaling._series(shapes, (16, 32), image, few, dense=False))
    by_series = {(point.operation, point.parameter): (point, make) for point, make in points}
    assert len(by_series) == 8
    for point, make in by_series.values():
        case = make(point)
        if isinstance(case, Skip):
            assert case.reason == "dask cannot be imported"
            continue
        assert case.group == "scaling"
        assert case.parameters == {point.parameter: point.value}
        assert all(row.error is not None for row in race(case, seconds=0))


def test_names_of_cases_differ():
    names = [(point.operation, point.parameter, point.value) for point, _ in bench_scaling.FULL]
    assert len(names) == len(set(names))


def test_threads_are_powers_of_two_and_all():
    assert bench_scaling.thread_counts(1) == [1]
    assert bench_scaling.thread_counts(6) == [1, 2, 4, 6]
    assert bench_scaling.thread_counts(8) == [1, 2, 4, 8]


@pytest.mark.parametrize(
    "module",
    [
        *(bench_gaussian_filter, bench_spline_filter, bench_map_coordinates),
        *(bench_warp, bench_displacement, bench_elastic_transform),
    ],
)
def test_what_does_not_fit_memory_is_left_out_with_the_reason(module, monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda: 1000)
    left_out = list(module.cases(quick=True))
    assert len(left_out) == len(module.QUICK)
    assert all(isinstance(case, Skip) and "GB of memory" in case.reason for case in left_out)


@pytest.mark.parametrize("compiled", [True, False])
def test_limits_are_measured_without_numba_too(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(limits, "_summed", lambda: limits._plain_sum)
    rates = limits.measure(0, array_bytes=2**16, side=16)
    assert set(rates) == {
        *(f"{name}_bytes_per_second" for name in ("read", "copy", "write")),
        *("float32_flops", "float64_flops"),
    }
    assert all(rate > 0 for rate in rates.values())
    words = np.arange(1001, dtype=np.uint64)
    assert limits.read(words) == 500500

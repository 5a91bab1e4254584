"""The cases, tiny: every contestant that is installed does its work, and ours are right."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="the benchmarks are not beside the package")

from bench import (
    bench_cross_moments,
    bench_displacement,
    bench_elastic_transform,
    bench_gaussian_filter,
    bench_map_coordinates,
    bench_moments,
    bench_random_field,
    bench_spline_filter,
    bench_warp,
    interpolated,
)
from bench.harness import race
from bench.paths import paths

CASES = {
    "moments of integers": lambda: bench_moments.case("uint8", (5, 64, 80)),
    "moments of floats": lambda: bench_moments.case("float64", (5, 64, 80)),
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
    "cross_moments": lambda: bench_cross_moments.case("uint8", (9, 16, 24)),
    "elastic_transform": lambda: bench_elastic_transform.case("uint8", (64, 80), 5.0),
    "elastic_transform in 3-D": lambda: bench_elastic_transform.case("float32", (16, 17, 18), 2.0),
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


@pytest.mark.parametrize("make", [bench_gaussian_filter.case, bench_warp.case])
def test_large_images_are_verified_on_some_planes(make, monkeypatch):
    monkeypatch.setattr(bench_gaussian_filter, "LARGE", 1000)
    monkeypatch.setattr(interpolated, "LARGE", 1000)
    case = make("float32", (20, 24, 28), 1)
    assert all(row.error < 1e-2 for row in race(case, seconds=0) if row.backend)

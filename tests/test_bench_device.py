"""The cases on a GPU, tiny, with the stand-in for CuPy: ours and CuPy's contestants do their work on the device."""

from __future__ import annotations

import pytest
from emulator.stand_in import cupy_stand_in

from gpu_stackcorr.benchmarks import module

pytest.importorskip("threadpoolctl")
module("harness")  # makes a package of the benchmarks of a source tree; Numba's cache of it knows no other name

from gpu_stackcorr._bench import (  # noqa: E402
    bench_cross_moments,
    bench_displacement,
    bench_elastic_transform,
    bench_experiments,
    bench_gaussian_filter,
    bench_map_coordinates,
    bench_moments,
    bench_random_field,
    bench_spline_filter,
    bench_warp,
    bench_warp_moments,
    limits,
    paths,
)
from gpu_stackcorr._bench.harness import verified  # noqa: E402

CASES = {
    "moments": lambda: bench_moments.case("uint8", (3, 32, 40)),
    "moments of more slices than are made": lambda: bench_moments.large_case(paths.device(), "uint8", (70, 16, 24)),
    "cross_moments": lambda: bench_cross_moments.case("uint8", (8, 16, 24)),
    "gaussian_filter": lambda: bench_gaussian_filter.case("float32", (32, 40), 1.0),
    "spline_filter": lambda: bench_spline_filter.case("float64", (32, 40), 3),
    "map_coordinates": lambda: bench_map_coordinates.case("float32", (32, 40), 1),
    "warp": lambda: bench_warp.case("float32", (32, 40), 1),
    "random_field": lambda: bench_random_field.case("float32", "uniform", (2, 32, 40)),
    "normal random_field": lambda: bench_random_field.case("float32", "normal", (32, 40)),
    "displacement": lambda: bench_displacement.case("float32", (32, 40), 2.0),
    "elastic_transform": lambda: bench_elastic_transform.case("float32", (32, 40), 2.0),
    "warp_moments": lambda: bench_warp_moments.case("float32", (3, 32, 40), host=False),
    "an experiment": lambda: bench_experiments.case("elastic", (3, 32, 40)),
}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """The stand-in for CuPy; what is compiled for it is kept for the module."""
    with cupy_stand_in(tmp_path_factory.mktemp("code")) as module:
        yield module


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("stand_in")
def test_contestants_do_their_work_on_the_device(name):
    case = CASES[name]()
    on_device = [contestant for contestant in case.contestants if contestant.synchronise is not None]
    assert {one.backend for one in on_device} <= {"cuda", None}
    assert any(one.backend == "cuda" for one in on_device)
    for contestant in on_device:
        error = verified(case, contestant, contestant.waited())
        assert error is not None or contestant.backend is None
        assert error is None or error < 1e-3 * 255


@pytest.mark.usefixtures("stand_in")
def test_the_limits_of_a_device_are_measured():
    rates = limits.measure_device(0, array_bytes=2**16, side=8)
    assert set(rates) == set(limits.measure(0, array_bytes=2**16, side=8))
    assert all(rate > 0 for rate in rates.values())

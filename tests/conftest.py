"""Fixtures and options of all tests: the backends, and how much of a cross of parameters is run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from emulator import emulated_device, emulated_devices, sanitizer
from emulator.stand_in import cupy_stand_in

from gpu_stackcorr import arrays
from gpu_stackcorr.arrays import available_backends, get_backend
from gpu_stackcorr.backends.base import Backend
from gpu_stackcorr.backends.cuda_.backend import CudaBackend

try:
    from hypothesis import settings
except ImportError:  # the machines with a GPU have pytest, NumPy, SciPy and CuPy only
    pass
else:
    settings.register_profile("default", max_examples=200, deadline=None, print_blob=True)
    settings.register_profile("closing", max_examples=10_000, deadline=None, print_blob=True)
    settings.load_profile("default")

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # where `bench` is; behind an installed gpu_stackcorr

NEEDS = {
    **dict.fromkeys(("test_bench_command.py", "test_bench_compare.py", "test_bench_passes_command.py"), "typer"),
    **dict.fromkeys(("test_cli.py", "test_cli_ahead.py", "test_cli_errors.py"), "typer"),
    "test_bench_cases.py": "threadpoolctl",
    **dict.fromkeys(("test_deformation_plots.py", "test_plots.py"), "matplotlib"),
}
"""Tests of what those machines lack."""

collect_ignore = [file for file, library in NEEDS.items() if find_spec(library) is None]

REQUIRED_BY = {"numba": "REQUIRE_NUMBA", "cuda": "REQUIRE_GPU"}
"""The variable that turns the skip of a backend into a failure where it is 1."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run every combination of a cross, not every pair of values")
    parser.addoption("--no-operations", action="store_true", help="leave out the tests of the operations of a backend")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cross(**values): every pair of the values of its arguments; with --full, all")
    if config.getoption("full"):
        os.environ["EMULATOR_WATCHED"] = "1"  # before any kernel is built


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", _backends(metafunc), indirect=True, scope="session")
    for marker in metafunc.definition.iter_markers("cross"):
        rows = list(product(*marker.kwargs.values())) if metafunc.config.getoption("full") else pairwise(marker.kwargs)
        metafunc.parametrize(list(marker.kwargs), rows)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("no_operations"):
        items[:] = [item for item in items if "backend" not in getattr(item, "fixturenames", ())]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process a part of the tests, of which others that are idle take over some, where nothing else is asked.

    By turns, both would compile what they meet at the same time.
    """
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


def pairwise(values: Mapping[str, Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Return rows in which every pair of values of two parameters meets at least once, greedily, always the same."""
    sizes = [len(options) for options in values.values()]
    missing = {
        (a, i, b, j) for a, b in combinations(range(len(sizes)), 2) for i in range(sizes[a]) for j in range(sizes[b])
    }
    rows: list[tuple[Any, ...]] = []
    while missing:
        a, i, b, j = min(missing)
        row = {a: i, b: j}
        for c in range(len(sizes)):
            if c not in row:
                row[c] = max(range(sizes[c]), key=lambda k: (_new_pairs({**row, c: k}, missing), -k))
        missing.difference_update(_pairs(row))
        rows.append(tuple(options[row[c]] for c, options in enumerate(values.values())))
    return rows


def _pairs(row: Mapping[int, int]) -> Iterator[tuple[int, int, int, int]]:
    return ((a, row[a], b, row[b]) for a, b in combinations(sorted(row), 2))


def _new_pairs(row: Mapping[int, int], missing: set[tuple[int, int, int, int]]) -> int:
    return sum(pair in missing for pair in _pairs(row))


EMULATED = {
    *("test_random_field", "test_gaussian_filter", "test_spline_filter", "test_displacement"),
    *("test_control_grid", "test_displacement_fields"),
    *("test_map_coordinates", "test_warp", "test_elastic_transform", "test_elastic_inputs", "test_ndimage"),
    *("test_elastic", "test_jacobian", "test_folds", "test_inversion"),
    *("test_random_cases", "test_elastic_options", "test_compositions", "test_recipes", "test_block_deformation"),
    *("test_moments", "test_moments_cells", "test_moments_merge", "test_nist"),
    *("test_cross_moments", "test_warp_moments"),
}
"""The tests that run on the emulator of CUDA as well: those of the operations that have kernels."""


def _backends(metafunc: pytest.Metafunc) -> list[Any]:
    """Return the parameters of ``backend``: every backend, and the emulator in one schedule, with --full in all."""
    names = [
        pytest.param(name, marks=[pytest.mark.gpu] if name == "cuda" else []) for name in sorted(available_backends())
    ]
    if metafunc.module.__name__.rpartition(".")[2] not in EMULATED:
        return names
    emulated = emulated_devices() if metafunc.config.getoption("full") or sanitizer() else ["emulator-random"]
    return emulated if sanitizer() else [*names, *emulated]


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every backend in turn; one that cannot run here is skipped with its reason, or fails where it is required."""
    name = request.param
    if name in emulated_devices():
        return CudaBackend(emulated_device(name))
    info = available_backends()[name]
    if not info.available:
        variable = REQUIRED_BY.get(name, "")
        if os.environ.get(variable) == "1":
            pytest.fail(f"{variable}=1, but {name} is not available: {info.reason}")
        pytest.skip(f"{name}: {info.reason}")
    return CudaToHost() if name == "cuda" else get_backend(name)


@pytest.fixture
def chosen_backend(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have functions that are given no backend take that of the test, if it has one."""
    if "backend" not in request.fixturenames:
        yield
        return
    with arrays.use_backend(request.getfixturevalue("backend").name):
        yield


class CudaToHost(CudaBackend):
    """The ``cuda`` backend with all results on the host: it leaves on the device what is made from a seed alone."""

    def random_field(self, *args: Any, **kwargs: Any) -> Any:
        """Return a field on the host."""
        return self.to_host(super().random_field(*args, **kwargs))

    def displacement(self, *args: Any, **kwargs: Any) -> Any:
        """Return a displacement on the host."""
        return self.to_host(super().displacement(*args, **kwargs))

    def control_grid(self, *args: Any, **kwargs: Any) -> Any:
        """Return a displacement on the host."""
        return self.to_host(super().control_grid(*args, **kwargs))


@pytest.fixture(scope="module", params=["stand-in", pytest.param("gpu", marks=pytest.mark.gpu)])
def cupy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """CuPy, and the stand-in for it of the emulator."""
    if request.param == "stand-in":
        with cupy_stand_in(tmp_path_factory.mktemp("code")) as module:
            yield module
        return
    info = available_backends()["cuda"]
    if not info.available:
        if os.environ.get("REQUIRE_GPU") == "1":
            pytest.fail(f"REQUIRE_GPU=1, but cuda is not available: {info.reason}")
        pytest.skip(f"cuda: {info.reason}")
    import cupy

    if os.environ.get("CUDA_NO_POOL") == "1":
        cupy.cuda.set_allocator(None)
    yield cupy


@pytest.fixture
def stand_in(cupy: Any) -> Any:
    """The stand-in alone."""
    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("asks things of the stand-in for CuPy")
    return cupy


@pytest.fixture(autouse=True)
def _cuda_is_emulated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the name ``cuda`` mean the emulated backend where a test runs on that: public functions take names."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if parameters.get("backend") not in emulated_devices():
        return
    emulated, explicit = request.getfixturevalue("backend"), arrays._explicit
    monkeypatch.setattr(
        arrays, "_explicit", lambda name, source: emulated if name == "cuda" else explicit(name, source)
    )

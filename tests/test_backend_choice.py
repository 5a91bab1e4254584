"""Which backend is chosen and by whom: the automatic choice, the variable, contexts, names; what is missing says so."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gpu_stackcorr
from gpu_stackcorr import arrays, available_backends, backends, get_backend, use_backend
from gpu_stackcorr.backends.info import BackendInfo
from gpu_stackcorr.errors import BackendError, ParameterError

VARIABLE = "GPU_STACKCORR_BACKEND"
NAMES = ("cuda", "numba", "numpy")
MISSING = [name for name, info in available_backends().items() if not info.available]


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def missing() -> str:
    """The name of a backend that cannot run here."""
    if not MISSING:
        pytest.skip("every backend can run here")
    return MISSING[0]


@pytest.fixture
def pretend(monkeypatch):
    """Let chosen backends be available, each answering with its own name; returns what was loaded."""
    loaded: list[str] = []

    def make(*available: str) -> list[str]:
        infos = {
            name: BackendInfo(name, name in available, "1", f"{name} device", "" if name in available else f"no {name}")
            for name in NAMES
        }
        monkeypatch.setattr(backends, "probe", infos.__getitem__)
        monkeypatch.setattr(backends, "load", lambda name: loaded.append(name) or SimpleNamespace(name=name))
        arrays._automatic.cache_clear()
        return loaded

    yield make
    monkeypatch.undo()
    arrays._automatic.cache_clear()


def test_every_backend_is_listed_with_what_is_known_of_it():
    infos = available_backends()
    assert set(infos) == set(NAMES)
    assert infos["numpy"].available
    assert infos["numpy"].version == np.__version__
    for name, info in infos.items():
        assert info.name == name
        assert bool(info.reason) != info.available
        assert "\n" not in info.reason
        if info.available:
            assert info.device
            assert get_backend(name).name == name


@pytest.mark.parametrize("available", [("numpy",), ("numba", "numpy"), ("cuda", "numpy"), ("cuda", "numba", "numpy")])
def test_automatic_choice_is_the_first_available(pretend, available):
    pretend(*available)
    assert get_backend().name == available[0]


def test_order_of_the_choice(pretend, monkeypatch):
    pretend(*NAMES)
    assert get_backend().name == "cuda"
    monkeypatch.setenv(VARIABLE, "numba")
    assert get_backend().name == "numba"
    with use_backend("numpy") as backend:
        assert backend.name == get_backend().name == "numpy"
        assert get_backend("cuda").name == "cuda"
        assert get_backend().name == "numpy"
    assert get_backend().name == "numba"


def test_an_empty_variable_is_none(pretend, monkeypatch):
    pretend(*NAMES)
    monkeypatch.setenv(VARIABLE, "")
    assert get_backend().name == "cuda"


def test_nested_contexts_and_errors_restore_the_choice(pretend):
    pretend(*NAMES)
    with use_backend("numba"):
        with use_backend("numpy"):
            assert get_backend().name == "numpy"
        assert get_backend().name == "numba"
        with pytest.raises(KeyError), use_backend("numpy"):
            raise KeyError("inside")
        assert get_backend().name == "numba"
        with pytest.raises(ParameterError), use_backend("nonsense"):
            pass
        assert get_backend().name == "numba"
    assert get_backend().name == "cuda"


def test_a_context_is_its_threads_own(pretend):
    pretend(*NAMES)
    inside, leave, seen = threading.Event(), threading.Event(), []

    def other():
        with use_backend("numba"):
            inside.set()
            assert leave.wait(10)
            seen.append(get_backend().name)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    assert get_backend().name == "cuda"
    with use_backend("numpy"):
        leave.set()
        thread.join(10)
        assert get_backend().name == "numpy"
    assert seen == ["numba"]


@pytest.mark.parametrize("name", ["nonsense", "NumPy", "numpy ", "numpy_"])
def test_unknown_names_say_what_is_allowed_and_who_asked(name, monkeypatch):
    allowed = ".*".join(map(re.escape, map(repr, NAMES)))
    with pytest.raises(ParameterError, match=rf"^backend = {name!r}: .*{allowed}"):
        get_backend(name)
    with pytest.raises(ParameterError, match=rf"^use_backend = {name!r}: .*{allowed}"), use_backend(name):
        pass
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(ParameterError, match=rf"^{VARIABLE} = {name!r}: .*{allowed}"):
        get_backend()
    assert get_backend("numpy").name == "numpy"


@pytest.mark.parametrize("name", [3, b"numpy", ["numpy"], {"numpy"}])
def test_names_are_strings(name):
    with pytest.raises(ParameterError, match=r"backend = .*allowed are 'cuda', 'numba', 'numpy'"):
        get_backend(name)


@pytest.mark.parametrize("name", ["cuda", "numba"])
def test_an_explicit_choice_never_falls_back(name, monkeypatch):
    info = available_backends()[name]
    if info.available:
        pytest.skip(f"{name} can run here")
    for message, ask in (
        (f"^backend = '{name}': ", lambda: get_backend(name)),
        (f"^use_backend = '{name}': ", lambda: use_backend(name).__enter__()),
    ):
        with pytest.raises(BackendError, match=message) as caught:
            ask()
        assert info.reason in str(caught.value)
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(BackendError, match=f"^{VARIABLE} = '{name}': "):
        get_backend()


@pytest.mark.parametrize(("library", "extra"), [("cupy", "cuda12"), ("numba", "numba")])
def test_what_is_missing_says_what_to_install(library, extra, monkeypatch):
    monkeypatch.setattr(f"gpu_stackcorr.backends.{extra.rstrip('12')}_.probe.find_spec", lambda name: None)
    with pytest.raises(BackendError, match=rf'pip install "gpu-stackcorr\[{extra}\]"'):
        get_backend(extra.rstrip("12"))


def test_the_automatic_choice_is_logged_once_with_its_reasons(pretend, caplog):
    pretend("numpy")
    with caplog.at_level(logging.INFO, "gpu_stackcorr"):
        for _ in range(3):
            get_backend()
    lines = [record.getMessage() for record in caplog.records]
    assert sum("numpy" in line and "numpy device" in line for line in lines) == 1
    assert sum("no cuda" in line for line in lines) == sum("no numba" in line for line in lines) == 1
    caplog.clear()
    with caplog.at_level(logging.INFO, "gpu_stackcorr"):
        get_backend("numpy")
    assert not caplog.records


def test_asking_for_one_backend_imports_no_library_of_another():
    root = str(Path(gpu_stackcorr.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    code = (
        "import sys, gpu_stackcorr as g; g.gaussian_filter([[1.0]], 1, backend='numpy'); "
        "print([m for m in ('cupy', 'numba') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert out.stdout.strip() == "[]"


def test_every_operation_takes_the_choice(missing):
    image = np.arange(20.0).reshape(4, 5)
    stack = np.stack([image, image[::-1]])
    g = gpu_stackcorr
    calls = [
        lambda b: g.image_correlation(image, image, backend=b),
        lambda b: g.stack_correlation(stack, backend=b),
        lambda b: g.transform_battery(stack, [g.transforms.identity], backend=b),
        lambda b: g.noise_sweep(stack, [1], seed=1, backend=b),
        lambda b: g.elastic_transform(image, 1, 1, seed=1, backend=b),
        lambda b: g.displacement_field((4, 5), 1, 1, seed=1, backend=b),
        lambda b: g.warp(image, np.zeros((2, 4, 5)), backend=b),
        lambda b: g.map_coordinates(image, [[1.0], [1.0]], backend=b),
        lambda b: g.gaussian_filter(image, 1, backend=b),
        lambda b: g.spline_filter(image, backend=b),
    ]
    for call in calls:
        with pytest.raises(BackendError, match=missing):
            call(missing)
        with pytest.raises(ParameterError, match="'nonsense'"):
            call("nonsense")
        call("numpy")

"""Pytest plugin: SciPy's own tests, with gpu_stackcorr's functions in the place of SciPy's.

Loaded by test_scipy_suite.py into a pytest of its own. Of the tests collected it keeps those that call one of the
functions, by name or through a parameter; puts ours into ``scipy.ndimage`` and into the parameters; counts the calls;
and writes what happened to the file that the variable SCIPY_SUITE_REPORT names.

SciPy's functions are put back wherever they are called from outside a test: its array API decorators look them up
while modules are collected, and ours bound them when they were imported.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from emulator import emulated_device
from scipy import ndimage as scipy_ndimage

from gpu_stackcorr import arrays
from gpu_stackcorr import ndimage as our_ndimage
from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.cuda_.backend import CudaBackend

NAMES = ("map_coordinates", "gaussian_filter", "spline_filter")
CALL = re.compile(rf"ndimage\.({'|'.join(NAMES)})\b")

get_backend("numpy")  # its modules bind SciPy's functions when they are imported: before ours take their place

if os.environ["SCIPY_SUITE_BACKEND"] == "emulator":
    EMULATED = CudaBackend(emulated_device("emulator-random"))
    arrays._explicit = lambda name, source: EMULATED

THEIRS = {name: getattr(scipy_ndimage, name) for name in NAMES}
calls: Counter[str] = Counter()
outcomes: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": [], "xfailed": []}


def counted(name: str, function: Any, where: str = "") -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        calls[where + name] += 1
        return function(*args, **kwargs)

    return wrapper


OURS = {name: counted(name, getattr(our_ndimage, name)) for name in NAMES}


def ours_for(value: Any) -> Any:
    """Return our function for SciPy's, and anything else as it is."""
    return next((OURS[name] for name in NAMES if value is THEIRS[name]), value)


def calls_ours(item: pytest.Item) -> bool:
    """Return whether a test calls one of the functions; where it takes functions as parameters, they decide."""
    parameters = list(item.callspec.params.values()) if hasattr(item, "callspec") else []
    if any(callable(value) and getattr(value, "__module__", "").startswith("scipy.ndimage") for value in parameters):
        return any(ours_for(value) is not value for value in parameters)
    return CALL.search(inspect.getsource(item.function)) is not None  # type: ignore[attr-defined]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = [item for item in items if calls_ours(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept
    for item in items:
        if hasattr(item, "callspec"):
            item.callspec.params.update({key: ours_for(value) for key, value in item.callspec.params.items()})
    for name, function in OURS.items():
        setattr(scipy_ndimage, name, function)
    backend = get_backend()
    for name in NAMES:
        setattr(backend, name, counted(name, getattr(backend, name), "backend "))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if hasattr(report, "wasxfail"):
        outcomes["xfailed"].append(report.nodeid)
    elif report.failed or report.skipped or report.when == "call":
        outcomes[report.outcome].append(report.nodeid)


def pytest_sessionfinish() -> None:
    Path(os.environ["SCIPY_SUITE_REPORT"]).write_text(json.dumps({"outcomes": outcomes, "calls": calls}))

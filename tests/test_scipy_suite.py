"""SciPy's own tests of map_coordinates, gaussian_filter and spline_filter, run on ours."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [f"scipy.ndimage.tests.{name}" for name in ("test_interpolation", "test_filters", "test_datatypes")]

LEAST_PASSED = 200
LEAST_CALLS = {"map_coordinates": 150, "gaussian_filter": 80, "spline_filter": 200}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    if importlib.util.find_spec("scipy.ndimage.tests") is None:
        pytest.skip("SciPy was installed without its tests")
    pytest.importorskip("hypothesis", reason="SciPy's tests need Hypothesis")
    folder = tmp_path_factory.mktemp("scipy_suite")
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
        "SCIPY_SUITE_REPORT": str(folder / "report.json"),
        "GPU_STACKCORR_BACKEND": "numpy",
    }
    environment.pop("SCIPY_ARRAY_API", None)  # NumPy arrays only
    command = [sys.executable, "-m", "pytest", "-q", "-p", "scipy_suite_plugin", "-p", "no:cacheprovider"]
    command += ["-c", str(folder / "pytest.ini"), "--rootdir", str(folder), "--pyargs", *MODULES]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert (folder / "report.json").exists(), run.stdout + run.stderr
    return json.loads((folder / "report.json").read_text()) | {
        "output": run.stdout + run.stderr,
        "code": run.returncode,
    }


def test_they_pass(report):
    assert report["code"] == 0, report["output"][-4000:]
    assert not report["outcomes"]["failed"]


def test_they_ran(report):
    assert len(report["outcomes"]["passed"]) >= LEAST_PASSED


@pytest.mark.parametrize("name", LEAST_CALLS)
def test_ours_were_called_and_went_through_the_backend(report, name):
    assert report["calls"][name] >= LEAST_CALLS[name]
    assert report["calls"][f"backend {name}"] >= LEAST_CALLS[name] // 2

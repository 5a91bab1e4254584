"""SciPy's own tests of map_coordinates, gaussian_filter and spline_filter, run on ours: NumPy's and our kernels."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from emulator.availability import require_emulator

ROOT = Path(__file__).parents[1]
MODULES = [f"scipy.ndimage.tests.{name}" for name in ("test_interpolation", "test_filters", "test_datatypes")]

SINGLE_PRECISION = {"test_gauss_memory_overlap", "test_map_coordinates_dts"}
"""They hold float32 results of up to 10^4 to 1.5e-6 of what float64 gives; the kernels compute them in float32."""

LEAST_PASSED = 200
LEAST_CALLS = {"map_coordinates": 150, "gaussian_filter": 80, "spline_filter": 200}


@pytest.fixture(scope="module", params=["numpy", "emulator"])
def report(request, tmp_path_factory):
    if request.param == "emulator":
        require_emulator()
    if importlib.util.find_spec("scipy.ndimage.tests") is None:
        pytest.skip("SciPy was installed without its tests")
    pytest.importorskip("hypothesis", reason="SciPy's tests need Hypothesis")
    folder = tmp_path_factory.mktemp("scipy_suite")
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
        "SCIPY_SUITE_REPORT": str(folder / "report.json"),
        "GPU_STACKCORR_BACKEND": "numpy",  # or what the plugin puts in its place
        "SCIPY_SUITE_BACKEND": request.param,
    }
    environment.pop("SCIPY_ARRAY_API", None)  # NumPy arrays only
    command = [sys.executable, "-m", "pytest", "-q", "-p", "scipy_suite_plugin", "-p", "no:cacheprovider"]
    command += ["-c", str(folder / "pytest.ini"), "--rootdir", str(folder), "--pyargs", *MODULES]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert (folder / "report.json").exists(), run.stdout + run.stderr
    return json.loads((folder / "report.json").read_text()) | {
        "output": run.stdout + run.stderr,
        "code": run.returncode,
        "backend": request.param,
    }


def test_they_pass(report):
    failed = {re.search(r"test_\w+(?=\[|$)", test)[0] for test in report["outcomes"]["failed"]}
    assert report["code"] == bool(failed), report["output"][-4000:]
    assert failed == (SINGLE_PRECISION if report["backend"] == "emulator" else set()), report["output"][-4000:]


def test_they_ran(report):
    assert len(report["outcomes"]["passed"]) >= LEAST_PASSED


@pytest.mark.parametrize("name", LEAST_CALLS)
def test_ours_were_called_and_went_through_the_backend(report, name):
    assert report["calls"][name] >= LEAST_CALLS[name]
    assert report["calls"][f"backend {name}"] >= LEAST_CALLS[name] // 2

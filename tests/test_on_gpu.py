"""``bench/on_gpu.sh``, rehearsed with the stand-in for CuPy and sizes that measure nothing."""

import html
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from emulator.availability import require_emulator
from emulator.stand_in import FOLDER

from gpu_stackcorr.benchmarks import module

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "bench" / "on_gpu.sh"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the benchmarks are not beside the package")

PARTS = ["probe", "tests", "benchmarks", "experiments", "profile", "memcheck", "racecheck"]
OF_NVIDIA = ("memcheck", "racecheck", "profile")
"""Parts that need tools of NVIDIA's."""


compared, load, render = module("comparison").compared, module("record").load, module("page").render


def rehearse(folder, *, path="", stand_in=True, **variables):
    """Run the script; return its exit status, and the parts of the summary by name."""
    require_emulator()
    given = [str(ROOT / "tests"), *([str(FOLDER)] if stand_in else [])]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))},
        "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"],
        "PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(given),
        "ON_GPU_TINY": "1",
        **variables,
    }
    command = ["bash", str(SCRIPT), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert (folder / "summary.txt").read_text() in done.stdout, done.stderr
    record = json.loads((folder / "summary.json").read_text())
    return done.returncode, {part["name"]: part["result"] for part in record["parts"]}


@pytest.fixture
def sanitizer(tmp_path):
    """A folder with a compute-sanitizer that finds one error and runs what it is given."""
    if shutil.which("compute-sanitizer"):
        pytest.skip("compute-sanitizer is there")
    program = tmp_path / "bin" / "compute-sanitizer"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nshift 4\n"$@"\necho "========= ERROR SUMMARY: 1 error"\nexit 9\n')
    program.chmod(0o755)
    return str(program.parent)


def test_a_run_leaves_a_folder(tmp_path):
    status, parts = rehearse(tmp_path / "out")
    logs = "\n".join(path.read_text() for path in (tmp_path / "out").glob("*.log"))
    assert status == 0, logs
    assert parts == {name: "left out" if name in OF_NVIDIA else "passed" for name in PARTS}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("summary.txt", "summary.json", "environment.txt", "parts.tsv", "benchmarks.json", "experiments.json"),
        *(f"{name}.log" for name in PARTS if name not in OF_NVIDIA),
    }
    record = json.loads((tmp_path / "out" / "benchmarks.json").read_text())
    assert not record["failures"]
    assert {"moments", "gaussian_filter", "warp", "the notebook's last experiment", "small inputs"} == {
        row["case"].partition(",")[0] for row in record["rows"]
    }
    assert not [row for row in record["rows"] if row["failure"]]
    assert all(row["median"] > 0 and row["rounds"] for row in record["rows"])
    texts = [target["text"] for target in record["targets"]]
    assert len(texts) == 2 * 2 + 2 * 1 + 2 * 2 + 2 * 3
    figures = json.loads((tmp_path / "out" / "experiments.json").read_text())["figures"]
    assert {figure["group"] for figure in figures} == {"gather", "draw", "read", "warp", "moments", "warp_moments"}
    assert all(figure["value"] > 0 for figure in figures)
    summary = (tmp_path / "out" / "summary.txt").read_text()
    assert "TINY" in summary
    assert all(text in summary for text in texts)
    found = load(tmp_path / "out" / "benchmarks.json")
    assert found["rehearsal"]
    assert len(found["rows"]) == len(record["rows"])
    assert all(case.ours for case in compared(found))
    page = html.unescape(render([found]))
    assert all(text in page for text in texts)


def test_a_part_that_fails_does_not_lose_the_others(tmp_path, sanitizer):
    status, parts = rehearse(tmp_path / "out", path=sanitizer)
    assert status == 1
    of_parts = {"profile": "left out", "memcheck": "failed (9)", "racecheck": "failed (9)"}
    assert parts == {name: of_parts.get(name, "passed") for name in PARTS}
    assert "ERROR SUMMARY: 1 error" in (tmp_path / "out" / "summary.txt").read_text()


ABSENT = ("hypothesis", "jinja2", "matplotlib", "numba", "pandas", "rich", "threadpoolctl", "tifffile", "typer")
"""What a machine with a GPU need not have."""


def test_the_tests_are_found_with_what_such_a_machine_has():
    options = ["-q", "-m", "gpu", "--collect-only", "-p", "no:cacheprovider", "tests"]
    code = f"import sys, pytest; sys.modules.update(dict.fromkeys({ABSENT})); sys.exit(pytest.main({options}))"
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_without_a_gpu_it_says_so(tmp_path):
    status, parts = rehearse(tmp_path / "out", stand_in=False, CUDA_VISIBLE_DEVICES="")
    assert status == 1
    assert parts["probe"] == "failed (1)"
    assert parts["benchmarks"] != "passed"
    assert "No benchmarks." in (tmp_path / "out" / "summary.txt").read_text()

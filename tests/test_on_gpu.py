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

PARTS = ["probe", "tests", "memcheck", "racecheck", "benchmarks", "profile", "experiments"]
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
    assert len(texts) == 2 * 3 + 2 * 1 + 2 * 2 + 2 * 3
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


REPORT = """==PROF== Connected
  void sum<int, 1>(const int *) (128, 4, 1)x(256, 1, 1), Context 1, Stream 7, Device 0, CC 9.0
    DRAM Throughput                   %        52.61
    Duration                         us       839.30
    L1/TEX Cache Throughput           %        66.12
    L2 Cache Throughput               %        72.73
    Issue Slots Busy                  %        33.29
    Achieved Occupancy                %        34.42
    OPT   Est. Speedup: 34.64%
          On average, each warp of this workload spends 11.4 cycles being stalled waiting for a scoreboard
          dependency on a L1TEX (local, global, surface, texture) operation. Find the instruction
  void cut_off(float *) (1, 1, 1)x(32, 1, 1), Context 1, Stream 7, Device 0, CC 9.0
    Duration                         ms         1.00
"""


def test_the_summary_has_a_table_of_what_bounds_kernels(tmp_path):
    (tmp_path / "parts.tsv").write_text("profile\t0\t9\n")
    (tmp_path / "profile.log").write_text(REPORT)
    subprocess.run([sys.executable, str(ROOT / "bench/gpu/summary.py"), str(tmp_path)], check=True, capture_output=True)
    (line,) = [line for line in (tmp_path / "summary.txt").read_text().splitlines() if "sum<int, 1>" in line]
    assert line.split("(128, 4, 1)")[1].split()[:6] == ["0.839", "52.6", "72.7", "66.1", "33.3", "34.4"]
    assert line.endswith("11.4 cycles an instruction wait for loads")
    assert "cut_off" not in (tmp_path / "summary.txt").read_text()


TESTS = """import sys, types
import pytest
@pytest.mark.gpu
@pytest.mark.parametrize("number", range(6))
def test_numbers(number):
    def answer():
        if number == 2:
            raise RuntimeError("an illegal access")
    runtime = types.SimpleNamespace(deviceSynchronize=answer)
    sys.modules["cupy"] = types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime))
    assert number not in BAD
"""


def run_tests(folder, bad, function):
    """Run `function` of run_tests.py on six tests, of which some fail; return its exit status and what it said."""
    (folder / "test_six.py").write_text(TESTS.replace("BAD", repr(bad)))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = gpu: of a GPU\n")
    code = f"import sys; sys.argv[1:] = ['test_six.py']; from bench.gpu import run_tests; run_tests.{function}"
    variables = {"PYTHONPATH": str(ROOT), "BROKEN_DEVICE_LOG": str(folder / "broken.log")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=folder, env=kept | variables, capture_output=True, text=True, check=False, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("function", ["main()", "by_file(['test_six.py'])"])
@pytest.mark.parametrize(("bad", "failed"), [((), 0), ((4,), 1)])
def test_tests_run_with_and_without_xdist(tmp_path, function, bad, failed):
    status, said = run_tests(tmp_path, bad, function)
    assert status == failed, said
    assert f"{6 - failed} passed" in said
    assert not (tmp_path / "broken.log").exists()


def test_a_process_with_a_broken_device_is_replaced(tmp_path):
    pytest.importorskip("xdist")
    status, said = run_tests(tmp_path, (2, 4), "main()")
    assert status == 1
    assert "2 failed, 4 passed" in said, said
    assert "test_numbers[2]" in (tmp_path / "broken.log").read_text()

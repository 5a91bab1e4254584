"""``stackcorr bench --passes``: a process for each pass, runs taken up again, errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from gpu_stackcorr.benchmarks import module
from gpu_stackcorr.cli import app, fresh

harness, record, suite = map(module, ("harness", "record", "suite"))
NUMPY = harness.path_name("numpy")


def command(*args):
    return CliRunner().invoke(app, ["bench", *map(str, args)])


@pytest.fixture
def tiny(monkeypatch):
    """A suite of two small cases."""

    def cases(operation, *, quick=False):
        yield harness.Case(operation, "small", 3, [harness.Contestant(NUMPY, lambda: sum(range(99)), backend="numpy")])

    monkeypatch.setattr(suite, "cases", cases)
    monkeypatch.setattr(suite, "OPERATIONS", ("warp", "moments"))
    monkeypatch.setattr(suite.limits, "measure", lambda seconds, **sizes: {"read_bytes_per_second": 2e10})


def numbers(found):
    """Return which passes each row has had."""
    return {one["operation"]: [each["pass"] for each in one["passes"]] for one in found["rows"]}


@pytest.fixture
def here(monkeypatch):
    """Later processes are calls in this one; gives their words."""
    words = []

    def run_here(given):
        words.append(list(given))
        return CliRunner().invoke(app, given).exit_code

    monkeypatch.setattr(fresh, "run", run_here)
    return words


def test_each_pass_is_a_process_where_there_is_a_folder(tiny, here, tmp_path):
    done = command("warp", "--seconds", 0, "--passes", 2, "--backend", "numpy", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    same = ["bench", "warp", "--resume", f"--output={tmp_path}", "--seconds=0.0", "--backend=numpy"]
    assert here == [[*same, "--only-pass=1"], [*same, "--only-pass=2"]]
    found = record.load(tmp_path / "results.json")
    assert numbers(found) == {"warp": [1, 2]}
    assert "2 passes" in (tmp_path / "results.md").read_text()


def test_without_a_folder_passes_follow_in_one_process(tiny, here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("warp", "--seconds", 0, "--passes", 2, "--json")
    assert done.exit_code == 0, done.output
    assert numbers(json.loads(done.stdout)) == {"warp": [1, 2]}
    assert "pass 2, warp: small" in done.stderr
    assert here == []


def test_a_finished_run_may_have_more_passes_but_not_fewer(tiny, here, tmp_path):
    assert command("--seconds", 0, "-o", tmp_path).exit_code == 0
    assert command("--seconds", 0, "-o", tmp_path, "--resume", "--passes", 2).exit_code == 0
    assert record.load(tmp_path / "results.json")["finished"] == {"warp": 2, "moments": 2}
    assert command("--seconds", 0, "-o", tmp_path, "--resume").exit_code == 0
    assert record.load(tmp_path / "results.json")["passes"] == 2
    refused = command("--seconds", 0, "-o", tmp_path, "--resume", "--passes", 1)
    assert refused.exit_code == 2
    assert "--passes 1: the run in" in refused.stderr
    assert "was begun with 2" in refused.stderr


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many"])
def test_passes_are_whole_numbers_from_1_on(tiny, number):
    done = command("--passes", number)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert f"'--passes': '{number}' is not a whole number of 1 or more" in line


def test_passes_are_for_a_run(tmp_path):
    done = command("--compare", "--passes", 2, "a.json", "b.json")
    assert done.exit_code == 2
    assert "different things" in done.stderr


def test_a_pass_that_dies_is_told(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(fresh, "run", lambda words: -9)
    done = command("--seconds", 0, "--passes", 2, "-o", tmp_path)
    assert done.exit_code == 1
    assert "pass 1 ended with status -9; --resume goes on" in done.stderr


def test_passes_in_fresh_processes(tmp_path):
    done = command("lags", "--quick", "--seconds", 0, "--backend", "numpy", "--passes", 2, "-o", tmp_path)
    assert done.exit_code == 0, done.output
    found = record.load(tmp_path / "results.json")
    assert found["finished"] == {"lags": 2}
    assert {len(one["passes"]) for one in found["rows"]} == {2}
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "results.csv", "results.md", "report.html"}


def test_a_fresh_process_finds_the_same_modules_and_tells_its_status():
    assert fresh.run(["--version"]) == 0
    assert fresh.run(["no such command"]) == 2


def test_a_process_stops_when_the_one_that_ran_it_has_ended():
    program = (
        "from gpu_stackcorr.cli import fresh; check = fresh.watch(); check(); fresh.os.getppid = lambda: -1; check()"
    )
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=found)
    assert done.returncode == 1
    assert done.stderr.strip() == "the process that this one worked for has ended"

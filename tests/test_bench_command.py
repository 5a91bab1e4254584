"""``stackcorr bench``: what it prints and writes, how it goes on after an interrupt, and errors of usage."""

from __future__ import annotations

import json
import re

import pytest
from bench_records import GPU, NUMPY, made
from typer.testing import CliRunner

from gpu_stackcorr.benchmarks import module
from gpu_stackcorr.cli import app

harness, record, suite = map(module, ("harness", "record", "suite"))


@pytest.fixture
def tiny(monkeypatch):
    """A suite of one small case."""

    def cases(operation, *, quick=False):
        contestants = [harness.Contestant(NUMPY, lambda: sum(range(1000)), backend="numpy")]
        yield harness.Case(operation, "quick" if quick else "full", 3, contestants, bytes=24)

    monkeypatch.setattr(suite, "cases", cases)
    monkeypatch.setattr(suite, "OPERATIONS", ("warp", "moments"))
    monkeypatch.setattr(suite.limits, "measure", lambda seconds, **sizes: made()["limits"]["cpu"])


def run(*args):
    return CliRunner().invoke(app, ["bench", *map(str, args)])


def test_the_command_prints_a_table_and_writes_four_files(tiny, tmp_path):
    done = run("--seconds", 0, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert re.match(r"operation +case +numpy ms", done.stdout)
    assert "warp: full" in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("results.json", "results.csv", "results.md", "report.html"),
    }
    assert len(record.load(tmp_path / "out" / "results.json")["rows"]) == 2


def test_the_command_takes_operations_and_json(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("moments", "--quick", "--seconds", 0, "--backend", "numpy", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(one["operation"], one["case"]) for one in found["rows"]] == [("moments", "quick")]
    assert (found["quick"], found["seconds"]) == (True, 0)
    assert not list(tmp_path.iterdir())


def test_resuming_takes_what_is_there(tiny, tmp_path):
    assert run("warp", "--seconds", 0, "-o", tmp_path).exit_code == 0
    before = record.load(tmp_path / "results.json")
    assert run("--seconds", 0, "--resume", "-o", tmp_path).exit_code == 0
    after = record.load(tmp_path / "results.json")
    assert after["rows"][:1] == before["rows"]
    assert [one["operation"] for one in after["rows"]] == ["warp", "moments"]
    refused = run("--seconds", 1, "--resume", "-o", tmp_path)
    assert refused.exit_code == 2
    assert "it differs in seconds" in refused.stderr


def test_an_interrupted_command_says_how_to_go_on(tiny, tmp_path, monkeypatch):
    def interrupted(case, **how):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(suite, "race", interrupted)
        done = run("--seconds", 0, "-o", tmp_path)
    assert done.exit_code == 130
    assert "--resume goes on" in done.stderr.splitlines()[-2]
    assert {path.name for path in tmp_path.iterdir()} == {"results.json"}
    assert run("--seconds", 0, "--resume", "-o", tmp_path).exit_code == 0


def test_a_wrong_result_of_ours_is_exit_status_1(tiny, monkeypatch):
    def cases(operation, *, quick=False):
        contestants = [harness.Contestant(NUMPY, lambda: 1.0, harness.largest_difference(0.0), 0.5, backend="numpy")]
        yield harness.Case(operation, "case", 3, contestants)

    monkeypatch.setattr(suite, "cases", cases)
    done = run("warp", "--seconds", 0)
    assert done.exit_code == 1
    assert "error 1, allowed 0.5" in done.stderr


def test_result_files_become_a_page(tmp_path):
    (tmp_path / "gpu.json").write_text(json.dumps(GPU))
    record.save(tmp_path / "cpu.json", made())
    done = run("--report", tmp_path / "cpu.json", tmp_path / "gpu.json", "-o", tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert "NVIDIA Abacus" in (tmp_path / "new" / "report.html").read_text()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["wrap"], "wrap: no such operation; allowed are warp, moments"),
        (["--resume"], "--resume needs -o"),
        (["--report", "a.json"], "-o for the folder"),
        (["--report", "-o", "x"], "one or more result files"),
        (["--report", "no.json", "-o", "x"], "'no.json': No such file"),
        (["--compare", "--quick"], "different things"),
        (["--seconds", "-1"], "not a number of 0 or more"),
        (["--backend", "rocm"], "'rocm' is not a backend"),
    ],
)
def test_errors_of_usage(tiny, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    done = run(*args)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())

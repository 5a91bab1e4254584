"""The process that compiles what a first report comes to later."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from gpu_stackcorr.arrays import available_backends
from gpu_stackcorr.cli import ahead, app
from gpu_stackcorr.report import ReportOptions

if not available_backends()["numba"].available:
    pytest.skip(available_backends()["numba"].reason, allow_module_level=True)

DEFORM = """
import logging

import numpy as np
from gpu_stackcorr import stack_correlation
from gpu_stackcorr.transforms import Elastic

logging.basicConfig(stream=sys.stdout, format="%(message)s")
logging.getLogger("gpu_stackcorr").setLevel(logging.DEBUG)
stack = np.random.default_rng(0).integers(0, 255, (9, 70, 80), np.uint8)
stack_correlation(stack, transform=Elastic(20.0, 3.0, seed=0), backend="numba")
"""


def test_elastic_slices_find_what_was_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert ahead._start("uint8").wait(300) == 0
    kept = {path.name.split(".")[0] for path in tmp_path.rglob("*.nbc")}
    deform = {"elastic", "random_field", "smooth_noise", "transposing", "margins", "warp", "rows", "placing"}
    assert kept >= deform
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path}; {DEFORM}"]
    log = subprocess.run(command, text=True, check=True, capture_output=True, timeout=300).stdout
    compiled = {line.split(".")[-2] for line in log.splitlines() if line.startswith("compiling ")}
    assert not compiled & deform


@pytest.fixture
def nothing_compiled(monkeypatch):
    from gpu_stackcorr.backends.numba_ import kept_code

    monkeypatch.setattr(kept_code, "is_missing", lambda _: True)


@pytest.fixture
def started(monkeypatch):
    """The processes that were started, which do nothing for ten minutes."""
    processes = []
    start = subprocess.Popen

    def sleep(command, **options):
        processes.append(start([sys.executable, "-c", "import time; time.sleep(600)"], **options))
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", sleep)
    return processes


@pytest.mark.usefixtures("nothing_compiled")
def test_the_process_ends_with_the_block(started):
    with pytest.raises(ZeroDivisionError), ahead.compiling_ahead("uint8", ReportOptions(backend="numba", threads=2)):
        raise ZeroDivisionError
    assert [process.returncode for process in started] == [-signal.SIGTERM]


@pytest.mark.usefixtures("nothing_compiled")
@pytest.mark.parametrize("command", ["demo", "report"])
def test_commands_that_write_a_report_start_it(started, command, tmp_path):
    np.save(tmp_path / "stack.npy", np.random.default_rng(0).integers(0, 255, (2, 40, 40), np.uint8))
    arguments = {"demo": ["--slices", "2", "--size", "40"], "report": [str(tmp_path / "stack.npy")]}[command]
    options = ["--output", str(tmp_path / "report"), "--backend", "numba", "--threads", "2"]
    result = CliRunner().invoke(app, [command, *arguments, *options])
    assert result.exit_code == 0, result.output
    assert [process.returncode for process in started] == [-signal.SIGTERM]


@pytest.mark.usefixtures("nothing_compiled")
@pytest.mark.parametrize(
    "options",
    [
        {"backend": "numpy", "threads": 2},
        {"backend": "numba", "threads": 1},
        {"backend": "numba", "threads": 2, "elastic": False},
    ],
)
def test_no_process_where_it_would_not_help(started, options):
    with ahead.compiling_ahead("uint8", ReportOptions(**options)):
        assert not started


def test_no_process_once_all_is_compiled(started, monkeypatch):
    from gpu_stackcorr.backends.numba_ import kept_code

    monkeypatch.setattr(kept_code, "is_missing", lambda _: False)
    with ahead.compiling_ahead("uint8", ReportOptions(backend="numba", threads=2)):
        assert not started


@pytest.mark.usefixtures("nothing_compiled")
def test_a_report_does_without_where_no_process_can_be_started(monkeypatch, caplog):
    def refuse(*_, **__):
        raise BlockingIOError("too many processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with (
        caplog.at_level(logging.INFO, "gpu_stackcorr"),
        ahead.compiling_ahead("uint8", ReportOptions(backend="numba", threads=2)),
    ):
        assert "nothing is compiled ahead: too many processes" in caplog.text

"""The command line when something is wrong: one line, an exit status, nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from gpu_stackcorr import pipeline, report
from gpu_stackcorr.arrays import available_backends
from gpu_stackcorr.cli import app

ROOT = Path(__file__).resolve().parents[1]
STACK = np.random.default_rng(0).integers(0, 200, (6, 20, 20), np.uint8)


def run(*args: object):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return the contents of all files below a folder, None for folders."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def fails(result, status: int, *words: str) -> None:
    """Assert an exit status, and one line on standard error that has these words."""
    assert result.exit_code == status, result.output
    assert isinstance(result.exception, SystemExit)  # rather than an error that got away
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder with stacks that are wrong in many ways."""
    monkeypatch.chdir(tmp_path)
    np.save("good.npy", STACK)
    np.save("empty.npy", STACK[:0])
    np.save("one.npy", STACK[:1])
    np.save("rectangle.npy", STACK[:, 1:])
    np.save("channels.npy", np.stack([STACK] * 3, axis=1))
    np.save("complex.npy", STACK * 1j)
    constant = STACK.copy()
    constant[0] = 7
    np.save("constant.npy", constant)
    nan = STACK.astype(np.float32)
    nan[0, 2, 3] = np.nan
    np.save("nan.npy", nan)
    tifffile.imwrite("whole.tif", STACK, photometric="minisblack")
    data = Path("whole.tif").read_bytes()
    Path("truncated.tif").write_bytes(data[: len(data) // 2])
    Path("truncated.npy").write_bytes(Path("good.npy").read_bytes()[:-1])
    Path("text.tif").write_text("not a picture")
    Path("mixed").mkdir()
    tifffile.imwrite("mixed/1.tif", STACK[0])
    tifffile.imwrite("mixed/2.tif", STACK[1, 1:])
    return tmp_path


INPUTS = {
    "missing.npy": "does not exist",
    "missing*.tif": "matches no file",
    "empty.npy": "is empty",
    "one.npy": "one slice",
    "mixed": "'mixed/2.tif' is 19 x 20",
    "channels.npy": "3 channels",
    "complex.npy": "complex128",
    "constant.npy": "slice 0, is constant (value 7)",
    "nan.npy": "1 NaN",
    "truncated.tif": "truncated",
    "truncated.npy": "truncated",
    "text.tif": "not a TIFF file",
}


@pytest.mark.parametrize("command", ["report -o out/new", "correlate -o out.csv", "correlate"])
@pytest.mark.parametrize("volume", INPUTS)
def test_bad_input(folder, command, volume):
    before = tree(folder)
    name, *words = command.split()
    fails(run(name, volume, *words), 1, INPUTS[volume])
    assert tree(folder) == before


@pytest.mark.parametrize("volume", sorted(set(INPUTS) - {"constant.npy", "nan.npy"}))
def test_bad_input_of_info(folder, volume):
    fails(run("info", volume), 1, INPUTS[volume])


@pytest.mark.parametrize("volume", ["constant.npy", "nan.npy"])
def test_info_knows_a_file_on_which_there_can_be_no_report(folder, volume):
    result = run("info", volume)
    assert result.exit_code == 0
    assert "6 slices of 20 x 20" in result.stdout
    assert INPUTS[volume] in result.stdout.splitlines()[-1]
    facts = json.loads(run("info", volume, "--json").stdout)
    assert list(facts["report"]) == ["error"]


OPTIONS = {
    "--backend abacus": "'abacus' is not a backend: allowed are cuda, numba, numpy",
    "--reference -1": "'-1' is not a whole number of 0 or more",
    "--z 1-2": "'1-2' is not a range",
    "--z 5": "'5' is not a range",
    "--z 1:2:3": "'1:2:3' is not a range",
    "--crop 1:2": "'1:2' is not a rectangle",
    "--crop 1:2,x:3": "'x:3' is not a range",
    "--voxel-size 0": "'0' is not a size in nm",
    "--voxel-size 1,2": "'1,2' is not a size in nm",
    "--voxel-size nan": "'nan' is not a size in nm",
    "--memory lots": "'lots' is not an amount of memory",
    "--memory 0": "'0' is not an amount of memory",
    "--threads 0": "'0' is not a whole number of 1 or more",
    "--channel one": "'one' is not a whole number",
    "--seed 18446744073709551616": "'18446744073709551616' is not a whole number from 0 to 18446744073709551615",
    "--confidence 1": "'1' is not a confidence level",
    "--confidence nan": "'nan' is not a number from 0 to 1",
    "--no-such-option": "--no-such-option",
}
REPORT_OPTIONS = {
    "--alpha -1": "'-1' is not a number of 0 or more",
    "--sigma -0.1": "'-0.1' is not a number of 0 or more",
    "--alpha inf": "'inf' is not a number",
    "--sigma nan": "'nan' is not a number",
}
CORRELATE_OPTIONS = {
    "-o table.txt": "'table.txt' ends in '.txt': allowed are .csv and .json",
    "-t upside-down": "'upside-down': allowed are identity, flip-right-left",
    "-t noise=-1": "'noise=-1'",
    "-t noise": "'noise'",
    "-t elastic=-1,2": "'elastic=-1,2'",
    "-t elastic=1,-2": "'elastic=1,-2'",
    "-t elastic=1": "'elastic=1'",
    "-t noise=nan": "'noise=nan'",
}


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [("report -o out", *item) for item in (OPTIONS | REPORT_OPTIONS).items()]
    + [("correlate -o out.csv", *item) for item in (OPTIONS | CORRELATE_OPTIONS).items()]
    + [("demo -o out", "--size 31", "'31' is not a whole number of 32 or more")]
    + [("demo -o out", "--slices 1", "'1' is not a whole number of 2 or more")]
    + [("demo -o out", "--correlation-length 0.5", "'0.5' is not a number from 1 to 1e+06")],
)
def test_bad_option(folder, command, words, message):
    before = tree(folder)
    volume = [] if command.startswith("demo") else ["good.npy"]
    fails(run(*command.split(), *volume, *words.split()), 2, message, f"{command.split()[0]} --help)")
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "Missing argument 'VOLUME'"),
        ("good.npy", "Missing option '--output'"),
        ("good.npy more.npy -o out", "more.npy"),
    ],
)
def test_words_that_are_missing_or_too_many(folder, words, message):
    fails(run("report", *words.split()), 2, message)


def test_no_such_command(folder):
    fails(run("matriks"), 2, "matriks")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("good.npy --reference 6", "reference = 6"),
        ("good.npy --z 0:9", "z=0:9"),
        ("good.npy --z 2:3", "one slice"),
        ("good.npy --crop 0:20,0:21", "x=0:21"),
        ("good.npy --memory 10", "memory = 10"),
        ("channels.npy --channel 3", "channel=3"),
        ("rectangle.npy -t rotate-90", "not square"),
        ("good.npy -t noise=1+noise=2", "noise 2 times"),
    ],
)
def test_value_that_does_not_fit_the_volume(folder, words, message):
    before = tree(folder)
    fails(run("correlate", *words.split(), "-o", "out.csv"), 1, message)
    assert tree(folder) == before


@pytest.mark.parametrize("name", ["cuda", "numba"])
def test_backend_that_cannot_run_here(folder, name):
    info = available_backends()[name]
    if info.available:
        pytest.skip(f"{name} can run here")
    fails(run("correlate", "good.npy", "--backend", name), 1, info.reason)


@pytest.mark.parametrize("command", ["report good.npy", "demo"])
@pytest.mark.parametrize("output", ["good.npy", "good.npy/out", "good.npy/deep/out", "/dev/null"])
def test_folder_that_cannot_be_written(folder, command, output):
    before = tree(folder)
    fails(run(*command.split(), "-o", output), 1, output)
    assert tree(folder) == before


@pytest.mark.parametrize("output", ["good.npy/table.csv", "no-such-folder/table.csv", "folder.csv"])
def test_file_that_cannot_be_written(folder, output):
    Path("folder.csv").mkdir()
    before = tree(folder)
    fails(run("correlate", "good.npy", "-o", output), 1, output)
    assert tree(folder) == before


@pytest.mark.parametrize(
    "command", ["report good.npy -o locked", "demo -o locked", "correlate good.npy -o locked/a.csv"]
)
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_write_permission(folder, command):
    Path("locked").mkdir(mode=0o500)
    fails(run(*command.split()), 1, "Permission denied")
    assert list(Path("locked").iterdir()) == []


BREAKDOWNS = [
    (KeyboardInterrupt(), 130, "interrupted"),
    (MemoryError(), 1, "out of memory"),
    (OSError(28, "No space left on device", "/somewhere"), 1, "/somewhere: No space left on device"),
    (RuntimeError("one\ntwo"), 1, "unexpected RuntimeError: one two; run again with --debug"),
]


@pytest.mark.parametrize(("error", "status", "message"), BREAKDOWNS)
@pytest.mark.parametrize(
    "command", ["report good.npy -o out", "demo -o new/out --slices 2 --size 32", "correlate -o old.csv good.npy"]
)
def test_breakdown_in_the_middle_of_the_work(folder, monkeypatch, command, error, status, message):
    def breaks(*args, **kwargs):
        raise error

    monkeypatch.setattr(pipeline, "correlate_volume", breaks)
    monkeypatch.setattr(report.analysis, "correlate_volume", breaks)
    Path("old.csv").write_text("a table of before")
    before = tree(folder)
    fails(run(*command.split()), status, message)
    assert tree(folder) == before


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_shows_the_traceback_wherever_it_stands(folder, place):
    words = ["correlate", "missing.npy", "--z", "1:"]
    assert "Traceback" not in run(*words).stderr
    words.insert(place if place < 3 else len(words), "--debug")
    result = run(*words)
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith("error: 'missing.npy' does not exist\n")


def test_constant_slices_and_nan_are_flagged_and_no_errors(folder):
    stack = STACK.astype(np.float64)
    stack[2] = 5.0
    stack[4, 1, 1] = np.nan
    np.save("flagged.npy", stack)
    result = run("correlate", "flagged.npy")
    assert result.exit_code == 0
    assert result.stderr == "warning: slices without variance have r = NaN: 2\n"
    lines = [line.split(",") for line in result.stdout.splitlines()[1:]]
    assert [line[-1] for line in lines] == ["", "", "constant", "", "nan", ""]
    assert [line[4] == "" for line in lines] == [False, False, True, False, True, False]


# A process of its own


def python(*args: object, **options) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "gpu_stackcorr", *map(str, args)],
        text=True,
        env=environment,
        timeout=120,
        stderr=subprocess.PIPE,
        **options,
    )


def test_status_and_line_of_a_process(folder):
    before = tree(folder)
    result = python("report", "truncated.tif", "-o", "out", stdout=subprocess.PIPE)
    assert (result.returncode, result.stdout) == (1, "")
    # One line: what tifffile logs of the same stays out.
    assert result.stderr.startswith("error: 'truncated.tif' is truncated")
    assert result.stderr.count("\n") == 1
    assert tree(folder) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_under_standard_output(folder):
    with Path("/dev/full").open("w") as full:
        result = python("correlate", "good.npy", stdout=full)
    assert (result.returncode, result.stderr) == (1, "error: No space left on device\n")


@pytest.mark.skipif(
    os.name == "nt" or signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    reason="Windows has no SIGINT for another process, and what runs in the background may ignore it",
)
def test_interrupt_of_a_process(folder):
    # Large enough not to end by itself before the signal comes.
    process = subprocess.Popen(
        [sys.executable, "-m", "gpu_stackcorr", *"demo -o new/out --slices 5000 --size 256".split()],  # noqa: SIM905
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(folder.rglob(".phantom.tif.*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "error: interrupted\n")
    assert not Path("new").exists()

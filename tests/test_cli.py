"""The command line when all is well; `test_cli_errors` has the rest."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from real_data import needs_real_data, real_data
from typer.testing import CliRunner

import gpu_stackcorr
from gpu_stackcorr.cli import app, options
from gpu_stackcorr.cli.files import replacing
from gpu_stackcorr.cli.screen import bytes_in_words, nm_in_words, seconds_in_words
from gpu_stackcorr.phantoms import phantom, phantom_correlation
from gpu_stackcorr.transforms import AddNoise, Compose, Elastic
from gpu_stackcorr.volumes import open_volume

COMMANDS = ("report", "demo", "info", "correlate", "backends", "bench")
ROOT = Path(__file__).resolve().parents[1]


def run(*args: object):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def succeed(*args: object) -> str:
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def python(*args: object, **options) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run([sys.executable, *map(str, args)], text=True, env=environment, timeout=120, **options)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    # Four pixels: r with the first slice is 1, -1 and 8 / sqrt(5 * 14).
    path = tmp_path_factory.mktemp("small") / "small.npy"
    np.save(path, np.array([[[0, 1], [2, 3]], [[3, 2], [1, 0]], [[0, 1], [2, 5]]], np.uint8))
    return path


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stack") / "stack.npy"
    np.save(path, phantom((6, 40, 40), correlation_length=3.0, seed=1))
    return path


# correlate


def test_correlate_gives_values_worked_by_hand(small):
    table = rows(succeed("correlate", small, "--voxel-size", "50,4,4", "--ci", "fisher"))
    columns = "transform noise distance distance_nm r low high n n_eff df window saturated flag"
    assert list(table[0]) == columns.split()
    assert [float(row["r"]) for row in table] == [1.0, -1.0, pytest.approx(8 / 70**0.5, abs=1e-15)]
    assert [row["distance_nm"] for row in table] == ["0.0", "50.0", "100.0"]
    # atanh r -+ 1.959964 / sqrt(n - 3), with n = 4.
    z = np.arctanh(8 / 70**0.5)
    assert float(table[2]["low"]) == pytest.approx(np.tanh(z - 1.959963984540054), abs=1e-12)
    assert float(table[2]["high"]) == pytest.approx(np.tanh(z + 1.959963984540054), abs=1e-12)


def test_correlate_takes_transforms_by_name(small):
    names = ("identity", "flip-right-left", "flip_up_down", "rotate-90", "flip-up-down+flip-right-left")
    table = rows(succeed("correlate", small, *(word for name in names for word in ("-t", name))))
    at_0 = {row["transform"]: float(row["r"]) for row in table if row["distance"] == "0"}
    assert at_0 == pytest.approx(
        {
            "identity": 1.0,
            "flip_right_left": 0.6,
            "flip_up_down": -0.6,
            "rotate_90": 0.0,
            "flip_up_down, flip_right_left": -1.0,
        },
        abs=1e-15,
    )


def test_confidence_reaches_the_table(small):
    table = rows(succeed("correlate", small, "--confidence", "0.6826894921370859", "--ci", "fisher"))
    assert float(table[2]["high"]) == pytest.approx(np.tanh(np.arctanh(8 / 70**0.5) + 1), abs=1e-12)


def test_file_and_standard_output_have_the_same_words(stack, tmp_path):
    printed = succeed("correlate", stack)
    said = succeed("correlate", stack, "-o", tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == printed
    assert said == f"{tmp_path / 'table.csv'}: 6 rows\n"
    as_json = succeed("correlate", stack, "--json", "-o", tmp_path / "table.json")
    assert (tmp_path / "table.json").read_text() == as_json
    assert json.loads(as_json)["r"] == [float(row["r"]) for row in rows(printed)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv", "table.json"]


def test_json_beside_a_csv_file(stack, tmp_path):
    printed = succeed("correlate", stack, "--json", "-o", tmp_path / "table.csv")
    written = rows((tmp_path / "table.csv").read_text())
    assert json.loads(printed)["distance"] == [int(row["distance"]) for row in written]


def test_seed_repeats_a_table_and_one_that_was_drawn_is_said(stack):
    wanted = ("correlate", stack, "-t", "noise=2", "-t", "elastic=20,3")
    drawn = run(*wanted)
    seed = re.fullmatch(r"seed: (\d+)\n", drawn.stderr)
    assert seed
    again = run(*wanted, "--seed", seed[1])
    assert again.stdout == drawn.stdout
    assert again.stderr == ""
    assert succeed(*wanted, "--seed", "1") != drawn.stdout


def test_parts_of_a_volume(tmp_path):
    whole = np.random.default_rng(5).integers(0, 200, (7, 3, 30, 40), np.uint8)
    np.save(tmp_path / "channels.npy", whole)
    np.save(tmp_path / "part.npy", whole[2:6, 1, 5:25, 10:])
    chosen = ("--channel", "1", "--z", "2:-1", "--crop", "5:25,10:", "--reference", "1")
    part = succeed("correlate", tmp_path / "channels.npy", *chosen)
    assert part == succeed("correlate", tmp_path / "part.npy", "--reference", "1")
    assert [row["distance"] for row in rows(part)] == ["-1", "0", "1", "2"]


def test_backend_threads_and_memory_change_nothing(stack):
    assert succeed("correlate", stack) == succeed(
        "correlate", stack, "--backend", "numpy", "--threads", "1", "--memory", "64MB"
    )


@needs_real_data
def test_correlations_of_a_real_stack():
    table = rows(succeed("correlate", real_data() / "fibsem" / "fibsem_250.tif", "--z", ":20"))
    expected = {1: 0.957, 2: 0.918, 3: 0.862, 5: 0.752, 8: 0.631, 10: 0.575, 15: 0.458, 19: 0.391}
    assert {z: round(float(table[z]["r"]), 3) for z in expected} == expected


# info, backends, the program itself


def test_info_says_what_is_in_a_file(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.arange(240, dtype=np.uint16).reshape(4, 6, 10), imagej=True, metadata={"axes": "ZYX"})
    said = succeed("info", path)
    assert re.search(r"^shape +4 slices of 6 x 10 \(z, y, x\)$", said, re.MULTILINE)
    assert re.search(r"^size +480 bytes$", said, re.MULTILINE)
    assert "about 0.1 s on " in said
    facts = json.loads(succeed("info", path, "--json", "--voxel-size", "50,4.6,4.6", "--backend", "numpy"))
    report = facts.pop("report")
    assert facts == {
        "path": str(path),
        "format": "TIFF",
        "shape": [4, 6, 10],
        "dtype": "uint16",
        "bytes": 480,
        "voxel_size_nm": [50.0, 4.6, 4.6],
        "channels": 1,
        "channel": 0,
    }
    assert report["backend"] == "numpy"
    assert report["seconds"] > 0
    assert report["memory_bytes"] > 480


def test_backends_lists_all_with_the_reason_for_an_absence():
    found = gpu_stackcorr.available_backends()
    said = succeed("backends")
    as_json = json.loads(succeed("backends", "--json"))
    assert list(as_json) == list(found)
    assert as_json["numpy"]["available"] is True
    for name, info in found.items():
        line = next(line for line in said.splitlines() if line.startswith(name))
        assert line.endswith(info.device if info.available else info.reason)


def test_version():
    assert succeed("--version") == f"stackcorr {gpu_stackcorr.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    said = re.sub(r"\x1b\[[0-9;]*m", "", succeed(command, "--help"))
    assert "--json" in said
    assert command in succeed("--help")


def test_no_command_shows_the_help():
    result = run()
    assert result.exit_code == 2
    assert all(command in result.output for command in COMMANDS)


# report and demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo") / "new" / "out"
    result = run(
        "demo", "-o", directory, "--slices", 8, "--size", 96, "--correlation-length", 2, "--no-elastic", "--seed", 3
    )
    assert result.exit_code == 0, result.output
    return directory, result


def test_demo_writes_a_phantom_that_knows_its_voxel_size(demo):
    directory, _ = demo
    with open_volume(directory / "phantom.tif") as volume:
        assert volume.voxel_size == (8.0, 8.0, 8.0)
        assert np.array_equal(volume[:], phantom((8, 96, 96), correlation_length=2.0, seed=3))


def test_demo_reports_beside_the_known_curve(demo):
    directory, result = demo
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == f"{directory / 'phantom.tif'}: 8 slices of 96 x 96, uint8"
    assert re.match(r"expected: about .* s on \w+ and some seconds to draw, .*B of memory", lines[1])
    assert lines[-1] == f"report: {directory / 'report.html'}"
    assert (directory / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    expected = rows((directory / "tables" / "expected.csv").read_text())
    known = phantom_correlation(np.arange(8), correlation_length=2.0)
    assert [float(row["expected"]) for row in expected] == pytest.approx(known.tolist())
    results = json.loads((directory / "results.json").read_text())
    assert results["options"]["seed"] == 3
    depth = results["depths"]["identity"]
    assert lines[-2] == (
        f"the correlation falls below 1/e {depth['depth']:.1f} slices ({depth['depth_nm']:.4g} nm) from the reference"
    )


def test_report_passes_its_options_on_and_prints_one_json_object(tmp_path):
    images = phantom((9, 50, 60), correlation_length=3.0, seed=1)
    images[4] = 9
    np.save(tmp_path / "stack.npy", images)
    words = "--json --reference 1 --alpha 20 --sigma 3 --confidence 0.9 --z 1:9 --crop 0:40,10:60 --voxel-size 40"
    result = run("report", tmp_path / "stack.npy", "-o", tmp_path / "out", *words.split(), "--seed", 2**64 - 1)
    assert result.exit_code == 0, result.output
    assert result.stderr == "warning: slices without variance have r = NaN: 3\n"
    headline = json.loads(result.stdout)
    assert headline["report"] == str(tmp_path / "out" / "report.html")
    assert (headline["slices"], headline["reference"], headline["seed"]) == (8, 1, 2**64 - 1)
    assert headline["flagged"] == {"constant": [3], "nan": []}
    assert headline["depth_nm"] == pytest.approx(40 * headline["depth"])
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["file"]["shape"] == [8, 40, 50]
    assert results["file"]["voxel_size_nm"] == [40.0, 40.0, 40.0]
    chosen = {name: results["options"][name] for name in ("alpha", "sigma", "elastic", "confidence_level")}
    assert chosen == {"alpha": 20.0, "sigma": 3.0, "elastic": True, "confidence_level": 0.9}


# Words and files


@pytest.mark.parametrize(
    ("text", "count"),
    [("4096", 4096), ("2GB", 2 * 10**9), ("2GiB", 2**31), ("1.5 kb", 1500), ("3m", 3 * 10**6), ("1TiB", 2**40)],
)
def test_amounts_of_memory(text, count):
    assert options.read_bytes(text) == count
    assert options.read_bytes(count) == count  # a default comes as a number


def test_words_of_options():
    assert options.read_span("10:200").pair() == (10, 200)
    assert options.read_span(":-5").pair() == (None, -5)
    assert options.read_crop("0:5, 7:") == options.Crop(options.Span(0, 5), options.Span(7, None))
    assert options.read_voxel_size("50,4.6,4.6") == options.VoxelSize(50.0, 4.6, 4.6)
    assert options.read_voxel_size("8") == options.VoxelSize(8.0, 8.0, 8.0)
    assert options.read_transform("noise=2").scale == AddNoise(2).scale
    assert options.read_transform("elastic=250,1e1") == Elastic(250, 10)
    composed = options.read_transform("rotate-90 + noise=0.5")
    assert isinstance(composed, Compose)
    assert composed.name == "rotate_90, noise 0.5"


def test_numbers_in_words():
    assert [bytes_in_words(n) for n in (7, 1000, 1536, 2**30)] == ["7 bytes", "0.977 KiB", "1.5 KiB", "1 GiB"]
    assert [seconds_in_words(s) for s in (0, 2.34, 59.4, 200, 7500)] == [
        "0.1 s",
        "2.3 s",
        "59 s",
        "3 min 20 s",
        "2 h 5 min",
    ]
    assert nm_in_words((50.0, 4.6, None)) == "50 x 4.6 x ? nm (z, y, x)"


def test_a_file_is_replaced_when_it_is_whole(tmp_path):
    target, link = tmp_path / "table.csv", tmp_path / "link.csv"
    target.write_text("before")
    link.symlink_to(target)
    with replacing(link) as partial:
        partial.write_text("after")
        assert target.read_text() == "before"
    assert (target.read_text(), link.is_symlink()) == ("after", True)
    plain = tmp_path / "plain"
    plain.touch()
    assert target.stat().st_mode == plain.stat().st_mode  # not the 600 of a temporary file


# A process of its own


def test_import_is_light():
    heavy = ("numpy", "scipy", "matplotlib", "tifffile", "jinja2", "pandas")
    code = f"import sys, gpu_stackcorr.cli; sys.exit(' '.join(sorted(set({heavy}) & set(sys.modules))))"
    result = python("-c", code, capture_output=True)
    assert result.stderr == "\n"


def test_a_pipe_sees_the_table_and_nothing_else(stack):
    result = python("-m", "gpu_stackcorr", "correlate", stack, capture_output=True)
    assert result.returncode == 0
    assert result.stderr == ""
    assert len(rows(result.stdout)) == 6


def read_all(terminal):
    """What was written to a pseudo-terminal: a read gives 4 KiB of it at most, and an error at its end."""
    chunks = []
    with contextlib.suppress(OSError):
        while chunk := os.read(terminal, 2**16):
            chunks.append(chunk)
    return b"".join(chunks).decode()


def test_a_terminal_sees_a_bar(stack):
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    ours, theirs = pty.openpty()
    result = python("-m", "gpu_stackcorr", "correlate", stack, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = read_all(ours)
    os.close(ours)
    assert "correlating" in shown
    assert "6/6" in shown
    assert "slices/s" in shown
    assert len(rows(result.stdout)) == 6


def test_a_reader_that_stops_early_is_no_error(stack):
    process = subprocess.Popen(
        [sys.executable, "-m", "gpu_stackcorr", "correlate", str(stack)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    process.wait()


def test_log_where_asked_for(stack):
    result = run("correlate", stack, "-t", "noise=1", "--verbose")
    assert result.exit_code == 0
    assert "no seed given: drew seed=" in result.stderr

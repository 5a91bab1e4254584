"""What is made of a record: tables, CSV, Markdown, the page, README's table; ``stackcorr bench`` that writes them."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from gpu_stackcorr.benchmarks import module
from gpu_stackcorr.cli import app

comparison, gpu_record, harness, page, readme, record, series, suite, tables, words = map(
    module,
    ("comparison", "gpu_record", "harness", "page", "readme", "record", "series", "suite", "tables", "words"),
)
OURS, NUMBA, NUMPY = harness.OURS, harness.path_name("numba"), harness.path_name("numpy")


def row(operation, case, contestant, median, **rest):
    """Return a row; its quartiles are a hundredth away."""
    backend = next((name for name in ("cuda", "numba", "numpy") if contestant == harness.path_name(name)), None)
    return {
        "operation": operation,
        "case": case,
        "contestant": contestant,
        "median": median,
        "lower_quartile": 0.99 * median,
        "upper_quartile": 1.01 * median,
        "rounds": 9,
        "gigapixels_per_second": 1.5,
        "error": 1e-9,
        "note": "",
        "backend": backend,
        **rest,
    }


def case(operation, name, **rest):
    """Return what a record says of a case."""
    counts = {"pixels": 1000, "bytes": 4000, "written": 0, "operations": 10000, "arithmetic": "float32"}
    entry = {"operation": operation, "case": name, "group": "operation", "parameters": {}, "reason": ""}
    return {**entry, **counts, **rest}


def made():
    """Return a record with everything in it."""
    series_of = [
        (
            case("moments", f"{n} slices", group="scaling", parameters={"slices": n}, operations=1000 * n),
            row("moments", f"{n} slices", NUMBA, 1e-4 * n + 1e-4, peak_host_bytes=2**20 * n),
        )
        for n in (1, 2, 4)
    ]
    rows = [
        row("warp", "a", NUMBA, 0.001, of_limit=0.8, bound="memory", peak_host_bytes=2**20, first_call=1.5),
        row("warp", "a", NUMPY, 0.02),
        row("warp", "a", f"{OURS}, with labels, numba backend", 0.0005, backend="numba"),
        row("warp", "a", "limit: memory read once", 0.0001),
        row("warp", "a", "slow", 0.01),
        row("warp", "a", "fast", 0.004, note="other numbers"),
        row("warp", "b", NUMBA, 0.002, of_limit=0.02, bound="neither"),
        row("warp", "b", "fast | wide", 0.001, note="float32"),
        row("moments", "c", NUMBA, 0.001),
        row("the notebook's flip", "small", NUMBA, 0.5),
        row("the notebook's flip", "small", "the notebook", 50.0),
        *(entry for _, entry in series_of),
    ]
    return record.completed(
        {
            **record.new(seconds=0.1, quick=True),
            "machine": {"processor": "abacus", "threads": 2, "memory_bytes": 2**30, "versions": {"numpy": "2.0"}},
            "limits": {"cpu": {"read_bytes_per_second": 2e10, "copy_bytes_per_second": 1e10, "float32_flops": 1e11}},
            "cases": [
                case("warp", "a"),
                case("warp", "b", reason="it reads <half> of the bytes"),
                case("moments", "c", operations=None),
                case("the notebook's flip", "small", group="experiment"),
                *(entry for entry, _ in series_of),
            ],
            "rows": rows,
            "missing": {"cv2": "ModuleNotFoundError: no cv2"},
            "skipped": [{"operation": "warp", "case": "huge", "reason": "needs 1 PB"}],
            "failures": [{"operation": "warp", "case": "a", "contestant": "torch", "failure": "ValueError: no"}],
        }
    )


# Cases beside each other.


def test_the_fastest_path_is_held_against_the_fastest_rival():
    won, lost, alone, experiment, *_ = comparison.compared(made())
    assert (won.ours["contestant"], won.rival["contestant"], won.ratio) == (NUMBA, "fast", 4.0)
    assert (lost.ratio, lost.lost) == (0.5, True)
    assert (alone.rival, alone.ratio, alone.lost) == (None, None, False)
    assert experiment.ratio == 100
    assert comparison.used_backends([won, lost]) == ["numba", "numpy"]


def test_the_reason_of_a_loss():
    def reason(ours, rival, said=""):
        entry = case("warp", "a", reason=said)
        return comparison.Compared(entry, [ours, rival]).reason

    ours, rival = row("warp", "a", NUMBA, 2.0), row("warp", "a", "fast", 1.0, note="float32")
    assert reason(ours, rival, "it is given more") == "it is given more; fast: float32"
    assert reason(ours, {**rival, "note": ""}) == "not known"
    assert reason(ours, row("warp", "a", "fast", 1.99)) == "a tie: the quartiles overlap"
    assert "install numba" in reason(row("warp", "a", NUMPY, 2.0), rival, "it is given more")


def test_losses_stand_first_in_the_table():
    head, *lines = tables.summary(made())
    assert head[:4] == ["operation", "case", "numba ms", "numpy ms"]
    assert lines[0] == ["warp", "b", "2", "–", "fast | wide", "1", "0.5×", "2 %", "neither"]
    assert lines[1] == ["warp", "a", "1", "20", "fast", "4", "4×", "80 %", "memory"]
    assert lines[2][4:] == ["–", "–", "–", "–", "–"]
    printed = tables.aligned([head, *lines])
    assert printed[0].startswith("operation            case      numba ms  numpy ms  fastest rival")
    assert printed[2].startswith("warp                 a                1        20  fast")


def test_the_details_have_all_contestants():
    (one, *_) = comparison.compared(made())
    head, *lines = tables.details(one)
    first = dict(zip(head, lines[0], strict=True))
    assert first["ms (quartiles)"] == "1 (0.99 to 1.01)"
    assert (first["memory"], first["first call, s"], first["error"]) == ("1 MiB", "1.5", "1.0e-09")
    assert dict(zip(head, lines[5], strict=True))["times ours"] == "4×"
    assert len(lines) == 6


def test_markdown_names_losses_and_what_is_missing():
    text = tables.markdown(made())
    why = "it reads <half> of the bytes; fast / wide: float32"
    assert f"| warp: b | 2 (numba) | 1 (fast / wide) | 0.5× | {why} |" in text
    assert text.index("## Where a rival is faster") < text.index("## All cases")
    assert "- cv2: ModuleNotFoundError: no cv2" in text
    assert "- warp, huge: needs 1 PB" in text
    assert "- warp, a, torch: ValueError: no" in text
    assert "| cpu | 20 GB/s | 10 GB/s | – | 100 Gflop/s | – |" in text


def test_csv_has_a_row_a_contestant_with_its_counts():
    found = list(csv.DictReader(io.StringIO(tables.csv_text(made()))))
    assert len(found) == len(made()["rows"])
    assert (found[0]["contestant"], found[0]["median"], found[0]["bytes"]) == (NUMBA, "0.001", "4000")
    assert found[-1]["parameters"] == "slices=4"
    assert tables.csv_text(record.completed({"rows": []})) == ""


def test_series_grow_as_the_work_does():
    (one,) = series.series(comparison.compared(made()))
    (curve,) = one.curves.values()
    assert (one.title, [point.x for point in curve]) == ("moments against slices", [1, 2, 4])
    assert one.ideal(curve) == pytest.approx([2e-4, 4e-4, 8e-4])
    assert one.growth(curve) == pytest.approx(5e-4 / 8e-4)


def test_threads_share_the_work_out():
    curve = [series.Point(x, case("warp", "a"), row("warp", "a", NUMBA, t)) for x, t in ((1.0, 8.0), (2.0, 5.0))]
    assert series.Series("warp", "threads", {NUMBA: curve}).ideal(curve) == [8.0, 4.0]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00271828, "0.00272"), (3.14159, "3.14"), (99.99, "100"), (1234.5, "1234"), (1.5e-5, "1.50e-05"), (0, "0")],
)
def test_numbers_in_words(value, text):
    assert words.significant(value) == text


def test_sizes_and_shares_in_words():
    assert [words.size(n) for n in (None, 0, 1500, 2**40)] == ["–", "0 B", "1.46 KiB", "1 TiB"]
    assert [words.share(x) for x in (None, 1.234, 0.05, 0.5)] == ["–", "123 %", "5 %", "50 %"]


# README's table.


def test_the_readme_shows_the_fastest_rival_and_losses_first():
    lines = readme.table(made()).splitlines()
    assert lines[2:] == [
        "| warp | b | 2 | fast | wide (float32) | 1 | 0.5 |",
        "| warp | a | 1 | fast (other numbers) | 4 | 4 |",
        "| the notebook's flip | small | 500 | the notebook | 5e+04 | 1e+02 |",
    ]
    text = f"above\n{readme.BEGIN}\nold\n{readme.END}\nbelow"
    assert readme.replaced(text, "new") == f"above\n{readme.BEGIN}\nnew\n{readme.END}\nbelow"
    with pytest.raises(ValueError, match="has no"):
        readme.replaced("nothing", "new")


# The page.


class Words(HTMLParser):
    """The text of a page, and where its elements point."""

    def __init__(self):
        super().__init__()
        self.text, self.images, self.links = "", [], []

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.images += [given["src"]] if tag == "img" else []
        self.links += [given[name] for name in ("href", "src") if name in given]


def read(text):
    """Return a page, parsed."""
    parsed = Words()
    parsed.feed(text)
    return parsed


@pytest.fixture(scope="module")
def shown():
    return read(page.render([made()]))


def test_the_page_needs_nothing_beside_it(shown):
    assert shown.images
    assert all(link.startswith(("data:image/svg+xml;base64,", "#")) for link in shown.links)
    for image in shown.images:
        assert base64.b64decode(image.partition(",")[2]).lstrip().startswith(b"<?xml")


def test_the_page_tells_losses_first_with_the_reason(shown):
    assert shown.text.index("Where a rival is faster") < shown.text.index("Paths and rivals")
    assert "it reads <half> of the bytes; fast | wide: float32" in shown.text
    assert "Faster than every rival in 2 of 3 cases" in shown.text


def test_the_page_has_ratios_experiments_roofline_and_growth(shown):
    assert len(shown.images) == 4
    for words_ in (
        "abacus",
        "numpy 2.0",
        "The notebook's experiments",
        "Roofline of the CPU",
        "moments against slices",
    ):
        assert words_ in shown.text
    for words_ in ("cv2: ModuleNotFoundError", "needs 1 PB", "torch: ValueError: no", "20 GB/s"):
        assert words_ in shown.text


def test_the_page_of_one_path_without_rivals():
    found = record.completed({"rows": [row("warp", "a", NUMPY, 0.001)]})
    text = read(page.render([found])).text
    assert "1 cases, with no rival installed" in text
    assert "Where a rival is faster" not in text


def test_a_case_in_which_all_failed_has_no_table():
    found = record.completed({**record.new(seconds=0.1, quick=True), "cases": [case("warp", "a")], "rows": []})
    assert tables.summary(found)[1] == ["warp", "a", *["–"] * 5]
    assert "### warp" not in tables.markdown(found)
    assert "warp" in read(page.render([found])).text


# Files of bench/gpu.


GPU = {
    "started": "2026-11-25T00:00:00Z",
    "device": "NVIDIA Abacus",
    "cupy": "14.0",
    "driver": 13000,
    "tiny": False,
    "copy_gigabytes_per_second": 2000.0,
    "failures": ["Traceback\nMemoryError: all"],
    "targets": [
        {"case": "warp, order 1", "text": "share", "figure": 0.5, "limit": 0.7, "at_least": True, "reached": False},
        {"case": "warp, order 1", "text": "other", "figure": float("nan"), "limit": 3, "at_least": 0, "reached": None},
    ],
    "rows": [
        {
            "case": name,
            "contestant": contestant,
            "median": median,
            "lower_quartile": median,
            "upper_quartile": median,
            "wall": 2 * median,
            "first": 1.0,
            "rounds": 5,
            "gigabytes_per_second": 1000.0 if contestant == OURS else None,
            "of_copy": 0.5 if contestant == OURS else None,
            "error": None,
            "note": note,
            "failure": failure,
        }
        for name, contestant, median, note, failure in (
            ("warp, order 1", OURS, 2.0, "", ""),
            ("warp, order 1", "cupyx", 8.0, "scaled", ""),
            ("warp, order 1", "cuBLAS", 8.0, "", "error 1"),
            ("small inputs, 4 KiB", "moments on cuda", 1.0, "from the host; see wall", ""),
            ("small inputs, 4 KiB", "moments on numpy", 0.1, "from the host; see wall", ""),
        )
    ],
}


def test_a_file_of_a_gpu_becomes_a_record(tmp_path):
    (tmp_path / "benchmarks.json").write_text(json.dumps(GPU))
    found = record.load(tmp_path / "benchmarks.json")
    warp, small = comparison.compared(found)
    assert (warp.case["operation"], warp.case["case"], warp.case["bytes"]) == ("warp", "order 1", 2 * 10**9)
    assert (warp.ours["median"], warp.ours["of_limit"], warp.ours["bound"]) == (0.002, 0.5, "memory")
    assert (warp.ours["on_device"], warp.ours["backend"], warp.ratio) == (True, "cuda", 4.0)
    assert warp.rival["note"] == "scaled"
    assert "wall ms" in tables.details(warp)[0]
    assert "16" in tables.details(warp)[2]
    assert small.case["case"] == "4 KiB, moments"
    assert {(one["backend"], one["median"], one["on_device"]) for one in small.rows} == {
        ("cuda", 0.002, False),
        ("numpy", 0.0002, False),
    }
    assert [one["failure"] for one in found["failures"]] == ["error 1", "MemoryError: all"]
    assert found["limits"] == {"cuda": {"copy_bytes_per_second": 2e12}}
    assert record.name(found) == "NVIDIA Abacus"


def test_machines_stand_beside_each_other(tmp_path):
    (tmp_path / "benchmarks.json").write_text(json.dumps(GPU))
    other = made()
    other["rows"].append(row("warp", "order 1", NUMBA, 0.05))
    other = record.completed(other)
    text = read(page.render([other, record.load(tmp_path / "benchmarks.json")])).text
    assert "The machines beside each other" in text
    assert page.side_by_side([other, record.load(tmp_path / "benchmarks.json")])[1] == ["warp: order 1", "50", "2"]
    for words_ in ("at least 0.7", "missed", "not measured", "NVIDIA Abacus"):
        assert words_ in text
    assert page.side_by_side([other, record.completed({"rows": []})]) is None


def test_a_rehearsal_is_called_one(tmp_path):
    (tmp_path / "benchmarks.json").write_text(json.dumps({**GPU, "tiny": True}))
    assert "None of its times is a figure" in read(page.render([record.load(tmp_path / "benchmarks.json")])).text


# The command.


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

"""What is made of a record: tables, CSV, Markdown, README's table, the page; and records of files of bench/gpu."""

from __future__ import annotations

import base64
import csv
import io
import json
from html.parser import HTMLParser

import pytest
from bench_records import GPU, NUMBA, NUMPY, case, made, row

from gpu_stackcorr.benchmarks import module

comparison, page, readme, record, series, tables, words = map(
    module, ("comparison", "page", "readme", "record", "series", "tables", "words")
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

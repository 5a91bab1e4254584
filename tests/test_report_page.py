"""The page of a report: that it stands alone, and what it says of the slices, the faults and the depths."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from phantom_report import FIXTURES, LABELS, OPTIONS, SHAPE, Page, curve, rendered, rows, stored

from gpu_stackcorr.decorrelation import decorrelation_depth
from gpu_stackcorr.errors import ConstantSliceWarning
from gpu_stackcorr.lags import lag_correlation
from gpu_stackcorr.phantoms import phantom
from gpu_stackcorr.report import ReportOptions, analyse, figures, page, tables
from gpu_stackcorr.volumes import open_volume

stack, volume, analysis, written = FIXTURES


def test_the_page_needs_nothing_beside_it(written):
    text = (written / "report.html").read_text(encoding="utf-8")
    found = Page(text)
    assert len(found.addresses) == len(figures.NAMES)
    assert all(address.startswith("data:image/") for address in found.addresses)
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    without_images = re.sub(r'"data:[^"]*"', "", text)
    assert "http" not in without_images
    assert "url(" not in without_images


def test_the_page_tells_everything_in_order(written, analysis):
    found = Page((written / "report.html").read_text(encoding="utf-8"))
    assert found.ids == [
        "file", "headline", "correlation", "pairs", "flips", "noise", "elastic", "depths", "computed",
    ]  # fmt: skip
    depth = analysis.depths["identity"]
    assert f"Slices decorrelate (r < 1/e) after {depth.statistic:.3g} slices ({depth.nm:.3g} nm)" in found.words
    assert "16 × 16 cells" in found.words
    assert "share one noise field" in found.words
    for label in LABELS:
        assert label.replace("_", " ") in found.words
    assert str(written) not in found.words


def test_all_pairs(written, analysis, stack):
    pairs = analysis.pairs
    lags = lag_correlation(stack, SHAPE[0] // 2)
    np.testing.assert_array_equal(pairs.lags.statistic, lags.statistic)
    assert pairs.depth.statistic == decorrelation_depth(lags).statistic
    found = Page((written / "report.html").read_text(encoding="utf-8"))
    assert str(pairs.advice) in found.words
    assert f"{pairs.depth.statistic:.3g} slices [" in found.words
    assert "alone says" in found.words
    assert "“drops after about 20 slices”" in found.words
    table = rows(written / "tables" / "lags.csv")
    assert [float(row["r"]) for row in table] == lags.statistic.tolist()
    results = json.loads((written / "results.json").read_text(encoding="utf-8"))
    assert list(results["pairs"]) == ["lags", "depth", "advice", "outliers"]
    assert (written / "tables" / "outliers.csv").read_text().startswith("slice,fault,")


def test_faults_are_named(tmp_path):
    doubled = phantom((24, 64, 64), correlation_length=12.0, seed=2)
    doubled[12] = doubled[11]
    np.save(tmp_path / "doubled.npy", doubled)
    with open_volume(tmp_path / "doubled.npy") as volume:
        analysis = analyse(volume, ReportOptions(elastic=False, noise=(0,), seed=1))
    assert [(fault.slice, fault.fault) for fault in analysis.pairs.outliers] == [(12, "duplicate")]
    words = Page(rendered(tmp_path, analysis)).words
    assert f"Slice 12: {analysis.pairs.outliers.outliers[0].text}" in words


@pytest.mark.parametrize("count", [2, 3, 24])
def test_without_all_pairs(tmp_path, count):
    np.save(tmp_path / "stack.npy", phantom((count, 64, 64), correlation_length=6.0, seed=2))
    with open_volume(tmp_path / "stack.npy") as volume:
        analysis = analyse(volume, ReportOptions(pairs=count < 4, elastic=False, noise=(0,), seed=1))
    assert analysis.pairs is None
    page_ids = Page(rendered(tmp_path, analysis)).ids
    assert "pairs" not in page_ids
    assert "lags" not in tables.tables(analysis)


def test_the_page_names_flagged_slices_and_the_side(stack, tmp_path):
    stack = stack.astype(np.float32)
    stack[2], stack[4, 0, 0] = 5, np.nan
    options = replace(OPTIONS, reference=6, elastic=False, noise=(0.5,), max_shift=None)
    with pytest.warns(ConstantSliceWarning, match="2"):
        flagged = analyse(stored(tmp_path, stack), options)
    words = Page(rendered(tmp_path, flagged)).words
    assert "Slices of one grey value, without a correlation: 2." in words
    assert "Slices with NaN, without a correlation: 4." in words
    assert "the slices above it were looked at" in words
    assert "not known: depths are in slices" in words
    results = json.loads(tables.results_json(flagged))
    assert results["flagged"] == {"constant": [2], "nan": [4]}
    assert results["curves"]["identity"]["r"][2] is None
    with figures.style():
        drawn = figures.draw_correlation(flagged)
    assert np.isnan(curve(drawn, "identity")).nonzero()[0].tolist() == [2, 4]


def test_a_stack_that_stays_correlated_says_so(tmp_path):
    image = phantom((1, 40, 40), seed=2)[0]
    alike = analyse(stored(tmp_path, np.stack([image] * 3)), replace(OPTIONS, elastic=False, noise=()))
    assert "r does not fall below 1/e within 2 slices" in Page(rendered(tmp_path, alike)).words


def test_names_are_escaped(stack, tmp_path):
    volume = stored(tmp_path, stack[:3], "a<b>&c.npy")
    text = rendered(tmp_path, analyse(volume, replace(OPTIONS, elastic=False, noise=())))
    assert "a&lt;b&gt;&amp;c.npy" in text
    assert "<b>" not in text


@pytest.mark.parametrize(
    ("given", "words"),
    [(None, "–"), (math.nan, "–"), (0.98731, "0.987"), (13.44, "13.4"), (1234.5, "1,234")],
)
def test_depths_have_three_digits(given, words):
    assert page.significant(given) == words


def test_numbers_in_words():
    assert page.slices(1.0) == "1 slice"
    assert page.slices(2.5) == "2.5 slices"
    assert page.fixed(-0.1234, 2) == "\N{MINUS SIGN}0.12"
    assert page.size(3 * 2**20) == "3 MiB"
    assert page.size(None) == "not known on this system"
    assert page.named(list(range(30))).endswith("18, 19 and 10 more")
    assert page.voxel_size((40.0, None, 4.0)) == "40 × ? × 4 nm (z, y, x)"
    assert page.voxel_size((None, None, None)) is None

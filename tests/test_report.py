from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from gpu_stackcorr.backends.base import field_dtype
from gpu_stackcorr.decorrelation import decorrelation_depth
from gpu_stackcorr.displacement_fields import displacement_field
from gpu_stackcorr.errors import ConstantSliceWarning, ParameterError, VolumeError
from gpu_stackcorr.folds import fold_report
from gpu_stackcorr.lags import lag_correlation
from gpu_stackcorr.phantoms import phantom, phantom_correlation
from gpu_stackcorr.pipeline import Cost
from gpu_stackcorr.report import (
    OWN_FILES,
    Analysis,
    ReportOptions,
    analyse,
    figures,
    output,
    page,
    pairs,
    tables,
    write_report,
)
from gpu_stackcorr.report.grids import GRIDS
from gpu_stackcorr.volumes import open_volume

SHAPE = (12, 40, 56)
OPTIONS = ReportOptions(seed=7, alpha=20.0, sigma=3.0, max_shift=2)
LABELS = ["identity", "flip_right_left", "flip_up_down", "noise 1", "noise 2", "noise 3", "noise 4", "elastic(20, 3)"]


def known(distance):
    return phantom_correlation(distance, correlation_length=3.0)


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    return phantom(SHAPE, correlation_length=3.0, seed=1)


@pytest.fixture(scope="module")
def volume(stack, tmp_path_factory):
    path = tmp_path_factory.mktemp("volume") / "stack.npy"
    np.save(path, stack)
    return open_volume(path, voxel_size=(40.0, 4.0, 4.0))


@pytest.fixture(scope="module")
def analysis(volume) -> Analysis:
    return analyse(volume, OPTIONS, expected=known)


@pytest.fixture(scope="module")
def written(volume, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("report") / "new" / "out"
    assert write_report(volume, directory, OPTIONS, expected=known) == directory / "report.html"
    return directory


def stored(tmp_path: Path, stack: np.ndarray, name: str = "stack.npy"):
    np.save(tmp_path / name, stack)
    return open_volume(tmp_path / name)


def curve(figure, label):
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == label]
    return line.get_ydata()


def files(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# What is computed.


def test_analysis_has_the_curves_of_the_notebook(analysis, stack):
    assert list(analysis.battery) == LABELS
    r = [np.corrcoef(stack[0].ravel(), image.ravel())[0, 1] for image in stack]
    np.testing.assert_allclose(analysis.identity.statistic, r, atol=1e-12)
    assert [result.transform for result in analysis.flips] == ["flip_right_left", "flip_up_down"]
    assert analysis.elastic is analysis.battery["elastic(20, 3)"]
    assert list(analysis.noise) == [0, 1, 2, 3, 4]
    assert analysis.noise[0] is analysis.identity


def test_depth_is_where_r_first_falls_below_1_over_e(analysis):
    r = analysis.identity.statistic
    first = int(np.flatnonzero(r < 1 / math.e)[0])
    depth = analysis.depths["identity"]
    assert depth.first_below == first
    assert depth.statistic == pytest.approx(first - 1 + (r[first - 1] - 1 / math.e) / (r[first - 1] - r[first]))
    assert depth.nm == pytest.approx(40 * depth.statistic)


def test_facts_of_file_and_reference(volume, stack):
    analysis = analyse(volume, replace(OPTIONS, reference=-1, elastic=False, noise=(2,)))
    assert (analysis.file.name, analysis.file.shape, analysis.file.dtype) == ("stack.npy", SHAPE, "uint8")
    assert analysis.file.voxel_size == (40.0, 4.0, 4.0)
    assert analysis.index == SHAPE[0] - 1
    np.testing.assert_array_equal(analysis.reference, stack[-1])
    assert (analysis.grey.minimum, analysis.grey.maximum) == (stack[-1].min(), stack[-1].max())
    assert analysis.grey.standard_deviation == pytest.approx(stack[-1].std())
    assert list(analysis.battery) == ["identity", "flip_right_left", "flip_up_down", "noise 2"]
    assert analysis.elastic is None
    assert list(analysis.noise) == [2]


def test_progress_counts_the_slices(volume):
    seen = []
    analyse(volume, replace(OPTIONS, elastic=False, noise=()), progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (SHAPE[0], SHAPE[0])


def test_a_seed_is_drawn_and_told(volume):
    options = replace(OPTIONS, seed=None, elastic=False, noise=(1,))
    first, second = analyse(volume, options), analyse(volume, options)
    assert first.computed.seed != second.computed.seed
    again = analyse(volume, replace(options, seed=first.computed.seed))
    np.testing.assert_array_equal(again.noise[1].statistic, first.noise[1].statistic)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": 99}, "99"),
        ({"alpha": -1.0}, "alpha"),
        ({"sigma": -1.0}, "sigma"),
        ({"noise": (-1.0,)}, "noise"),
        ({"confidence_level": 1.0}, "confidence_level"),
        ({"backend": "abacus"}, "abacus"),
        ({"seed": -1}, "seed"),
        ({"threads": 0}, "threads"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(volume, tmp_path, change, message):
    with pytest.raises(ParameterError, match=message) as caught:
        write_report(volume, tmp_path / "a" / "b", replace(OPTIONS, **change))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# What is written.


def test_the_folder_holds_every_file_and_no_other(written):
    assert set(files(written)) == set(OWN_FILES)
    assert [p.name for p in written.parent.iterdir()] == ["out"]


def test_tables(written, analysis):
    correlations = rows(written / "tables" / "correlations.csv")
    assert len(correlations) == len(LABELS) * SHAPE[0]
    assert {row["transform"] for row in correlations} == {
        "identity", "flip_right_left", "flip_up_down", "elastic(20, 3)",
    }  # fmt: skip
    assert [float(row["r"]) for row in correlations[: SHAPE[0]]] == analysis.identity.statistic.tolist()
    assert correlations[3]["distance_nm"] == "120.0"

    depths = rows(written / "tables" / "depths.csv")
    assert len(depths) == len(LABELS)
    assert float(depths[0]["depth"]) == analysis.depths["identity"].statistic

    noise = rows(written / "tables" / "noise.csv")
    assert [round(float(row["expected"]), 3) for row in noise] == [1, 0.707, 0.447, 0.316, 0.243]
    assert all(float(row["low"]) <= float(row["expected"]) <= float(row["high"]) for row in noise)

    grids = rows(written / "tables" / "grids.csv")
    assert [(float(row["alpha"]), float(row["sigma"])) for row in grids] == [(50, 10), (250, 5), (250, 10)]
    assert list(map(float, [row["fraction_folded"] for row in grids])) == [
        g.folds.fraction_folded for g in analysis.grids
    ]

    expected = rows(written / "tables" / "expected.csv")
    assert [float(row["expected"]) for row in expected] == known(np.arange(SHAPE[0])).tolist()


def test_results_json(written, analysis):
    results = json.loads((written / "results.json").read_text(encoding="utf-8"))
    assert list(results) == [
        "format", "file", "reference_slice", "options", "curves", "depths", "shifted", "pairs", "noise_at_0",
        "grids", "expected", "flagged", "computed",
    ]  # fmt: skip
    assert results["file"]["shape"] == list(SHAPE)
    assert results["file"]["voxel_size_nm"] == [40, 4, 4]
    assert results["options"]["seed"] == results["computed"]["seed"] == 7
    assert list(results["curves"]) == list(results["depths"]) == LABELS
    assert results["curves"]["identity"]["r"] == analysis.identity.statistic.tolist()
    assert results["flagged"] == {"constant": [], "nan": []}
    assert results["computed"]["versions"]["numpy"] == np.__version__


def test_the_same_seed_repeats_tables_and_figures_to_the_byte(volume, written, tmp_path):
    write_report(volume, tmp_path / "out", replace(OPTIONS, threads=3, memory=2**26), expected=known)
    first, second = files(written), files(tmp_path / "out")
    for name in OWN_FILES:
        if name.startswith(("tables", "figures")):
            assert first[name] == second[name], name


def test_another_seed_changes_what_is_random_and_nothing_else(volume, analysis):
    other = analyse(volume, replace(OPTIONS, seed=8))
    for label in LABELS:
        same = np.array_equal(other.battery[label].statistic, analysis.battery[label].statistic)
        assert same == (label in LABELS[:3]), label


def test_what_does_not_apply_is_left_out_and_the_users_files_stay(volume, tmp_path):
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    (out / "figures" / "mine.png").write_bytes(b"mine")
    (out / "notes.txt").write_text("mine")
    (out / "figures" / "elastic.png").write_bytes(b"of a former run")
    (out / "report.html").write_text("of a former run")
    write_report(volume, out, replace(OPTIONS, elastic=False, noise=(), max_shift=None))
    found = files(out)
    left_out = {"figures/elastic", "figures/noise", "figures/noise_panels", "tables/expected", "tables/shifted"}
    expected = {name for name in OWN_FILES if name.rpartition(".")[0] not in left_out}
    assert set(found) == expected | {"notes.txt", "figures/mine.png"}
    assert found["figures/mine.png"] == b"mine"
    assert b"<!DOCTYPE html>" in found["report.html"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("exists", [True, False])
def test_an_interrupt_leaves_everything_as_it_was(volume, tmp_path, error, exists):
    out = tmp_path / "a" / "out"
    if exists:
        out.mkdir(parents=True)
        (out / "report.html").write_text("of a former run")
    before = files(tmp_path)

    def interrupt(done, every):
        raise error

    with pytest.raises(error):
        write_report(volume, out, OPTIONS, progress=interrupt)
    assert files(tmp_path) == before
    assert [p.name for p in out.iterdir()] == ["report.html"] if exists else list(tmp_path.iterdir()) == []


def test_an_error_while_writing_leaves_nothing(volume, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figures, "draw_figures", lambda _: {})
    monkeypatch.setattr(page, "render", fail)
    with pytest.raises(VolumeError, match=r"cannot write to '.*out': No space left on device"):
        write_report(volume, tmp_path / "out", replace(OPTIONS, elastic=False, noise=()))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_before_the_work(volume, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("the work had begun")

    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(VolumeError, match="cannot write to") as caught:
            write_report(volume, out, OPTIONS, progress=never)
        assert "\n" not in str(caught.value)

    def forbidden(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(VolumeError, match="Permission denied"):
        write_report(volume, tmp_path / "out", OPTIONS, progress=never)
    assert files(tmp_path) == {"file": b"mine"}


def test_a_file_in_the_way_of_a_folder_leaves_the_rest_alone(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "figures").write_text("mine")

    def write():
        with output.staged(out, ()) as staging:
            (staging / "figures").mkdir()
            (staging / "figures" / "a.png").write_bytes(b"a")
            (staging / "b.csv").write_bytes(b"b")

    with pytest.raises(VolumeError, match="cannot write to"):
        write()
    assert files(tmp_path) == {"out/figures": b"mine"}


# The page.


class Page(HTMLParser):
    """Collects what a page refers to, its headings, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_data(self, data):
        self.words += data


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


def rendered(tmp_path: Path, analysis: Analysis) -> str:
    """Return the page of an analysis with empty figures, which take no time to draw."""
    folder = tmp_path / "figures"
    folder.mkdir()
    for name in figures.NAMES:
        (folder / f"{name}.png").touch()
        (folder / f"{name}.svg").touch()
    return page.render(analysis, folder)


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


# The figures: what is in them, not how they look.


@pytest.fixture(scope="module")
def drawn(analysis):
    with figures.style():
        return figures.draw_figures(analysis)


def test_every_figure_is_drawn(drawn):
    assert tuple(drawn) == figures.NAMES


def test_curves_are_those_of_the_analysis(drawn, analysis):
    r = {label.replace("_", " "): result.statistic for label, result in analysis.battery.items()}
    for name, labels in {
        "correlation": ["identity"],
        "flips": ["identity", "flip right left", "flip up down"],
        "noise": ["identity", "noise 1", "noise 2", "noise 3", "noise 4"],
        "elastic": ["identity", "elastic(20, 3)"],
    }.items():
        for label in labels:
            np.testing.assert_array_equal(curve(drawn[name], label), r[label])
    np.testing.assert_array_equal(curve(drawn["correlation"], "expected"), known(np.arange(SHAPE[0])))
    (known_at_0,) = [line for line in drawn["noise"].axes[0].lines if line.get_label().startswith("expected at 0")]
    np.testing.assert_allclose(known_at_0.get_ydata(), 1 / np.sqrt(1 + np.arange(5) ** 2))


def test_the_depth_is_marked(drawn, analysis):
    ax = drawn["correlation"].axes[0]
    depth = analysis.depths["identity"]
    assert [(depth.statistic, 1 / math.e)] in [list(zip(*line.get_data(), strict=True)) for line in ax.lines]
    assert f"{depth.statistic:.3g} slices\n({depth.nm:.3g} nm)" in [text.get_text() for text in ax.texts]


def test_the_noise_picture_is_slice_noise_and_sum(drawn, analysis):
    slice_, noise, total = (ax.images[0].get_array() for ax in drawn["noise_panels"].axes[:3])
    standardised = (analysis.reference - analysis.reference.mean()) / analysis.reference.std()
    np.testing.assert_allclose(slice_, standardised, atol=1e-12)
    assert noise.std() == pytest.approx(2, rel=0.1)
    np.testing.assert_allclose(total, slice_ + noise, atol=1e-12)
    assert {ax.images[0].get_clim() for ax in drawn["noise_panels"].axes[:3]} == {(-5.0, 5.0)}
    # The sum is what was correlated: r(0) of that level.
    r = np.corrcoef(analysis.reference.ravel(), np.ravel(total))[0, 1]
    assert r == pytest.approx(analysis.noise[2].statistic[0], abs=1e-12)


def test_the_grid_is_drawn_on_a_copy(drawn, volume, analysis):
    panels = {ax.get_title().partition("\n")[0]: ax.images[0].get_array() for ax in drawn["grid_panels"].axes}
    assert list(panels) == ["Original", "α = 50, σ = 10", "α = 250, σ = 5", "α = 250, σ = 10"]
    assert (panels["Original"][0] == analysis.reference.max()).all()
    assert not np.array_equal(panels["Original"], panels["α = 50, σ = 10"])
    np.testing.assert_array_equal(analysis.reference, volume[0])


def test_what_a_grid_panel_says_is_what_it_shows(drawn, written, volume, analysis):
    """The notebook's alpha 250, sigma 5 tears the image."""
    page = Page((written / "report.html").read_text(encoding="utf-8")).words
    titles = [ax.get_title() for ax in drawn["grid_panels"].axes[1:]]
    for (alpha, sigma), grid, title in zip(GRIDS, analysis.grids, titles, strict=True):
        field = displacement_field(SHAPE[1:], alpha, sigma, seed=7, dtype=field_dtype(volume.dtype))
        report = fold_report(field)
        assert grid.folds.to_json() == fold_report(field, bins=1).to_json()
        assert title == f"{grid.title}\n{grid.words}"
        assert f"{grid.title}: {grid.words}" in page
        assert grid.words.endswith(f"{report.minimum:.2f}".replace("-", "\N{MINUS SIGN}"))
    assert analysis.grids[0].words.startswith("nothing folded")
    assert 0.2 < analysis.grids[1].folds.fraction_folded < 0.5


def test_downsampling_takes_means_of_squares():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(figures.downsampled(image, 2), [[2.5, 4.5], [8.5, 10.5]])
    np.testing.assert_array_equal(figures.downsampled(image, 4), image)


def test_the_middle_of_a_picture():
    image = np.arange(20).reshape(4, 5)
    np.testing.assert_array_equal(figures.central(image, 2), [[6, 7], [11, 12]])
    assert figures.central(image, 9) is not image
    np.testing.assert_array_equal(figures.central(image, 9), image)


@pytest.mark.parametrize(("longest", "length"), [(1, 1), (4.9, 2), (5, 5), (999, 500), (0.3, 0.2)])
def test_scale_bars_have_round_lengths(longest, length):
    assert figures.round_length(longest) == pytest.approx(length)


def test_grey_scale_of_an_image_of_two_values():
    image = np.zeros((40, 40), bool)
    image[0, 0] = True
    assert figures.grey_scale(image) == (0, 1)


def test_the_curve_over_small_shifts(tmp_path):
    drifting = phantom((6, 64, 64), correlation_length=100.0, seed=2)
    drifting[3:] = np.roll(drifting[3:], (3, 2), axis=(1, 2))
    with stored(tmp_path, drifting) as volume:
        analysis = analyse(volume, ReportOptions(elastic=False, noise=(0,), max_shift=5, seed=1))
    assert analysis.shifted.shift_y[3:].tolist() == [3, 3, 3]
    assert (analysis.shifted.statistic[3:] > analysis.identity.statistic[3:]).all()
    with figures.style():
        drawn = figures.draw_correlation(analysis)
    np.testing.assert_array_equal(curve(drawn, "shifted by up to 5 px"), analysis.shifted.statistic)
    assert "by up to 5 pixels along each axis" in Page(rendered(tmp_path, analysis)).words


def test_the_cost_of_all_pairs_grows_with_them(volume, tmp_path):
    cost = pairs.estimate_all(volume, OPTIONS)
    assert cost.seconds > 0
    assert cost.memory >= SHAPE[0] * SHAPE[1] * SHAPE[2]
    assert pairs.estimate_all(volume, replace(OPTIONS, pairs=False)) == Cost(0.0, 0)
    with stored(tmp_path, np.zeros((3, 40, 56), np.uint8)) as few:
        assert pairs.estimate_all(few, OPTIONS) == Cost(0.0, 0)
    with stored(tmp_path, np.zeros((9, 40, 56), np.float32), "constant.npy") as constant:
        assert pairs.estimate_all(constant, OPTIONS).seconds > 0

"""The figures of a report: what is in them, not how they look."""

from __future__ import annotations

import math

import numpy as np
import pytest
from phantom_report import FIXTURES, SHAPE, Page, curve, known, rendered, stored

from gpu_stackcorr.backends.base import field_dtype
from gpu_stackcorr.displacement_fields import displacement_field
from gpu_stackcorr.folds import fold_report
from gpu_stackcorr.phantoms import phantom
from gpu_stackcorr.report import ReportOptions, analyse, figures
from gpu_stackcorr.report.grids import GRIDS

stack, volume, analysis, written = FIXTURES


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

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from gpu_stackcorr.errors import ParameterError
from gpu_stackcorr.plots import COLOURS, FEW_SLICES, band_name, curve_name, mark_threshold, plot_correlations
from gpu_stackcorr.records import Battery, StackCorrelation


def result(r, *, reference=0, transform="identity", noise=0.0, spacing=None, method="fisher") -> StackCorrelation:
    count = len(r)
    return StackCorrelation(
        statistic=np.array(r, np.float64),
        distance=np.arange(count) - (reference or 0),
        n=np.full(count, 103),
        n_eff=np.full(count, 103.0),
        standard_error=np.full(count, 0.1),
        df=np.full(count, np.inf),
        window=np.zeros(count, np.int64),
        saturated=np.zeros(count, bool),
        flags=("",) * count,
        reference=reference,
        transform=transform,
        noise=noise,
        method=method,
        seed=None,
        backend="numpy",
        spacing=spacing,
    )


@pytest.fixture
def ax() -> Axes:
    return Figure().add_subplot()


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_curve_shows_r_against_distance(ax):
    assert plot_correlations([result([1, 0.5, 0.25])], ax=ax) is ax
    (line,) = ax.lines
    assert line.get_xdata().tolist() == [0, 1, 2]
    assert line.get_ydata().tolist() == [1, 0.5, 0.25]
    assert ax.get_ylabel() == "Correlation r"
    assert ax.get_xlabel() == "Distance from slice 0, in slices"
    assert legend(ax) == ["identity", "95 % band (Fisher)"]


def test_a_reference_in_the_middle_has_negative_distances(ax):
    plot_correlations([result([0.5, 1, 0.25], reference=1)], ax=ax)
    assert ax.lines[0].get_xdata().tolist() == [-1, 0, 1]
    assert ax.get_xlabel() == "Distance from slice 1, in slices"


def test_an_image_of_its_own_is_drawn_against_the_slice(ax):
    plot_correlations([result([0.5, 1, 0.25], reference=None, spacing=8.0)], ax=ax)
    assert ax.get_xlabel() == "Slice"
    assert not ax.child_axes


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_band_is_the_interval(ax, level):
    curve = result([0.9, 0.5, -0.25])
    plot_correlations([curve], ax=ax, confidence_level=level)
    low, high = curve.confidence_interval(level)
    corners = {tuple(corner) for corner in ax.collections[0].get_paths()[0].vertices.tolist()}
    assert {*enumerate(low.tolist()), *enumerate(high.tolist())} <= corners
    assert legend(ax)[-1] == f"{100 * level:g} % band (Fisher)"


def test_curves_differ_in_colour_line_and_marker(ax):
    curves = [result([1, 0.5], noise=float(m)) for m in range(5)]
    plot_correlations(curves, ax=ax)
    assert [to_hex(line.get_color(), keep_alpha=False).upper() for line in ax.lines] == list(COLOURS[:5])
    assert len({line.get_marker() for line in ax.lines}) == 5
    assert len({str(line._dash_pattern) for line in ax.lines}) == 5


def test_a_second_call_goes_on_where_the_first_ended(ax):
    plot_correlations([result([1, -0.5], spacing=2.0)], ax=ax)
    plot_correlations([result([1, 0.5], transform="flip_up_down", spacing=2.0)], ax=ax)
    assert ax.lines[0].get_color() != ax.lines[1].get_color()
    assert ax.get_ylim()[0] < -0.5
    assert len(ax.child_axes) == 1
    assert legend(ax) == ["identity", "95 % band (Fisher)", "flip up down"]


def test_depth_in_nm_where_all_results_have_it(ax):
    plot_correlations([result([1, 0.5, 0.2], spacing=8.0)], ax=ax)
    (top,) = ax.child_axes
    assert top.get_xlabel() == "Distance in nm"
    top.figure.draw_without_rendering()
    assert np.allclose(top.get_xlim(), 8 * np.array(ax.get_xlim()))


@pytest.mark.parametrize("spacings", [(None, None), (8.0, None), (8.0, 4.0)])
def test_no_depth_in_nm_where_it_is_not_one(ax, spacings):
    plot_correlations([result([1, 0.5], spacing=s) for s in spacings], ax=ax)
    assert not ax.child_axes


def test_an_expected_curve_is_drawn_at_the_distances(ax):
    plot_correlations([result([0.5, 1, 0.25], reference=1)], ax=ax, expected=lambda d: 1 / (1 + np.abs(d)))
    assert ax.lines[1].get_xdata().tolist() == [-1, 0, 1]
    assert ax.lines[1].get_ydata().tolist() == [0.5, 1, 0.5]
    assert "expected" in legend(ax)


def test_long_curves_have_few_markers(ax):
    plot_correlations([result(np.linspace(1, 0, FEW_SLICES)), result(np.linspace(1, 0, 10 * FEW_SLICES))], ax=ax)
    assert ax.lines[0].get_markevery()[1] == 1
    assert ax.lines[1].get_markevery()[1] > 10


def test_nan_slices_leave_a_gap(ax):
    plot_correlations([result([1, np.nan, 0.25]), result([np.nan] * 3)], ax=ax)
    assert np.isnan(ax.lines[0].get_ydata()).tolist() == [False, True, False]
    ax.figure.draw_without_rendering()


def test_negative_correlations_stay_inside(ax):
    plot_correlations([result([1, -0.9])], ax=ax)
    assert ax.get_ylim()[0] < -0.9


def test_names_of_curves_and_bands():
    assert curve_name(result([1], transform="flip_right_left", noise=2.0)) == "flip right left, noise 2"
    assert band_name([result([1], method="none")], 0.9) == "90 % band"


def test_threshold_is_marked(ax):
    mark_threshold(ax, 0.25, "a quarter")
    assert list(ax.lines[0].get_ydata()) == [0.25, 0.25]
    assert ax.texts[0].get_text() == "a quarter"


def test_nothing_to_draw_is_an_error(ax):
    with pytest.raises(ParameterError, match="results is empty"):
        plot_correlations([], ax=ax)


def test_records_plot_themselves_in_a_new_figure():
    matplotlib.use("Agg")
    from matplotlib import pyplot

    battery = Battery((result([1, 0.5]), result([1, 0.2], noise=1.0)))
    ax = battery.plot(confidence_level=0.9)
    assert ax.figure.number in pyplot.get_fignums()
    assert legend(ax) == ["identity", "noise 1", "90 % band (Fisher)"]
    pyplot.close(ax.figure)


def test_importing_plots_does_not_import_matplotlib():
    code = "import sys, gpu_stackcorr.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

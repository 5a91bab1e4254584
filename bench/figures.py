"""The plots of the page: ratios to rivals, the roofline, series that grow, the experiments."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from gpu_stackcorr.backends import PREFERENCE

from .comparison import Compared, Row, is_path
from .series import Series
from .words import milliseconds, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Okabe and Ito's, which the colour-blind can tell apart."""

WON, LOST = COLOURS[:2]
BACKEND_COLOURS = dict(zip(PREFERENCE, (COLOURS[2], COLOURS[0], COLOURS[4]), strict=True))
MARKERS = {"cuda": "D", "numba": "o", "numpy": "s"}
WIDTH = 9.0


def svg(figure: Figure) -> str:
    """Return a figure as the text of an SVG file, the same for the same figure."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def draw_ratios(cases: Sequence[Compared]) -> Figure:
    """Return how many times as long as we the fastest rival takes, a bar a case that has rivals, the best on top."""
    known = sorted(((one.ratio, one) for one in cases if one.ratio is not None), key=lambda pair: pair[0])
    figure = _figure(0.9 + 0.26 * len(known))
    ax = figure.add_subplot()
    for y, (ratio, one) in enumerate(known):
        ax.barh(y, math.log10(ratio), color=LOST if one.lost else WON, height=0.72)
        rival = one.rival["contestant"] if one.rival else ""
        ax.annotate(
            f"{times(ratio)} {rival}", (max(0.0, math.log10(ratio)), y), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=7.5,
        )  # fmt: skip
    ax.set_yticks(range(len(known)), [one.title for _, one in known], fontsize=7.5)
    ax.set_ylim(-0.7, len(known) - 0.3)
    ax.axvline(0, color="black", linewidth=0.9)
    lowest = min(0.0, math.log10(known[0][0]))
    highest = max(0.5, math.log10(known[-1][0]))
    # Room for the names beside the bars.
    ax.set_xlim(lowest - 0.05, highest + (highest - lowest))
    ticks = range(math.floor(lowest), math.ceil(highest) + 1)
    ax.set_xticks(list(ticks), [f"{10.0**n:g}×" for n in ticks])
    ax.set_xlabel("time of the fastest rival, in ours (logarithmic)")
    return figure


def draw_experiments(cases: Sequence[Compared]) -> Figure:
    """Return the times of every contestant in the experiments, a panel an experiment."""
    figure = _figure(0.5 + sum(0.55 + 0.24 * len(one.rows) for one in cases))
    heights = [2 + len(one.rows) for one in cases]
    axes = figure.subplots(len(cases), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, one in zip(axes, cases, strict=True):
        rows = sorted(one.rows, key=lambda row: -row["median"])
        for y, row in enumerate(rows):
            ax.barh(y, 1e3 * row["median"], color=BACKEND_COLOURS.get(row["backend"], COLOURS[7]), height=0.72)
            ax.annotate(
                f"{milliseconds(row['median'])} ms", (1e3 * row["median"], y), xytext=(4, 0),
                textcoords="offset points", va="center", fontsize=8,
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yticks(range(len(rows)), [row["contestant"] for row in rows], fontsize=8)
        ax.set_title(one.title, fontsize=9, loc="left")
    ms = [1e3 * row["median"] for one in cases for row in one.rows]
    axes[-1].set_xlim(0.3 * min(ms), 4 * max(ms))
    _plain_numbers(axes[-1].xaxis)
    axes[-1].set_xlabel("ms (logarithmic)")
    return figure


def draw_roofline(cases: Sequence[Compared], limits: Mapping[str, float], *, on_device: bool) -> Figure | None:
    """Return the arithmetic of each of our paths against its intensity, under the limits; None where none counts it."""
    points = [(one.case, row) for one in cases for row in one.rows if is_path(row) and row["on_device"] == on_device]
    points = [(case, row) for case, row in points if case["bytes"] and case["operations"] and case["pixels"]]
    if not points:
        return None
    figure = _figure(5.6)
    ax = figure.add_subplot()
    places = [(case["operations"] / case["bytes"], _gigaflops(case, row)) for case, row in points]
    operations = list(dict.fromkeys(case["operation"] for case, _ in points))
    colours = dict(zip(operations, cycle(_many_colours()), strict=False))
    for (x, y), (case, row) in zip(places, points, strict=True):
        marker = MARKERS.get(row["backend"], "o")
        ax.plot(x, y, marker, color=colours[case["operation"]], markeredgecolor="white", markeredgewidth=0.4)
    _roofs(ax, limits, [x for x, _ in places])
    ax.set(xscale="log", yscale="log")
    _plain_numbers(ax.xaxis)
    _plain_numbers(ax.yaxis)
    ax.set(xlabel="operations a byte", ylabel="1e9 operations a second")
    for name, colour in colours.items():
        ax.plot([], [], "o", color=colour, label=name)
    for name in dict.fromkeys(row["backend"] for _, row in points):
        ax.plot([], [], MARKERS.get(name, "o"), color="none", markeredgecolor="black", label=name or "ours")
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _many_colours() -> list[Any]:
    """Return twenty colours, the strong ones first."""
    from matplotlib import colormaps

    pairs = colormaps["tab20"].colors
    return [*pairs[::2], *pairs[1::2]]


def _gigaflops(case: Mapping[str, Any], row: Row) -> float:
    """Return the arithmetic of a row: 1e9 operations a second."""
    return float(case["operations"] / row["median"] / 1e9)


def _roofs(ax: Axes, limits: Mapping[str, float], xs: Sequence[float]) -> None:
    """Draw the limits: slopes for bytes, level lines for products of matrices."""
    slopes = {name: limits.get(f"{name}_bytes_per_second") for name in ("read", "copy")}
    levels = {name: limits.get(f"{name}_flops") for name in ("float32", "float64")}
    top = max((rate for rate in levels.values() if rate), default=math.inf)
    bends = [top / rate for rate in slopes.values() if rate and top < math.inf]
    # Far enough to both sides that the bend is seen.
    left, right = 0.3 * min([*xs, *bends]), 3 * max([*xs, *bends])
    for (name, rate), line in zip(slopes.items(), ("-", "--"), strict=True):
        if rate:
            end = min(right, top / rate)
            label = f"{name}, {rate / 1e9:.3g} GB/s"
            ax.plot([left, end], [rate * left / 1e9, rate * end / 1e9], line, color="black", linewidth=1, label=label)
    for (name, rate), line in zip(levels.items(), ("-", "--"), strict=True):
        if rate:
            label = f"{name} product, {rate / 1e9:.3g} Gflop/s"
            ax.plot([left, right], [rate / 1e9] * 2, line, color="#888888", linewidth=1, label=label)


def _plain_numbers(axis: Axis) -> None:
    """Write plain numbers on a logarithmic axis: at 1, 2 and 5 where it is short, else at powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 500 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _own_ticks(axis: Axis, values: Sequence[float]) -> None:
    """Write on an axis the values at which something was measured."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def draw_scaling(series: Sequence[Series]) -> Figure:
    """Return time and memory against what grows, a row of two panels a series, with the slope that is ideal."""
    figure = _figure(2.5 * len(series))
    rows = figure.subplots(len(series), 2, squeeze=False)
    for (left, right), one in zip(rows, series, strict=True):
        for name, curve in one.curves.items():
            colour = BACKEND_COLOURS.get(curve[0].row["backend"], COLOURS[7])
            marker = MARKERS.get(curve[0].row["backend"], "o")
            xs = [point.x for point in curve]
            left.plot(xs, [1e3 * point.row["median"] for point in curve], f"{marker}-", color=colour, label=name)
            left.plot(xs, [1e3 * seconds for seconds in one.ideal(curve)], ":", color=colour, linewidth=1)
            known = [(point.x, point.row["peak_host_bytes"]) for point in curve if point.row["peak_host_bytes"]]
            if known:
                right.plot(*zip(*((x, n / 2**20) for x, n in known), strict=True), f"{marker}-", color=colour)
        for ax, label in ((left, "ms"), (right, "MiB beyond the input")):
            ax.set(xscale="log" if min(one.values) > 0 else "linear", yscale="log", xlabel=one.parameter, ylabel=label)
            _own_ticks(ax.xaxis, one.values)
            _plain_numbers(ax.yaxis)
            ax.grid(alpha=0.3)
        left.set_title(one.title, fontsize=9, loc="left")
        left.legend(fontsize=7, frameon=False)
    return figure

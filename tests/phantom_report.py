"""The report on a phantom: what was computed and written, and how it is read back."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from gpu_stackcorr.phantoms import phantom, phantom_correlation
from gpu_stackcorr.report import Analysis, ReportOptions, analyse, figures, page, write_report
from gpu_stackcorr.volumes import open_volume

SHAPE = (12, 40, 56)
OPTIONS = ReportOptions(seed=7, alpha=20.0, sigma=3.0, max_shift=2)
LABELS = ["identity", "flip_right_left", "flip_up_down", "noise 1", "noise 2", "noise 3", "noise 4", "elastic(20, 3)"]


def known(distance):
    """Return the correlation that the phantom was made with."""
    return phantom_correlation(distance, correlation_length=3.0)


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    """The slices."""
    return phantom(SHAPE, correlation_length=3.0, seed=1)


@pytest.fixture(scope="module")
def volume(stack, tmp_path_factory):
    """The file that holds them."""
    path = tmp_path_factory.mktemp("volume") / "stack.npy"
    np.save(path, stack)
    return open_volume(path, voxel_size=(40.0, 4.0, 4.0))


@pytest.fixture(scope="module")
def analysis(volume) -> Analysis:
    """What is computed of it."""
    return analyse(volume, OPTIONS, expected=known)


@pytest.fixture(scope="module")
def written(volume, tmp_path_factory) -> Path:
    """The folder of its report."""
    directory = tmp_path_factory.mktemp("report") / "new" / "out"
    assert write_report(volume, directory, OPTIONS, expected=known) == directory / "report.html"
    return directory


FIXTURES = stack, volume, analysis, written
"""For a file of tests to take all together: each but the first asks for one before it."""


def stored(tmp_path: Path, stack: np.ndarray, name: str = "stack.npy"):
    """Return other slices as a volume."""
    np.save(tmp_path / name, stack)
    return open_volume(tmp_path / name)


def curve(figure, label):
    """Return what a figure draws under a label."""
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == label]
    return line.get_ydata()


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


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


def rendered(tmp_path: Path, analysis: Analysis) -> str:
    """Return the page of an analysis with empty figures, which take no time to draw."""
    folder = tmp_path / "figures"
    folder.mkdir()
    for name in figures.NAMES:
        (folder / f"{name}.png").touch()
        (folder / f"{name}.svg").touch()
    return page.render(analysis, folder)

"""Pictures of deformations: what they show is what they were given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from gpu_stackcorr.deformation_plots import (
    FOLDED,
    MAP_FOLDED,
    WHOLE,
    jacobian_map,
    labels_over_image,
    orthogonal_cuts,
)
from gpu_stackcorr.errors import ParameterError
from gpu_stackcorr.folds import fold_report


@pytest.fixture
def ax():
    return Figure().add_subplot()


def planted(*shape):
    """Return a displacement that folds next to its middle."""
    field = np.zeros((2, *shape))
    field[(1, *(n // 2 for n in shape))] = -3
    return field


def test_a_map_shows_determinants_and_marks_folds(ax):
    jacobian_map(planted(6, 8), ax=ax, backend="numpy")
    (shown,) = ax.images
    values = shown.get_array()
    assert values[3, 3] == -0.5
    assert values[3, 5] == 2.5
    assert tuple(shown.cmap(shown.norm(-0.5))) == tuple(shown.cmap(shown.norm(0.0))) == to_rgba(MAP_FOLDED)
    np.testing.assert_allclose(shown.cmap(shown.norm(1.0))[:3], [0.97] * 3, atol=0.02)
    assert tuple(shown.cmap(shown.norm(0.01))) != to_rgba(MAP_FOLDED)


def test_a_map_of_a_slice(ax):
    field = planted(3, 6, 8)
    for index, least in ((None, -0.5), (1, -0.5), (-1, 1), ([0], 1)):
        jacobian_map(field, index=index, ax=ax, backend="numpy")
        assert ax.images[-1].get_array().min() == least


def test_a_map_of_a_volume_has_what_lies_beside_the_slice(ax):
    field = np.zeros((3, 5, 6, 7))
    field[0, 3] = 4
    jacobian_map(field, index=2, ax=ax, backend="numpy")
    assert (ax.images[0].get_array() == 3).all()


def test_a_histogram_of_folds():
    report = fold_report(planted(6, 8), bins=[-1, 0, 1, 2, 3], backend="numpy")
    ax = report.plot(Figure().add_subplot())
    assert [bar.get_height() for bar in ax.patches] == [1, 0, 46, 1]
    assert [bar.get_facecolor() for bar in ax.patches] == [to_rgba(FOLDED), *[to_rgba(WHOLE)] * 3]
    assert ax.get_title() == "2.1 % folded, least determinant -0.5"


def test_cuts_through_one_voxel():
    volume = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    figure = orthogonal_cuts(volume, position=(1, 2, -1), voxel_size=(40, 4, 4), figure=Figure())
    across_z, across_y, across_x = figure.axes
    np.testing.assert_array_equal(across_z.images[0].get_array(), volume[1])
    np.testing.assert_array_equal(across_y.images[0].get_array(), volume[:, 2])
    np.testing.assert_array_equal(across_x.images[0].get_array(), volume[:, :, 5].T)
    assert [ax.get_aspect() for ax in figure.axes] == [1, 10, 0.1]
    lines = [(ax.lines[0].get_ydata()[0], ax.lines[1].get_xdata()[0]) for ax in figure.axes]
    assert lines == [(2, 5), (1, 5), (2, 1)]
    assert [text.get_text() for text in across_z.texts] == ["5 nm"]
    assert len({ax.images[0].get_clim() for ax in figure.axes}) == 1


def test_cuts_without_a_voxel_size():
    figure = orthogonal_cuts(np.zeros((9, 9, 9), np.uint8), limits=(0, 255), figure=Figure())
    assert [text.get_text() for text in figure.axes[0].texts] == ["2 voxels"]
    assert figure.axes[0].images[0].get_clim() == (0, 255)
    assert [line.get_ydata()[0] for line in figure.axes[0].lines[:1]] == [4]


def test_labels_keep_their_colours(ax):
    """An identifier has one colour wherever it is, and 64-bit ones that float64 cannot tell apart have two."""
    labels = np.array([[0, 2**53, 2**53 + 1], [7, 2**53, 0]], np.uint64)
    labels_over_image(np.arange(6).reshape(2, 3), labels, opacity=0.5, ax=ax)
    labels_over_image(np.arange(6).reshape(2, 3), labels[::-1].astype(np.int64), opacity=0.5, ax=ax)
    first, second = (ax.images[n].get_array() for n in (1, 3))
    np.testing.assert_array_equal(first, second[::-1])
    assert first[0, 0, 3] == 0
    assert first[0, 1, 3] == 0.5
    np.testing.assert_array_equal(first[0, 1], first[1, 1])
    assert not np.array_equal(first[0, 1], first[0, 2])


WRONG = [
    (lambda: jacobian_map(np.zeros((1, 5))), "an image of two axes or more"),
    (lambda: jacobian_map(np.zeros((2, 3, 4, 5)), index=3), r"index = 3: allowed are 1 integers that lie in \(3,\)"),
    (lambda: jacobian_map(np.zeros((2, 3, 4, 5)), index=0.5), r"index = 0.5"),
    (lambda: orthogonal_cuts(np.zeros((4, 5))), r"volume has shape \(4, 5\)"),
    (lambda: orthogonal_cuts(np.zeros((4, 5, 6)), position=(0, 5, 0)), r"position = \(0, 5, 0\)"),
    (lambda: orthogonal_cuts(np.zeros((4, 5, 6)), voxel_size=(1, 0, 1)), "voxel_size = "),
    (lambda: labels_over_image(np.zeros((4, 5)), np.zeros((4, 6), int)), "labels"),
    (lambda: labels_over_image(np.zeros((4, 5)), np.zeros((4, 5))), "dtype float64"),
    (lambda: labels_over_image(np.zeros((4, 5)), np.zeros((4, 5), int), opacity=2), "opacity = 2"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_what_cannot_be_drawn(call, message):
    with pytest.raises(ParameterError, match=message):
        call()

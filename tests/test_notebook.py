"""The notebook's functions against the notebook's arithmetic, written here in plain float64 NumPy and SciPy."""

from __future__ import annotations

import hashlib
import math
import threading
import time
import warnings

import numpy as np
import pytest
from scipy import ndimage

from gpu_stackcorr import notebook, use_backend
from gpu_stackcorr.errors import ConstantSliceWarning, ParameterError

CRITICAL = 1.959963984540054
"""The standard normal quantile of 0.975."""


def standardised(image):
    image = np.asarray(image, np.float64)
    return (image - image.mean()) / image.std()


def hand_correlation(image_1, image_2):
    r = (standardised(image_1) * standardised(image_2)).mean()
    z, half = math.atanh(r), CRITICAL / math.sqrt(np.size(image_1) - 3)
    return r, [math.tanh(z - half), math.tanh(z + half)]


def hand_z_correlation(stack, transformation, noise=0):
    bottom = standardised(stack[0, 0])
    moved = [standardised(transformation(stack[n, 0])) + noise for n in range(len(stack))]
    return np.array([(bottom * standardised(image)).mean() for image in moved])


def hand_elastic(image, alpha, sigma, random_state):
    dx = ndimage.gaussian_filter(random_state.rand(*image.shape) * 2 - 1, sigma, mode="constant", cval=0) * alpha
    dy = ndimage.gaussian_filter(random_state.rand(*image.shape) * 2 - 1, sigma, mode="constant", cval=0) * alpha
    y, x = np.indices(image.shape)
    return ndimage.map_coordinates(image, (y + dy, x + dx), order=1, mode="reflect")


def stack_of(n=6, shape=(24, 32), dtype=np.float64, seed=0):
    generator = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(generator.normal(size=(n, *shape)), (1.5, 1, 1))
    stack = (128 + 40 * field / field.std())[:, np.newaxis]
    return stack.astype(dtype)


# image_correlation


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(24, 32), (2, 2), (1, 7), (101, 3)])
def test_image_correlation_by_hand(dtype, shape):
    image_1, image_2 = stack_of(2, shape, dtype)[:, 0]
    r, interval = notebook.image_correlation(image_1, image_2)
    expected, bounds = hand_correlation(image_1, image_2)
    assert r == pytest.approx(expected, abs=1e-12)
    assert interval == pytest.approx(bounds, abs=1e-12)
    assert type(r) is float
    assert type(interval) is list
    assert [type(bound) for bound in interval] == [float, float]


def test_the_critical_value_is_not_rounded():
    """With 1.96 the bound would move by 1e-6 of the half width: far more than 1e-12."""
    image_1, image_2 = stack_of(2, (8, 8))[:, 0]
    r, (low, high) = notebook.image_correlation(image_1, image_2)
    for bound in (low, high):
        assert abs(math.atanh(bound) - math.atanh(r)) * math.sqrt(61) == pytest.approx(CRITICAL, abs=1e-10)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_a_slice_against_itself_has_the_interval_1_1_without_a_warning(dtype):
    image = stack_of(1, dtype=dtype)[0, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert notebook.image_correlation(image, image) == (1.0, [1.0, 1.0])
        assert notebook.image_correlation(image, 3.0 * image)[0] == pytest.approx(1.0, abs=1e-13)
    opposite = notebook.image_correlation(image, 255 - image if dtype == np.uint8 else -image.astype(np.float64))
    assert opposite[0] == pytest.approx(-1.0, abs=1e-13)
    assert opposite[1] == pytest.approx([-1.0, -1.0], abs=1e-12)


def test_images_of_different_shapes():
    with pytest.raises(ParameterError, match=r"\(2, 3\) and \(3, 2\)"):
        notebook.image_correlation(np.ones((2, 3)), np.ones((3, 2)))


# z_correlation


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("name", ["identity", "flip_right_left", "flip_up_down"])
def test_z_correlation_by_hand(dtype, name):
    stack = stack_of(dtype=dtype)
    hand = {"identity": np.asarray, "flip_right_left": np.fliplr, "flip_up_down": np.flipud}[name]
    transformation = getattr(notebook, name)
    noise = np.random.default_rng(1).normal(size=stack.shape[2:])
    plain = notebook.z_correlation(stack, transformation, plot=False)
    assert isinstance(plain, np.ndarray)
    assert plain.shape == (6,)
    assert plain.dtype == np.float64
    np.testing.assert_allclose(plain, hand_z_correlation(stack, hand), rtol=0, atol=1e-12)
    for magnitude in range(1, 5):
        noisy = notebook.z_correlation(stack, transformation, noise=magnitude * noise, plot=False)
        expected = hand_z_correlation(stack, hand, magnitude * noise)
        np.testing.assert_allclose(noisy, expected, rtol=0, atol=1e-12)


def test_the_bottom_image_stays_as_it_is():
    """The reference is neither transformed nor noisy: a flip does not correlate with it at distance 0."""
    stack = stack_of()
    assert notebook.z_correlation(stack, notebook.identity, plot=False)[0] == 1.0
    assert abs(notebook.z_correlation(stack, notebook.flip_up_down, plot=False)[0]) < 0.5


@pytest.mark.parametrize("noise", [0, 0.0, 3, -2.5, np.float64(1), np.array(7)])
def test_a_number_as_noise_changes_nothing(noise):
    stack = stack_of()
    expected = hand_z_correlation(stack, np.asarray, float(noise))
    result = notebook.z_correlation(stack, notebook.identity, noise=noise, plot=False)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_noise_on_the_bottom_image_has_the_known_correlation():
    stack = stack_of(2, (200, 200))
    for magnitude, expected in enumerate([1, 0.707, 0.447, 0.316, 0.243]):
        noise = magnitude * np.random.RandomState(magnitude).normal(size=(200, 200))
        r = notebook.z_correlation(stack, notebook.identity, noise=noise, plot=False)[0]
        assert r == pytest.approx(expected, abs=4 / 200)


def test_z_correlation_of_any_function():
    stack = stack_of()
    for function in (np.transpose, np.rot90):
        square = stack[..., :24]
        expected = hand_z_correlation(square, function)
        np.testing.assert_allclose(notebook.z_correlation(square, function, plot=False), expected, rtol=0, atol=1e-12)
    expected = hand_z_correlation(stack, np.exp2)
    np.testing.assert_allclose(notebook.z_correlation(stack, lambda i: np.exp2(i), plot=False), expected, atol=1e-12)


def test_z_correlation_of_elastic_deformation_by_hand():
    stack = stack_of()
    expected = hand_z_correlation(stack, lambda image: hand_elastic(image, 25, 3, np.random.RandomState(2)))
    result = notebook.z_correlation(
        stack, lambda image: notebook.elastic_transform(image, 25, 3, np.random.RandomState(2)), plot=False
    )
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_one_generator_for_all_slices_is_drawn_from_in_their_order():
    """The notebook's transformations keep state: each slice once, from the bottom up, one after the other."""
    stack = stack_of(12)
    twin, generator = np.random.RandomState(2), np.random.RandomState(2)
    expected = hand_z_correlation(stack, lambda image: hand_elastic(image, 25, 3, twin))
    seen, busy = [], threading.Lock()

    def transformation(image):
        assert busy.acquire(blocking=False), "called from two threads at once"
        try:
            seen.append(int(np.argmin([np.abs(image - other).max() for other in stack[:, 0]])))
            time.sleep(0.02 if seen[-1] == 0 else 0)  # time for another thread to come first
            return notebook.elastic_transform(image, 25, 3, generator)
        finally:
            busy.release()

    result = notebook.z_correlation(stack, transformation, plot=False)
    assert seen == list(range(12))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_a_context_holds_inside_the_transformation(monkeypatch):
    monkeypatch.setenv("GPU_STACKCORR_BACKEND", "nonsense")
    stack = stack_of()
    with use_backend("numpy"):
        notebook.z_correlation(
            stack, lambda image: notebook.elastic_transform(image, 9, 2, np.random.RandomState(0)), plot=False
        )


def test_a_constant_image_among_others_is_nan():
    stack = stack_of()
    stack[3] = 5
    with pytest.warns(ConstantSliceWarning, match="3"):
        result = notebook.z_correlation(stack, notebook.flip_up_down, plot=False)
    assert np.isnan(result).tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize("shape", [(6, 24, 32), (6, 3, 24, 32), (24, 32), (6, 1, 24, 32, 1)])
def test_stacks_of_another_shape(shape):
    with pytest.raises(ParameterError, match=r"^image_stack has shape"):
        notebook.z_correlation(np.zeros(shape), notebook.identity, plot=False)


# The plot.


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.close("all")
    yield pyplot
    pyplot.close("all")


def test_the_plot_is_drawn_unless_it_is_not_wanted(pyplot):
    stack = stack_of()
    notebook.z_correlation(stack, notebook.identity, plot=False)
    assert pyplot.get_fignums() == []
    notebook.z_correlation(stack, notebook.identity)
    notebook.z_correlation(stack, notebook.identity, 0, True)
    assert len(pyplot.get_fignums()) == 2


def test_what_is_plotted(pyplot):
    from matplotlib.colors import to_rgb

    stack = stack_of()
    result = notebook.z_correlation(stack, notebook.flip_right_left)
    (ax,) = pyplot.gcf().axes
    assert ax.get_xlabel() == "Distance from bottom image in pixels"
    assert "orrelation" in ax.get_ylabel()
    curves = [line for line in ax.lines if len(line.get_xdata()) == len(stack)]
    assert len(curves) == 1
    np.testing.assert_array_equal(curves[0].get_xdata(), np.arange(6))
    np.testing.assert_array_equal(curves[0].get_ydata(), result)
    bands = [band for band in ax.collections if len(band.get_paths()) and len(band.get_paths()[0].vertices) > 6]
    assert len(bands) == 1
    red, green, blue = to_rgb(bands[0].get_facecolor()[0])
    assert red == green == blue
    assert 0 < red < 1
    vertices = bands[0].get_paths()[0].vertices
    for n, image in enumerate(stack[:, 0]):
        low, high = hand_correlation(stack[0, 0], np.fliplr(image))[1]
        drawn = vertices[np.isclose(vertices[:, 0], n), 1]
        assert drawn.min() == pytest.approx(low, abs=1e-12)
        assert drawn.max() == pytest.approx(high, abs=1e-12)


def test_plots_with_noise_and_with_nan(pyplot):
    stack = stack_of()
    stack[4] = 1
    with pytest.warns(ConstantSliceWarning):
        notebook.z_correlation(stack, notebook.identity, noise=np.random.default_rng(0).normal(size=stack.shape[2:]))
    pyplot.gcf().canvas.draw()


# elastic_transform and grid_lines


@pytest.mark.parametrize(("alpha", "sigma"), [(50, 10), (250, 5), (250, 10), (3, 0.5), (0, 4)])
def test_elastic_transform_by_hand(alpha, sigma):
    image = stack_of(1, (48, 64))[0, 0] / 255
    expected = hand_elastic(image, alpha, sigma, np.random.RandomState(7))
    result = notebook.elastic_transform(image, alpha, sigma, np.random.RandomState(7))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_elastic_transform_draws_anew_without_a_generator():
    image = stack_of(1)[0, 0]
    first, second = (notebook.elastic_transform(image, 50, 3) for _ in range(2))
    assert (first != second).any()
    generator = np.random.RandomState(1)
    first, second = (notebook.elastic_transform(image, 50, 3, generator) for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(
        notebook.elastic_transform(image, 50, 3, random_state=np.random.RandomState(1)), first
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
@pytest.mark.parametrize(
    ("spacing", "thickness"), [(5, 1), (7, 3), (1, 1), (4, 9), (100, 2), (np.int64(6), np.int64(2))]
)
def test_grid_lines_by_hand(dtype, spacing, thickness):
    image = stack_of(1, (13, 17), dtype)[0, 0]
    expected = image.copy()
    for y in range(13):
        for x in range(17):
            if y % spacing < thickness or x % spacing < thickness:
                expected[y, x] = image.max()
    result = notebook.grid_lines(image, spacing, thickness)
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == image.dtype


@pytest.mark.parametrize("name", ["grid_spacing", "thickness"])
@pytest.mark.parametrize("value", [0, -1, 1.5, math.nan, math.inf, "3", None])
def test_grid_lines_that_are_not_allowed(name, value):
    with pytest.raises(ParameterError, match=f"^{name} = .*integers of 1 or more"):
        notebook.grid_lines(np.eye(4), **{"grid_spacing": 2, "thickness": 1, name: value})


@pytest.mark.parametrize("shape", [(), (5,), (2, 5, 5)])
def test_grid_lines_of_what_is_no_image(shape):
    with pytest.raises(ParameterError, match=r"^image has"):
        notebook.grid_lines(np.ones(shape), 2, 1)


# Nothing modifies its input.


def test_nothing_modifies_its_input(pyplot):
    stack = stack_of()
    noise = np.random.default_rng(3).normal(size=stack.shape[2:])
    before = [hashlib.sha256(a.tobytes()).hexdigest() for a in (stack, noise)]
    image = stack[0, 0]
    notebook.grid_lines(image, 5, 2)
    notebook.image_correlation(image, stack[1, 0])
    for transformation in (notebook.identity, notebook.flip_right_left, notebook.flip_up_down):
        notebook.z_correlation(stack, transformation, noise=noise)
    notebook.elastic_transform(notebook.grid_lines(image, 5, 2), 50, 3)
    notebook.z_correlation(stack, lambda i: notebook.grid_lines(i, 5, 1), plot=False)
    assert [hashlib.sha256(a.tobytes()).hexdigest() for a in (stack, noise)] == before
    stack.setflags(write=False)
    notebook.grid_lines(stack[0, 0], 5, 2)
    notebook.z_correlation(stack, notebook.identity, plot=False)


def test_a_grid_drawn_in_place_by_the_callers_function_spoils_nothing():
    stack = stack_of()
    clean = stack.copy()

    def draw(image):
        image[::4] = image.max()
        return image

    expected = hand_z_correlation(clean.copy(), lambda image: draw(image.copy()))
    np.testing.assert_allclose(notebook.z_correlation(stack, draw, plot=False), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(stack, clean)


def test_flips_by_hand():
    image = np.array([[1, 2], [3, 4]])
    assert notebook.identity(image).tolist() == [[1, 2], [3, 4]]
    assert notebook.flip_right_left(image).tolist() == [[2, 1], [4, 3]]
    assert notebook.flip_up_down(image).tolist() == [[3, 4], [1, 2]]

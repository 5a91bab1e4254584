"""The phantom: its closed form by quadrature, its fields exactly, its slices by their scatter over seeds."""

from __future__ import annotations

import importlib
import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from properties import given, st
from scipy.special import ndtr

from gpu_stackcorr.errors import ParameterError
from gpu_stackcorr.phantoms import phantom, phantom_correlation, phantom_slices

# The package's attribute `phantom` is the function.
module = importlib.import_module("gpu_stackcorr.phantoms")


def clear(x: np.ndarray) -> np.ndarray:
    return 1 - np.exp(-(x**2) / (2 * module.MEMBRANE_WIDTH**2))


def clear_and_signed(x: np.ndarray) -> np.ndarray:
    return clear(x) * (2 * ndtr(x / module.TONE_WIDTH) - 1)


def organelle(x: np.ndarray) -> np.ndarray:
    return ndtr((x - module.ORGANELLE_LEVEL) / module.ORGANELLE_EDGE)


def slice_correlations(stack: np.ndarray) -> np.ndarray:
    """Return the correlation of slice 0 with each slice."""
    flat = stack.reshape(len(stack), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.sqrt((flat**2).sum(axis=1, keepdims=True))
    return flat @ flat[0]


def agrees(samples: np.ndarray, expected: np.ndarray, finest: float) -> None:
    """Assert that the mean over independent seeds (rows) is `expected` within 4 standard errors, all below `finest`."""
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    assert (error < finest).all(), "too few samples to find anything wrong"
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - expected), 4 * error)


# The closed form.


@pytest.mark.parametrize("r", [0.0, 0.02, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize(
    ("closed", "function"),
    [
        (module._clear, clear),
        (module._clear_and_signed, clear_and_signed),
        (lambda r: module._organelles(r)[1], organelle),
    ],
    ids=["clear", "clear_and_signed", "organelle"],
)
def test_closed_form_against_quadrature(
    closed: Callable[[np.ndarray], np.ndarray], function: Callable[[np.ndarray], np.ndarray], r: float
) -> None:
    # The trapezoid rule converges faster than any power for functions that are analytic and vanish at the ends.
    x = np.linspace(-8, 8, 801)
    density = np.exp(-(x**2) / 2) * (x[1] - x[0]) / math.sqrt(2 * math.pi)
    other = function(r * x[:, None] + math.sqrt(1 - r * r) * x) @ density
    assert closed(np.asarray(r)) == pytest.approx((function(x) * other) @ density, abs=1e-9)


def test_mean_of_organelles_against_quadrature() -> None:
    x = np.linspace(-8, 8, 801)
    density = np.exp(-(x**2) / 2) * (x[1] - x[0]) / math.sqrt(2 * math.pi)
    assert module._organelles(np.zeros(1))[0] == pytest.approx(organelle(x) @ density, abs=1e-12)


def test_uncorrelated_slices_have_no_covariance() -> None:
    mean, covariance = module._moments(np.asarray(1e9), 3.0)
    assert covariance == pytest.approx(0, abs=1e-10)
    assert 130 < module.DARK + mean < 150


def test_field_correlation_by_hand() -> None:
    # tau = 1/log 2: rho = 1/2, tanh(1 / tau) = (1 - 1/4) / (1 + 1/4) = 3/5.
    r = module._field_correlation(np.arange(3.0), 1 / math.log(2))
    np.testing.assert_allclose(r, [1, 0.5 * 1.6, 0.25 * 2.2], rtol=1e-15)


@pytest.mark.parametrize("length", [1, 1.5, 2, 7, 12.0, np.float32(40), 300, 1e6])
def test_one_over_e_at_the_length(length: float) -> None:
    assert phantom_correlation(length, correlation_length=length) == pytest.approx(math.exp(-1), rel=1e-12)


def test_shot_noise_and_rounding_drop_the_curve_at_once() -> None:
    near = phantom_correlation([0, 1e-12], correlation_length=12)
    signal = module._moments(np.zeros(()), 1.0)[1]
    assert near[0] == 1
    assert near[1] == pytest.approx(1 - (8**2 + 1 / 12) / (signal + 8**2 + 1 / 12), rel=1e-9)
    assert 0.9 < near[1] < 0.97


@given(
    length=st.floats(1, 1e4),
    distances=st.lists(st.floats(0, 30), min_size=2, max_size=6, unique_by=lambda d: round(d, 2)),
)
def test_curve_falls_and_is_even(length: float, distances: list[float]) -> None:
    away = length * np.sort(np.round(distances, 2))
    r = phantom_correlation(away, correlation_length=length)
    assert r.shape == away.shape
    assert r.dtype == np.float64
    assert (r >= 0).all()
    assert (r <= 1).all()
    assert (np.diff(r) < 0).all()
    np.testing.assert_array_equal(phantom_correlation(-away, correlation_length=length), r)


def test_longer_length_means_higher_curve() -> None:
    curves = [phantom_correlation(np.arange(1, 40), correlation_length=length) for length in (1, 3, 10, 30)]
    assert (np.diff(curves, axis=0) > 0).all()


# The random numbers.


def test_normal_numbers_are_box_muller_on_a_documented_stream() -> None:
    key = np.array([5, (2 << 56) | (3 << 48) | 11], np.uint64)
    u = np.random.Generator(np.random.Philox(key=key)).random(12)
    by_hand = [math.sqrt(-2 * math.log1p(-u[2 * i])) * math.cos(2 * math.pi * u[2 * i + 1]) for i in range(6)]
    np.testing.assert_allclose(module._normal(5, 3, 11, (2, 3)).ravel(), by_hand, rtol=1e-12)


def test_shot_noise_by_hand() -> None:
    key = np.array([5, (2 << 56) | (4 << 48) | 2], np.uint64)
    words = [int(word) for word in np.random.Philox(key=key).random_raw(4)]
    sums = [sum(word >> shift & 0xFFFF for shift in (0, 16, 32, 48)) for word in words]
    sd = math.sqrt(4 * (65536**2 - 1) / 12)
    by_hand = [(total - 4 * 65535 / 2) / sd * module.SHOT_SD for total in sums]
    np.testing.assert_allclose(module._shot_noise(5, 2, (2, 2)).ravel(), by_hand, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "sigma"), [((7, 10), 1.7), ((10, 7), 1.7), ((1, 6), 0.5), ((2, 1), 3.0), ((24, 9), 14)]
)
def test_field_has_unit_variance_at_every_pixel(shape: tuple[int, int], sigma: float) -> None:
    covariance = field_covariance(shape, sigma)
    np.testing.assert_allclose(np.diag(covariance), 1, rtol=1e-12)


def test_field_is_white_noise_smoothed_by_a_gaussian() -> None:
    # Smoothing white noise by a Gaussian of sigma gives the correlation exp(-d^2 / (4 sigma^2)), here of period n.
    shape, sigma = (24, 30), 2.0
    y, x = (np.exp(-((np.arange(n) - [[0], [n]]) ** 2) / (4 * sigma**2)).sum(axis=0) for n in shape)
    np.testing.assert_allclose(field_covariance(shape, sigma)[0].reshape(shape), np.outer(y, x), atol=1e-6)


def field_covariance(shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Return the exact covariance of all pixels of a field: A A^T for the linear map A from white noise."""
    modes = module._modes(shape[0], sigma), module._modes(shape[1], sigma)
    size = modes[0].size, modes[1].size
    units = np.eye(size[0] * size[1]).reshape(-1, *size)
    columns = np.array([module._shaped(unit, modes, shape).ravel() for unit in units])
    return columns.T @ columns


@pytest.mark.parametrize("tau", [0.3, 3.0, 40.0])
def test_fields_have_the_correlation_along_z(tau: float) -> None:
    # The first, second and fourth slices as start: the process is stationary from the first on.
    field = module.Field(7, 1.5, 0.5)
    products = []
    for seed in range(24):
        u = np.array(list(module._field_slices(field, 7, (96, 112), 2 * tau, seed)))
        products.append([(u[start] * u[start + d]).mean() for start in (0, 1, 3) for d in range(4)])
    agrees(np.array(products), np.tile(module._field_correlation(np.arange(4.0), tau), 3), 0.02)


# The stack.


def test_mean_and_covariance_of_grey_values() -> None:
    # Small slices many times over: the expectation is the same for every size.
    length, depth = 2.0, 5
    tau = module._time_constant(length)
    mean, covariance = module._moments(np.arange(float(depth)), tau)
    covariance[0] += module.SHOT_SD**2 + 1 / 12
    means, products = [], []
    for seed in range(200):
        stack = phantom((depth, 56, 60), correlation_length=length, seed=seed) - (module.DARK + mean)
        means.append(stack.mean(axis=(1, 2)))
        products.append((stack * stack[0]).mean(axis=(1, 2)))
    agrees(np.array(means), np.zeros(depth), 0.03 * math.sqrt(covariance[0]))
    agrees(np.array(products), covariance, 0.05 * covariance[0])


def test_measured_correlation_follows_the_expected() -> None:
    # The scatter comes from other seeds at a third of the size along each axis, hence is three times as large.
    small = [slice_correlations(phantom((9, 128, 128), correlation_length=4, seed=seed)) for seed in range(1, 13)]
    scatter = np.std(small, axis=0, ddof=1) / 3
    expected = phantom_correlation(np.arange(9), correlation_length=4)
    measured = slice_correlations(phantom((9, 384, 384), correlation_length=4, seed=0))
    assert (scatter[1:] < 0.04).all()
    np.testing.assert_array_less(np.abs(measured - expected)[1:], 4 * scatter[1:])
    assert measured[0] == pytest.approx(1, abs=1e-12)


def test_clipping_is_negligible() -> None:
    stack = np.concatenate([phantom((6, 256, 256), correlation_length=1, seed=seed) for seed in range(2)])
    assert np.isin(stack, (0, 255)).mean() < 1e-4


def test_membranes_are_dark_and_cytoplasm_light() -> None:
    share = np.bincount(phantom((1, 384, 384), seed=4).ravel(), minlength=256) / 384**2
    assert 0.08 < share[:90].sum() < 0.25
    assert 0.5 < share[140:200].sum() < 0.9


def test_default_is_a_stack_of_uint8() -> None:
    stack = phantom((2, 5, 9))
    assert stack.shape == (2, 5, 9)
    assert stack.dtype == np.uint8
    assert stack.flags.c_contiguous


def test_deeper_stack_begins_with_the_same_slices() -> None:
    np.testing.assert_array_equal(phantom((10, 37, 50), seed=3)[:4], phantom((4, 37, 50), seed=3))


def test_slices_are_those_of_the_stack() -> None:
    stack = phantom((4, 30, 41), correlation_length=3, seed=8)
    np.testing.assert_array_equal(list(phantom_slices((4, 30, 41), correlation_length=3, seed=8)), stack)


def test_seeds_give_independent_stacks() -> None:
    stacks = [phantom((1, 256, 256), seed=seed)[0] for seed in (0, 1, 2**64 - 1)]
    correlations = np.corrcoef([stack.ravel() for stack in stacks])
    assert np.abs(correlations - np.eye(3)).max() < 0.25  # six times the scatter of 0.04


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 7), (2, 2, 1), (1, 3, 64), np.array([1, 4, 6])])
def test_odd_shapes(shape: tuple[int, int, int]) -> None:
    assert phantom(shape, seed=1).shape == tuple(shape)


def test_memory_does_not_grow_with_depth() -> None:
    def peak(depth: int) -> int:
        tracemalloc.start()
        try:
            for _ in phantom_slices((depth, 96, 96)):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # imports and caches of NumPy
    assert peak(24) < peak(4) + 2 * 96 * 96 * 8


# Bad input.


@pytest.mark.parametrize(
    "shape", [(4, 5), (1, 2, 3, 4), (0, 4, 4), (4, -1, 4), (4, 4.0, 4), (True, 4, 4), "abc", 7, None, ()]
)
def test_bad_shape(shape: object) -> None:
    with pytest.raises(ParameterError, match=r"^shape = .*allowed are three integers") as caught:
        phantom(shape)
    assert repr(shape) in str(caught.value)
    with pytest.raises(ParameterError, match="shape"):
        phantom_slices(shape)  # at the call, not at the first slice


@pytest.mark.parametrize("length", [0, 0.99, -3, 1.1e6, math.nan, math.inf, "12", None, True, [12]])
def test_bad_length(length: object) -> None:
    for call in (
        lambda: phantom((1, 4, 4), correlation_length=length),
        lambda: phantom_slices((1, 4, 4), correlation_length=length),
        lambda: phantom_correlation(1, correlation_length=length),
    ):
        with pytest.raises(ParameterError, match=r"^correlation_length = .*allowed are 1 to 1000000") as caught:
            call()
        assert repr(length) in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, None])
def test_bad_seed(seed: object) -> None:
    with pytest.raises(ParameterError, match="seed"):
        phantom_slices((1, 4, 4), seed=seed)


@pytest.mark.parametrize("distance", [math.nan, [1, math.inf], "far", None, 1j])
def test_bad_distance(distance: object) -> None:
    with pytest.raises(ParameterError, match=r"^distance = .*allowed are finite numbers"):
        phantom_correlation(distance)

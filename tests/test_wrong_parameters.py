"""Whatever a parameter of correlations and intervals is given, what is refused is refused in words of our own."""

from __future__ import annotations

import inspect
import math
import warnings
from contextlib import suppress
from functools import cache

import numpy as np
import pytest

import gpu_stackcorr as gs
from gpu_stackcorr.errors import InputTypeError, ParameterError, StackCorrError
from gpu_stackcorr.shifts import shifted_correlation, shifted_stack_correlation

NO_NUMBERS = [
    None, "x", "0.5", b"x", 1j, True, (), [0.5], [[1, 2]], {}, {"a": 1}, set(), object(), int,
    np.array(0.5), np.array([0.5, 0.5]), np.array(["a"]), np.datetime64("2020"),
]  # fmt: skip
NUMBERS = [math.nan, math.inf, -1, 0, 2, 10**400, 0.5, 1.5, np.float32(0.5)]

STACK = np.cumsum(np.random.default_rng(0).normal(size=(12, 20, 20)), axis=0)


@cache
def results():
    """Return a result of each kind."""
    lags = gs.lag_correlation(STACK, 5)
    return {
        "pair": gs.image_correlation(STACK[0], STACK[1]),
        "stack": gs.stack_correlation(STACK),
        "lags": lags,
        "depth": gs.decorrelation_depth(lags),
        "depth of one reference": gs.decorrelation_depth(gs.stack_correlation(STACK)),
        "shifted": shifted_correlation(STACK[0], STACK[1], max_shift=2),
        "battery": gs.noise_sweep(STACK, [0.5]),
    }


FUNCTIONS = {
    gs.image_correlation: {"image_1": STACK[0], "image_2": STACK[1]},
    gs.stack_correlation: {"stack": STACK},
    gs.transform_battery: {"stack": STACK, "transforms": [None]},
    gs.noise_sweep: {"stack": STACK, "magnitudes": [0.5]},
    gs.lag_correlation: {"stack": STACK, "max_lag": 3},
    gs.correlation_matrix: {"stack": STACK},
    gs.find_outlier_slices: {"stack_or_matrix": STACK},
    shifted_correlation: {"image_1": STACK[0], "image_2": STACK[1], "max_shift": 2},
    shifted_stack_correlation: {"stack": STACK, "max_shift": 2},
}


@pytest.mark.parametrize(
    ("function", "name"),
    [(function, name) for function in FUNCTIONS for name in inspect.signature(function).parameters],
    ids=lambda value: getattr(value, "__name__", value),
)
@pytest.mark.filterwarnings("ignore::gpu_stackcorr.errors.StackCorrWarning")
def test_no_parameter_makes_an_error_without_a_name(function, name):
    for value in NO_NUMBERS + NUMBERS:
        if name == "transform" and value is int:  # called as it is: its errors are its own
            continue
        with suppress(StackCorrError):  # that it is taken is right too
            function(**FUNCTIONS[function] | {name: value})


@pytest.mark.parametrize("kind", ["pair", "stack", "lags", "depth", "depth of one reference", "shifted"])
@pytest.mark.parametrize("level", [*NO_NUMBERS, *NUMBERS[:-4]], ids=lambda value: type(value).__name__)
def test_levels_that_are_none(kind, level):
    message = r"^confidence_level = .*: allowed are numbers between 0 and 1$"
    with pytest.raises(ParameterError, match=message):
        results()[kind].confidence_interval(level)
    with pytest.raises(ParameterError, match=message):
        results()[kind].columns(level)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: type(value).__name__)
def test_thresholds_that_are_none(value):
    lags = results()["lags"]
    with pytest.raises(ParameterError, match=r"^threshold = .*: allowed are numbers between -1 and 1$"):
        gs.decorrelation_depth(lags, threshold=value)
    with pytest.raises(ParameterError, match=r"^max_r = .*: allowed are numbers between 0 and 1$"):
        gs.split_advice(lags, max_r=value)
    with pytest.raises(ParameterError, match=r"^confidence_level = .*: allowed are numbers between 0 and 1$"):
        gs.split_advice(lags, confidence_level=value)
    with pytest.raises(ParameterError, match=r"^i = .*: the stack has the slices 0 to 11$"):
        gs.correlation_matrix(STACK, band=1).pair(value, 0)
    with pytest.raises(InputTypeError, match=r"^result is a .*: allowed is what lag_correlation and stack_correlation"):
        gs.decorrelation_depth(value)
    with pytest.raises(InputTypeError, match=r"^result is a .*: allowed is what lag_correlation returns"):
        gs.split_advice(value)


def test_numbers_of_numpy_are_numbers():
    lags, level = results()["lags"], np.float32(0.5)
    assert lags.confidence_interval(level).low.tolist() == lags.confidence_interval(0.5).low.tolist()
    assert gs.split_advice(lags, max_r=level, confidence_level=level).max_r == 0.5
    assert gs.decorrelation_depth(lags, threshold=level).threshold == 0.5
    assert gs.correlation_matrix(STACK).pair(np.int64(0), np.uint8(3)).n == 400


@pytest.mark.parametrize(
    "values", [NO_NUMBERS[0], "12", b"12", 0.5, [1j], [[1, 2]], ["a"]], ids=lambda value: type(value).__name__
)
def test_magnitudes_that_are_none(values):
    with pytest.raises(ParameterError, match=r"^magnitudes = .*: allowed are sequences of numbers of 0 or more$"):
        gs.noise_sweep(STACK, values)


def test_a_band_wider_than_the_stack_is_that_of_the_stack():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gs.find_outlier_slices(STACK, band=10**400).band == 12
        assert gs.find_outlier_slices(STACK[:3]).band == 10

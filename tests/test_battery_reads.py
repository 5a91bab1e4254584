"""Batteries of transforms read each slice once, in any slabs and threads, and modify nothing."""

from __future__ import annotations

import hashlib
import threading
import time

import numpy as np
import pytest
from counting import Counting
from transforms_by_hand import ELASTIC, TRANSFORMS, by_hand, one, root, stack_of

from gpu_stackcorr import battery, elastic_transform, measurement, stack_correlation, transform_battery, use_backend
from gpu_stackcorr.arrays import Stack, get_backend
from gpu_stackcorr.correlation import find_reference
from gpu_stackcorr.transforms import AddNoise, Compose, flip_up_down, identity, noise_field

pytestmark = pytest.mark.usefixtures("chosen_backend")


# One read, any slabs, any number of threads.


@pytest.mark.parametrize("nan_policy", ["raise", "omit", "propagate"])
def test_a_whole_battery_reads_each_slice_once(nan_policy):
    source = Counting(stack_of(n=9)[:, np.newaxis])
    members = [
        *(transform for name, (transform, _) in TRANSFORMS.items() if name != "own seed"),
        AddNoise(1),
        AddNoise(2),
    ]
    transform_battery(source, members, reference=4, seed=1, nan_policy=nan_policy)
    assert np.delete(source.reads, 4).tolist() == [1] * 8
    assert source.reads[4] <= 2


def measured(plan, stack, length, threads):
    """Return the results of a plan over slabs of `length` slices, each array as bytes."""
    starts = range(0, len(stack), length)
    parts = measurement.run(plan, ((n, stack[n : n + length]) for n in starts), threads=threads)
    return [
        (
            r.flags,
            *(getattr(r, name).tobytes() for name in ("statistic", "n", "n_eff", "standard_error", "df", "distance")),
        )
        for r in measurement.finish(plan, parts)
    ]


@pytest.mark.parametrize("nan_policy", ["propagate", "omit"])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_slabs_and_threads_change_no_bit(backend, dtype, nan_policy):
    stack = stack_of(dtype, n=6)
    if np.dtype(dtype).kind == "f":
        stack[3, 4:6, 5] = np.nan
        stack[5, 1, 3:] = np.nan
    chosen = ("identity", "flip, rotate", "elastic", "elastic, flip", "flip, elastic", "function, rotate")
    members = [TRANSFORMS[name][0] for name in chosen]
    members += [Compose(t, AddNoise(0.5)) for t in members]
    plan = battery.prepare(
        [find_reference(Stack(stack), 1)], members, seed=2, ci="fisher", nan_policy=nan_policy, backend=backend
    )
    whole = measured(plan, stack, len(stack), 1)
    for length, threads in ((1, 1), (2, 3), (4, 2)):
        assert measured(plan, stack, length, threads) == whole, (length, threads)


def test_several_references_share_the_read():
    stack = stack_of("uint8", n=6)
    source = Counting(stack)
    results = stack_correlation(source, [0, 3, stack[5].astype(np.float64)], transform=flip_up_down, noise=1, seed=2)
    assert source.reads.tolist() == [2, 1, 1, 2, 1, 1]
    assert [r.reference for r in results] == [0, 3, None]
    for result, x in zip(results, (stack[0], stack[3], stack[5]), strict=True):
        expected = [by_hand(x, y[::-1], noise_field((13, 13), 2)) for y in stack]
        np.testing.assert_allclose(result.statistic, expected, rtol=0, atol=1e-12)


def test_the_choice_of_backend_reaches_every_thread_and_step(monkeypatch):
    """An explicit choice must hold where a step of a composition asks again, in a worker thread."""
    monkeypatch.setenv("GPU_STACKCORR_BACKEND", "nonsense")
    members = [ELASTIC, Compose(flip_up_down, ELASTIC), Compose(root, ELASTIC, AddNoise(1))]
    by_argument = transform_battery(stack_of(), members, seed=1, backend="numpy")
    with use_backend("numpy"):
        by_context = transform_battery(stack_of(), members, seed=1)
    for label in by_argument:
        np.testing.assert_array_equal(by_argument[label].statistic, by_context[label].statistic)


def test_the_context_reaches_functions_of_the_caller(monkeypatch):
    monkeypatch.setenv("GPU_STACKCORR_BACKEND", "nonsense")
    with use_backend("numpy"):
        transform_battery(stack_of(), [lambda image: elastic_transform(image, 1, 1, seed=len(get_backend().name))])


def test_a_failing_transform_raises_its_own_error_and_stops():
    stack = stack_of(n=200)
    source = Counting(stack)
    error = RuntimeError("no such luck")

    def fails(image):
        raise error

    with pytest.raises(RuntimeError) as caught:
        transform_battery(source, [identity, fails])
    assert caught.value is error
    assert source.reads[-1] == 0
    assert threading.active_count() < 20


# Nothing is modified.


def digest(*arrays):
    return [hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for a in arrays]


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_nothing_modifies_its_input(dtype):
    stack, noise = stack_of(dtype), np.random.default_rng(0).normal(size=(13, 13))
    mask = np.random.default_rng(1).random((13, 13)) < 0.7
    reference = stack[1].copy()
    before = digest(stack, noise, mask, reference)
    members = [t for name, (t, _) in TRANSFORMS.items() if name != "own seed"]
    members += [Compose(t, AddNoise(noise)) for t in members]
    transform_battery(stack, members, mask=mask, seed=1)
    transform_battery(stack, members, mask=mask, seed=1, reference=reference, nan_policy="omit")
    assert digest(stack, noise, mask, reference) == before


def test_read_only_input():
    stack = stack_of("float32")
    stack.setflags(write=False)
    transform_battery(stack, [t for name, (t, _) in TRANSFORMS.items() if name != "own seed"], seed=1)


def test_a_function_that_draws_into_its_argument_spoils_nothing():
    """The notebook's grid did: it was drawn into the stack, and every later figure had it."""
    stack = stack_of("uint8", n=6)
    clean = stack.copy()

    def draw(image):
        image[::4] = 255
        return image

    drawn = clean.copy()
    drawn[:, ::4] = 255
    result = transform_battery(stack, [draw, identity, Compose(draw, flip_up_down), root])
    np.testing.assert_array_equal(stack, clean)
    np.testing.assert_allclose(result["draw"].statistic, [by_hand(clean[0], y) for y in drawn], rtol=0, atol=1e-12)
    for name in ("identity", "root"):
        hand = TRANSFORMS["function" if name == "root" else name][1]
        expected = [by_hand(clean[0], hand(y, n)) for n, y in enumerate(clean)]
        np.testing.assert_allclose(result[name].statistic, expected, rtol=0, atol=1e-12)


def test_functions_may_be_slow_and_finish_in_any_order():
    stack = stack_of(n=8)

    def slow(image):
        time.sleep(0.02 if np.array_equal(image, stack[0]) else 0.0)
        return -image

    np.testing.assert_allclose(one(stack, slow).statistic, -stack_correlation(stack).statistic, rtol=0, atol=1e-12)

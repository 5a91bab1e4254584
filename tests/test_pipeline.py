"""Volumes slab by slab: the same numbers as in memory, within the budget, with progress, and with honest failures."""

from __future__ import annotations

import threading
import tracemalloc
import warnings
import weakref

import numpy as np
import pytest

from gpu_stackcorr import elastic_transform, transform_battery
from gpu_stackcorr.errors import BackendError, ConstantSliceWarning, ParameterError
from gpu_stackcorr.pipeline import DEFAULT_MEMORY, correlate_volume, estimate
from gpu_stackcorr.transforms import AddNoise, Compose, Elastic, flip_right_left, flip_up_down, identity, rotate_90

FIELDS = ("statistic", "distance", "n", "n_eff", "standard_error", "df")


class Lazy:
    """A volume that makes its slabs when they are asked for, and remembers which, and how many live at once."""

    def __init__(self, array, voxel_size=None, fail_at=None):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        if voxel_size is not None:
            self.voxel_size = voxel_size
        self.fail_at, self.error = fail_at, OSError("the disk is gone")
        self.reads: list[tuple[int, int]] = []
        self.alive = self.most_alive = 0
        self.lock = threading.Lock()

    def __getitem__(self, key):
        start, stop, _ = key.indices(len(self.array))
        if self.fail_at is not None and start <= self.fail_at < stop:
            raise self.error
        slab = self.array[key].copy()
        with self.lock:
            self.reads.append((start, stop))
            self.alive += 1
            self.most_alive = max(self.most_alive, self.alive)
        weakref.finalize(slab, self.released)
        return slab

    def released(self):
        with self.lock:
            self.alive -= 1

    @property
    def longest(self):
        return max(stop - start for start, stop in self.reads)


def array_of(dtype=np.uint8, n=24, shape=(16, 16)):
    generator = np.random.default_rng(0)
    stack = 100 + 30 * generator.normal(size=shape) + 20 * generator.normal(size=(n, *shape))
    return stack.clip(0, 255).astype(dtype)


def square(image):
    return image.astype(np.float64) ** 2


MEMBERS = (
    identity,
    flip_up_down,
    rotate_90,
    AddNoise(2),
    Elastic(20, 3),
    Compose(flip_right_left, Elastic(20, 3), AddNoise(1)),
    Compose(square, flip_up_down),
)


def smallest_memory(volume, members, threads):
    """The smallest budget that is taken: the message of the error says it."""
    with pytest.raises(ParameterError, match=r"^memory = 1: allowed are ") as caught:
        correlate_volume(volume, members, threads=threads, memory=1)
    return int(str(caught.value).split("allowed are ")[1].split()[0])


def finishes(call):
    """Run `call` in a thread of its own, so that a test of something that hangs ends; return what it raised."""
    raised = []

    def run():
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it hangs"
    return raised[0] if raised else None


def assert_same(one, other):
    assert list(one) == list(other)
    for label in one:
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(one[label], name), getattr(other[label], name), err_msg=label)
        for name in ("flags", "reference", "transform", "noise", "method", "backend"):
            np.testing.assert_equal(getattr(one[label], name), getattr(other[label], name))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_the_same_bits_for_any_budget_and_threads(backend, dtype):
    array = array_of(dtype)
    mask = np.random.default_rng(1).random((16, 16)) < 0.8
    keywords = {"reference": 7, "mask": mask, "seed": 5, "backend": backend.name}
    expected = transform_battery(array, MEMBERS, **keywords)
    for threads in (1, 2, 3):
        least = smallest_memory(array, MEMBERS, threads)
        for memory in (least + 3000, DEFAULT_MEMORY) if threads > 1 else (least,):
            volume = Lazy(array[:, np.newaxis] if threads == 2 else array)
            result = correlate_volume(volume, MEMBERS, threads=threads, memory=memory, **keywords)
            assert_same(result, expected)
    assert_same(correlate_volume(array, MEMBERS, **keywords), expected)


def test_a_reference_image_and_no_interval():
    array = array_of()
    image = array[3].astype(np.float32) + 1
    result = correlate_volume(Lazy(array), [identity, flip_up_down], reference=image, ci=None, threads=1)
    assert_same(result, transform_battery(array, [identity, flip_up_down], reference=image, ci=None))
    assert result["identity"].method == "none"


def test_an_elastic_member_by_hand():
    array = array_of(np.float64)
    result = correlate_volume(Lazy(array), [Elastic(20, 3)], seed=9, threads=2)["elastic(20, 3)"]
    expected = [
        np.corrcoef(array[0].ravel(), elastic_transform(image, 20, 3, seed=9, index=n).ravel())[0, 1]
        for n, image in enumerate(array)
    ]
    np.testing.assert_allclose(result.statistic, expected, rtol=0, atol=1e-12)
    assert result.seed == 9


def test_a_seed_is_drawn_and_recorded():
    array = array_of(n=4)
    first = correlate_volume(array, [Elastic(20, 3), AddNoise(1)], threads=1)
    seed = first["noise 1"].seed
    assert seed is not None
    assert_same(correlate_volume(array, [Elastic(20, 3), AddNoise(1)], seed=seed, threads=1), first)


# Reading and memory.


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_volume_is_never_held_whole(threads):
    array = array_of(n=40)
    least = smallest_memory(array, MEMBERS, threads)
    each = array[0].nbytes
    correlate_volume(array[:2], MEMBERS, threads=threads, seed=1)  # what is being compiled holds on to arguments
    for extra in (0, 9):
        volume, budget = Lazy(array), least + (threads + 2) * extra * each
        correlate_volume(volume, MEMBERS, reference=33, threads=threads, memory=budget, seed=1)
        assert volume.longest <= extra + 1
        assert volume.most_alive <= threads + 2
        counts = np.zeros(len(array), int)
        for start, stop in volume.reads:
            counts[start:stop] += 1
        assert np.delete(counts, 33).tolist() == [1] * 39
        assert counts[33] <= 2


def test_slabs_are_read_in_order():
    volume = Lazy(array_of(n=30))
    correlate_volume(volume, [identity], threads=2, memory=smallest_memory(volume, [identity], 2) + 4 * 5 * 256)
    starts = [start for start, _ in volume.reads[1:]]
    assert starts == sorted(starts)
    assert volume.reads[-1][1] == 30


BATTERIES = {
    "identity": [identity],
    "references": [identity, flip_up_down, rotate_90, AddNoise(1)],
    "elastic": [Elastic(20, 3)],
    "function": [square],
    "steps": [Compose(flip_up_down, Elastic(20, 3))],
    "several groups": [square, Compose(square, AddNoise(1)), Compose(flip_up_down, square)],
}


class Pattern:
    """A long volume that costs no memory: one slice, rolled."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.slice = array_of(dtype, 1, shape[1:])[0]

    def __getitem__(self, key):
        numbers = range(*key.indices(self.shape[0]))
        slab = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for row, n in enumerate(numbers):
            slab[row] = self.slice
            slab[row, n % self.shape[1]] = 0
        return slab


def peak_of(volume, members, memory):
    """Return the most bytes that a run on one thread holds."""
    correlate_volume(array_of(volume.dtype, 4), members, seed=1)  # what is imported and set up once
    tracemalloc.start()
    try:
        correlate_volume(volume, members, seed=1, threads=1, memory=memory)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", BATTERIES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_the_peak_stays_within_the_budget(name, dtype):
    volume = Pattern((160, 64, 64), dtype)
    memory = smallest_memory(volume, BATTERIES[name], 1) + 3 * 2**19
    assert peak_of(volume, BATTERIES[name], memory) <= memory + 2**17  # small objects of the interpreter


@pytest.mark.parametrize("name", ["function", "several groups"])
def test_long_slabs_of_transformed_slices_stay_within_the_budget(name):
    """A function turns uint8 into float64: eight times the slab, if all of it were kept."""
    volume = Pattern((2000, 64, 64), np.uint8)
    memory = smallest_memory(volume, BATTERIES[name], 1) + 12 * 2**20
    assert peak_of(volume, BATTERIES[name], memory) <= memory + 2**17


def test_too_little_memory_is_a_clear_error_before_the_work():
    volume = Lazy(array_of())
    least = smallest_memory(volume, MEMBERS, 2)
    with pytest.raises(ParameterError, match=f"^memory = {least - 1}: allowed are {least} bytes or more .*2 threads"):
        correlate_volume(volume, MEMBERS, threads=2, memory=least - 1)
    with pytest.raises(ParameterError, match=r"^memory = "):
        estimate(volume, MEMBERS, threads=2, memory=least - 1)
    assert volume.longest == 1  # no more than the reference was read
    correlate_volume(volume, MEMBERS, threads=2, memory=least)


@pytest.mark.parametrize("memory", [0, -5])
def test_memory_that_is_not_allowed(memory):
    with pytest.raises(ParameterError, match=f"^memory = {memory}: "):
        correlate_volume(array_of(), [identity], memory=memory)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_threads_that_are_not_allowed(threads):
    with pytest.raises(ParameterError, match=r"^threads = .*integers of 1 or more"):
        correlate_volume(array_of(), [identity], threads=threads)


# Progress.


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_progress(threads):
    array, calls = array_of(n=25), []
    least = smallest_memory(array, MEMBERS, threads)
    correlate_volume(
        Lazy(array),
        MEMBERS,
        threads=threads,
        memory=least + 3000,
        seed=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    done = [call[0] for call in calls]
    assert len(calls) > 2
    assert done == sorted(set(done))
    assert done[0] > 0
    assert done[-1] == 25
    assert {total for _, total in calls} == {25}


def test_progress_that_raises_stops_the_run():
    volume, stop = Lazy(array_of(n=200)), KeyboardInterrupt()

    def progress(done, total):
        raise stop

    least = smallest_memory(volume, [identity], 1)
    volume.reads.clear()
    raised = finishes(lambda: correlate_volume(volume, [identity], threads=1, memory=least, progress=progress))
    assert raised is stop
    assert len(volume.reads) < 10


# Failures.


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("fail_at", [0, 1, 30, 59])
def test_a_failing_read_raises_its_own_error(threads, fail_at):
    volume = Lazy(array_of(n=60), fail_at=fail_at)
    least = smallest_memory(array_of(n=60), MEMBERS, threads)
    before = threading.active_count()
    raised = finishes(lambda: correlate_volume(volume, MEMBERS, threads=threads, memory=least, seed=1))
    assert raised is volume.error
    assert threading.active_count() <= before


def test_a_failing_transform_raises_its_own_error():
    error = ZeroDivisionError("by hand")

    def fails(image):
        raise error

    volume = Lazy(array_of(n=200))
    least = smallest_memory(volume, [fails], 2)
    volume.reads.clear()
    assert finishes(lambda: correlate_volume(volume, [identity, fails], threads=2, memory=least + 10_000)) is error
    assert volume.reads[-1][1] < 200


def test_a_slice_with_nan_is_flagged_and_only_that_one():
    array = array_of(np.float32)
    expected = correlate_volume(array, MEMBERS[:5], seed=3, threads=1)
    array[9, 3, 4] = np.nan
    least = smallest_memory(array, MEMBERS[:5], 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = correlate_volume(Lazy(array), MEMBERS[:5], seed=3, threads=2, memory=least + 5000)
    for label in result:
        assert [n for n, flag in enumerate(result[label].flags) if flag] == [9], label
        assert result[label].flags[9] == "nan"
        assert np.flatnonzero(np.isnan(result[label].statistic)).tolist() == [9]
        others = np.arange(24) != 9
        np.testing.assert_array_equal(result[label].statistic[others], expected[label].statistic[others])


def test_a_constant_slice_is_flagged_with_a_warning_at_the_callers_line():
    array = array_of()
    array[5] = 77
    with pytest.warns(ConstantSliceWarning, match="5") as caught:
        result = correlate_volume(array, [identity, Elastic(20, 3)], seed=1)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert result["identity"].flags[5] == result["elastic(20, 3)"].flags[5] == "constant"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"transforms": []}, "^transforms = "),
        ({"transforms": [identity, identity]}, "^transforms = .*names that differ"),
        ({"transforms": ["flip"]}, "^transform = 'flip'"),
        ({"reference": 24}, "^reference = 24: the stack has the slices 0 to 23"),
        ({"reference": -25}, "^reference = -25"),
        ({"reference": np.ones((3, 3))}, "^reference has shape"),
        ({"mask": np.ones((3, 3), bool)}, "^mask has shape"),
        ({"ci": "bootstrap"}, "^ci = 'bootstrap'"),
        ({"seed": -1}, "^seed = -1"),
        ({"backend": "nonsense"}, "^backend = 'nonsense'"),
        ({"volume": np.zeros((3, 4))}, "^stack has shape"),
        ({"volume": np.zeros((0, 4, 4))}, "^stack has shape"),
        ({"volume": np.ones((3, 4, 4))}, "reference, slice 0, is constant"),
    ],
)
def test_parameters(keywords, message):
    volume = Lazy(array_of())
    with pytest.raises((ParameterError, BackendError), match=message):
        correlate_volume(**{"volume": volume, "transforms": [identity], "threads": 1, **keywords})


def test_labels_are_checked_before_the_work():
    volume = Lazy(array_of())
    with pytest.raises(ParameterError, match="names that differ"):
        correlate_volume(volume, [identity, identity], threads=1)
    assert len(volume.reads) <= 1


# Voxel size and estimates.


@pytest.mark.parametrize(("voxel_size", "spacing"), [((45.0, 4.6, 4.6), 45.0), ((None, 4.6, 4.6), None), (None, None)])
def test_spacing(voxel_size, spacing):
    volume = Lazy(array_of(n=4), voxel_size=voxel_size)
    result = correlate_volume(volume, [identity], threads=1)["identity"]
    assert result.spacing == spacing
    assert result.columns()["distance_nm"] == [None if spacing is None else n * spacing for n in range(4)]


def test_estimate():
    volume = Lazy(array_of(n=40))
    cost = estimate(volume, MEMBERS, threads=2)
    assert 0 < cost.seconds < 60
    assert 0 < cost.memory <= DEFAULT_MEMORY
    assert volume.longest == 1
    assert len(volume.reads) <= 3
    assert estimate(volume, MEMBERS, reference=5, backend="numpy", threads=1).memory <= cost.memory
    assert estimate(Lazy(array_of(np.float64)), [identity]).seconds > 0


def test_an_estimate_stays_within_the_memory_that_is_allowed():
    array = array_of(n=400)
    least = smallest_memory(array, MEMBERS, 2)
    for memory in (least, least + 10_000, least + 50_000):
        cost = estimate(Lazy(array), MEMBERS, threads=2, memory=memory)
        assert 0 < cost.memory <= memory

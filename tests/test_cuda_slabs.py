"""Slabs on a device: the order of copies and work, and what happens where memory runs out."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_stackcorr.backends.cuda_.device import Device, Downloads
from gpu_stackcorr.backends.cuda_.slabs import in_slabs, through_slabs


class Diary(Device):
    """A device of the host's memory that notes what it is asked for."""

    multiprocessors = 1
    shared_bytes = 64 * 1024

    def __init__(self):
        self.notes = []

    def kernel(self, file, name):
        raise NotImplementedError

    def empty(self, shape, dtype):
        return np.empty(shape, dtype)

    def to_device(self, array):
        self.notes.append("upload")
        return array.copy()

    def to_host(self, array):
        return array.copy()

    def free_bytes(self):
        return 1 << 30

    def downloads(self):
        return NotedDownloads(self)


class NotedDownloads(Downloads):
    def begin(self, pairs):
        assert not self.pairs, "what was begun is finished first"
        self.device.notes.append("begin")
        super().begin(pairs)

    def finish(self):
        self.device.notes.append("finish")
        super().finish()


def doubled(device, image, length, capacity=None):
    """Return twice an image, slab by slab; work on more slices than the capacity runs out of memory."""
    result = np.full_like(image, -1)

    def work(slab, part):
        device.notes.append("work")
        if capacity is not None and len(part) > capacity:
            raise MemoryError
        return 2 * part

    through_slabs(
        device,
        len(image),
        length,
        cut=lambda slab: [image[slab]],
        work=work,
        targets=lambda slab, part: [(result[slab], part)],
    )
    return result


def test_a_slab_comes_and_goes_beside_the_work_on_others():
    device, image = Diary(), np.arange(7)
    np.testing.assert_array_equal(doubled(device, image, 3), 2 * image)
    first, others = ["upload", "work", "begin"], ["upload", "work", "finish", "begin"]
    assert device.notes == [*first, *others, *others, "finish"]


@pytest.mark.parametrize("capacity", [1, 2, 3, 5])
def test_out_of_memory_makes_shorter_slabs(capacity):
    image = np.arange(11)
    np.testing.assert_array_equal(doubled(Diary(), image, 8, capacity), 2 * image)


def test_a_slice_that_does_not_fit_is_an_error():
    with pytest.raises(MemoryError):
        doubled(Diary(), np.arange(4), 2, capacity=0)


def test_what_was_done_when_memory_ran_out_is_not_done_again():
    device, image, seen = Diary(), np.arange(10), []
    result = np.full(10, -1)

    def work(slab, part):
        if slab.start == 4 and len(part) == 4:
            raise MemoryError
        seen.append((slab.start, slab.stop))
        return part + 1

    through_slabs(
        device, 10, 4, cut=lambda slab: [image[slab]], work=work, targets=lambda slab, part: [(result[slab], part)]
    )
    assert seen == [(0, 4), (4, 6), (6, 8), (8, 10)]
    np.testing.assert_array_equal(result, image + 1)


def test_results_that_stay_on_the_device_come_in_order():
    image = np.arange(5.0)[:, np.newaxis, np.newaxis]
    found = in_slabs(Diary(), image, 0, lambda start, part: (start, float(part.sum())), most=2)
    assert found == [(0, 1.0), (2, 5.0), (4, 4.0)]

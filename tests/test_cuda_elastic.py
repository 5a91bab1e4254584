"""`elastic` on a device slab by slab: no slab changes a bit, and no displacement of a whole stack is needed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from emulator import EmulatedDevice

from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.cuda_ import slabs
from gpu_stackcorr.backends.cuda_.backend import CudaBackend
from gpu_stackcorr.displacement_fields import displacement_streams

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")

STREAMS = displacement_streams(2, np.arange(40))


def images(dtype, count=7):
    return (np.random.default_rng(3).random((count, 24, 40)) * 250).astype(dtype)


def deformed(backend, stack, **changes):
    how = {"alpha": np.array([[30.0], [20.0]]), "sigma": (3.0, 2.0), "order": 1, "mode": "reflect"} | changes
    result, folds = backend.elastic(stack, 5, STREAMS[:, : len(stack)], **how, count_folds=True)
    return np.asarray(backend.to_host(result)), folds


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_slabs_of_the_host_change_no_bit(monkeypatch, dtype, order):
    cuda, stack = CudaBackend(EmulatedDevice()), images(dtype)
    whole, folds = deformed(cuda, stack, order=order)
    assert folds.folded > 0
    for length in (1, 2, 5):
        monkeypatch.setattr(slabs, "HOST_BYTES", length * stack[0].nbytes)
        found, here = deformed(cuda, stack, order=order)
        np.testing.assert_array_equal(found, whole)
        assert here == folds


@pytest.mark.parametrize("share", [4, 1 << 15])
@pytest.mark.parametrize("dtype", ["u1", "f8"])
def test_what_lies_on_the_device_stays_there(cupy, monkeypatch, dtype, share):
    cuda, stack = get_backend("cuda"), images(dtype)
    on_device = cupy.asarray(stack)
    expected = deformed(cuda, stack)
    monkeypatch.setattr(slabs, "SHARE", share)  # of the memory: enough for all, or for some slices
    result, folds = cuda.elastic(
        on_device, 5, STREAMS[:, :7], alpha=np.array([[30.0], [20.0]]), sigma=(3.0, 2.0), order=1, mode="reflect",
        count_folds=True,
    )  # fmt: skip
    assert isinstance(result, cupy.ndarray)
    np.testing.assert_array_equal(cupy.asnumpy(result), expected[0])
    assert folds == expected[1]


def test_a_stack_whose_displacement_has_no_room(monkeypatch):
    stack = images("u1", 40)
    expected = deformed(CudaBackend(EmulatedDevice()), stack)
    field_bytes = 8 * stack.size
    taken = []
    monkeypatch.setattr(slabs, "SHARE", 1)  # more than there is room for
    device = EmulatedDevice(memory_bytes=field_bytes // 2)
    take = slabs._take
    monkeypatch.setattr(slabs, "_take", lambda where, parts, *rest: taken.append(parts[0]) or take(where, parts, *rest))
    found = deformed(CudaBackend(device), stack)
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]
    assert len(taken) > 1  # began with slabs that were too long

"""boundary.cuh against the specification of interpolation, and against numpy.pad for filters."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from emulator import EmulatedDevice

from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.backends.cuda_.boundary import FILTER, INTERPOLATION
from gpu_stackcorr.backends.cuda_.loader import kernel_directory
from gpu_stackcorr.backends.numpy_ import interpolation

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")

KERNEL = """
#include "boundary.cuh"
template <class Int> __global__ void folded(const Int* index, Int* to, Int n, int mode) {
  to[threadIdx.x] = fold(index[threadIdx.x], n, mode);
}
template <class Int>
__global__ void entered(const Int* index, const double* fraction, Int* to, bool* kept, Int n, int mode) {
  Int i = index[threadIdx.x];
  kept[threadIdx.x] = enter(i, fraction[threadIdx.x], n, mode);
  to[threadIdx.x] = i;
}
template <class Int> __global__ void rounded(const Int* index, const double* fraction, Int* to, Int n, int mode) {
  to[threadIdx.x] = nearest(index[threadIdx.x], fraction[threadIdx.x], n, mode);
}
__global__ void outside(const i64* first, const int* count, i64 length, int* found, int* samples) {
  const int at = threadIdx.x;
  const Outside o(first[at], count[at], length);
  samples[at] = o.samples();
  for (int k = 0; k < o.samples(); k++) found[at * 32 + o.sample(k)] += 1;
  for (int k = o.before; k < o.end; k++) found[at * 32 + k] += 2;
}
"""
TYPES = {"int": np.int32, "i64": np.int64}
NUMPYS = {"reflect": "symmetric", "grid-mirror": "symmetric", "mirror": "reflect", "nearest": "edge"}
NUMPYS |= {"wrap": "wrap", "grid-wrap": "wrap"}


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    for header in kernel_directory().glob("*.cuh"):
        shutil.copy(header, folder)
    (folder / "boundary_test.cu").write_text(KERNEL)
    return EmulatedDevice(sources=folder)


def launch(device, name, arrays, *numbers):
    there = [device.to_device(array) for array in arrays]
    device.kernel("boundary_test.cu", name)((1,), (len(arrays[0]),), [*there, *numbers])
    return there


@pytest.mark.parametrize("integer", TYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
def test_a_filter_reads_what_numpy_pads(device, integer, n, mode):
    dtype = TYPES[integer]
    index = np.arange(-3 * n - 2, 4 * n + 3, dtype=dtype)
    _, result = launch(device, f"folded<{integer}>", [index, index], dtype(n), np.int32(FILTER[mode]))
    samples = np.arange(n)
    width = (3 * n + 2, 3 * n + 3)
    if "constant" in mode:
        expected = np.pad(samples, width, constant_values=-1)
    else:
        expected = np.pad(samples, width, mode=NUMPYS[mode])
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("integer", TYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
def test_interpolation_is_the_specification(device, integer, n, mode):
    dtype = TYPES[integer]
    index, fraction = (grid.ravel() for grid in np.meshgrid(np.arange(-3 * n - 2, 4 * n + 3), [0.0, 0.25, 0.5, 0.75]))
    last = dtype(n), np.int32(INTERPOLATION[mode])
    typed = index.astype(dtype)

    _, result = launch(device, f"folded<{integer}>", [typed, typed], *last)
    expected = interpolation.fold(index.copy(), n, mode)
    inside = (index >= 0) & (index < n) | (mode != "grid-constant")
    np.testing.assert_array_equal(result, np.where(inside, expected, -1))

    kept = np.zeros(len(index), bool)
    _, _, moved, kept = launch(device, f"entered<{integer}>", [typed, fraction, typed, kept], *last)
    expected, lost = interpolation.enter(index, fraction, n, mode)
    np.testing.assert_array_equal(kept, True if lost is None or mode == "wrap" else ~lost)
    np.testing.assert_array_equal(moved[kept], expected[kept])

    _, _, result = launch(device, f"rounded<{integer}>", [typed, fraction, typed], *last)
    np.testing.assert_array_equal(result, interpolation.nearest(index, fraction, n, mode))


@pytest.mark.parametrize("length", [1, 5, 40])
def test_every_sample_of_a_stretch_is_inside_or_outside_once(device, length):
    first = np.repeat(np.arange(-35, 45), 3).astype(np.int64)
    count = np.tile([0, 3, 32], 80).astype(np.int32)
    arrays = [first, count, np.zeros((240, 32), np.int32), np.zeros(240, np.int32)]
    there = [device.to_device(array) for array in arrays]
    device.kernel("boundary_test.cu", "outside")((1,), (240,), [*there[:2], np.int64(length), *there[2:]])
    position = np.arange(32)
    at = first[:, np.newaxis] + position
    expected = np.where((at >= 0) & (at < length), 2, 1) * (position < count[:, np.newaxis])
    np.testing.assert_array_equal(there[2], expected)
    np.testing.assert_array_equal(there[3], (expected == 1).sum(axis=1))

"""Correct kernels on the emulator, in every schedule: right results, and no sanitizer has anything to say of them."""

from pathlib import Path

import numpy as np
import pytest

from . import emulated_device, emulated_devices

rng = np.random.default_rng(1)


@pytest.fixture(scope="module", params=emulated_devices())
def device(request):
    device = emulated_device(request.param, watched=True)
    device.sources = Path(__file__).parent
    return device


def launch(device, name, grid, block, arguments, **options):
    """Launch an example kernel, inputs brought to the device."""
    arguments = [device.to_device(a) if isinstance(a, np.ndarray) and a.ndim else a for a in arguments]
    device.kernel("example_kernels.cu", name)(grid, block, arguments, **options)
    return arguments


def test_every_thread_of_every_block_runs(device):
    grid, block = (3, 2, 4), (5, 3, 2)
    ranks = device.empty((24 * 30,), np.int64)
    launch(device, "ranks", grid, block, [ranks])
    assert ranks.tolist() == list(range(24 * 30))


@pytest.mark.parametrize(
    ("name", "dtype", "sum_dtype"),
    [("unsigned char, unsigned, 64", "u1", "u4"), ("short, int, 128", "i2", "i4"), ("float, double, 32", "f4", "f8")],
)
def test_block_sum(device, name, dtype, sum_dtype):
    threads = int(name.split()[-1])
    numbers, sums = rng.integers(0, 100, 5 * threads).astype(dtype), device.empty((5,), sum_dtype)
    launch(device, f"block_sum<{name}>", (5,), (threads,), [numbers, sums])
    assert sums.tolist() == numbers.reshape(5, threads).sum(1, dtype=sum_dtype).tolist()


def test_shared_variables_of_two_instantiations(device):
    numbers, once, twice = rng.random(64, "f4"), device.empty((64,), "f4"), device.empty((64,), "f8")
    launch(device, "reversed_twice", (1,), (64,), [numbers, once, twice])
    np.testing.assert_array_equal(once, numbers[::-1])
    np.testing.assert_array_equal(twice, numbers)


@pytest.mark.parametrize(("name", "dtype"), [("unsigned char", "u1"), ("double", "f8")])
def test_dynamic_shared_memory(device, name, dtype):
    numbers, out = np.arange(300).astype(dtype), device.empty((300,), dtype)
    launch(device, f"reversed<{name}>", (3,), (100,), [numbers, out], shared_bytes=100 * numbers.itemsize)
    np.testing.assert_array_equal(out, numbers.reshape(3, 100)[:, ::-1].ravel())


def test_shuffles(device):
    numbers, out = rng.integers(-1000, 1000, 96).astype(np.int32), device.empty((4, 96), np.int32)
    launch(device, "shuffles", (1,), (96,), [numbers, out])
    warps = numbers.reshape(3, 32)
    np.testing.assert_array_equal(out[0], np.repeat(warps.sum(1), 32))
    np.testing.assert_array_equal(out[1], warps.cumsum(1).ravel())
    np.testing.assert_array_equal(out[2], np.repeat(numbers.reshape(6, 16).sum(1), 16))
    np.testing.assert_array_equal(out[3], np.repeat(numbers[5::8], 8))


def test_warp_barrier(device):
    numbers, out = rng.random(64, "f4"), device.empty((64,), "f4")
    launch(device, "neighbours", (1,), (64,), [numbers, out])
    np.testing.assert_array_equal(out, np.repeat(numbers[::2] + numbers[1::2], 2))


def test_votes(device):
    numbers, out = rng.integers(0, 1000, 64).astype(np.uint32), device.empty((64, 9), np.uint32)
    numbers[32:] |= 1
    launch(device, "votes", (1,), (64,), [numbers, out])
    for lanes in (slice(0, 32), slice(32, 64)):
        odd = numbers[lanes] % 2
        ballot = int((odd.astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum())
        values = [int(numbers[lanes].sum()), int(numbers[lanes].max()), int(numbers[lanes].min())]
        warp = [ballot, int(odd.any()), int(odd.all()), *values]
        block = [int((numbers % 2).sum()), 0, 1]
        assert out[lanes].tolist() == [warp + block] * 32


def test_part_of_a_warp(device):
    numbers, out = np.arange(32, dtype=np.int32), device.empty((32,), np.int32)
    launch(device, "part_of_a_warp", (1,), (32,), [numbers, out])
    assert out.tolist() == [28] * 8 + list(range(8, 24)) + [-1] * 8


def test_atomics(device):
    pixels, counts = rng.integers(0, 256, 5000).astype(np.uint8), device.to_device(np.zeros(256, np.uint32))
    launch(device, "histogram", (4,), (96,), [pixels, counts, np.int32(5000)])
    np.testing.assert_array_equal(counts, np.bincount(pixels, minlength=256))


def test_fence_and_counter(device):
    numbers, total = rng.integers(0, 1000, 20).astype(np.int32), device.empty((1,), np.int32)
    arrived = device.to_device(np.zeros(1, np.uint32))
    launch(device, "last_block_adds", (20,), (32,), [numbers, device.empty((20,), np.int32), arrived, total])
    assert total[0] == numbers.sum()
    assert arrived[0] == 0


@pytest.mark.parametrize("n", [1, 64, 203])
def test_structure_by_value_and_vectors(device, n):
    weights = np.array((rng.random(4),), [("v", "f4", 4)])[()]
    numbers, out = rng.random(n, "f4"), device.empty((n,), "f4")
    launch(device, "filtered<3>", (2,), (32,), [numbers, out, weights, np.int32(n)])
    taps = np.concatenate([weights["v"][:0:-1], weights["v"]])
    np.testing.assert_allclose(out, np.convolve(np.pad(numbers, 3), taps, "valid"), rtol=1e-6)


def test_integer_functions(device):
    pairs = rng.integers(0, 2**32, (2, 50), dtype=np.uint64).astype(np.uint32)
    pairs[:, :3] = [[0, 2**32 - 1, 2**31], [0, 2**32 - 1, 2**31]]
    out = device.empty((50, 14), np.int64)
    launch(device, "integers", (1,), (50,), [*pairs, out])
    assert out.tolist() == [integer_functions(int(a), int(b)) for a, b in pairs.T]


def integer_functions(a, b):
    """Return what ``integers`` computes, from CUDA's documentation."""

    def parts(value, bits, signed):
        whole = [value >> shift & (1 << bits) - 1 for shift in range(0, 32, bits)]
        return [part - (part >> bits - 1 << bits if signed else 0) for part in whole]

    def dot(bits, first, signed, start):
        total = start + sum(
            x * y for x, y in zip(parts(a, bits, signed), parts(b, 8, signed)[first : first + 32 // bits], strict=True)
        )
        return signed_32(total) if signed else total % 2**32

    def signed_32(value):
        return (value + 2**31) % 2**32 - 2**31

    p, q, wide = signed_32(a), signed_32(b), a << 32 | b
    selected = parts(a, 8, False) + parts(b, 8, False)
    high = wide * wide >> 64
    return [
        *[dot(8, 0, False, 7), dot(8, 0, True, -7)],
        *[dot(16, 0, False, 7), dot(16, 2, False, 7), dot(16, 0, True, -7), dot(16, 2, True, -7)],
        selected[5] | selected[7] << 8 | selected[1] << 16 | selected[3] << 24,
        a * b >> 32,
        p * q >> 32,
        high - (high >> 63 << 64),
        a.bit_count(),
        32 - a.bit_length(),
        (wide << 5 >> 32) % 2**32,
        min(p, 0) + max(a, b),
    ]


def test_functions_of_reals(device):
    numbers = np.array([0.0, -0.5, 2.5, -3.75, 1e5 + 0.5, 7.0])
    out = device.empty((6, 13), "f8")
    launch(device, "reals", (1,), (6,), [numbers, out])
    floor, trunc = np.floor(numbers), np.trunc(numbers)
    columns = [floor, np.rint(numbers), floor, np.maximum(trunc, 0), trunc, numbers, numbers, np.rint(numbers), floor]
    columns += [numbers * numbers + 1, 1 / np.sqrt(np.abs(numbers) + 1), numbers]
    columns += [np.where(numbers == 0, 1, 2) + np.where(numbers < 0, 4, 0) + 8]
    np.testing.assert_allclose(out, np.transpose(columns), rtol=1e-15)


def test_constant_memory(device):
    out = device.empty((6,), "f4")
    launch(device, "constants", (1,), (6,), [np.array([3, 2, 1, 0, 1, 2], np.int32), out])
    assert out.tolist() == [1000, 100, 10, 1, 10, 100]

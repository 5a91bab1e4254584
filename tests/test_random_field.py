"""random_field: the numbers of NumPy's Philox, any box of them, on every backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from properties import given, st

from gpu_stackcorr.random_fields import Axis, Purpose, stream

WORD = 2**64


def philox_block(counter: int, key: tuple[int, int]) -> list[int]:
    """Philox4x64-10 in integers (J. K. Salmon and others, SC11, 2011): the four words of a block."""
    c, k = [counter % WORD, counter >> 64, 0, 0], list(key)
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(second >> 64) ^ c[1] ^ k[0], second % WORD, (first >> 64) ^ c[3] ^ k[1], first % WORD]
        k = [(k[0] + 0x9E3779B97F4A7C15) % WORD, (k[1] + 0xBB67AE8584CAA73B) % WORD]
    return c


def known_answers() -> list[tuple[int, int, int, int]]:
    lines = (Path(__file__).parent / "known_answers" / "philox.txt").read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return [(int(seed), int(name), int(index), int(word, 16)) for seed, name, index, word in rows]


def numpy_field(seed, name, shape, dtype=np.float32):
    bits = np.random.Philox(key=np.array([seed, name], np.uint64))
    return np.random.Generator(bits).random(shape, dtype)


def test_the_table_is_philox_by_hand():
    for seed, name, index, word in known_answers():
        assert philox_block(index // 4 + 1, (seed, name))[index % 4] == word


@pytest.mark.parametrize(("seed", "name", "index", "word"), known_answers())
def test_known_answers(backend, seed, name, index, word):
    double = backend.random_field(seed, name, (2**62,), box=((index, index + 1),), dtype=np.float64)
    assert double[0] == (word >> 11) / 2**53
    pair = backend.random_field(seed, name, (2**63,), box=((2 * index, 2 * index + 2),))
    assert pair.dtype == np.float32
    assert pair.tolist() == [((word % 2**32) >> 8) / 2**24, (word >> 40) / 2**24]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (7,), (5, 3), (3, 1, 11), (2, 3, 4, 5)])
def test_whole_field_is_numpys(backend, shape, dtype):
    field = backend.random_field(12, 34, shape, dtype=dtype)
    assert field.dtype == dtype
    np.testing.assert_array_equal(field, numpy_field(12, 34, shape, dtype))


@st.composite
def shapes_and_boxes(draw):
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    box = []
    for n in shape:
        start = draw(st.integers(0, n))
        box.append((start, draw(st.integers(start, n))))
    return tuple(shape), tuple(box)


@given(
    case=shapes_and_boxes(),
    seed=st.integers(0, 2**64 - 1),
    name=st.integers(0, 2**64 - 1),
    dtype=st.sampled_from([np.float32, np.float64]),
    distribution=st.sampled_from(["uniform", "normal"]),
)
def test_any_box_is_that_box_of_the_whole(backend, case, seed, name, dtype, distribution):
    shape, box = case
    whole = backend.random_field(seed, name, shape, dtype=dtype, distribution=distribution)
    part = backend.random_field(seed, name, shape, box=box, dtype=dtype, distribution=distribution)
    assert part.dtype == dtype
    np.testing.assert_array_equal(part, whole[tuple(slice(*ends) for ends in box)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_box_at_the_end_of_a_field_beyond_2_to_the_31(backend, dtype):
    side, width = 2**20, 5
    box = ((side - 3, side), (side - width, side))
    field = backend.random_field(9, 8, (side, side), box=box, dtype=dtype)
    per_block = 32 // np.dtype(dtype).itemsize
    for row, y in zip(field, range(side - 3, side), strict=True):
        start = y * side + side - width
        bits = np.random.Philox(key=np.array([9, 8], np.uint64))
        bits.advance(start // per_block)
        drawn = np.random.Generator(bits).random(start % per_block + width, dtype)
        np.testing.assert_array_equal(row, drawn[start % per_block :])


def test_a_run_longer_than_is_drawn_at_once(backend):
    n = (1 << 20) + 13
    np.testing.assert_array_equal(backend.random_field(3, 4, (n,)), numpy_field(3, 4, n))


@pytest.mark.parametrize("box", [((2, 2), (0, 4)), ((0, 3), (4, 4)), ((1, 1), (1, 1))])
def test_empty_boxes(backend, box):
    field = backend.random_field(0, 0, (3, 4), box=box)
    assert field.shape == tuple(stop - start for start, stop in box)
    assert field.dtype == np.float32


def test_an_empty_field(backend):
    assert backend.random_field(0, 0, (0, 4)).shape == (0, 4)


def test_streams_are_stacked_in_front(backend):
    names = stream(Purpose.DISPLACEMENT, Axis.Y, np.arange(6).reshape(2, 3))
    fields = backend.random_field(5, names, (4, 5), box=((1, 3), (0, 5)))
    assert fields.shape == (2, 3, 2, 5)
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(fields[place], numpy_field(5, int(names[place]), (4, 5))[1:3])


def test_no_streams(backend):
    assert backend.random_field(5, np.empty((2, 0), np.uint64), (4, 5)).shape == (2, 0, 4, 5)


def test_normal_numbers_by_hand(backend):
    u0, u1 = numpy_field(7, 1, (2, 3, 2), np.float64).transpose(2, 0, 1)
    expected = np.sqrt(-2 * np.log1p(-u0)) * np.cos(2 * np.pi * u1)
    normal = backend.random_field(7, 1, (2, 3), distribution="normal", dtype=np.float64)
    np.testing.assert_allclose(normal, expected, rtol=0, atol=1e-6)
    single = backend.random_field(7, 1, (2, 3), distribution="normal")
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-6)


def test_normal_numbers_are_normal(backend):
    n = 200_000
    normal = backend.random_field(1, 2, (n,), distribution="normal", dtype=np.float64)
    assert abs(normal.mean()) < 5 / np.sqrt(n)
    assert abs(normal.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((normal < 1).mean() - 0.841344746) < 5 * np.sqrt(0.84 * 0.16 / n)


def test_seeds_and_streams_differ(backend):
    fields = [backend.random_field(seed, name, (64,)) for seed in (0, 1) for name in (0, 1)]
    assert len({field.tobytes() for field in fields}) == 4

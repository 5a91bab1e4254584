"""Kernels of `moments` and `cross_moments` where their launches change: units, groups of references, slabs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from emulator import EmulatedDevice

from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.cuda_ import block_sums, cell_totals, cross_moments, integer_sums, layout, moments, slabs
from gpu_stackcorr.backends.cuda_.backend import CudaBackend
from gpu_stackcorr.errors import BackendError

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")

SPECIFICATION = get_backend("numpy")


@pytest.fixture(scope="module")
def cuda():
    return CudaBackend(EmulatedDevice())


def images(dtype, shape, seed=0):
    """Return images over the whole range of an integer dtype, with its ends, or around 1000."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (1000 + rng.normal(size=shape)).astype(dtype)
    low, high = (0, 1) if dtype == "?" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = rng.integers(low, high, shape, endpoint=True).astype(dtype)
    ends = rng.random(shape)
    values[ends < 0.2], values[ends > 0.8] = low, high
    return values


def linspace(n, cells):
    return np.rint(np.linspace(0, n, cells + 1)).astype(np.intp)


def assert_same(one, two):
    for a, b in zip(one.arrays(), two.arrays(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.sums is None) == (two.sums is None)
    if one.sums is not None:
        for a, b in zip(one.sums.arrays(), two.sums.arrays(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert (one.cells is None) == (two.cells is None)
    if one.cells is not None:
        assert_same(one.cells, two.cells)


def assert_near(found, expected):
    for field in ("mean_x", "mean_y", "ss_x", "ss_y"):
        np.testing.assert_allclose(getattr(found, field), getattr(expected, field), rtol=1e-12, atol=1e-20)
    np.testing.assert_array_equal(found.count, expected.count)
    room = 1e-12 * np.sqrt(expected.ss_x * expected.ss_y)
    assert (np.abs(found.ss_xy - expected.ss_xy) <= room + 1e-20).all()
    if expected.cells is not None:
        assert_near(found.cells, expected.cells)


# Integers.


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize(
    "shape", [(3, 16), (5, 15), (33, 17), (70, 512), (4, 513), (40, 1040), (19, 496), (1, 4099), (257, 1)]
)
def test_rows_of_any_length(cuda, dtype, shape):
    """Rows that begin on 16 bytes and rows that do not, on both sides of a unit and of a block."""
    x, y = images(dtype, shape, 1), images(dtype, (3, *shape), 2)
    edges = linspace(shape[0], 2), linspace(shape[1], 3)
    for tiles in (None, edges):
        (found,), (expected,) = (b.moments([x], y, tiles=tiles) for b in (cuda, SPECIFICATION))
        assert_same(found, expected)


@pytest.mark.parametrize("references", [1, 2, 3, 4, 5, 8, 9, 17])
@pytest.mark.parametrize("slices", [1, 2, 3, 17])
@pytest.mark.parametrize("width", [32, 31])
def test_any_number_of_references_and_slices(cuda, references, slices, width):
    x, y = images("u1", (references, 9, width), 1), images("u1", (slices, 9, width), 2)
    for found, expected in zip(cuda.moments(list(x), y), SPECIFICATION.moments(list(x), y), strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("value", [0, 255, 65535])
@pytest.mark.parametrize("width", [512, 511])
def test_the_largest_blocks_do_not_overflow(cuda, value, width, monkeypatch):
    """All the pixels of a block at the top: 32768 of bytes in units, 8192 elsewhere, or half as many of 16 bits."""
    monkeypatch.setattr(integer_sums, "FEWEST_ROWS", integer_sums.MOST_ROWS)
    y = np.full((1, 64, width), value, np.uint16 if value > 255 else np.uint8)
    (found,), (expected,) = (b.moments([y[0]], y) for b in (cuda, SPECIFICATION))
    assert_same(found, expected)


def test_sums_of_more_than_int64_pixels(cuda, monkeypatch):
    x, y = images("u2", (37, 24), 1), images("u2", (2, 37, 24), 2)
    edges = linspace(37, 3), linspace(24, 2)
    plain = cuda.moments([x], y, tiles=edges)[0]
    monkeypatch.setattr(moments, "LARGEST_CELL", 60)
    (found,) = cuda.moments([x], y, tiles=edges)
    assert found.cells.sums.xx.dtype == object
    assert_same(found, plain)
    assert_same(cuda.moments([x], y)[0], plain.with_cells(None))


@pytest.mark.parametrize("width", [64, 49])
@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("dtype", ["u1", "i2"])
def test_warps_take_slices_in_turn(cuda, monkeypatch, dtype, references, width):
    x, y = images(dtype, (references, 50, width), 1), images(dtype, (41, 50, width), 2)
    edges = linspace(50, 2), linspace(width, 3)
    expected = SPECIFICATION.moments(list(x), y, tiles=edges)
    monkeypatch.setattr(cuda.device, "multiprocessors", 1)
    monkeypatch.setattr(block_sums, "THREAD_BLOCKS", 2)
    for one, two in zip(cuda.moments(list(x), y, tiles=edges), expected, strict=True):
        assert_same(one, two)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i1"])
@pytest.mark.parametrize("numbers", [[0], [3], [1, 2], [4, 1, 1]])
@pytest.mark.parametrize("slab", [5, 2])
def test_references_that_are_slices(cuda, monkeypatch, dtype, numbers, slab):
    y = images(dtype, (5, 20, 96), 2)
    on_device, edges = cuda.device.to_device(y), (linspace(20, 2), linspace(96, 3))
    in_slabs = slabs.in_slabs
    monkeypatch.setattr(moments, "in_slabs", lambda *given, **how: in_slabs(*given, **{**how, "most": slab}))
    found = cuda.moments([on_device[n] for n in numbers], on_device, tiles=edges)
    for one, two in zip(found, SPECIFICATION.moments([y[n] for n in numbers], y, tiles=edges), strict=True):
        assert_same(one, two)


@pytest.mark.parametrize("columns", [[0, 64, 128, 192], [0, 48, 96], [0, 16, 112, 144, 160], [0, 64], [0, 128, 192]])
@pytest.mark.parametrize("references", [1, 4])
def test_blocks_side_by_side(cuda, columns, references):
    x, y = images("u1", (references, 60, columns[-1]), 1), images("u1", (3, 60, columns[-1]), 2)
    edges = linspace(60, 2), np.array(columns)
    for one, two in zip(
        cuda.moments(list(x), y, tiles=edges), SPECIFICATION.moments(list(x), y, tiles=edges), strict=True
    ):
        assert_same(one, two)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("rows", [100, 400, 5000])
def test_cells_of_few_blocks_and_of_many(cuda, dtype, rows):
    x, y = images(dtype, (2, rows, 40), 1), images(dtype, (3, rows, 40), 2)
    edges = np.array([0, 1, rows]), linspace(40, 2)
    check = assert_same if dtype == "u1" else assert_near
    for one, two in zip(
        cuda.moments(list(x), y, tiles=edges), SPECIFICATION.moments(list(x), y, tiles=edges), strict=True
    ):
        check(one, two)


# Floats.


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i8"])
@pytest.mark.parametrize("shape", [(3, 16), (5, 15), (70, 128), (33, 132), (4, 131), (1, 4099), (257, 1)])
def test_units_of_floats(cuda, dtype, shape):
    """Cells whose edges are on units of four pixels, or not; rows that are cut, and rows taken several at once."""
    x, y = images("f8", shape, 1), images(dtype, (3, *shape), 2)
    for cells in (1, 2, 3, 5):
        edges = linspace(shape[0], 2), linspace(shape[1], cells)
        (found,), (expected,) = (b.moments([x], y, tiles=edges) for b in (cuda, SPECIFICATION))
        assert_near(found, expected)


def test_bits_do_not_depend_on_how_references_are_taken(cuda):
    x, y = images("f4", (9, 12, 20), 1), images("f4", (3, 12, 20), 2)
    edges = linspace(12, 3), linspace(20, 3)
    together = cuda.moments(list(x), y, tiles=edges)
    for k in range(9):
        for n in range(3):
            (alone,) = cuda.moments([x[k]], y[n : n + 1], tiles=edges)
            assert_same(alone, together[k][n : n + 1])


def test_nan_in_a_cell_leaves_its_neighbours(cuda):
    """Of a unit that two cells share, each takes its own pixels alone."""
    x, y = images("f4", (6, 20), 1), images("f4", (2, 6, 20), 2)
    edges = np.array([0, 6]), np.array([0, 5, 10, 20])
    (clean,) = cuda.moments([x], y, tiles=edges)
    x[2, 4], y[1, 3, 5] = np.nan, np.inf
    (found,) = cuda.moments([x], y, tiles=edges)
    np.testing.assert_array_equal(np.isnan(found.cells.ss_xy), [[[True, False, False]], [[True, True, False]]])
    assert_same(found.cells[0, 0, 1:], clean.cells[0, 0, 1:])
    assert np.isnan(found.ss_xy).all()
    assert np.isnan(found.mean_y).tolist() == [False, True]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("ratio", [1e3, 1e6])
def test_r_keeps_its_digits(cuda, dtype, ratio):
    """Of means a million standard deviations away, in blocks of every kind, masked or not."""
    common, *noise = np.random.default_rng(3).normal(size=(3, 61, 132))
    x, y = ((ratio + common + n).astype(dtype) for n in noise)
    wide = [image.astype(np.longdouble) for image in (x, y)]
    wide = [image - image.mean() for image in wide]
    exact = (wide[0] * wide[1]).sum() / np.sqrt((wide[0] ** 2).sum() * (wide[1] ** 2).sum())
    for mask in (None, np.ones(x.shape, bool)):
        for edges in (None, (linspace(61, 16), linspace(132, 16))):
            (found,) = cuda.moments([x], y[None], reference_mask=mask, tiles=edges)
            assert abs(found.correlation()[0] - float(exact)) < 1e-12


def test_an_outlier_where_the_shift_is_taken_costs_no_digits(cuda):
    """The first pixels of a block make its shift; here they are all far from the rest."""
    x, y = np.random.default_rng(4).normal(size=(2, 16, 32))
    x[0, :8], y[0] = 1e6, -1e7
    (found,), (expected,) = (b.moments([x], y[None]) for b in (cuda, SPECIFICATION))
    assert_near(found, expected)


# Launches.


@pytest.mark.parametrize("schedule", ["reversed", "random"])
@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("masked", [False, True])
def test_the_order_of_threads_changes_no_bit(cuda, schedule, dtype, masked):
    x, y = images(dtype, (2, 40, 100), 1), images(dtype, (3, 40, 100), 2)
    mask = np.random.default_rng(5).random((3, 40, 100)) < 0.7 if masked else None
    edges = linspace(40, 2), linspace(100, 3)
    other = CudaBackend(EmulatedDevice(schedule, seed=3))
    for one, two in zip(*(b.moments(list(x), y, slice_mask=mask, tiles=edges) for b in (cuda, other)), strict=True):
        assert_same(one, two)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("masked", [False, True])
def test_grids_smaller_than_the_work(cuda, monkeypatch, dtype, masked):
    x, y = images(dtype, (2, 40, 100), 1), images(dtype, (5, 40, 100), 2)
    mask = np.random.default_rng(5).random((2, 40, 100)) < 0.7 if masked else None
    edges = linspace(40, 4), linspace(100, 3)
    whole = cuda.moments(list(x), y, reference_mask=mask, tiles=edges)
    products = cuda.cross_moments(y)
    monkeypatch.setattr(layout, "LARGEST_GRID", (2, 1, 1))
    for one, two in zip(cuda.moments(list(x), y, reference_mask=mask, tiles=edges), whole, strict=True):
        assert_same(one, two)
    np.testing.assert_allclose(cuda.cross_moments(y).xy, products.xy, rtol=1e-14)


def test_cells_of_many_blocks(cuda, monkeypatch):
    """One warp a cell, and eight."""
    x, y = images("f4", (130, 200), 1), images("u2", (2, 130, 200), 2)
    integers = y[1]
    for reference in (x, integers):
        (one,) = cuda.moments([reference], y)
        monkeypatch.setattr(cell_totals, "BLOCKS_A_THREAD", 0)
        monkeypatch.setattr(cell_totals, "BLOCKS_A_WARP", 1)
        (eight,) = cuda.moments([reference], y)
        monkeypatch.undo()
        assert_near(eight, one)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_arrays_of_the_device(cuda, dtype):
    """A view that does not begin on 16 bytes is one that loads of 16 bytes cannot take."""
    x, y = images(dtype, (6, 32), 1), images(dtype, (3, 6, 32), 2)
    (expected,) = cuda.moments([x], y)
    for offset in (0, 1, 3):
        memory = cuda.device.empty((offset + y.size,), y.dtype)
        memory[offset:] = y.ravel()
        on_device = memory[offset:].reshape(y.shape)
        memory_x = cuda.device.empty((offset + x.size,), x.dtype)
        memory_x[offset:] = x.ravel()
        (found,) = cuda.moments([memory_x[offset:].reshape(x.shape)], on_device)
        assert_same(found, expected)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_slabs_change_no_bit(cuda, monkeypatch, dtype):
    x, y = images(dtype, (2, 20, 33), 1), images(dtype, (7, 20, 33), 2)
    mask = np.random.default_rng(6).random((7, 20, 33)) < 0.8
    edges = linspace(20, 2), linspace(33, 2)
    for slice_mask in (None, mask):
        whole = cuda.moments(list(x), y, slice_mask=slice_mask, tiles=edges)
        for length in (1, 2, 5):
            monkeypatch.setattr(slabs, "HOST_BYTES", length * y[0].nbytes)
            for one, two in zip(cuda.moments(list(x), y, slice_mask=slice_mask, tiles=edges), whole, strict=True):
                assert_same(one, two)
        monkeypatch.undo()


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_too_little_memory_makes_smaller_slabs(cuda, monkeypatch, dtype):
    x, y = images(dtype, (32, 64), 1), images(dtype, (40, 32, 64), 2)
    (expected,) = cuda.moments([x], y)
    small = EmulatedDevice(memory_bytes=40 * y[0].nbytes)
    taken = []
    monkeypatch.setattr(slabs, "SHARE", 1)  # more than there is room for
    work = integer_sums.IntegerSums if dtype == "u1" else block_sums.CentredSums
    of_slab = work.of_slab
    monkeypatch.setattr(
        work, "of_slab", lambda self, start, slab: taken.append(len(slab)) or of_slab(self, start, slab)
    )
    assert_same(CudaBackend(small).moments([x], y)[0], expected)
    assert max(taken) < 40
    with pytest.raises(MemoryError):
        CudaBackend(EmulatedDevice(memory_bytes=y[0].nbytes)).moments([x], y)


# All pairs.


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i2", "f4", "f8", "i4"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (65, 0), (3, 70), (70, 2)])
def test_pairs_on_both_sides_of_a_tile(cuda, dtype, n, m):
    slices, others = images(dtype, (n, 5, 13), 1), images(dtype, (m, 5, 13), 2) if m else None
    found, expected = (b.cross_moments(slices, others) for b in (cuda, SPECIFICATION))
    assert (found.count, found.exact) == (expected.count, expected.exact)
    room = 1e-12 * np.sqrt(np.outer(expected.xx.astype(float), expected.yy.astype(float)))
    for a, b in zip(found.arrays(), expected.arrays(), strict=True):
        assert a.dtype == b.dtype
        if expected.exact:
            np.testing.assert_array_equal(a, b)
        else:
            assert (np.abs(a - b) <= (room if a.ndim == 2 else 1e-12 * np.abs(b))).all()


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_no_pairs_and_no_pixels(cuda, dtype):
    slices = images(dtype, (3, 4, 5), 1)
    for a, b, count in ((slices[:0], None, 20), (slices, slices[:0], 20), (slices[:, :0], None, 0)):
        found = cuda.cross_moments(a, b)
        assert (found.count, found.exact) == (count, dtype == "u1")
        assert found.xy.shape == (len(a), len(a if b is None else b))
        for array in found.arrays():
            assert array.dtype == (np.int64 if dtype == "u1" else np.float64)
            assert not array.any()


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("shape", [(64, 40), (1, 2560)])
def test_a_box_too_large_for_the_device_is_halved(cuda, monkeypatch, dtype, shape):
    slices, mask = images(dtype, (4, *shape), 1), np.random.default_rng(7).random(shape) < 0.7
    expected = cuda.cross_moments(slices, slices[1:], mask=mask)
    boxes = []
    box = cross_moments._box
    monkeypatch.setattr(cross_moments, "_box", lambda device, *a: boxes.append(a[0].shape) or box(device, *a))
    found = CudaBackend(EmulatedDevice(memory_bytes=slices.nbytes + slices.nbytes // 2)).cross_moments(
        slices, slices[1:], mask=mask
    )
    assert len(boxes) > 1
    assert found.count == expected.count
    for a, b in zip(found.arrays(), expected.arrays(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    with pytest.raises(MemoryError):
        CudaBackend(EmulatedDevice(memory_bytes=64)).cross_moments(slices)


@pytest.mark.parametrize("schedule", ["reversed", "random"])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_the_order_of_threads_changes_no_pair(cuda, schedule, dtype):
    slices = images(dtype, (5, 7, 1300), 1)
    other = CudaBackend(EmulatedDevice(schedule, seed=3))
    np.testing.assert_array_equal(other.cross_moments(slices).xy, cuda.cross_moments(slices).xy)


def test_sides_whose_bytes_32_bits_cannot_tell_are_refused(cuda):
    row = np.broadcast_to(np.uint8(0), (1, 2**30))
    with pytest.raises(BackendError, match=r"slices are \(1, 1073741824\), sides below 1073741824 pixels are allowed"):
        cuda.moments([row], row[np.newaxis])

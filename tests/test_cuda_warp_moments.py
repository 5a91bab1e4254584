"""Launches of `warp_moments`: tiles, copies, segments and groups change no bit of what the composition gives."""

from __future__ import annotations

import numpy as np
import pytest
from emulator import EmulatedDevice
from emulator.availability import require_emulator

from gpu_stackcorr.backends.cuda_ import layout, passes, slabs, warp_moments
from gpu_stackcorr.backends.cuda_.backend import CudaBackend
from gpu_stackcorr.backends.cuda_.blocks import BOX, TILE, cut_tiles
from gpu_stackcorr.displacement_fields import displacement_streams


@pytest.fixture(scope="module")
def cuda():
    require_emulator()
    return CudaBackend(EmulatedDevice("random"))


def images(dtype, shape, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == "f4":
        return (3 + rng.normal(size=shape)).astype(dtype)
    return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def linspace(n, cells):
    return np.rint(np.linspace(0, n, cells + 1)).astype(np.intp)


def references_of(slices, count):
    return list(images(slices.dtype.str[1:].replace("b", "u"), (count, *slices.shape[1:]), 7))


def found(cuda, slices, references=1, **changes):
    """Return everything that the moments of references with slices consist of."""
    streams = displacement_streams(2, np.arange(len(slices)))
    how = {"seed": 5, "stream": streams, "alpha": np.array([15.0, 25.0]), "sigma": [2.0, 3.0], "tiles": None} | changes
    moments = cuda.warp_moments(references_of(slices, references), slices, **how)
    return [a for one in moments for part in (one, one.cells) if part is not None for a in part.arrays()]


def assert_same(one, two):
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(1, 1), (7, 15), (48, 64), (5, 1000), (300, 496), (1009, 257)])
@pytest.mark.parametrize("cells", [1, 2, 16])
def test_tiles_hold_whole_blocks(shape, cells):
    edges = linspace(shape[0], cells), linspace(shape[1], cells)
    tiles = cut_tiles(edges)
    blocks = tiles.blocks
    axes = (
        (edges[0], blocks.rows, blocks.row_cells, tiles.rows),
        (edges[1], blocks.columns, blocks.column_cells, tiles.columns),
    )
    for (ends, starts, cell, tile), box, most in zip(axes, BOX, TILE, strict=True):
        np.testing.assert_array_equal(starts[cell], ends)
        assert (np.diff(starts) >= 0).all()
        assert np.diff(starts).max() <= box
        assert (tile[0], tile[-1]) == (0, len(starts) - 1)
        assert (np.diff(tile) > 0).all()
        sizes = np.diff(starts[tile])
        assert sizes.max() <= most
        assert (sizes[:-1] + np.diff(starts)[tile[1:-1]] > most).all(), "the next block would have had room"
    assert blocks.pixels().sum() == shape[0] * shape[1]


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
@pytest.mark.parametrize("reach", [1, 7, 30])
@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize("width", [72, 67])
def test_the_reach_of_the_copy_changes_no_sum(cuda, monkeypatch, dtype, reach, mode, width):
    """What lies beyond it is read from the slice, with the same digits where they are integers."""
    slices = images(dtype, (2, 41, width), 1)
    expected = found(cuda, slices, mode=mode)
    monkeypatch.setattr(warp_moments.Fields, "reach", lambda self, itemsize: reach)
    for one, two in zip(found(cuda, slices, mode=mode), expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9 if dtype == "f4" else 0)


def test_the_reach_fits(cuda):
    weights = warp_moments.Weights(None, 0, 20, 1 / (2 * np.sqrt(np.pi) * 5))
    for alpha, most in ((0.0, 1), (3.0, 4), (250.0, 41), (1e30, 1000)):
        fields = warp_moments.Fields(
            cuda.device, (9, 9), 0, np.zeros((2, 1), np.uint64), np.full((2, 1), alpha, np.float32), weights, weights
        )
        for itemsize in (1, 2, 4):
            reach = fields.reach(itemsize)
            assert 1 <= reach <= most
            assert warp_moments._copy_bytes(reach, itemsize) <= warp_moments.SHARED_BYTES
            assert TILE[0] + 2 * reach <= 256, "MOST_ROWS of the kernel"


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
@pytest.mark.parametrize(("shape", "mode"), [((67, 131), "reflect"), ((41, 128), "constant"), ((5, 3), "mirror")])
@pytest.mark.parametrize("references", [1, 3])
def test_where_phases_lie_changes_no_bit(cuda, monkeypatch, dtype, shape, mode, references):
    """Side by side where shared memory has room, else in turn in the same place."""
    slices = images(dtype, (2, *shape), 1)
    beside = found(cuda, slices, references, mode=mode)
    monkeypatch.setattr(EmulatedDevice, "shared_bytes", 64 * 1024)
    assert_same(found(cuda, slices, references, mode=mode), beside)


@pytest.mark.parametrize("kilobytes", [64, 228])
@pytest.mark.parametrize("mode", ["reflect", "mirror", "nearest", "grid-wrap", "wrap", "constant", "grid-constant"])
@pytest.mark.parametrize("width", [8, 61, 72, 200])
def test_borders_fold_as_in_the_composition(cuda, monkeypatch, kilobytes, mode, width):
    """Columns before and behind the image, in rows of whole words and of others, wider than what is around a tile."""
    monkeypatch.setattr(EmulatedDevice, "shared_bytes", kilobytes * 1024)
    slices = images("u1", (2, 35, width), 1)
    fused = found(cuda, slices, mode=mode, cval=3.0)
    monkeypatch.setattr(warp_moments, "FUSED", ())
    assert_same(found(cuda, slices, mode=mode, cval=3.0), fused)


@pytest.mark.parametrize("dtype", ["u1", "i1", "?"])
@pytest.mark.parametrize("step", [1.0, 0.5, 0.25, 1 / 510])
def test_bytes_in_the_middle_between_two_integers(cuda, monkeypatch, dtype, step):
    """Where values lie on the middle or next to it, float64 decides; of tiny displacements too, whose floor is -1."""
    rng = np.random.default_rng(3)
    slices = images("u1", (3, 33, 70), 1) < 128 if dtype == "?" else images(dtype, (3, 33, 70), 1)
    slices[1] = np.arange(70) % 2
    chosen = (rng.integers(-int(1.9 / step), int(1.9 / step) + 1, (2, *slices.shape)) * step).astype(np.float32)
    chosen[:, 2] = np.nextafter(chosen[:, 2], rng.choice(np.float32([-9, 9]), chosen[:, 2].shape))
    chosen[:, :, ::5] = np.float32(-1e-30)
    field = cuda.device.to_device(chosen)
    monkeypatch.setattr(warp_moments.Fields, "columns", lambda self, part: field[:, part])
    one = found(cuda, slices, sigma=[0.0, 0.0], alpha=1.0)
    warped = cuda.warp(slices, field, axes=(1, 2), order=1, mode="reflect", cval=0.0)
    (moments,) = cuda.moments(references_of(slices, 1), warped)
    assert_same(one, moments.arrays())


@pytest.mark.parametrize("blocks", [0, 3, 1000])
@pytest.mark.parametrize("sigma", [(0.0, 0.0), (2.0, 1.0), (11.0, 1.0), (29.9, 29.9)])
def test_segments_of_rows_change_no_bit(cuda, monkeypatch, blocks, sigma):
    """A segment begins with its halo, shorter than its own rows, as long, or longer."""
    slices = images("u1", (1, 201, 40), 1)
    monkeypatch.setattr(warp_moments, "BLOCKS_A_MULTIPROCESSOR", blocks)
    one = found(cuda, slices, sigma=sigma)
    monkeypatch.setattr(warp_moments, "FUSED", ())
    assert_same(found(cuda, slices, sigma=sigma), one)


@pytest.mark.parametrize("references", [1, 4, 6])
def test_the_composition_has_the_same_sums(cuda, monkeypatch, references):
    slices = images("u2", (3, 70, 99), 1)
    tiles = linspace(70, 16), linspace(99, 16)
    one = found(cuda, slices, references, tiles=tiles)
    monkeypatch.setattr(warp_moments, "FUSED", ())
    assert_same(found(cuda, slices, references, tiles=tiles), one)


@pytest.mark.parametrize(
    ("options", "fused"),
    [
        ({}, True),
        ({"sigma": (30.0, 30.0)}, True),
        ({"sigma": (31.0, 1.0)}, True),
        ({"sigma": (1.0, 33.0)}, False),
        ({"order": 0}, False),
        ({"order": 3}, False),
    ],
)
def test_what_is_fused(options, fused):
    require_emulator()
    device = EmulatedDevice()
    found(CudaBackend(device), images("u1", (1, 9, 10)), **options)
    names = {name.partition("<")[0] for _, name in device.used_kernels()}
    assert ("noise_columns" in names, "random_field" in names) == (fused, not fused)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("schedule", ["in order", "reversed"])
def test_the_order_of_threads_changes_no_bit(cuda, schedule, dtype):
    slices = images(dtype, (2, 70, 99), 1)
    other = CudaBackend(EmulatedDevice(schedule))
    assert_same(found(other, slices, 3), found(cuda, slices, 3))


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_grids_smaller_than_the_work(cuda, monkeypatch, dtype):
    slices = images(dtype, (3, 70, 150), 1)
    tiles = linspace(70, 3), linspace(150, 4)
    whole = found(cuda, slices, 2, tiles=tiles)
    monkeypatch.setattr(layout, "LARGEST_GRID", (1, 1, 1))
    assert_same(found(cuda, slices, 2, tiles=tiles), whole)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
@pytest.mark.parametrize("kilobytes", [64, 228])
@pytest.mark.parametrize("shape", [(40, 192), (37, 67)])
def test_blocks_that_take_several_slices(cuda, monkeypatch, dtype, kilobytes, shape):
    slices = images(dtype, (5, *shape), 1)
    monkeypatch.setattr(EmulatedDevice, "shared_bytes", kilobytes * 1024)
    one_each = found(cuda, slices)
    for blocks in (0, 3):
        monkeypatch.setattr(warp_moments, "WARP_BLOCKS_A_MULTIPROCESSOR", blocks)
        assert_same(found(cuda, slices), one_each)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_slabs_and_groups_change_no_bit(cuda, monkeypatch, dtype):
    slices = images(dtype, (7, 20, 33), 1)
    whole = found(cuda, slices)
    for length in (1, 2, 5):
        monkeypatch.setattr(slabs, "HOST_BYTES", length * slices[0].nbytes)
        assert_same(found(cuda, slices), whole)
    monkeypatch.undo()
    monkeypatch.setattr(warp_moments, "COLUMNS_BYTES", 3 * 8 * slices[0].size)
    assert_same(found(cuda, slices), whole)


@pytest.mark.parametrize("fused", [True, False])
def test_too_little_memory_makes_smaller_slabs(cuda, monkeypatch, fused):
    slices = images("u1", (24, 32, 64), 1)
    if not fused:
        monkeypatch.setattr(warp_moments, "FUSED", ())
        monkeypatch.setattr(passes, "GROUP_BYTES", 32 * 64 * 8)
    expected = found(cuda, slices)
    monkeypatch.setattr(slabs, "SHARE", 1)  # more than there is room for
    small = CudaBackend(EmulatedDevice(memory_bytes=slices.nbytes + 10 * 32 * 64 * 8))
    assert_same(found(small, slices), expected)
    with pytest.raises(MemoryError):
        found(CudaBackend(EmulatedDevice(memory_bytes=32 * 64 * 8)), slices)


def test_slices_of_the_device_that_begin_anywhere(cuda):
    slices = images("u2", (3, 21, 36), 1)
    expected = found(cuda, slices)
    for offset in (1, 2, 3):
        memory = cuda.device.empty((offset + slices.size,), slices.dtype)
        memory[offset:] = slices.ravel()
        assert_same(found(cuda, memory[offset:].reshape(slices.shape)), expected)


def test_constant_slices_stay_constant(cuda):
    """Interpolated values of float32 do not stray from taps that are alike: r is NaN, not noise."""
    slices = np.full((2, 40, 50), 0.1, np.float32)
    (moments,) = cuda.warp_moments(
        [images("f4", (40, 50))],
        slices,
        seed=1,
        stream=displacement_streams(2, np.arange(2)),
        alpha=20.0,
        sigma=(2.0, 2.0),
    )
    assert not moments.ss_y.any()
    np.testing.assert_array_equal(moments.mean_y, np.float64(np.float32(0.1)))

"""Moments of constant images, under masks, by cells, in every layout; and that a pair knows nothing of others."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact_moments import assert_close, assert_same
from test_moments import INTEGERS, WIDE, Image, assert_brute, assert_nearest, random_images

from gpu_stackcorr.backends.base import Backend
from gpu_stackcorr.moments import Moments, concatenate

# Constant images.


@pytest.mark.parametrize("value", [0.0, 0.1, -0.1, 1 / 3, 1e-5, 123456.789, 1e15 / 7, -1e100, 1e-200])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (7, 11), (257, 509)])
def test_constant_floats_are_flagged(backend: Backend, value: float, dtype: Any, shape: tuple[int, int]) -> None:
    if dtype is np.float32 and not 1e-30 < abs(value) < 1e30:
        value = 0.7
    flat = np.full(shape, value, dtype)
    varied = np.arange(flat.size, dtype=dtype).reshape(shape)
    mask = np.ones(shape, bool)
    mask[0, 0] = flat.size == 1
    edges = np.array([0, shape[0]]), np.array([0, shape[1] // 2, shape[1]])
    for arguments in ({}, {"slice_mask": mask}, {"tiles": edges}):
        of_flat, of_varied = backend.moments([flat, varied], np.stack([varied, flat]), **arguments)
        assert of_flat.constant_x.all()
        assert of_flat.constant_y.tolist() == [flat.size == 1, True]
        assert np.isnan(of_flat.correlation()).all()
        assert of_varied.constant_y.tolist() == [flat.size == 1, True]
        assert np.isnan(of_varied.correlation()[1])
        np.testing.assert_allclose(of_flat.mean_x, flat[0, 0], rtol=1e-15)


@pytest.mark.parametrize(("value", "change"), [(0.1, 1e-6), (1.0, 1e-12), (1e6, 1e-3), (0.0, 1e-100), (-255.0, 1e-9)])
def test_nearly_constant_images_are_not_flagged(backend: Backend, value: float, change: float) -> None:
    x = np.zeros((10, 10))
    x[4, 5] = 1
    y = np.full((10, 10), value)
    y[4, 5] += change
    (moments,) = backend.moments([x], y[None])
    assert not moments.constant_y[0]
    assert moments.correlation()[0] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_constant_integers_are_exactly_those_with_one_value(backend: Backend, dtype: Any) -> None:
    top = 1 if dtype is np.bool_ else np.iinfo(dtype).max
    y = np.full((2, 300, 301), top, dtype)
    y[1, 299, 300] = top - 1
    (moments,) = backend.moments([y[1]], y)
    assert moments.constant_y.tolist() == [True, False]
    np.testing.assert_array_equal(moments.correlation(), [np.nan, 1.0])


# An image with itself.


@pytest.mark.parametrize("dtype", [*INTEGERS, *WIDE, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 1), (7, 11), (127, 131), (301, 307)])
def test_an_image_with_itself_has_r_of_one(backend: Backend, dtype: Any, shape: tuple[int, int]) -> None:
    y = random_images(dtype, (3, *shape), 11)
    y[:, 0, 0] = 1
    y[:, -1, -1] = 0
    mask = np.random.default_rng(12).random(shape) < 0.9
    mask[0, 0] = mask[-1, -1] = True
    for arguments in ({}, {"reference_mask": mask}, {"slice_mask": mask}):
        for n, moments in enumerate(backend.moments(list(y), y, **arguments)):
            assert moments.correlation()[n] == 1


# A pair does not know the others.


@pytest.mark.cross(
    dtype=[np.uint8, np.float32, np.float64],
    shape=[(5, 7), (67, 129), (190, 200)],
    masked=["", "reference", "slice", "both"],
)
def test_bits_do_not_depend_on_the_rest_of_the_call(
    backend: Backend, dtype: Any, shape: tuple[int, int], masked: str
) -> None:
    count = 4 if shape[0] > 100 else 9
    rng = np.random.default_rng(13)
    kinds = (np.uint8, np.float32, np.float64, np.int32)
    references = [random_images(kind, shape, seed) for seed, kind in enumerate(kinds)]
    slices = random_images(dtype, (count, *shape), 20)
    if dtype is not np.uint8:
        slices[0, 0, 0], slices[-1, 1, 1] = 1e30, np.nan
    reference_masks = rng.random((len(kinds), *shape)) < 0.8
    slice_masks = rng.random((count, *shape)) < 0.8
    edges = tuple(np.unique([0, n // 3, n // 2, n]) for n in shape)

    def call(ks: list[int], ns: slice, tiled: bool) -> list[Moments]:
        return backend.moments(
            [references[k] for k in ks],
            slices[ns],
            reference_mask=reference_masks[ks] if masked in ("reference", "both") else None,
            slice_mask=slice_masks[ns] if masked in ("slice", "both") else None,
            tiles=edges if tiled else None,
        )

    everything = list(range(len(kinds)))
    for tiled in (False, True):
        together = call(everything, slice(None), tiled)
        backwards = call(everything[::-1], slice(None, None, -1), tiled)[::-1]
        singly = [call(everything, slice(n, n + 1), tiled) for n in range(count)]
        in_pairs = [call(everything, slice(n, n + 2), tiled) for n in range(0, count, 2)]
        for k in everything:
            (alone,) = call([k], slice(None), tiled)
            others = [alone, backwards[k][::-1], *(concatenate([m[k] for m in parts]) for parts in (singly, in_pairs))]
            for other in others:
                assert_same(other, together[k])
                np.testing.assert_array_equal(other.correlation(), together[k].correlation())
                assert (other.cells is not None) == tiled
                if tiled:
                    assert_same(other.cells, together[k].cells)


def test_integer_and_float_references_in_one_call(backend: Backend) -> None:
    kinds = (np.uint8, np.float32, np.int16, np.float64, np.bool_, np.uint64)
    references = [random_images(dtype, (13, 7), seed) for seed, dtype in enumerate(kinds)]
    slices = random_images(np.uint16, (2, 13, 7), 9)
    results = backend.moments(references, slices)
    assert [m.sums is not None for m in results] == [True, False, True, False, True, False]
    for reference, moments in zip(references, results, strict=True):
        for n, image in enumerate(slices):
            assert_brute(moments, n, reference, image)
            if moments.sums is not None:
                assert_nearest(moments, n, reference, image)
    for moments in backend.moments(references, slices.astype(np.float32)):
        assert moments.sums is None


# Masks and cells by brute force.


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("reference_axes", [0, 2, 3])
@pytest.mark.parametrize("slice_axes", [0, 2, 3])
@pytest.mark.parametrize("tiling", ["none", "one", "several"])
def test_masks_and_cells(backend: Backend, dtype: Any, reference_axes: int, slice_axes: int, tiling: str) -> None:
    K, N, shape = 3, 4, (11, 13)
    rng = np.random.default_rng(14)
    x, y = random_images(dtype, (K, *shape), 1), random_images(dtype, (N, *shape), 2)
    masks = {0: None, 2: rng.random(shape) < 0.6, 3: rng.random((K, *shape)) < 0.6}
    slice_masks = {0: None, 2: rng.random(shape) < 0.6, 3: rng.random((N, *shape)) < 0.6}
    for m in (masks, slice_masks):
        m[2][:4, :5] = m[3][1, :4, :5] = False  # a cell without pixels
    one = (np.array([0, 4, 5, 11]), np.array([0, 5, 13]))
    several = [one, (one[0][-1] - one[0][::-1], one[1]), (np.array([0, 11]), np.array([0, 1, 2, 12, 13]))]
    tiles: Any = {"none": None, "one": one, "several": several}[tiling]
    results = backend.moments(
        list(x), y, reference_mask=masks[reference_axes], slice_mask=slice_masks[slice_axes], tiles=tiles
    )
    assert len(results) == K
    both = np.ones((K, N, *shape), bool)
    if reference_axes:
        both &= np.broadcast_to(masks[reference_axes], (K, *shape))[:, None]
    if slice_axes:
        both &= np.broadcast_to(slice_masks[slice_axes], (N, *shape))
    for k, n in itertools.product(range(K), range(N)):
        seen = both[k, n]
        assert_brute(results[k], n, x[k][seen], y[n][seen])
        if tiling == "none":
            assert results[k].cells is None
            continue
        y_edges, x_edges = one if tiling == "one" else several[k]
        cells = results[k].cells
        assert cells is not None
        assert cells.count.shape == (N, len(y_edges) - 1, len(x_edges) - 1)
        for (i, rows), (j, columns) in itertools.product(
            enumerate(itertools.pairwise(y_edges)), enumerate(itertools.pairwise(x_edges))
        ):
            cell = slice(*rows), slice(*columns)
            assert_brute(cells, (n, i, j), x[k][cell][seen[cell]], y[n][cell][seen[cell]])
        total = cells.reshape(N, -1).total()
        if dtype is np.uint16:
            assert_same(total, results[k].with_cells(None))
        else:
            assert_close(total, results[k])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(3, 9001), (611, 3)])
def test_cells_larger_than_what_is_added_at_once(backend: Backend, dtype: Any, shape: tuple[int, int]) -> None:
    edges = tuple(np.array([0, 1, n // 3, n - 1, n]) for n in shape)
    x, y = random_images(dtype, shape, 1), random_images(dtype, (1, *shape), 2)
    for mask in (None, np.random.default_rng(3).random(shape) < 0.7):
        seen = np.ones(shape, bool) if mask is None else mask
        (moments,) = backend.moments([x], y, reference_mask=mask, tiles=edges)
        assert moments.cells is not None
        assert_brute(moments, 0, x[seen], y[0][seen])
        for i, j in itertools.product(range(4), range(4)):
            cell = slice(*edges[0][i : i + 2]), slice(*edges[1][j : j + 2])
            assert_brute(moments.cells, (0, i, j), x[cell][seen[cell]], y[0][cell][seen[cell]])


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
@pytest.mark.parametrize("shape", [(5, 3), (1, 1), (16, 9), (1, 40)])
def test_more_cells_than_pixels(backend: Backend, dtype: Any, shape: tuple[int, int]) -> None:
    # rint(linspace(0, n, 17)) repeats edges below 16 pixels: those cells have no pixels and count 0.
    edges = tuple(np.rint(np.linspace(0, n, 17)).astype(np.intp) for n in shape)
    x, y = random_images(dtype, shape, 1), random_images(dtype, (2, *shape), 2)
    for mask in (None, np.ones((2, *shape), bool)):
        (moments,) = backend.moments([x], y, slice_mask=mask, tiles=edges)
        cells = moments.cells
        assert cells is not None
        np.testing.assert_array_equal(cells.count[0], np.outer(np.diff(edges[0]), np.diff(edges[1])))
        empty = cells.count == 0
        for values in cells.arrays()[1:]:
            assert (values[empty] == 0).all()
        for i, j in itertools.product(range(16), range(16)):
            cell = slice(edges[0][i], edges[0][i + 1]), slice(edges[1][j], edges[1][j + 1])
            assert_brute(cells, (1, i, j), x[cell], y[1][cell])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_where_nothing_is_left(backend: Backend, dtype: Any) -> None:
    x, y = random_images(dtype, (5, 7), 1), random_images(dtype, (2, 5, 7), 2)
    mask = np.array([np.zeros((5, 7), bool), np.ones((5, 7), bool)])
    (moments,) = backend.moments([x], y, slice_mask=mask)
    assert moments.count.tolist() == [0, 35]
    assert [float(a[0]) for a in moments.arrays()] == [0] * 6
    assert np.isnan(moments.correlation()).tolist() == [True, False]
    assert_brute(moments, 1, x, y[1])
    left, right = np.zeros((5, 7), bool), np.zeros((5, 7), bool)
    left[:, :3], right[:, 3:] = True, True
    (apart,) = backend.moments([x], y, reference_mask=left, slice_mask=right)
    assert apart.count.tolist() == [0, 0]
    assert np.isnan(apart.correlation()).all()


# Sizes.


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_empty_calls(backend: Backend, dtype: Any) -> None:
    y = random_images(dtype, (2, 5, 7), 2)
    edges = np.array([0, 2, 5]), np.array([0, 7])
    assert backend.moments([], y) == []
    (none,) = backend.moments([y[0]], y[:0], tiles=edges)
    assert all(a.shape == (0,) for a in none.arrays())
    assert none.correlation().shape == (0,)
    assert none.cells is not None
    assert none.cells.count.shape == (0, 2, 1)
    (no_pixels,) = backend.moments([y[0, :0]], y[:, :0])
    assert no_pixels.count.tolist() == [0, 0]
    assert np.isnan(no_pixels.correlation()).all()


@pytest.mark.parametrize("dtype", [*INTEGERS, np.float32, np.float64])
def test_one_pixel(backend: Backend, dtype: Any) -> None:
    (moments,) = backend.moments([np.ones((1, 1), dtype)], np.ones((1, 1, 1), dtype))
    assert [float(a[0]) for a in moments.arrays()] == [1, 1, 1, 0, 0, 0]
    assert moments.constant_x.tolist() == moments.constant_y.tolist() == [True]
    assert np.isnan(moments.correlation()).all()


# Layouts.


def _same(image: Image) -> Image:
    return image


def _strided(image: Image) -> Image:
    wide = np.zeros((*image.shape[:-2], 2 * image.shape[-2], 3 * image.shape[-1]), image.dtype)
    wide[..., ::2, 1::3] = image
    return wide[..., ::2, 1::3]


def _reversed(image: Image) -> Image:
    return np.ascontiguousarray(image[..., ::-1, ::-1])[..., ::-1, ::-1]


def _read_only(image: Image) -> Image:
    image = image.copy()
    image.flags.writeable = False
    return image


def _swapped(image: Image) -> Image:
    return image.astype(image.dtype.newbyteorder("S"))


def _transposed(image: Image) -> Image:
    return np.ascontiguousarray(image.swapaxes(-1, -2)).swapaxes(-1, -2)


def _unaligned(image: Image) -> Image:
    raw = np.zeros(image.nbytes + 1, np.uint8)
    view = raw[1:].view(image.dtype).reshape(image.shape)
    view[...] = image
    return view


LAYOUTS = (_same, _strided, _reversed, _read_only, _swapped, _transposed, np.asfortranarray, _unaligned)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__.strip("_"))
@pytest.mark.parametrize("dtype", [*INTEGERS, np.int32, np.uint64, np.float32, np.float64])
def test_layouts(backend: Backend, layout: Callable[[Image], Image], dtype: Any) -> None:
    x, y = random_images(dtype, (23, 17), 1), random_images(dtype, (3, 23, 17), 2)
    mask = np.random.default_rng(15).random((3, 23, 17)) < 0.8
    edges = np.array([0, 7, 23]), np.array([0, 4, 17])
    moved_x, moved_y, moved_mask = layout(x), layout(y), layout(mask)
    before = moved_y.copy()
    for keep, moved_keep in ((None, None), (mask, moved_mask)):
        (plain,) = backend.moments([x], y, slice_mask=keep, tiles=edges)
        (moved,) = backend.moments([moved_x], moved_y, slice_mask=moved_keep, tiles=edges)
        assert (moved.sums is None) == (dtype not in INTEGERS)
        assert_close(moved, plain)
        assert_close(moved.cells, plain.cells)
        if dtype in INTEGERS:
            assert_same(moved, plain)
            assert_same(moved.cells, plain.cells)
    np.testing.assert_array_equal(moved_y, before)


@pytest.mark.parametrize("dtype", [">u2", "<i2", "u1", ">f4", "<f8"])
def test_memory_maps(backend: Backend, dtype: str, tmp_path: Path) -> None:
    y = random_images(np.dtype(dtype).newbyteorder("="), (3, 23, 17), 2)
    np.save(tmp_path / "stack.npy", y.astype(dtype))
    mapped = np.load(tmp_path / "stack.npy", mmap_mode="r")
    assert_same(backend.moments([mapped[1]], mapped)[0], backend.moments([y[1]], y)[0])


def test_a_broadcast_slice_is_not_copied_nor_changed(backend: Backend) -> None:
    x, y = random_images(np.float64, (2, 23, 17), 1)
    many = np.broadcast_to(y, (4, 23, 17))
    (moments,) = backend.moments([x], many)
    assert_same(moments, concatenate([backend.moments([x], y[None])[0]] * 4))

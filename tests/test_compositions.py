"""Affine maps as displacements, several displacements as one, and transforms that interpolate once."""

from __future__ import annotations

import numpy as np
import pytest
from properties import given, st
from scipy import ndimage

from gpu_stackcorr import (
    affine_displacement,
    compose_displacements,
    displacement_field,
    transform_battery,
    use_backend,
    warp,
)
from gpu_stackcorr.errors import FoldWarning, ParameterError
from gpu_stackcorr.transforms import AddNoise, Affine, Compose, Elastic, flip_right_left, flip_up_down, rotate_90


def smooth(shape, seed=0, sigma=3.0):
    image = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return image / np.abs(image).max()


# Affine maps.


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("mode", ["reflect", "constant", "nearest"])
def test_an_affine_displacement_is_scipys_affine_transform(backend, order, mode):
    image, matrix, offset = smooth((31, 37)), np.array([[0.9, 0.3], [-0.2, 1.1]]), (2.25, -3.5)
    field = affine_displacement(image.shape, matrix, offset, dtype=np.float64)
    expected = ndimage.affine_transform(image, matrix, offset, order=order, mode=mode)
    result = warp(image, field, order=order, mode=mode, backend=backend.name)
    if order == 0:  # where a half is rounded depends on the last bit of the position
        assert (result != expected).mean() < 0.01
    else:
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_an_affine_displacement_of_a_volume():
    image, matrix = smooth((9, 11, 13), sigma=1.5), np.array([[1, 0.1, 0], [0, 0.8, 0.2], [0.1, 0, 1.2]])
    expected = ndimage.affine_transform(image, matrix, (1, 2, -1), order=1, mode="reflect")
    result = warp(image, affine_displacement(image.shape, matrix, (1, 2, -1), dtype=np.float64))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


@given(data=st.data())
def test_a_box_of_an_affine_displacement_is_that_box_of_the_whole(data):
    shape = tuple(data.draw(st.integers(1, 9)) for _ in range(data.draw(st.integers(1, 3))))
    ends = [sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n)))) for n in shape]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    matrix, offset = rng.normal(size=(len(shape), len(shape))), rng.normal(size=len(shape))
    whole = affine_displacement(shape, matrix, offset)
    part = affine_displacement(shape, matrix, offset, box=tuple(map(tuple, ends)))
    np.testing.assert_array_equal(part, whole[(slice(None), *(slice(*pair) for pair in ends))])


def test_a_vector_is_a_diagonal():
    np.testing.assert_array_equal(affine_displacement((3, 4), (2, -1)), affine_displacement((3, 4), np.diag((2, -1))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matrix": np.eye(3)}, "^matrix has 3 rows: allowed are 2"),
        ({"matrix": np.ones((2, 3))}, "^matrix = "),
        ({"matrix": [[1, np.nan], [0, 1]]}, "^matrix = "),
        ({"matrix": "turn"}, "^matrix = 'turn'"),
        ({"offset": (1, 2, 3)}, r"^offset = \(1, 2, 3\)"),
        ({"offset": np.inf}, "^offset = inf"),
        ({"dtype": np.float16}, "^dtype = float16"),
        ({"shape": (4, 4, 4, 4)}, "^shape = "),
        ({"box": ((0, 4), (0, 5))}, "^box = "),
    ],
)
def test_affine_displacements_that_are_not_allowed(arguments, message):
    with pytest.raises(ParameterError, match=message):
        affine_displacement(**{"shape": (4, 4), "matrix": np.eye(2), **arguments})


# Several displacements in one.


def test_a_composition_reads_the_first_where_the_second_leads(backend):
    first, second = (displacement_field((40, 50), 40, 6, seed=s, dtype=np.float64) for s in (1, 2))
    composed = compose_displacements(first, second, backend=backend.name)
    positions = np.indices((40, 50)) + second
    expected = second + [ndimage.map_coordinates(d, positions, order=3, mode="nearest") for d in first]
    np.testing.assert_allclose(composed, expected, rtol=0, atol=1e-11)


def test_a_composition_is_one_warp_after_another(backend):
    image = smooth((60, 70), sigma=6.0)
    first, second = (displacement_field(image.shape, 30, 8, seed=s, dtype=np.float64) for s in (1, 2))
    one = warp(image, compose_displacements(first, second), order=3, mode="nearest", backend=backend.name)
    two = warp(warp(image, first, order=3, mode="nearest"), second, order=3, mode="nearest", backend=backend.name)
    assert np.abs(one - two)[8:-8, 8:-8].max() < 2e-3


def test_fields_of_slices_are_composed_slice_by_slice(backend):
    fields = [displacement_field((3, 20, 24), 20, 4, seed=s, axes=(1, 2), dtype=np.float64) for s in (1, 2, 3)]
    together = compose_displacements(*fields, backend=backend.name)
    for n in range(3):
        alone = compose_displacements(*(field[:, n] for field in fields), backend=backend.name)
        np.testing.assert_allclose(together[:, n], alone, rtol=0, atol=1e-12)


def test_one_displacement_is_itself_and_a_copy():
    field = displacement_field((5, 6), 20, 2, seed=1)
    composed = compose_displacements(field)
    np.testing.assert_array_equal(composed, field)
    assert composed.dtype == np.float32
    assert not np.shares_memory(composed, field)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((), "^displacements are none"),
        ((np.zeros((2, 4, 4)), np.zeros((2, 4, 5))), "^displacement 2 has shape"),
        ((np.zeros((2, 4, 4), int),), "^displacement 1 has shape .* dtype int64"),
        ((np.zeros((3, 4, 4)),), "^displacement 1 has 3 components"),
        ((np.zeros((2, 4, 4)), np.full((2, 4, 4), np.nan)), "^displacement 2 has 32 values that are NaN"),
    ],
)
def test_compositions_that_are_not_allowed(fields, message):
    with pytest.raises(ParameterError, match=message):
        compose_displacements(*fields)


# Transforms.


def test_content_goes_where_the_matrix_says(backend):
    image = np.zeros((21, 21))
    image[10 - 4, 10 + 2] = 1.0  # v = (-4, 2)
    with use_backend(backend.name):
        turned = Affine.rotation(90)(image)
        grown = Affine.scaling(2.0)(image)
        moved = Affine.translation((3, -5))(image)
        mirrored = Affine.scaling((-1, 1))(image)
    np.testing.assert_array_equal(turned, np.rot90(image))
    assert np.unravel_index(grown.argmax(), grown.shape) == (10 - 8, 10 + 4)
    assert np.unravel_index(moved.argmax(), moved.shape) == (9, 7)
    np.testing.assert_array_equal(mirrored, image[::-1])


@pytest.mark.parametrize("flip", [flip_right_left, flip_up_down, rotate_90])
def test_matrices_of_permutations(flip):
    image = np.arange(49).reshape(7, 7)
    np.testing.assert_array_equal(Affine(flip.matrix(2))(image), flip(image))
    assert np.array_equal(flip.matrix(3)[0], (1, 0, 0))


def test_neighbours_are_interpolated_once(backend):
    image, labels = smooth((48, 48), sigma=5.0), np.arange(48 * 48, dtype=np.uint64).reshape(48, 48) + 2**63
    parts = Elastic(30, 6, seed=1, order=3), flip_right_left, Affine.rotation(20, order=3), Elastic(20, 6, 2, order=3)
    with use_backend(backend.name):
        whole = Compose(*parts, rotate_90)
        once, moved = whole(image, index=4, labels=labels)
        np.testing.assert_array_equal(once, whole(image, index=4))
        stepwise = rotate_90(parts[3](parts[2](parts[1](parts[0](image, index=4))), index=4))
    assert [type(part).__name__ for part in whole.transforms] == ["Joined", "Permutation"]
    assert whole.name == ", ".join(part.name for part in (*parts, rotate_90))
    assert np.abs(once - stepwise)[14:-14, 14:-14].max() < 5e-3
    assert set(moved.ravel()) <= set(labels.ravel())


def test_what_cannot_be_interpolated_as_one_is_not():
    elastic = Elastic(9, 3, seed=1)
    for parts, joined in (
        ((elastic, Affine.rotation(5)), 1),
        ((elastic, Affine.rotation(5, order=3)), 2),
        ((elastic, rotate_90, elastic), 3),
        ((elastic, np.abs, elastic), 3),
        ((elastic, flip_up_down), 2),
        ((flip_up_down, elastic), 2),
        ((elastic, flip_up_down, flip_right_left, elastic, elastic), 1),
        ((Elastic(9, 3, axes=(1, 2)), elastic), 2),
        ((Compose(elastic, elastic), Compose(elastic)), 1),
        ((elastic, AddNoise(1), elastic), 2),
    ):
        assert len(Compose(*parts).transforms) == joined


def test_seeds_reach_every_part():
    whole = Compose(Elastic(9, 3), Affine.rotation(5), Elastic(9, 3, seed=7))
    assert whole.seeds() == (None, 7)
    assert whole.seeded(3).seeds() == (3, 7)


def test_a_matrix_of_another_size_is_refused():
    with pytest.raises(ParameterError, match=r"^matrix has 2 rows: allowed are 3"):
        Affine.rotation(5)(np.zeros((4, 4, 4)))
    with pytest.raises(ParameterError, match=r"^matrix = .* not singular"):
        Affine(np.zeros((2, 2)))
    volume = smooth((9, 10, 10), sigma=2.0)
    np.testing.assert_array_equal(Affine.rotation(90, plane=(1, 2), ndim=3)(volume), np.rot90(volume, axes=(1, 2)))


def test_folds_of_joined_deformations_are_looked_for_where_that_is_asked_for():
    image = smooth((40, 50))
    asked, plain = Elastic(250, 3, seed=1, check_folds=True), Elastic(1, 3, seed=2)
    Compose(Elastic(250, 3, seed=1), plain)(image)
    with pytest.warns(FoldWarning, match="folds"):
        Compose(asked, plain)(image)
    with pytest.warns(FoldWarning, match="folds"):
        transform_battery(np.stack([image, image]), [asked], backend="numpy")
    with pytest.raises(ParameterError, match=r"^shift = "):
        Affine(np.eye(2), shift=(1, 2, 3))

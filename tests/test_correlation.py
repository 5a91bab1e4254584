"""image_correlation and stack_correlation: what a caller may pass, what comes back, what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from exact_moments import exact_covariances, is_nearest
from numpy.typing import NDArray
from properties import given, st

from gpu_stackcorr import image_correlation, stack_correlation
from gpu_stackcorr.errors import BackendError, ConstantSliceWarning, InputTypeError, ParameterError
from gpu_stackcorr.records import StackCorrelation

Image = NDArray[Any]

INTEGERS = (np.bool_, np.int8, np.uint8, np.int16, np.uint16)
OTHERS = (np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64)

IMAGE_1 = np.array([[0, 1], [2, 3]], np.uint8)
IMAGE_2 = np.array([[1, 3], [2, 4]], np.uint8)


def a_stack(dtype: Any = np.float64, shape: tuple[int, ...] = (5, 13, 17), seed: int = 0) -> Image:
    """Return slices that grow away from the first one."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(size=shape), axis=0) + 3 * rng.normal(size=shape[-2:])
    if np.dtype(dtype).kind == "b":
        return walk > 0
    return np.clip(20 * walk + 100, 0, 127).astype(dtype) if np.dtype(dtype).kind in "iu" else walk.astype(dtype)


def by_scipy(x: Image, y: Image) -> float:
    return float(scipy.stats.pearsonr(x.ravel().astype(np.float64), y.ravel().astype(np.float64)).statistic)


def one(result: Any) -> StackCorrelation:
    assert isinstance(result, StackCorrelation)
    return result


# Two images.


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, ">f8"])
def test_two_images_by_hand(dtype: Any) -> None:
    result = image_correlation(IMAGE_1.astype(dtype), IMAGE_2.astype(dtype), ci="fisher")
    assert result.statistic == 0.8
    assert type(result.statistic) is float
    assert (result.n, result.n_eff, result.standard_error, result.df) == (4, 4, 1, math.inf)
    assert result.method == "fisher"
    assert result.backend in ("numpy", "numba", "cuda")


def test_two_images_as_lists() -> None:
    assert image_correlation(IMAGE_1.tolist(), IMAGE_2.tolist()).statistic == 0.8


@pytest.mark.parametrize("dtype", [*INTEGERS, *OTHERS])
def test_two_images_against_scipy(dtype: Any) -> None:
    x, y, *_ = a_stack(dtype)
    assert image_correlation(x, y).statistic == pytest.approx(by_scipy(x, y), rel=1e-13)


@given(
    st.lists(st.tuples(st.integers(-32768, 32767), st.integers(0, 65535)), min_size=2, max_size=30).filter(
        lambda pixels: len({x for x, _ in pixels}) > 1 and len({y for _, y in pixels}) > 1
    )
)
def test_two_integer_images_have_the_nearest_r(pixels: list[tuple[int, int]]) -> None:
    x, y = (np.array(values).reshape(1, -1) for values in zip(*pixels, strict=True))
    r = image_correlation(x.astype(np.int16), y.astype(np.uint16)).statistic
    assert is_nearest(r, *exact_covariances(x, y))
    assert image_correlation(y.astype(np.uint16), x.astype(np.int16)).statistic == r


@pytest.mark.parametrize("dtype", [*INTEGERS, *OTHERS])
@pytest.mark.parametrize("shape", [(1, 2), (13, 17), (256, 257)])
def test_an_image_with_itself(dtype: Any, shape: tuple[int, int]) -> None:
    image = a_stack(dtype, (1, *shape))[0]
    image[0, 0], image[-1, -1] = 0, 1
    result = image_correlation(image, image, ci="tiles" if min(shape) > 15 else "fisher")
    assert result.statistic == 1
    if image.size > 3:
        assert tuple(result.confidence_interval()) == (1, 1)
    if np.dtype(dtype).kind in "if":
        opposite = image_correlation(image, -image, ci=result.method)
        assert opposite.statistic == -1
        if image.size > 3:
            assert tuple(opposite.confidence_interval()) == (-1, -1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_two_images_under_a_mask(dtype: Any) -> None:
    x, y, *_ = a_stack(dtype)
    mask = np.random.default_rng(1).random(x.shape) < 0.5
    result = image_correlation(x, y, mask=mask)
    assert result.statistic == pytest.approx(by_scipy(x[mask], y[mask]), rel=1e-13)
    assert result.n == mask.sum()
    x, y = np.where(mask, x, 99), np.where(mask, y, 7)
    assert image_correlation(x.astype(dtype), y.astype(dtype), mask=mask).statistic == result.statistic


def test_masked_nan_do_not_matter() -> None:
    x, y, *_ = a_stack()
    mask = np.random.default_rng(1).random(x.shape) < 0.5
    expected = image_correlation(x, y, mask=mask)
    bad_x, bad_y = np.where(mask, x, np.nan), np.where(mask, y, np.inf)
    bad_y[np.nonzero(~mask)[0][0], np.nonzero(~mask)[1][0]] = np.nan
    for nan_policy in ("omit", "raise", "propagate"):
        assert image_correlation(x, bad_y, mask=mask, nan_policy=nan_policy) == expected
        assert image_correlation(bad_x, bad_y, mask=mask, nan_policy=nan_policy) == expected


@pytest.mark.parametrize(
    ("shape_1", "shape_2"), [((2, 3), (3, 2)), ((2, 3), (2, 4)), ((6,), (6,)), ((1, 2, 3), (1, 2, 3)), ((0, 3), (0, 3))]
)
def test_images_of_other_shapes_are_refused(shape_1: tuple[int, ...], shape_2: tuple[int, ...]) -> None:
    x, y = (np.arange(math.prod(shape), dtype=float).reshape(shape) for shape in (shape_1, shape_2))
    with pytest.raises(ParameterError) as caught:
        image_correlation(x, y)
    assert str(shape_1) in str(caught.value)
    assert str(shape_2) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_constant_images() -> None:
    image, flat = np.arange(6.0).reshape(2, 3), np.full((2, 3), 0.1)
    with pytest.raises(ParameterError, match=r"constant.*0\.1"):
        image_correlation(flat, image)
    with pytest.warns(ConstantSliceWarning, match="image_2") as record:
        result = image_correlation(image, flat)
    assert len(record) == 1
    assert math.isnan(result.statistic)
    assert np.isnan(result.confidence_interval()).all()
    single = np.ones((1, 1))
    with pytest.raises(ParameterError, match="constant"):
        image_correlation(single, single)


def test_nan_policies_of_two_images() -> None:
    x, y, *_ = a_stack()
    spoilt = y.copy()
    spoilt[2, 3] = spoilt[5, 7] = np.nan
    seen = ~np.isnan(spoilt)
    for arguments in ((x, spoilt), (spoilt, x)):
        with pytest.raises(ParameterError, match="2 NaN"):
            image_correlation(*arguments)
        result = image_correlation(*arguments, nan_policy="omit")
        assert result.statistic == pytest.approx(by_scipy(x[seen], y[seen]), rel=1e-13)
        assert result.n == seen.sum()
    assert math.isnan(image_correlation(x, spoilt, nan_policy="propagate").statistic)
    with pytest.raises(ParameterError, match=r"nan_policy = 'ignore'.*'raise', 'omit', 'propagate'"):
        image_correlation(x, y, nan_policy="ignore")


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinite_pixels_make_r_nan(bad: float) -> None:
    stack = a_stack()
    stack[2, 3, 4] = bad
    assert math.isnan(image_correlation(stack[0], stack[2]).statistic)
    result = one(stack_correlation(stack))
    assert np.isnan(result.statistic).tolist() == [False, False, True, False, False]
    assert result.flags == ("", "", "nan", "", "")


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones((2, 2)), "float64"),
        (np.ones((2, 3), bool), r"\(2, 3\)"),
        (np.zeros((2, 2), bool), "0 pixels"),
        (np.ones((1, 2, 2), bool), r"\(1, 2, 2\)"),
    ],
)
def test_masks_that_are_refused(mask: Image, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        image_correlation(IMAGE_1, IMAGE_2, mask=mask)
    with pytest.raises(ParameterError, match=words):
        stack_correlation(np.stack([IMAGE_1, IMAGE_2]), mask=mask)


@pytest.mark.parametrize("dtype", [np.float16, np.complex64, np.complex128, object, "U3", "datetime64[s]"])
def test_dtypes_that_are_refused(dtype: Any) -> None:
    bad = np.zeros((2, 2), dtype)
    for call in (
        lambda: image_correlation(bad, IMAGE_1),
        lambda: image_correlation(IMAGE_1, bad),
        lambda: stack_correlation(np.stack([bad, bad])),
        lambda: stack_correlation(np.stack([IMAGE_1, IMAGE_2]), bad),
    ):
        with pytest.raises(InputTypeError, match="allowed are bool, integers") as caught:
            call()
        assert isinstance(caught.value, TypeError)
        assert str(np.dtype(dtype)) in str(caught.value)


def test_backends_that_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"backend = 'gpu'.*'cuda', 'numba', 'numpy'"):
        image_correlation(IMAGE_1, IMAGE_2, backend="gpu")
    with pytest.raises(ParameterError, match="backend = 'gpu'"):
        stack_correlation(np.stack([IMAGE_1, IMAGE_2]), backend="gpu")
    assert issubclass(BackendError, RuntimeError)
    assert image_correlation(IMAGE_1, IMAGE_2, backend="numpy").backend == "numpy"


# A stack.


@pytest.mark.parametrize("dtype", [*INTEGERS, *OTHERS])
@pytest.mark.parametrize("reference", [0, 2, 4, -1, -5, np.int64(3), np.uint8(1)])
def test_any_slice_as_reference(dtype: Any, reference: Any) -> None:
    stack = a_stack(dtype)
    result = one(stack_correlation(stack, reference))
    index = int(reference) % 5
    np.testing.assert_allclose(result.statistic, [by_scipy(stack[index], y) for y in stack], rtol=1e-13)
    assert result.statistic[index] == 1
    assert result.reference == index
    assert result.distance.tolist() == [n - index for n in range(5)]
    assert result.n.tolist() == [13 * 17] * 5
    assert result.flags == ("",) * 5
    assert len(result) == 5
    assert (result.transform, result.noise, result.method, result.seed) == ("identity", 0, "tiles", None)
    if dtype in INTEGERS:
        for r, image in zip(result.statistic, stack, strict=True):
            assert is_nearest(float(r), *exact_covariances(stack[index], image))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_a_stack_is_its_slices_one_by_one(dtype: Any) -> None:
    # 67 * 129 pixels are no round number of anything.
    stack = a_stack(dtype, (7, 67, 129))
    result = one(stack_correlation(stack, 3))
    assert result.statistic.tolist() == [image_correlation(stack[3], image).statistic for image in stack]
    for part in (slice(0, 1), slice(2, 7), slice(None, None, 2), slice(None, None, -1)):
        assert one(stack_correlation(stack[part], stack[3])).statistic.tolist() == result.statistic[part].tolist()


@pytest.mark.parametrize("nan_policy", ["raise", "omit"])
def test_noise_does_not_know_the_other_slices(nan_policy: str) -> None:
    stack = a_stack(np.float64, (7, 67, 129))
    if nan_policy == "omit":
        stack[1, 2, 3] = stack[5, 7] = np.nan
    whole = one(stack_correlation(stack, noise=1, seed=3, nan_policy=nan_policy))
    for n in range(7):
        alone = stack_correlation(stack[n : n + 1], stack[0], noise=1, seed=3, nan_policy=nan_policy)
        assert one(alone).statistic[0] == whole.statistic[n]


def test_an_image_as_reference() -> None:
    stack = a_stack(np.uint8)
    other = a_stack(np.float64, seed=9)[0]
    for reference in (other, other.astype(np.float32), a_stack(np.int16, seed=9)[1]):
        result = one(stack_correlation(stack, reference))
        np.testing.assert_allclose(result.statistic, [by_scipy(reference, y) for y in stack], rtol=1e-12)
        assert result.reference is None
        assert result.distance.tolist() == [0, 1, 2, 3, 4]


def test_several_references() -> None:
    stack = a_stack(np.uint8)
    image = a_stack(np.float64, seed=9)[0]
    results = stack_correlation(stack, [0, -1, image])
    assert isinstance(results, tuple)
    assert [result.reference for result in results] == [0, 4, None]
    for result, reference in zip(results, [0, 4, image], strict=True):
        assert result.statistic.tolist() == one(stack_correlation(stack, reference)).statistic.tolist()
    (single,) = stack_correlation(stack, (2,))
    assert single.statistic.tolist() == one(stack_correlation(stack, 2)).statistic.tolist()
    assert [r.reference for r in stack_correlation(stack, np.array([1, 3]))] == [1, 3]
    assert [r.reference for r in stack_correlation(stack, stack[:2])] == [None, None]


@pytest.mark.parametrize("reference", [5, -6, 10**9])
def test_references_outside_the_stack_are_refused(reference: int) -> None:
    with pytest.raises(ParameterError, match=f"reference = {reference}.* 0 to 4"):
        stack_correlation(a_stack(), reference)


@pytest.mark.parametrize("reference", [1.5, True, np.ones((13, 16)), np.ones((2, 2))])
def test_references_of_another_kind_are_refused(reference: Any) -> None:
    with pytest.raises(ParameterError, match="reference"):
        stack_correlation(a_stack(), reference)


def test_no_reference_is_refused() -> None:
    with pytest.raises(ParameterError, match="reference"):
        stack_correlation(a_stack(), [])


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_stack_under_a_mask(dtype: Any) -> None:
    stack = a_stack(dtype)
    mask = np.random.default_rng(1).random(stack.shape[1:]) < 0.5
    result = one(stack_correlation(stack, 1, mask=mask, ci="fisher"))
    np.testing.assert_allclose(result.statistic, [by_scipy(stack[1][mask], y[mask]) for y in stack], rtol=1e-12)
    assert result.statistic[1] == 1
    assert result.n.tolist() == [mask.sum()] * 5
    assert result.n_eff.tolist() == [mask.sum()] * 5
    if dtype == np.int16:
        for r, image in zip(result.statistic, stack, strict=True):
            assert is_nearest(float(r), *exact_covariances(stack[1][mask], image[mask]))


def mapped(stack: Image, folder: Path) -> Image:
    np.save(folder / "stack.npy", stack)
    return np.load(folder / "stack.npy", mmap_mode="r")


def _read_only(stack: Image, folder: Path) -> Image:
    stack = stack.copy()
    stack.flags.writeable = False
    return stack


def _reversed(stack: Image, folder: Path) -> Image:
    return stack[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]


def _strided(stack: Image, folder: Path) -> Image:
    wide = np.zeros(tuple(2 * n for n in stack.shape), stack.dtype)
    wide[::2, 1::2, ::2] = stack
    return wide[::2, 1::2, ::2]


KINDS: tuple[Callable[[Image, Path], Any], ...] = (
    lambda stack, folder: stack[:, None],
    lambda stack, folder: stack.tolist(),
    lambda stack, folder: list(stack),
    lambda stack, folder: tuple(stack),
    lambda stack, folder: stack.astype(stack.dtype.newbyteorder("S")),
    lambda stack, folder: np.asfortranarray(stack),
    mapped,
    lambda stack, folder: mapped(stack.astype(stack.dtype.newbyteorder("S")), folder)[:, None],
    _read_only,
    _reversed,
    _strided,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_kinds_of_stacks(kind: Callable[[Image, Path], Any], dtype: Any, tmp_path: Path) -> None:
    stack = a_stack(dtype)
    given_stack = kind(stack, tmp_path)
    result = one(stack_correlation(given_stack, 1))
    np.testing.assert_allclose(result.statistic, one(stack_correlation(stack, 1)).statistic, rtol=1e-13)
    if np.dtype(dtype).kind in "iu" and not isinstance(given_stack[0], list):  # lists of numbers become int64
        assert result.statistic.tolist() == one(stack_correlation(stack, 1)).statistic.tolist()
    assert result.statistic[1] == 1


class Lazy:
    """A source with shape, dtype and slicing along z, that counts what is read."""

    def __init__(self, stack: Image) -> None:
        self.stack, self.shape, self.dtype, self.read = stack, stack.shape, stack.dtype, 0

    def __getitem__(self, key: Any) -> Image:
        part = self.stack[key]
        self.read += len(part)
        return part


def test_a_lazy_stack_is_read_once() -> None:
    stack = a_stack()
    lazy = Lazy(stack)
    result = one(stack_correlation(lazy, stack[0]))
    assert lazy.read == len(stack)
    assert result.statistic.tolist() == one(stack_correlation(stack)).statistic.tolist()


def test_stacks_of_one_slice_and_one_pixel() -> None:
    assert one(stack_correlation(a_stack()[:1])).statistic.tolist() == [1]
    assert one(stack_correlation(np.array([[[1, 2]], [[4, 3]]], np.uint8))).statistic.tolist() == [1, -1]
    with pytest.raises(ParameterError, match="constant"):
        stack_correlation(np.ones((3, 1, 1)))


@pytest.mark.parametrize(
    ("shape", "words"),
    [((0, 4, 4), "empty"), ((3, 0, 4), "empty"), ((3, 4, 0), "empty"), ((0, 1, 4, 4), "empty"),
     ((4, 4), "allowed"), ((4,), "allowed"), ((), "allowed"), ((1, 1, 1, 4, 4), "allowed"),
     ((3, 2, 4, 4), "2 channels")],
)  # fmt: skip
def test_stacks_of_other_shapes_are_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ParameterError, match=words) as caught:
        stack_correlation(np.zeros(shape))
    assert str(shape) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_modified() -> None:
    stack = a_stack()
    stack[1, 2, 3] = np.nan
    before, mask = stack.copy(), np.random.default_rng(1).random(stack.shape[1:]) < 0.5
    kept = mask.copy()
    stack_correlation(stack, [0, 1], mask=mask, noise=1, seed=3, nan_policy="omit")
    np.testing.assert_array_equal(stack, before)
    np.testing.assert_array_equal(mask, kept)

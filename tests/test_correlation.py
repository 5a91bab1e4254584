"""image_correlation and stack_correlation: what a caller may pass, what comes back, what is refused."""

from __future__ import annotations

import csv
import io
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from properties import given, st
from real_data import needs_real_data, real_data
from test_moments_merge import exact_covariances, is_nearest

from gpu_stackcorr import image_correlation, measurement, open_volume, stack_correlation
from gpu_stackcorr.arrays import Stack, get_backend
from gpu_stackcorr.backends.base import Backend
from gpu_stackcorr.correlation import slabs
from gpu_stackcorr.errors import BackendError, ConstantSliceWarning, InputTypeError, ParameterError
from gpu_stackcorr.records import StackCorrelation
from gpu_stackcorr.threads import allowed_threads, use_threads
from gpu_stackcorr.transforms import AddNoise, Compose, Elastic, flip_up_down

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


def _mapped(stack: Image, folder: Path) -> Image:
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
    _mapped,
    lambda stack, folder: _mapped(stack.astype(stack.dtype.newbyteorder("S")), folder)[:, None],
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


# Slices without variance.


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_constant_slices_are_flagged_with_one_warning(dtype: Any) -> None:
    stack = a_stack(dtype, (9, 13, 17))
    stack[3] = 7 if np.dtype(dtype).kind == "u" else 0.1
    stack[6] = 0
    with pytest.warns(ConstantSliceWarning, match=r"\b3, 6\b") as record:
        result = one(stack_correlation(stack))
    assert len(record) == 1
    assert record[0].filename == __file__
    assert np.flatnonzero(np.isnan(result.statistic)).tolist() == [3, 6]
    assert [n for n, flag in enumerate(result.flags) if flag == "constant"] == [3, 6]
    low, high = result.confidence_interval()
    assert np.flatnonzero(np.isnan(low) & np.isnan(high)).tolist() == [3, 6]
    good = [n for n in range(9) if n not in (3, 6)]
    np.testing.assert_allclose(result.statistic[good], [by_scipy(stack[0], stack[n]) for n in good], rtol=1e-12)
    with pytest.warns(ConstantSliceWarning) as record:
        stack_correlation(stack, [0, 1, 2])
    assert len(record) == 1


def test_a_slice_that_is_constant_under_the_mask_only() -> None:
    stack = a_stack(np.uint8)
    mask = np.zeros(stack.shape[1:], bool)
    mask[:4] = True
    stack[2, :4] = 9
    with pytest.warns(ConstantSliceWarning, match=r"\b2$"):
        result = one(stack_correlation(stack, mask=mask))
    assert result.flags == ("", "", "constant", "", "")
    with pytest.raises(ParameterError, match="slice 2"):
        stack_correlation(stack, 2, mask=mask)


@pytest.mark.parametrize("value", [0, 0.1, -7.3])
def test_a_constant_reference_is_refused(value: float) -> None:
    stack = a_stack()
    stack[3] = value
    with pytest.raises(ParameterError, match=r"slice 3.* constant"):
        stack_correlation(stack, 3)
    with pytest.raises(ParameterError, match="constant"):
        stack_correlation(stack, np.full((13, 17), value))


# NaN.


def spoilt_stack() -> Image:
    stack = a_stack()
    stack[2, 3, 4] = stack[2, 5, 6] = stack[4, 0, 0] = np.nan
    return stack


def test_nan_are_counted_and_refused() -> None:
    with pytest.raises(ParameterError, match=r"NaN pixels in slice 2: .*'omit'.*'propagate'"):
        stack_correlation(spoilt_stack())
    with pytest.raises(ParameterError, match="2 NaN pixels"):
        stack_correlation(spoilt_stack(), 2)
    with pytest.raises(ParameterError, match="nan_policy = None"):
        stack_correlation(a_stack(), nan_policy=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "transform", [None, flip_up_down, Elastic(3.0, 2.0, seed=1), Compose(flip_up_down, AddNoise(1.0))]
)
@pytest.mark.parametrize("masked", [False, True])
def test_nan_are_refused_whatever_sees_them(transform: Any, masked: bool, backend: Backend) -> None:
    """Whether r tells of them, or a mask, or a deformation that does not sample them, keeps it from that."""
    mask = np.ones((13, 17), bool)
    mask[3:6] = mask[0] = False
    options = {"transform": transform, "mask": mask if masked else None, "seed": 1, "backend": backend.name}
    with pytest.raises(ParameterError, match="2 NaN pixels in slice 2"):
        stack_correlation(spoilt_stack(), **options)


@pytest.mark.parametrize(
    ("count", "threads", "expected"), [(1, 2, 1), (5, 2, 2), (33, 2, 4), (165, 2, 12), (165, 3, 12), (7, 16, 7)]
)
def test_every_thread_has_as_many_slabs(count: int, threads: int, expected: int) -> None:
    stack = Stack(np.zeros((count, 4, 4), np.uint8))
    with use_threads(threads):
        lengths = [len(slab) for _, slab in slabs(stack, get_backend("numpy"))]
    assert (sum(lengths), len(lengths)) == (count, expected)
    assert max(lengths) <= 16


@pytest.mark.parametrize(("threads", "expected"), [(1, [1]), (2, [1, 1]), (5, [2, 2]), (12, [6, 6])])
def test_slabs_share_the_threads_out(threads: int, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    stack, seen = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), []

    def measure(*arguments: Any) -> Any:
        seen.append(allowed_threads())
        return original(*arguments)

    original = measurement.measure
    monkeypatch.setattr(measurement, "measure", measure)
    with use_threads(threads):
        stack_correlation(stack, ci=None, backend="numpy")
    assert seen == expected


def test_nan_are_refused_while_a_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"NaN pixels in slice 2"):
        stack_correlation(_mapped(spoilt_stack(), tmp_path))


def test_nan_are_omitted_pair_by_pair() -> None:
    stack = spoilt_stack()
    result = one(stack_correlation(stack, nan_policy="omit"))
    seen = ~np.isnan(stack)
    np.testing.assert_allclose(
        result.statistic, [by_scipy(stack[0][m], y[m]) for y, m in zip(stack, seen, strict=True)], rtol=1e-12
    )
    assert result.n.tolist() == [221, 221, 219, 221, 220]
    assert result.flags == ("",) * 5
    at_2 = one(stack_correlation(stack, 2, nan_policy="omit"))
    assert at_2.n.tolist() == [219, 219, 219, 219, 218]
    assert at_2.statistic[2] == 1
    assert at_2.statistic[0] == result.statistic[2]
    both = seen[2] & seen[4]
    assert at_2.statistic[4] == pytest.approx(by_scipy(stack[2][both], stack[4][both]), rel=1e-12)
    # A slice keeps its bits whatever its neighbours lack.
    clean = one(stack_correlation(stack[[0, 1, 3]]))
    assert result.statistic[[0, 1, 3]].tolist() == clean.statistic.tolist()


def test_nan_are_propagated_to_their_own_slice() -> None:
    stack = spoilt_stack()
    result = one(stack_correlation(stack, nan_policy="propagate"))
    assert result.flags == ("", "", "nan", "", "nan")
    assert np.isnan(result.statistic).tolist() == [False, False, True, False, True]
    clean = one(stack_correlation(stack[[0, 1, 3]]))
    assert result.statistic[[0, 1, 3]].tolist() == clean.statistic.tolist()
    low, high = result.confidence_interval()
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, False, True, False, True]


def test_a_slice_of_nothing_but_nan() -> None:
    stack = a_stack()
    stack[3] = np.nan
    assert one(stack_correlation(stack, nan_policy="propagate")).flags == ("", "", "", "nan", "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantSliceWarning)
        result = one(stack_correlation(stack, nan_policy="omit"))
    assert np.isnan(result.statistic).tolist() == [False, False, False, True, False]
    assert result.n.tolist() == [221, 221, 221, 0, 221]
    assert result.flags[3] == "nan"


# Tables.


def table_result() -> StackCorrelation:
    """Return a result with a constant slice, and r with all their digits."""
    stack = a_stack(np.float64, (6, 13, 17))
    stack[4] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantSliceWarning)
        return one(stack_correlation(stack, 1, ci="fisher"))


COLUMNS = [
    "transform",
    "noise",
    "distance",
    "distance_nm",
    "r",
    "low",
    "high",
    "n",
    "n_eff",
    "df",
    "window",
    "saturated",
    "flag",
]


@pytest.mark.parametrize("level", [0.95, 0.5])
def test_csv_gives_every_bit_back(level: float, tmp_path: Path) -> None:
    result = table_result()
    result.to_csv(tmp_path / "r.csv", level)
    raw = (tmp_path / "r.csv").read_bytes()
    assert b"\r" not in raw
    rows = list(csv.DictReader(io.StringIO(raw.decode())))
    assert list(rows[0]) == COLUMNS
    low, high = result.confidence_interval(level)
    for name, values in (("r", result.statistic), ("low", low), ("high", high), ("n_eff", result.n_eff)):
        found = [float(row[name]) if row[name] else math.nan for row in rows]
        np.testing.assert_array_equal(found, values)
    assert [row["r"] == "" for row in rows] == [False] * 4 + [True] + [False]
    assert [int(row["distance"]) for row in rows] == result.distance.tolist()
    assert [int(row["n"]) for row in rows] == result.n.tolist()
    assert [row["flag"] for row in rows] == list(result.flags)
    assert {row["distance_nm"] for row in rows} == {""}


def test_json_gives_every_bit_back(tmp_path: Path) -> None:
    result = table_result()
    text = result.to_json(tmp_path / "r.json", 0.9)
    assert (tmp_path / "r.json").read_text().rstrip("\n") == text.rstrip("\n")
    table = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(table) == COLUMNS
    low, high = result.confidence_interval(0.9)
    for name, values in (("r", result.statistic), ("low", low), ("high", high), ("n_eff", result.n_eff)):
        np.testing.assert_array_equal([math.nan if v is None else v for v in table[name]], values)
    assert table["r"][4] is None
    assert table["distance"] == result.distance.tolist()
    assert table["flag"] == list(result.flags)
    assert result.to_json(confidence_level=0.9) == text


def test_data_frame() -> None:
    pytest.importorskip("pandas")
    result = table_result()
    frame = result.to_dataframe(0.9)
    assert list(frame.columns) == COLUMNS
    np.testing.assert_array_equal(frame["r"], result.statistic)
    np.testing.assert_array_equal(frame["low"], result.confidence_interval(0.9).low)
    np.testing.assert_array_equal(frame["distance"], result.distance)
    assert frame["flag"].tolist() == list(result.flags)


def test_table_of_two_images(tmp_path: Path) -> None:
    result = image_correlation(IMAGE_1, IMAGE_2, ci="fisher")
    result.to_csv(tmp_path / "r.csv")
    (row,) = csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text()))
    assert list(row) == ["r", "low", "high", "n", "n_eff", "df", "window", "saturated"]
    assert (float(row["r"]), int(row["n"])) == (0.8, 4)
    assert float(row["low"]) == result.confidence_interval().low
    assert json.loads(result.to_json())["r"] == [0.8]


# Real stacks.


@needs_real_data
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fibsem/fibsem_250.tif", [0.957, 0.918, 0.862, 0.752, 0.631, 0.575, 0.458, 0.391]),
        ("sstem", [0.359, 0.187, 0.113, 0.042, 0.029, 0.023, 0.010, 0.020]),
    ],
)
def test_real_stacks(name: str, expected: list[float]) -> None:
    folder = real_data()
    assert folder is not None
    with open_volume(folder / name) as volume:
        stack = np.asarray(volume[:20])
    result = one(stack_correlation(stack))
    found = result.statistic[[1, 2, 3, 5, 8, 10, 15, 19]]
    assert [round(float(r), 3) for r in found] == expected
    for n in (1, 19):
        assert is_nearest(float(result.statistic[n]), *wide_covariances(stack[0], stack[n]))


def wide_covariances(x: Image, y: Image) -> tuple[int, int, int]:
    """Return what exact_covariances returns, in int64: for uint8 images of less than 2^31 pixels."""
    a, b = (image.ravel().astype(np.int64) for image in (x, y))
    n, sa, sb = a.size, int(a.sum()), int(b.sum())
    return n * int(a @ b) - sa * sb, n * int(a @ a) - sa * sa, n * int(b @ b) - sb * sb

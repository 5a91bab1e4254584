"""The array layer: what arrays it takes and refuses, and stacks that are read in slabs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from counting import Counting

import gpu_stackcorr
from gpu_stackcorr import available_backends, get_backend
from gpu_stackcorr.arrays import Stack, take
from gpu_stackcorr.errors import BackendError, InputTypeError, ParameterError


class CudaArray:
    """Stands for an array on a CUDA device, and remembers whether it was copied to the host in silence."""

    def __init__(self, shape=(4, 5), dtype=np.float32):
        self.shape, self.dtype, self.ndim, self.size = shape, np.dtype(dtype), len(shape), int(np.prod(shape))
        self.__cuda_array_interface__ = {"shape": shape, "typestr": self.dtype.str, "data": (0, False), "version": 3}
        self.copied = False

    def __len__(self):
        return self.shape[0]

    def __array__(self, dtype=None, copy=None):
        self.copied = True
        return np.arange(self.size, dtype=dtype or self.dtype).reshape(self.shape)

    def __getitem__(self, key):
        return self.__array__()[key]


# Arrays.


@pytest.mark.parametrize("dtype", ["bool", "i1", "u1", "<i2", ">u2", "i4", ">u4", "i8", "u8", "f4", ">f4", "f8", ">f8"])
def test_numpy_arrays_are_taken_as_they_are(dtype):
    image = np.ones((3, 4), dtype)
    engine, taken, give_back = take("image", image)
    assert taken is image
    assert engine is get_backend(engine.name)
    assert give_back(taken) is taken


@pytest.mark.parametrize("dtype", ["f2", "c8", "c16", "O", "U1", "M8[s]", "m8[s]", np.longdouble])
def test_other_dtypes_are_refused_by_name(dtype):
    if np.dtype(dtype) == np.float64:
        pytest.skip("long double is float64 here")
    image = np.zeros((3, 4), dtype)
    with pytest.raises(InputTypeError, match=f"^image has dtype {re.escape(str(image.dtype))}: allowed are bool, "):
        take("image", image)
    with pytest.raises(InputTypeError, match=r"^stack has dtype"):
        Stack(image[np.newaxis])


def test_lists_are_read_by_numpy():
    _, taken, _ = take("image", [[1, 2], [3, 4]])
    assert isinstance(taken, np.ndarray)
    assert taken.tolist() == [[1, 2], [3, 4]]


DEVICE_CALLS = {
    "image_1": lambda a: gpu_stackcorr.image_correlation(a, np.ones((1, 5))),
    "image_2": lambda a: gpu_stackcorr.image_correlation(np.eye(1, 5), a),
    "elastic": lambda a: gpu_stackcorr.elastic_transform(a, 1, 1, seed=1),
    "elastic on numpy": lambda a: gpu_stackcorr.elastic_transform(a, 1, 1, seed=1, backend="numpy"),
    "labels": lambda a: gpu_stackcorr.elastic_transform(np.ones((1, 5)), 1, 1, seed=1, labels=a),
    "warp": lambda a: gpu_stackcorr.warp(a, np.zeros((2, 1, 5))),
    "displacement": lambda a: gpu_stackcorr.warp(np.ones(5), a),
    "gaussian_filter": lambda a: gpu_stackcorr.gaussian_filter(a, 1),
    "spline_filter": lambda a: gpu_stackcorr.spline_filter(a),
    "map_coordinates": lambda a: gpu_stackcorr.map_coordinates(a, [[1.0], [1.0]]),
    "reference": lambda a: gpu_stackcorr.stack_correlation(np.ones((2, 1, 5)), a),
    "stack": lambda a: gpu_stackcorr.stack_correlation(a, 0),
    "list": lambda a: Stack([a, a]),
}


@pytest.mark.parametrize("call", list(DEVICE_CALLS.values()), ids=list(DEVICE_CALLS))
def test_device_arrays_are_refused_without_a_device_backend_not_copied(call):
    if available_backends()["cuda"].available:
        pytest.skip("cuda can run here")
    array = CudaArray((1, 5))
    with pytest.raises((BackendError, InputTypeError), match=r"cuda|CUDA"):
        call(array)
    assert not array.copied


def test_dask_arrays_are_refused_with_advice():
    class Array:
        """Stands for a Dask array."""

        def __array__(self, dtype=None, copy=None):
            raise AssertionError("computed in silence")

    Array.__module__ = "dask.array.core"
    with pytest.raises(InputTypeError, match=r"image is a Dask array: .*compute\(\)"):
        take("image", Array())


def test_real_dask_arrays():
    dask = pytest.importorskip("dask.array")
    image = np.arange(24.0).reshape(2, 3, 4)
    with pytest.raises(InputTypeError, match="Dask"):
        gpu_stackcorr.elastic_transform(dask.from_array(image[0]), 1, 1, seed=1)
    lazy = gpu_stackcorr.stack_correlation(dask.from_array(image, chunks=(1, 3, 4)))
    np.testing.assert_array_equal(lazy.statistic, gpu_stackcorr.stack_correlation(image).statistic)


def test_torch_tensors_come_back_as_tensors():
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).normal(size=(8, 9)).astype(np.float32)
    tensor = torch.from_numpy(image.copy())
    deformed = gpu_stackcorr.elastic_transform(tensor, 3, 2, seed=1)
    assert isinstance(deformed, torch.Tensor)
    assert deformed.dtype == torch.float32
    np.testing.assert_array_equal(deformed.numpy(), gpu_stackcorr.elastic_transform(image, 3, 2, seed=1))
    stack = torch.stack([tensor, tensor.flip(0)])
    result = gpu_stackcorr.stack_correlation(stack).statistic
    assert isinstance(result, np.ndarray)
    np.testing.assert_array_equal(result, gpu_stackcorr.stack_correlation(stack.numpy()).statistic)


# Stacks.


def stack_of(n=5, shape=(3, 4), dtype=np.uint8):
    return np.random.default_rng(3).integers(0, 200, (n, *shape)).astype(dtype)


def test_kinds_of_stacks(tmp_path):
    array = stack_of()
    np.save(tmp_path / "stack.npy", array)
    mapped = np.load(tmp_path / "stack.npy", mmap_mode="r")
    sources = [array, array[:, np.newaxis], list(array), tuple(array), array.tolist(), mapped, Counting(array)]
    for source in sources:
        stack = Stack(source)
        assert stack.shape == (5, 3, 4)
        assert len(stack) == 5
        np.testing.assert_array_equal(stack.slab(1, 4), array[1:4])
        assert stack.slab(4, 5).shape == (1, 3, 4)
    assert Stack(array).in_memory
    assert Stack(list(array)).in_memory
    assert not Stack(mapped).in_memory
    assert not Stack(Counting(array)).in_memory
    assert np.shares_memory(Stack(array).slab(0, 3), array)
    assert np.shares_memory(Stack(mapped).slab(0, 3), mapped)


def test_only_what_is_asked_for_is_read():
    source = Counting(stack_of()[:, np.newaxis])
    stack = Stack(source)
    assert source.reads.sum() == 0
    stack.slab(1, 3)
    assert source.reads.tolist() == [0, 1, 1, 0, 0]


def test_a_dtype_that_is_not_numpys_is_known_from_one_slice():
    source = Counting(stack_of(dtype=np.int16))
    source.dtype = "int16 of another library"
    assert Stack(source).dtype == np.int16
    assert source.reads.sum() <= 1


@pytest.mark.parametrize("shape", [(), (4,), (3, 4), (2, 2, 3, 4), (2, 1, 1, 3, 4), (0, 3, 4), (2, 0, 4), (2, 1, 3, 0)])
def test_shapes_that_are_no_stack(shape):
    with pytest.raises(ParameterError, match=f"^stack has shape {re.escape(str(shape))}: "):
        Stack(np.zeros(shape))


def test_channels_are_chosen_never_guessed():
    with pytest.raises(ParameterError, match=r"3 channels; choose one with stack\[:, channel\]"):
        Stack(np.zeros((5, 3, 8, 8)))


@pytest.mark.parametrize("source", [[], [np.zeros((3, 4)), np.zeros((3, 5))], [[1, 2], [3]], "stack.npy", None, 7])
def test_what_is_no_stack_is_refused_in_one_line(source):
    with pytest.raises((ParameterError, InputTypeError), match=r"^stack .*") as caught:
        Stack(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [">u2", ">i2", ">f4", ">f8"])
def test_byte_order_changes_nothing(dtype, tmp_path):
    array = stack_of(shape=(6, 7), dtype=dtype)
    native = array.astype(array.dtype.newbyteorder("="))
    np.save(tmp_path / "big.npy", array)
    mapped = np.load(tmp_path / "big.npy", mmap_mode="r")
    expected = gpu_stackcorr.stack_correlation(native).statistic
    np.testing.assert_array_equal(gpu_stackcorr.stack_correlation(array).statistic, expected)
    np.testing.assert_array_equal(gpu_stackcorr.stack_correlation(mapped).statistic, expected)


def test_masked_arrays_are_refused_not_stripped():
    image = np.ma.masked_less(np.arange(12.0).reshape(3, 4), 6)
    with pytest.raises(InputTypeError, match=r"^image_1 is a masked array: .*mask"):
        gpu_stackcorr.image_correlation(image, image.data)
    with pytest.raises(InputTypeError, match=r"^stack is a masked array"):
        Stack(np.ma.stack([image, image]))


@pytest.mark.parametrize("voxel_size", [np.array([45.0, 4.6, 4.6]), 45.0, (None, 4.6, 4.6), None])
def test_voxel_sizes_that_say_nothing_of_nm_along_z(voxel_size):
    class Source:
        shape, dtype = (2, 3, 4), np.dtype(np.uint8)

        def __getitem__(self, key):
            return np.zeros(self.shape, self.dtype)[key]

    source = Source()
    source.voxel_size = voxel_size
    assert Stack(source).spacing is None

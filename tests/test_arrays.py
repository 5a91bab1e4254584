"""The array layer: which backend is chosen and by whom, what arrays it takes, and stacks that are read in slabs."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from counting import Counting

import gpu_stackcorr
from gpu_stackcorr import arrays, available_backends, backends, get_backend, use_backend
from gpu_stackcorr.arrays import Stack, take
from gpu_stackcorr.backends.base import BackendInfo
from gpu_stackcorr.errors import BackendError, InputTypeError, ParameterError

VARIABLE = "GPU_STACKCORR_BACKEND"
NAMES = ("cuda", "numba", "numpy")
MISSING = [name for name, info in available_backends().items() if not info.available]


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def missing() -> str:
    """The name of a backend that cannot run here."""
    if not MISSING:
        pytest.skip("every backend can run here")
    return MISSING[0]


@pytest.fixture
def pretend(monkeypatch):
    """Let chosen backends be available, each answering with its own name; returns what was loaded."""
    loaded: list[str] = []

    def make(*available: str) -> list[str]:
        infos = {
            name: BackendInfo(name, name in available, "1", f"{name} device", "" if name in available else f"no {name}")
            for name in NAMES
        }
        monkeypatch.setattr(backends, "probe", infos.__getitem__)
        monkeypatch.setattr(backends, "load", lambda name: loaded.append(name) or SimpleNamespace(name=name))
        arrays._automatic.cache_clear()
        return loaded

    yield make
    monkeypatch.undo()
    arrays._automatic.cache_clear()


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


# The choice.


def test_every_backend_is_listed_with_what_is_known_of_it():
    infos = available_backends()
    assert set(infos) == set(NAMES)
    assert infos["numpy"].available
    assert infos["numpy"].version == np.__version__
    for name, info in infos.items():
        assert info.name == name
        assert bool(info.reason) != info.available
        assert "\n" not in info.reason
        if info.available:
            assert info.device
            assert get_backend(name).name == name


@pytest.mark.parametrize("available", [("numpy",), ("numba", "numpy"), ("cuda", "numpy"), ("cuda", "numba", "numpy")])
def test_automatic_choice_is_the_first_available(pretend, available):
    pretend(*available)
    assert get_backend().name == available[0]


def test_order_of_the_choice(pretend, monkeypatch):
    pretend(*NAMES)
    assert get_backend().name == "cuda"
    monkeypatch.setenv(VARIABLE, "numba")
    assert get_backend().name == "numba"
    with use_backend("numpy") as backend:
        assert backend.name == get_backend().name == "numpy"
        assert get_backend("cuda").name == "cuda"
        assert get_backend().name == "numpy"
    assert get_backend().name == "numba"


def test_an_empty_variable_is_none(pretend, monkeypatch):
    pretend(*NAMES)
    monkeypatch.setenv(VARIABLE, "")
    assert get_backend().name == "cuda"


def test_nested_contexts_and_errors_restore_the_choice(pretend):
    pretend(*NAMES)
    with use_backend("numba"):
        with use_backend("numpy"):
            assert get_backend().name == "numpy"
        assert get_backend().name == "numba"
        with pytest.raises(KeyError), use_backend("numpy"):
            raise KeyError("inside")
        assert get_backend().name == "numba"
        with pytest.raises(ParameterError), use_backend("nonsense"):
            pass
        assert get_backend().name == "numba"
    assert get_backend().name == "cuda"


def test_a_context_is_its_threads_own(pretend):
    pretend(*NAMES)
    inside, leave, seen = threading.Event(), threading.Event(), []

    def other():
        with use_backend("numba"):
            inside.set()
            assert leave.wait(10)
            seen.append(get_backend().name)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    assert get_backend().name == "cuda"
    with use_backend("numpy"):
        leave.set()
        thread.join(10)
        assert get_backend().name == "numpy"
    assert seen == ["numba"]


@pytest.mark.parametrize("name", ["nonsense", "NumPy", "numpy ", "numpy_"])
def test_unknown_names_say_what_is_allowed_and_who_asked(name, monkeypatch):
    allowed = ".*".join(map(re.escape, map(repr, NAMES)))
    with pytest.raises(ParameterError, match=rf"^backend = {name!r}: .*{allowed}"):
        get_backend(name)
    with pytest.raises(ParameterError, match=rf"^use_backend = {name!r}: .*{allowed}"), use_backend(name):
        pass
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(ParameterError, match=rf"^{VARIABLE} = {name!r}: .*{allowed}"):
        get_backend()
    assert get_backend("numpy").name == "numpy"


@pytest.mark.parametrize("name", [3, b"numpy", ["numpy"], {"numpy"}])
def test_names_are_strings(name):
    with pytest.raises(ParameterError, match=r"backend = .*allowed are 'cuda', 'numba', 'numpy'"):
        get_backend(name)


@pytest.mark.parametrize("name", ["cuda", "numba"])
def test_an_explicit_choice_never_falls_back(name, monkeypatch):
    info = available_backends()[name]
    if info.available:
        pytest.skip(f"{name} can run here")
    for message, ask in (
        (f"^backend = '{name}': ", lambda: get_backend(name)),
        (f"^use_backend = '{name}': ", lambda: use_backend(name).__enter__()),
    ):
        with pytest.raises(BackendError, match=message) as caught:
            ask()
        assert info.reason in str(caught.value)
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(BackendError, match=f"^{VARIABLE} = '{name}': "):
        get_backend()


@pytest.mark.parametrize(("library", "extra"), [("cupy", "cuda12"), ("numba", "numba")])
def test_what_is_missing_says_what_to_install(library, extra, monkeypatch):
    monkeypatch.setattr(f"gpu_stackcorr.backends.{extra.rstrip('12')}_.probe.find_spec", lambda name: None)
    with pytest.raises(BackendError, match=rf'pip install "gpu-stackcorr\[{extra}\]"'):
        get_backend(extra.rstrip("12"))


def test_the_automatic_choice_is_logged_once_with_its_reasons(pretend, caplog):
    pretend("numpy")
    with caplog.at_level(logging.INFO, "gpu_stackcorr"):
        for _ in range(3):
            get_backend()
    lines = [record.getMessage() for record in caplog.records]
    assert sum("numpy" in line and "numpy device" in line for line in lines) == 1
    assert sum("no cuda" in line for line in lines) == sum("no numba" in line for line in lines) == 1
    caplog.clear()
    with caplog.at_level(logging.INFO, "gpu_stackcorr"):
        get_backend("numpy")
    assert not caplog.records


def test_asking_for_one_backend_imports_no_library_of_another():
    root = str(Path(gpu_stackcorr.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    code = (
        "import sys, gpu_stackcorr as g; g.gaussian_filter([[1.0]], 1, backend='numpy'); "
        "print([m for m in ('cupy', 'numba') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert out.stdout.strip() == "[]"


def test_every_operation_takes_the_choice(missing):
    image = np.arange(20.0).reshape(4, 5)
    stack = np.stack([image, image[::-1]])
    g = gpu_stackcorr
    calls = [
        lambda b: g.image_correlation(image, image, backend=b),
        lambda b: g.stack_correlation(stack, backend=b),
        lambda b: g.transform_battery(stack, [g.transforms.identity], backend=b),
        lambda b: g.noise_sweep(stack, [1], seed=1, backend=b),
        lambda b: g.elastic_transform(image, 1, 1, seed=1, backend=b),
        lambda b: g.displacement_field((4, 5), 1, 1, seed=1, backend=b),
        lambda b: g.warp(image, np.zeros((2, 4, 5)), backend=b),
        lambda b: g.map_coordinates(image, [[1.0], [1.0]], backend=b),
        lambda b: g.gaussian_filter(image, 1, backend=b),
        lambda b: g.spline_filter(image, backend=b),
    ]
    for call in calls:
        with pytest.raises(BackendError, match=missing):
            call(missing)
        with pytest.raises(ParameterError, match="'nonsense'"):
            call("nonsense")
        call("numpy")


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

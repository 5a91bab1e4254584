"""Arrays that come from elsewhere and go back there: of the host, of other libraries, devices and streams; and whether
the stand-in for CuPy is like CuPy."""

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import gpu_stackcorr as gsc
from gpu_stackcorr import arrays, get_backend
from gpu_stackcorr.backends.cuda_ import slabs
from gpu_stackcorr.errors import InputTypeError

rng = np.random.default_rng(7)
STACK = {
    "uint8": rng.integers(0, 256, (6, 33, 48), np.uint8),
    "float32": rng.normal(size=(6, 33, 48)).astype(np.float32),
}


@pytest.mark.parametrize("dtype", STACK)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("slices", [1, 4, 100])
def test_arrays_of_the_host_come_back_there(cupy, monkeypatch, dtype, swapped, slices):
    """Slab by slab, of one or more slices; also where what they come back to is not contiguous."""
    stack, engine = STACK[dtype], get_backend("cuda")
    monkeypatch.setattr(slabs, "HOST_BYTES", slices * 3 * 33 * 48 * 4)
    image = stack.swapaxes(0, 1) if swapped else stack
    axis = 1 if swapped else 0
    field = rng.normal(0, 2, (2, 6, 33, 48)).astype(np.float32)
    field = field.swapaxes(1, 1 + axis)
    how = {"axes": [a for a in range(3) if a != axis], "order": 1, "mode": "reflect"}
    found, expected = (each.warp(image, field, **how) for each in (engine, get_backend("numpy")))
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    labels = STACK["uint8"].astype(np.uint64).swapaxes(0, axis)
    pairs = [each.warp_with_labels(image, labels, field, **how) for each in (engine, get_backend("numpy"))]
    for found, expected in zip(*pairs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    points = rng.uniform(0, 30, (2, 500))
    found, expected = (
        each.map_coordinates(stack[0], points, order=1, mode="reflect") for each in (engine, get_backend("numpy"))
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    sigma = {"sigma": (1.5,), "axes": (2,), "mode": ("reflect",)}
    found, expected = (each.gaussian_filter(image, **sigma) for each in (engine, get_backend("numpy")))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_results_that_stay_on_the_device_are_not_waited_for(cupy):
    downloads = get_backend("cuda").device.downloads()
    downloads.begin([])
    downloads.finish()
    assert not {"copies", "copied"} & set(vars(downloads))


def test_small_arrays_of_the_host_stay_there_unless_asked(cupy):
    small, large = np.eye(64), np.ones((300, 300))
    assert get_backend().name == "cuda"
    assert arrays.take("image", small)[0].name != "cuda"
    assert arrays.take("image", large)[0].name == "cuda"
    assert arrays.take("image", small, "cuda")[0].name == "cuda"
    with arrays.use_backend("cuda"):
        assert arrays.take("image", small)[0].name == "cuda"
    assert arrays.take("image", cupy.asarray(small))[0].name == "cuda"
    assert gsc.stack_correlation(STACK["uint8"]).backend != "cuda"
    assert gsc.stack_correlation(np.tile(STACK["uint8"], (8, 1, 1))).backend == "cuda"


def test_another_backend_is_refused(cupy):
    for call in (
        lambda a: gsc.gaussian_filter(a, 1.0, backend="numba"),
        lambda a: gsc.stack_correlation(a[None], backend="numpy"),
        lambda a: gsc.stack_correlation(STACK["uint8"], a, backend="numpy"),
    ):
        with pytest.raises(InputTypeError, match=r"is on a CUDA device and backend = 'num.*: allowed is 'cuda'"):
            call(cupy.asarray(STACK["uint8"][0]))


@pytest.mark.parametrize(("slices", "thread"), [(None, threading.current_thread().name), (2, "stackcorr")])
def test_the_caller_s_stream_is_that_of_the_work(stand_in, monkeypatch, slices, thread):
    """One slab is measured by the caller, several by a thread of their own."""
    monkeypatch.setattr(type(get_backend("cuda")), "slab_slices", slices)
    cupy = stand_in
    entered = []
    enter = cupy.cuda.Stream.__enter__
    monkeypatch.setattr(
        cupy.cuda.Stream, "__enter__", lambda self: entered.append(threading.current_thread().name) or enter(self)
    )
    gsc.stack_correlation(cupy.asarray(STACK["uint8"]))
    assert entered
    assert all(name.startswith(thread) for name in entered)


# Other libraries.


class Foreign:
    """An array of another library's, which knows its address only."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.__cuda_array_interface__ = array.__cuda_array_interface__
        self.device = "cuda:0"

    def detach(self):
        return self


@pytest.mark.parametrize("library", ["unheard_of", "numba", "torch", "jax"])
def test_arrays_of_other_libraries_come_back_as_theirs(cupy, monkeypatch, library):
    kind = type("Array", (Foreign,), {"__module__": f"{library}.arrays"})
    if library == "numba":
        monkeypatch.setitem(sys.modules, "numba", SimpleNamespace(cuda=SimpleNamespace(as_cuda_array=kind)))
    elif library != "unheard_of":
        monkeypatch.setattr(cupy, "from_dlpack", cupy.asarray)
        kind.__dlpack__ = None
        kind.__dlpack_device__ = lambda self: (2, 0)
        namespace = SimpleNamespace(from_dlpack=kind, Tensor=type("Tensor", (), {}))
        if library == "torch":
            monkeypatch.setitem(sys.modules, "torch", namespace)
        else:
            kind.__array_namespace__ = lambda self: namespace
    image = cupy.asarray(STACK["float32"][0])
    taken = arrays.take("image", kind(image))[1]
    assert taken.data.ptr == image.data.ptr
    found = gsc.gaussian_filter(kind(image), 2.0)
    assert type(found) is (cupy.ndarray if library == "unheard_of" else kind)
    plain = found if library == "unheard_of" else found.array
    np.testing.assert_array_equal(cupy.asnumpy(plain), cupy.asnumpy(gsc.gaussian_filter(image, 2.0)))


def test_an_array_of_another_device_is_refused(stand_in, monkeypatch):
    cupy = stand_in
    monkeypatch.setattr(cupy.ndarray, "device", SimpleNamespace(id=1))
    with pytest.raises(InputTypeError, match=r"on CUDA device 1 and the current one is 0: .*cupy\.cuda\.Device\(1\)"):
        gsc.gaussian_filter(cupy.asarray(STACK["float32"][0]), 2.0)


def test_what_the_stand_in_refuses(stand_in):
    cupy = stand_in
    array = cupy.asarray(STACK["float32"][0])
    for call in (
        lambda: np.asarray(array),
        lambda: array + STACK["float32"][0],
        lambda: np.stack([array, STACK["float32"][0]]),
        lambda: cupy.ascontiguousarray(STACK["float32"]),
    ):
        with pytest.raises(TypeError):
            call()


def test_cupy_has_what_the_stand_in_has(stand_in):
    """Where CuPy is installed: the names at least. Nothing of it is run."""
    here = sys.modules["cupy._arrays"]
    cuda = stand_in.cuda
    names = [*(set(stand_in.__all__) - {"cuda"}), *here.FUNCTIONS]
    names += [f"ndarray.{name}" for name in (*here.VIEWS, *here.RESULTS, *here.FACTS, "T", "data", "device", "get")]
    names += [f"cuda.{name}" for name in cuda.__all__] + ["cuda.get_elapsed_time", "cuda.set_allocator"]
    names += [f"cuda.runtime.{name}" for name in vars(cuda.runtime) if name[0].islower()] + [
        "cuda.runtime.CUDARuntimeError"
    ]
    names += [f"cuda.nvrtc.{name}" for name in vars(cuda.nvrtc) if name[0].islower() and name != "json"]
    code = """if True:
        import functools, importlib.util, sys, warnings
        warnings.simplefilter("ignore")
        if importlib.util.find_spec("cupy") is None:
            sys.exit("not installed")
        import cupy
        def has(name):
            try:
                functools.reduce(getattr, name.split("."), cupy)
            except AttributeError:
                return False
            return True
        print(*[name for name in sys.argv[1:] if not has(name)])"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        pytest.skip(f"CuPy: {done.stderr.strip().splitlines()[-1]}")
    assert done.stdout.split() == []

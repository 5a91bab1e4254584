"""Arrays on a CUDA device, from the public functions down to the kernels: by the stand-in for CuPy, and by CuPy.

``bench/on_gpu.sh`` runs these under compute-sanitizer, with CUDA_NO_POOL=1: an array then ends where its memory ends.
"""

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from emulator.stand_in import cupy_stand_in

import gpu_stackcorr as gsc
from gpu_stackcorr import arrays, available_backends, get_backend, transforms
from gpu_stackcorr.arrays import Stack
from gpu_stackcorr.errors import InputTypeError, ParameterError
from gpu_stackcorr.shifts import shifted_correlation, shifted_stack_correlation

rng = np.random.default_rng(7)
STACK = {
    "uint8": rng.integers(0, 256, (6, 33, 48), np.uint8),
    "float32": rng.normal(size=(6, 33, 48)).astype(np.float32),
}


@pytest.fixture(scope="module", params=["stand-in", pytest.param("gpu", marks=pytest.mark.gpu)])
def cupy(request, tmp_path_factory):
    if request.param == "stand-in":
        with cupy_stand_in(tmp_path_factory.mktemp("code")) as module:
            yield module
        return
    info = available_backends()["cuda"]
    if not info.available:
        if os.environ.get("REQUIRE_GPU") == "1":
            pytest.fail(f"REQUIRE_GPU=1, but cuda is not available: {info.reason}")
        pytest.skip(f"cuda: {info.reason}")
    import cupy

    if os.environ.get("CUDA_NO_POOL") == "1":
        cupy.cuda.set_allocator(None)
    yield cupy


@pytest.fixture
def stand_in(cupy):
    """The stand-in alone."""
    if not hasattr(cupy, "is_stand_in"):
        pytest.skip("asks things of the stand-in for CuPy")
    return cupy


def on_both(cupy, compute, *arrays, tolerance=1e-12, kind=None):
    """Hold what a function makes of device arrays against the numpy backend's."""
    found = compute(*map(cupy.asarray, arrays), None)
    expected = compute(*arrays, "numpy")
    if kind is not None:
        assert isinstance(found, kind)
        assert found.dtype == expected.dtype
        found = cupy.asnumpy(found)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# Images come back as what they were.


@pytest.mark.parametrize("dtype", STACK)
def test_filters_give_device_arrays(cupy, dtype):
    image = STACK[dtype][0]
    on_both(cupy, lambda a, b: gsc.gaussian_filter(a, 2.0, backend=b), image, kind=cupy.ndarray, tolerance=1e-5)
    on_both(cupy, lambda a, b: gsc.spline_filter(a, backend=b), image, kind=cupy.ndarray, tolerance=1e-4)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_elastic_transform_and_its_labels(cupy, order):
    image, labels = STACK["float32"][0], rng.integers(0, 2**63, (33, 48), np.uint64)
    host = gsc.elastic_transform(image, 20.0, 3.0, labels=labels, order=order, seed=1, backend="numpy")
    device = gsc.elastic_transform(cupy.asarray(image), 20.0, 3.0, labels=cupy.asarray(labels), order=order, seed=1)
    assert all(isinstance(each, cupy.ndarray) for each in device)
    np.testing.assert_allclose(cupy.asnumpy(device[0]), host[0], atol=2e-4)
    different = cupy.asnumpy(device[1]) != host[1]
    assert different.mean() < 0.01  # positions in float32 fall on the other side of a half


@pytest.mark.parametrize("of_image", ["host", "device"])
@pytest.mark.parametrize("of_labels", ["host", "device"])
def test_image_and_labels_come_back_each_where_it_was(cupy, of_image, of_labels):
    place = {"host": np.asarray, "device": cupy.asarray}
    kind = {"host": np.ndarray, "device": cupy.ndarray}
    image, labels = STACK["float32"][0], np.arange(33 * 48).reshape(33, 48)
    found = gsc.elastic_transform(place[of_image](image), 5.0, 2.0, labels=place[of_labels](labels), seed=1)
    assert isinstance(found[0], kind[of_image])
    assert isinstance(found[1], kind[of_labels])


VIEWS = {
    "reversed": lambda a: a[..., ::-1, ::-1],
    "every other": lambda a: a[..., ::2, 1::2],
    "transposed": lambda a: a.swapaxes(-1, -2),
    "a crop": lambda a: a[..., 3:30, 5:42],
    "at an odd address": lambda a: a.reshape(-1)[1 : 1 + 6 * 31 * 47].reshape(6, 31, 47),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", STACK)
def test_views_of_device_arrays(cupy, dtype, view):
    stack = STACK[dtype]
    seen, host = VIEWS[view](cupy.asarray(stack)), np.ascontiguousarray(VIEWS[view](stack))
    r = gsc.stack_correlation(host, backend="numpy").statistic
    np.testing.assert_allclose(gsc.stack_correlation(seen).statistic, r, rtol=1e-12)
    matrix = gsc.correlation_matrix(host, backend="numpy").statistic
    np.testing.assert_allclose(gsc.correlation_matrix(seen).statistic, matrix, rtol=1e-9, atol=1e-12)
    for compute in (
        lambda a, b: gsc.gaussian_filter(a, 2.0, backend=b),
        lambda a, b: gsc.elastic_transform(a, 5.0, 2.0, axes=(1, 2), seed=1, backend=b),
        lambda a, b: gsc.spline_filter(a, backend=b),
    ):
        exact = compute(host, "numpy")
        np.testing.assert_allclose(cupy.asnumpy(compute(seen, None)), exact, atol=1 if dtype == "uint8" else 1e-4)


def test_warp_by_a_field_of_the_host(cupy):
    image, field = STACK["uint8"][0], rng.normal(size=(2, 33, 48)).astype(np.float32)
    on_both(cupy, lambda a, b: gsc.warp(a, field, backend=b), image, kind=cupy.ndarray, tolerance=1)


def test_a_device_array_beside_one_of_the_host_decides(cupy):
    image, field = STACK["uint8"][0], rng.normal(size=(2, 33, 48)).astype(np.float32)
    warped = gsc.warp(image, cupy.asarray(field))
    assert isinstance(warped, np.ndarray)
    assert gsc.image_correlation(image, cupy.asarray(image)).backend == "cuda"
    assert gsc.image_correlation(cupy.asarray(image), image).statistic == 1.0


def test_map_coordinates(cupy):
    image, points = STACK["float32"][0], rng.uniform(-5, 50, (2, 77)).astype(np.float32)
    for order, mode in ((1, "reflect"), (3, "nearest")):
        on_both(
            cupy,
            lambda a, p, b, order=order, mode=mode: gsc.map_coordinates(a, p, order=order, mode=mode, backend=b),
            *(image, points),
            kind=cupy.ndarray,
            tolerance=1e-3,
        )


def test_what_only_scipy_does_is_not_done_behind_the_callers_back(cupy):
    image = cupy.asarray(STACK["float32"][0])
    for call in (
        lambda: gsc.gaussian_filter(image, 1.0, order=1),
        lambda: gsc.spline_filter(image, output=np.float32),
        lambda: gsc.map_coordinates(image, np.zeros((2, 3)), order=1, mode="unheard of"),
        lambda: gsc.gaussian_filter(cupy.asarray(np.ones((3, 4), np.complex64)), 1.0),
    ):
        with pytest.raises(InputTypeError, match=r"^input is on a CUDA device .*host copy"):
            call()


def test_dtypes_are_checked_as_on_the_host(cupy):
    with pytest.raises(InputTypeError, match="image has dtype complex64"):
        gsc.elastic_transform(cupy.asarray(np.ones((3, 4), np.complex64)), 1, 1)


# Statistics are NumPy's.


@pytest.mark.parametrize("dtype", STACK)
@pytest.mark.parametrize("ci", ["tiles", "effective", "fisher"])
def test_stack_correlation(cupy, dtype, ci):
    found = gsc.stack_correlation(cupy.asarray(STACK[dtype]), ci=ci)
    expected = gsc.stack_correlation(STACK[dtype], ci=ci, backend="numpy")
    assert found.backend == "cuda"
    assert type(found.statistic) is np.ndarray
    np.testing.assert_allclose(found.statistic, expected.statistic, rtol=1e-12)
    np.testing.assert_allclose(found.standard_error, expected.standard_error, rtol=1e-9)
    if dtype == "uint8":
        np.testing.assert_array_equal(found.statistic, expected.statistic)


@pytest.mark.parametrize("reference", ["image", "several", "on the host"])
def test_references(cupy, reference):
    stack = STACK["uint8"]
    what = {"image": cupy.asarray(stack[2]), "several": [1, cupy.asarray(stack[2])], "on the host": stack[2]}[reference]
    found = gsc.stack_correlation(cupy.asarray(stack), what)
    found = found[-1] if reference == "several" else found
    np.testing.assert_array_equal(found.statistic, gsc.stack_correlation(stack, stack[2], backend="numpy").statistic)


def battery(stack, noise, backend):
    """Return every kind of transform's correlations."""
    members = [
        transforms.identity,
        transforms.flip_right_left,
        transforms.flip_up_down,
        transforms.AddNoise(2.0),
        transforms.Compose(transforms.flip_up_down, transforms.AddNoise(noise)),
        transforms.Elastic(20.0, 3.0),
        transforms.Compose(transforms.Elastic(10.0, 2.0), transforms.flip_right_left, transforms.AddNoise(0.5)),
        transforms.Compose(negative, transforms.AddNoise(1.0)),
    ]
    return gsc.transform_battery(stack, members, seed=3, backend=backend)


def negative(image):
    """A function of the caller's."""
    return -image.astype(np.float64)


@pytest.mark.parametrize("dtype", STACK)
def test_transform_battery(cupy, dtype):
    noise = rng.normal(size=(33, 48))
    found = battery(cupy.asarray(STACK[dtype]), cupy.asarray(noise), None)
    expected = battery(STACK[dtype], noise, "numpy")
    assert list(found) == list(expected)
    for name, curve in found.items():
        # Positions are rounded to float32, and samples of integers to whole numbers.
        np.testing.assert_allclose(curve.statistic, expected[name].statistic, atol=2e-3 if "elastic" in name else 1e-9)


def test_rotations_of_square_slices(cupy):
    stack = STACK["uint8"][:, :33, :33].copy()
    found = gsc.stack_correlation(cupy.asarray(stack), transform=transforms.rotate_90)
    expected = gsc.stack_correlation(stack, transform=transforms.rotate_90, backend="numpy")
    np.testing.assert_array_equal(found.statistic, expected.statistic)


@pytest.mark.parametrize("ci", ["tiles", "effective"])
@pytest.mark.parametrize("policy", ["omit", "propagate"])
def test_nan(cupy, policy, ci):
    stack = STACK["float32"].copy()
    stack[2, 3:5, 7] = np.nan
    stack[4] = np.nan
    with np.errstate(invalid="ignore"):
        found = gsc.stack_correlation(cupy.asarray(stack), nan_policy=policy, ci=ci)
        expected = gsc.stack_correlation(stack, nan_policy=policy, ci=ci, backend="numpy")
    np.testing.assert_allclose(found.statistic, expected.statistic, rtol=1e-12)
    np.testing.assert_allclose(found.standard_error, expected.standard_error, rtol=1e-9)
    assert found.flags == expected.flags
    for call in (
        lambda a: gsc.stack_correlation(a),
        lambda a: gsc.stack_correlation(a, 2),
        lambda a: gsc.image_correlation(a[0], a[2]),
        lambda a: gsc.lag_correlation(a, 2),
        lambda a: shifted_stack_correlation(a, max_shift=2),
    ):
        with pytest.raises(ParameterError, match="NaN") as on_device:
            call(cupy.asarray(stack))
        with pytest.raises(ParameterError) as on_host:
            call(stack)
        assert str(on_device.value) == str(on_host.value)


def test_masks_of_the_device(cupy):
    mask = rng.random((33, 48)) < 0.7
    stack = STACK["uint8"]
    for of_mask in (mask, cupy.asarray(mask)):
        found = gsc.stack_correlation(cupy.asarray(stack), mask=of_mask)
        expected = gsc.stack_correlation(stack, mask=mask, backend="numpy")
        np.testing.assert_array_equal(found.statistic, expected.statistic)


@pytest.mark.parametrize("dtype", STACK)
def test_all_pairs(cupy, dtype):
    stack = STACK[dtype]
    for compute in (
        lambda a, b: gsc.correlation_matrix(a, backend=b).statistic,
        lambda a, b: gsc.lag_correlation(a, 3, backend=b).statistic,
        lambda a, b: gsc.lag_correlation(a, 3, backend=b).standard_error,
        lambda a, b: gsc.correlation_matrix(a, backend=b).pair(0, 2).standard_error,
        lambda a, b: shifted_stack_correlation(a, max_shift=2, backend=b).statistic,
        lambda a, b: shifted_correlation(a[0], a[1], max_shift=2, backend=b).statistic,
    ):
        on_both(cupy, compute, stack, tolerance=1e-9)


def test_outliers(cupy):
    stack = gsc.phantom((24, 32, 32), correlation_length=8.0, seed=1).astype(np.float32)
    stack[11] = stack[11] * 1e-4 + rng.normal(size=(32, 32)).astype(np.float32) * 1e-4
    found, expected = (gsc.find_outlier_slices(a) for a in (cupy.asarray(stack), stack))
    assert [(o.slice, o.fault) for o in found] == [(o.slice, o.fault) for o in expected]


def test_transforms_called_alone(cupy):
    image = STACK["float32"][0]
    for transform in (
        transforms.flip_up_down,
        transforms.rotate_90,
        transforms.AddNoise(1.0, seed=2),
        transforms.AddNoise(cupy.asarray(image)),
    ):
        found = transform(cupy.asarray(image))
        assert isinstance(found, cupy.ndarray)
        np.testing.assert_allclose(cupy.asnumpy(found), transform(image), atol=1e-9)


# Nothing is copied that need not be.


def test_a_stack_is_never_copied_to_the_host(cupy, monkeypatch):
    stack = cupy.asarray(STACK["uint8"])
    copied = []
    asnumpy = cupy.asnumpy
    monkeypatch.setattr(cupy, "asnumpy", lambda array: copied.append(array) or asnumpy(array))
    data = Stack(stack)
    assert data.in_memory
    assert isinstance(data.slab(1, 3), cupy.ndarray)
    assert data.slab(1, 3).data.ptr == stack[1:].data.ptr
    assert isinstance(data.find(-1)[0], cupy.ndarray)
    battery(stack, STACK["float32"][0].astype(np.float64), None)
    gsc.correlation_matrix(stack)
    assert copied
    first = stack.data.ptr
    assert not any(isinstance(a, cupy.ndarray) and first <= a.data.ptr < first + stack.nbytes for a in copied)


@pytest.mark.parametrize("dtype", STACK)
@pytest.mark.parametrize("swapped", [False, True])
def test_arrays_of_the_host_come_back_there(cupy, dtype, swapped):
    """Also where what they come back to is not contiguous."""
    stack, engine = STACK[dtype], get_backend("cuda")
    image = stack.swapaxes(0, 1) if swapped else stack
    axis = 1 if swapped else 0
    field = rng.normal(0, 2, (2, 6, 33, 48)).astype(np.float32)
    field = field.swapaxes(1, 1 + axis)
    how = {"axes": [a for a in range(3) if a != axis], "order": 1, "mode": "reflect"}
    found, expected = (each.warp(image, field, **how) for each in (engine, get_backend("numpy")))
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    points = rng.uniform(0, 30, (2, 500))
    found, expected = (
        each.map_coordinates(stack[0], points, order=1, mode="reflect") for each in (engine, get_backend("numpy"))
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    sigma = {"sigma": (1.5,), "axes": (2,), "mode": ("reflect",)}
    found, expected = (each.gaussian_filter(image, **sigma) for each in (engine, get_backend("numpy")))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


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


def test_the_caller_s_stream_is_that_of_the_work(stand_in, monkeypatch):
    cupy = stand_in
    entered = []
    enter = cupy.cuda.Stream.__enter__
    monkeypatch.setattr(
        cupy.cuda.Stream, "__enter__", lambda self: entered.append(threading.current_thread().name) or enter(self)
    )
    gsc.stack_correlation(cupy.asarray(STACK["uint8"]))
    assert entered
    assert all(name.startswith("stackcorr") for name in entered)


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

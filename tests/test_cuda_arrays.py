"""Arrays on a CUDA device, from the public functions down to the kernels: by the stand-in for CuPy, and by CuPy.

``bench/on_gpu.sh`` runs these under compute-sanitizer, with CUDA_NO_POOL=1: an array then ends where its memory ends.
"""

import numpy as np
import pytest

import gpu_stackcorr as gsc
from gpu_stackcorr import transforms
from gpu_stackcorr.arrays import Stack
from gpu_stackcorr.errors import InputTypeError, ParameterError
from gpu_stackcorr.shifts import shifted_correlation, shifted_stack_correlation

rng = np.random.default_rng(7)
STACK = {
    "uint8": rng.integers(0, 256, (6, 33, 48), np.uint8),
    "float32": rng.normal(size=(6, 33, 48)).astype(np.float32),
}


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
    host = gsc.elastic_transform(
        image, 20.0, 3.0, labels=labels, order=order, seed=1, check_folds=False, backend="numpy"
    )
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


@pytest.mark.parametrize(
    "lay_out", [lambda a: a.astype(a.dtype.newbyteorder(">")), lambda a: a[:, ::-1], lambda a: a.T]
)
def test_large_host_arrays_go_to_the_device_in_pieces(cupy, lay_out, monkeypatch):
    from gpu_stackcorr.backends.cuda_ import gpu

    monkeypatch.setattr(gpu, "PIECE_BYTES", 1000)
    image = lay_out(STACK["float32"][0])
    moved = gpu.Gpu().to_device(image)
    assert isinstance(moved, cupy.ndarray)
    np.testing.assert_array_equal(cupy.asnumpy(moved), image)

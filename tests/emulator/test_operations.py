"""Every kernel on the emulator against the numpy backend, watched; these tests run again under each sanitizer."""

import pytest

from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.cuda_.backend import CudaBackend
from gpu_stackcorr.backends.cuda_.loader import kernel_directory

from . import emulated_device, emulated_devices, sanitizer
from .operations import CASES, differences, small_grids
from .translate import global_functions


@pytest.fixture(scope="module", params=emulated_devices())
def device(request):
    return emulated_device(request.param, watched=True)


@pytest.fixture(autouse=True)
def _small_grids():
    with small_grids():
        yield


@pytest.mark.parametrize("name", CASES)
def test_as_numpy(device, name):
    call, tolerance = CASES[name]
    assert not differences(call(CudaBackend(device)), call(get_backend("numpy")), tolerance)


@pytest.mark.skipif(bool(sanitizer()), reason="once is enough")
def test_every_kernel_is_launched():
    device = emulated_device("emulator", watched=True)
    for call, _ in CASES.values():
        call(CudaBackend(device))
    every = {(path.name, name) for path in kernel_directory().glob("*.cu") for name in global_functions(path)}
    assert {(file, name.partition("<")[0]) for file, name in device.used_kernels()} == every, (
        "add a case to operations.py"
    )

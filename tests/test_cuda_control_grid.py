"""Control grids on an emulated device: groups of fields, and images around the tiles of the kernels."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from emulator import EmulatedDevice

from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.cuda_ import control_grid

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


@pytest.fixture(scope="module")
def device():
    return EmulatedDevice("random")


@pytest.mark.parametrize("shape", [(257,), (63, 129), (64, 128), (65, 127), (3, 64, 5), (2, 7, 130)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("group_bytes", [1, 2**28])
def test_groups_of_fields_around_the_tiles(device, monkeypatch, shape, dtype, group_bytes):
    monkeypatch.setattr(control_grid, "GROUP_BYTES", group_bytes)
    names, alpha, distance = np.arange(3, dtype=np.uint64), np.array([1.0, -2.0, 0.5]), [1.25, 3.0, 8.0][: len(shape)]
    how = {"alpha": alpha, "distance": distance, "dtype": dtype}
    field = control_grid.control_grid(device, 7, names, shape, **how)
    expected = get_backend("numpy").control_grid(7, names, shape, **how)
    assert field.dtype == dtype
    np.testing.assert_allclose(field, expected, rtol=0, atol=1e-6 if dtype == np.float32 else 1e-12)


def test_results_stay_on_the_device(device):
    for box in (None, ((2, 2), (0, 5))):
        field = control_grid.control_grid(device, 7, 8, (4, 5), alpha=1.0, distance=(1.0, 2.0), box=box)
        assert device.to_device(field) is field

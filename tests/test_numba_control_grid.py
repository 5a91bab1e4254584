"""Control grids by Numba: threads, groups of fields and the borders of tasks change no bit."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_stackcorr.arrays import available_backends, get_backend
from gpu_stackcorr.threads import use_threads

if not available_backends()["numba"].available:
    pytest.skip(available_backends()["numba"].reason, allow_module_level=True)

from gpu_stackcorr.backends.numba_ import control_grid

numba = get_backend("numba")

FIELDS = [((901,), (1.0,)), ((90, 101), (1.5, 8.0)), ((12, 31, 40), (2.0, 3.0, 5.5))]


def drawn(shape, distance, **options):
    names = np.arange(5, dtype=np.uint64)
    return numba.control_grid(7, names, shape, alpha=np.arange(1.0, 6.0), distance=distance, **options)


@pytest.mark.parametrize(("shape", "distance"), FIELDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("whole", [True, False])
def test_threads_and_tasks_change_no_bit(monkeypatch, shape, distance, dtype, whole):
    box = None if whole else tuple((n // 5, n - n // 4) for n in shape)
    expected = drawn(shape, distance, box=box, dtype=dtype)
    for part, group in ((1 << 16, 1), (100, 1 << 21), (7, 3000)):
        monkeypatch.setattr(control_grid, "PART", part)
        monkeypatch.setattr(control_grid, "GROUP", group)
        for threads in (1, 3):
            with use_threads(threads):
                np.testing.assert_array_equal(drawn(shape, distance, box=box, dtype=dtype), expected)

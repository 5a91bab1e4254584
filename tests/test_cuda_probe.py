"""What is said of a GPU that cannot be used, and that the work then goes on without one. The GPU is the stand-in's."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from emulator.stand_in import cupy_stand_in

import gpu_stackcorr
from gpu_stackcorr import available_backends, get_backend
from gpu_stackcorr.errors import BackendError


@pytest.fixture
def cupy(tmp_path):
    with cupy_stand_in(tmp_path) as module:
        yield module


def refusing(status):
    """Return a function that raises CuPy's error of a status."""

    def refuse(*_):
        raise sys.modules["cupy.cuda.runtime"].CUDARuntimeError(status, f"cudaError {status}: refused\nand more")

    return refuse


def no_program(*_):
    raise RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: no such file")


def no_compilation(program, options):
    nvrtc = sys.modules["cupy.cuda.nvrtc"]
    program.log = "convert.cu(9): error: expected a ';'\n1 error detected in the compilation"
    raise nvrtc.NVRTCError("NVRTC_ERROR_COMPILATION (6)")


FAULTS = {
    "no driver": ("runtime.driverGetVersion", lambda: 0, "^no NVIDIA driver is installed$"),
    "driver too old": (
        "runtime.getDeviceCount",
        refusing(35),
        r"serves CUDA 12\.4 and CuPy needs 13\.0: update the driver, or install CuPy for CUDA 12 ",
    ),
    "no device": ("runtime.getDeviceCount", refusing(100), "finds no GPU"),
    "hidden devices": ("runtime.getDeviceCount", lambda: 0, "CUDA_VISIBLE_DEVICES"),
    "forked": ("runtime.getDeviceCount", refusing(3), "forked .* spawn"),
    "broken driver": ("runtime.getDeviceCount", refusing(999), "^the NVIDIA driver answers: cudaError 999: refused$"),
    "GPU too old": ("Device.compute_capability", "61", r"^Emulated GPU has compute capability 6\.1: 7\.0 or higher"),
    "AMD": ("runtime.is_hip", True, "AMD"),
    "no NVRTC": ("nvrtc.getVersion", no_program, r"^NVRTC.* is missing: pip install .*libnvrtc\.so\.13"),
    "does not compile": (
        "nvrtc.compileProgram",
        no_compilation,
        r"^kernel convert<u8, float> does not compile \(-arch=sm_90\): convert\.cu\(9\): error: expected a ';'$",
    ),
    "does not run": ("Device.synchronize", None, "^the GPU does not compute: an illegal memory access$"),
    "wrong result": ("wrong result", None, "its results are wrong"),
}


def plant(monkeypatch, cupy, fault):
    """Make something about CUDA wrong; return what is said of it."""
    place, value, message = FAULTS[fault]
    if fault == "driver too old":
        monkeypatch.setattr(cupy.cuda.runtime, "driverGetVersion", lambda: 12040)
    if fault == "does not run":

        def illegal(array):
            raise RuntimeError("an illegal memory access\nwas encountered")

        monkeypatch.setattr(cupy, "asnumpy", illegal)
    elif fault == "wrong result":
        monkeypatch.setattr(cupy, "asnumpy", lambda array: array.get() + 1)
    else:
        owner, _, name = place.rpartition(".")
        monkeypatch.setattr(getattr(cupy.cuda, owner), name, value)
    return message


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_one_clear_message_and_the_cpu_does_the_work(cupy, monkeypatch, caplog, fault):
    message = plant(monkeypatch, cupy, fault)
    info = available_backends()["cuda"]
    assert not info.available
    assert "\n" not in info.reason
    with pytest.raises(BackendError, match=message.strip("^")) as caught:
        get_backend("cuda")
    assert info.reason in str(caught.value)
    with caplog.at_level(logging.INFO, "gpu_stackcorr"):
        smooth = gpu_stackcorr.gaussian_filter(np.eye(300), 1.0)
    assert isinstance(smooth, np.ndarray)
    reasons = [record.getMessage() for record in caplog.records if "cuda" in record.getMessage()]
    assert reasons == [f"not on cuda: {info.reason}"]


def test_a_gpu_that_answers_is_chosen_and_named(cupy):
    info = available_backends()["cuda"]
    assert info.available, info.reason
    assert info.device == "Emulated GPU, compute capability 9.0, 1 GiB"
    assert get_backend().name == "cuda"


def test_what_was_found_is_asked_once_a_process(cupy, monkeypatch):
    assert available_backends()["cuda"].available
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", refusing(3))  # as it is in a process that was forked
    assert available_backends()["cuda"].available
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert "forked" in available_backends()["cuda"].reason
    assert get_backend().name != "cuda"


def test_a_kernel_that_does_not_compile_is_an_error_of_the_backend(cupy, monkeypatch):
    backend = get_backend("cuda")
    monkeypatch.setattr(cupy.cuda.nvrtc, "compileProgram", no_compilation)
    with pytest.raises(BackendError, match=r"kernel .* does not compile"):
        backend.random_field(1, 2, (5,))


def test_a_cupy_that_cannot_be_imported(tmp_path):
    lines = ["=" * 64, "Failed to import CuPy.", "", "Original error:", "  ImportError: libcuda.so.1: no such file", ""]
    (tmp_path / "cupy").mkdir()
    (tmp_path / "cupy" / "__init__.py").write_text(f"raise ImportError({chr(10).join(lines)!r})\n")
    code = "from gpu_stackcorr import available_backends; print(available_backends()['cuda'].reason)"
    root = Path(gpu_stackcorr.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "CuPy cannot be imported: ImportError: libcuda.so.1: no such file"

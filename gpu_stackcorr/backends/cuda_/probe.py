"""Whether the ``cuda`` backend can run here: a GPU has answered, with the result of one of our kernels.

CuPy is imported where it is installed; nothing else is there to ask the driver. An answer is kept for the process that
asked: what CUDA has set up in a process is of no use to those forked from it.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from gpu_stackcorr.backends.info import BackendInfo
from gpu_stackcorr.errors import BackendError

LOWEST_CAPABILITY = 70
"""Threads of a warp that go their own ways and meet at ``__syncwarp``: from Volta on, compute capability 7.0."""

INSTALL = 'pip install "gpu-stackcorr[cuda12]" or "gpu-stackcorr[cuda13]"'

NOT_INITIALISED, DRIVER_TOO_OLD, NO_DEVICE = 3, 35, 100
"""``cudaErrorInitializationError``, ``cudaErrorInsufficientDriver`` and ``cudaErrorNoDevice``."""


class _UnavailableError(Exception):
    """Why there is no CUDA here."""


def probe() -> BackendInfo:
    """Return what is known of the backend on this machine."""
    if find_spec("cupy") is None:
        return BackendInfo("cuda", False, "", "", f"CuPy is not installed: {INSTALL}")
    return _of_process(os.getpid())


@cache
def _of_process(_process: int) -> BackendInfo:
    """Return what is known in a process."""
    known = _version()
    try:
        cupy = _import()
        device = _device(cupy)
        _check_compiler()
        _check_result()
    except _UnavailableError as error:
        return BackendInfo("cuda", False, known, "", str(error))
    except Exception as error:  # whatever a driver, a compiler or a device that is broken makes CuPy raise
        return BackendInfo("cuda", False, known, "", f"the GPU does not compute: {_first_line(error)}")
    return BackendInfo("cuda", True, known, device)


def _version() -> str:
    """Return the version of CuPy as its distribution has it; empty where it is none of the usual ones."""
    for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def _import() -> Any:
    """Return CuPy, which warns of what it does not find on its way; what is missing is told later."""
    try:
        with warnings.catch_warnings(action="ignore"):
            import cupy
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip(" =")]
        reason = next((line for line in reversed(lines) if "Error" in line), lines[0] if lines else repr(error))
        raise _UnavailableError(f"CuPy cannot be imported: {reason}") from error
    return cupy


def _device(cupy: Any) -> str:
    """Return what the current device is, or raise where there is none that serves."""
    runtime = cupy.cuda.runtime
    if runtime.is_hip:
        raise _UnavailableError(f"this CuPy is built for AMD GPUs, and an NVIDIA GPU is needed: {INSTALL}")
    driver, needed = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver == 0:
        raise _UnavailableError("no NVIDIA driver is installed")
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise _UnavailableError(_of_driver(error, driver, needed)) from error
    if count == 0:
        raise _UnavailableError("the NVIDIA driver finds no GPU (or CUDA_VISIBLE_DEVICES hides it)")
    device = cupy.cuda.Device()
    properties = runtime.getDeviceProperties(device.id)
    capability, name = int(device.compute_capability), properties["name"].decode()
    if capability < LOWEST_CAPABILITY:
        raise _UnavailableError(
            f"{name} has compute capability {capability / 10}: {LOWEST_CAPABILITY / 10} or higher is needed"
        )
    return f"{name}, compute capability {capability / 10}, {properties['totalGlobalMem'] / 2**30:.0f} GiB"


def _of_driver(error: Any, driver: int, needed: int) -> str:
    """Return what the driver's refusal means."""
    match error.status:
        case status if status == DRIVER_TOO_OLD:
            return (
                f"the NVIDIA driver serves CUDA {_dotted(driver)} and CuPy needs {_dotted(needed)}: update the driver, "
                f"or install CuPy for CUDA {driver // 1000} ({INSTALL})"
            )
        case status if status == NO_DEVICE:
            return "the NVIDIA driver finds no GPU (or CUDA_VISIBLE_DEVICES hides it)"
        case status if status == NOT_INITIALISED:
            return "CUDA does not start: a process forked from one that uses CUDA cannot use it (start it by spawn)"
    return f"the NVIDIA driver answers: {_first_line(error)}"


def _dotted(number: int) -> str:
    """Return a version as CUDA writes it: 13020 is 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _check_compiler() -> None:
    """Raise where NVRTC is missing."""
    from .compiler import version as nvrtc_version

    try:
        nvrtc_version()
    except Exception as error:
        raise _UnavailableError(
            f'NVRTC, which compiles the kernels, is missing: pip install "cupy-cuda12x[ctk]" or "cupy-cuda13x[ctk]" '
            f"({_first_line(error)})"
        ) from error


def _check_result() -> None:
    """Raise where one of our kernels does not compile, does not run, or has a wrong result."""
    import numpy as np

    from .gpu import Gpu
    from .passes import convert

    device, numbers = Gpu(), np.arange(64, dtype=np.uint8)
    result = device.empty(numbers.shape, np.float32)
    try:
        convert(device, device.to_device(numbers), result)
    except BackendError as error:
        raise _UnavailableError(_first_line(error)) from error
    if not np.array_equal(device.to_host(result), numbers):
        raise _UnavailableError("the GPU computes, and its results are wrong")


def _first_line(error: Exception) -> str:
    """Return the first line of what an exception says, or its name where it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]

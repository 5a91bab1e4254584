"""A CUDA device for tests: the kernels' own sources, compiled by g++ and run thread by thread on the CPU."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from gpu_stackcorr.backends.cuda_.device import Device, Kernel
from gpu_stackcorr.backends.cuda_.loader import kernel_directory

from . import build
from .arguments import Parameter, lay_out

Schedule = Literal["in order", "reversed", "random"]  # in the order of `block.h`


class EmulatorError(RuntimeError):
    """What went wrong in a kernel: a bug in it, or a launch that a GPU would refuse."""


class Entry(ctypes.Structure):
    """``emulator::Entry``."""

    _fields_ = [("call", ctypes.c_void_p), ("count", ctypes.c_int), ("parameters", ctypes.POINTER(Parameter))]


class EmulatedDevice(Device):
    """Runs kernels one block at a time. Device arrays are NumPy arrays in memory of the emulator's.

    Parameters
    ----------
    schedule
        Which threads and blocks go first.
    seed
        Of the random schedule, the same at every launch.
    sources
        The folder of the CUDA sources.
    memory_bytes
        How much memory the device has.
    optimised
        Whether kernels are compiled to run fast. If not, compiling takes half as long.
    watched
        Whether UndefinedBehaviorSanitizer watches kernels, where no other sanitizer does.
    """

    multiprocessors = 4
    shared_bytes = 228 * 1024

    def __init__(
        self,
        schedule: Schedule = "in order",
        *,
        seed: int = 0,
        sources: Path | None = None,
        memory_bytes: int = 2**30,
        optimised: bool = True,
        watched: bool = False,
    ) -> None:
        if schedule not in get_args(Schedule):
            raise ValueError(f"schedule {schedule!r}: allowed are {', '.join(map(repr, get_args(Schedule)))}")
        self.order = get_args(Schedule).index(schedule)
        self.seed = seed
        self.sources = sources or kernel_directory()
        self.memory_bytes = memory_bytes
        self.optimised, self.watched = optimised, watched
        self.used_bytes = 0
        self._kernels: dict[tuple[str, str], EmulatedKernel] = {}

    def kernel(self, file: str, name: str) -> Kernel:
        """Return a kernel by its name expression, compiled now if it was not before."""
        if (file, name) not in self._kernels:
            library = build.kernel(self.sources / file, name, optimised=self.optimised, watched=self.watched)
            self._kernels[file, name] = EmulatedKernel(self, name, library)
        return self._kernels[file, name]

    def used_kernels(self) -> list[tuple[str, str]]:
        """Return the files and name expressions of the kernels asked for so far."""
        return list(self._kernels)

    def empty(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """Return an array whose bytes are all ones: NaN, or -1."""
        dtype = np.dtype(dtype)
        n_bytes = prod(shape) * dtype.itemsize
        if n_bytes > self.free_bytes():
            raise MemoryError(f"{n_bytes} bytes asked of an emulated device with {self.free_bytes()} left")
        address = engine().emulator_allocate(n_bytes)
        memory = (ctypes.c_char * n_bytes).from_address(address)
        self.used_bytes += n_bytes
        weakref.finalize(memory, self._free, address, n_bytes).atexit = False
        return np.ndarray(shape, dtype, memory)

    def to_device(self, array: np.ndarray) -> np.ndarray:
        """Return the array itself if a kernel can read it where it is, else a copy."""
        if array.flags.c_contiguous and array.dtype.isnative and is_on_device(array):
            return array
        copy = self.empty(array.shape, array.dtype.newbyteorder("="))
        copy[...] = array
        return copy

    def to_host(self, array: np.ndarray) -> np.ndarray:
        """Return a copy in ordinary memory."""
        return np.array(array)

    def free_bytes(self) -> int:
        """Return how much is left of the memory."""
        return self.memory_bytes - self.used_bytes

    def _free(self, address: int, n_bytes: int) -> None:
        engine().emulator_free(address)
        self.used_bytes -= n_bytes


class EmulatedKernel:
    """One instantiation of a ``__global__`` function."""

    def __init__(self, device: EmulatedDevice, name: str, library: Path) -> None:
        engine()  # it must be there before what is linked to it
        self.device, self.name = device, name
        self.library = ctypes.PyDLL(str(library))
        self.library.emulator_entry.restype = ctypes.POINTER(Entry)
        entry = self.library.emulator_entry().contents
        self.call, self.parameters = ctypes.c_void_p(entry.call), entry.parameters[: entry.count]

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], *, shared_bytes: int = 0
    ) -> None:
        """Check the arguments, run the whole grid, and raise EmulatorError if a kernel went wrong."""
        try:
            laid = lay_out(self.parameters, arguments, is_on_device)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        sizes = [(ctypes.c_uint * 3)(*(*map(int, size), 1, 1)[:3]) for size in (grid, block)]
        message = ctypes.create_string_buffer(2048)
        order, seed = self.device.order, self.device.seed
        if engine().emulator_launch(self.call, *sizes, shared_bytes, laid.pointers, order, seed, message, len(message)):
            raise EmulatorError(f"{self.name}: {message.value.decode()}")


@cache
def engine() -> Any:
    """Return the engine. PyDLL keeps other Python threads out: the engine runs one launch at a time."""
    library = ctypes.PyDLL(str(build.engine()), mode=ctypes.RTLD_GLOBAL)
    library.emulator_allocate.argtypes = [ctypes.c_size_t]
    library.emulator_allocate.restype = ctypes.c_void_p
    library.emulator_free.argtypes = [ctypes.c_void_p]
    library.emulator_free.restype = None
    library.emulator_is_device_memory.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library.emulator_launch.argtypes = [
        *[ctypes.c_void_p] * 3,
        ctypes.c_size_t,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_uint64,
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]
    return library


def is_on_device(array: np.ndarray) -> bool:
    """Return whether a contiguous array lies in memory of an emulated device."""
    return bool(engine().emulator_is_device_memory(array.ctypes.data, array.nbytes))

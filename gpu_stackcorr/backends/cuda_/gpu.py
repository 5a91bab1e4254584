"""A GPU, through CuPy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import cycle
from typing import Any

import cupy
import numpy as np

from gpu_stackcorr.backends.base import Array
from gpu_stackcorr.errors import BackendError

from .device import Device, Kernel
from .loader import source

OPTIONS = ("-std=c++17", "-fmad=false")
"""No contraction: kernels say ``fma`` where they mean it, and digits are those of the reference and the emulator."""


class Gpu(Device):
    """The current CUDA device and stream."""

    @property
    def multiprocessors(self) -> int:  # type: ignore[override]
        """Number of multiprocessors of the current device."""
        return int(cupy.cuda.Device().attributes["MultiProcessorCount"])

    def kernel(self, file: str, name: str) -> Kernel:
        """Return a kernel, compiled on first use on the current device."""
        return _kernel(int(cupy.cuda.Device().id), file, name)

    def empty(self, shape: Sequence[int], dtype: Any) -> Array:
        """Return an array in device memory, from CuPy's pool."""
        array: Array = cupy.empty(tuple(shape), dtype)
        return array

    def to_device(self, array: Array) -> Array:
        """Copy a host array to the device; a device array only where it is not contiguous."""
        if isinstance(array, np.ndarray):
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        moved: Array = cupy.ascontiguousarray(array)
        return moved

    def upload(self, parts: Iterable[Array]) -> Iterator[Array]:
        """Copy parts of the host by two buffers in turn, one while the device works on what is in the other."""
        work, copies = cupy.cuda.get_current_stream(), cupy.cuda.Stream(non_blocking=True)
        buffers = [_Buffer(), _Buffer()]
        try:
            for part, buffer in zip(parts, cycle(buffers), strict=False):
                yield buffer.filled(part, work, copies) if isinstance(part, np.ndarray) else self.to_device(part)
                buffer.used.record(work)
        finally:
            for buffer in buffers:
                buffer.copied.synchronize()  # before its memory is given back

    def to_host(self, array: Array) -> Array:
        """Copy a device array to the host."""
        host: Array = cupy.asnumpy(array)
        return host

    def free_bytes(self) -> int:
        """Return the memory that the driver has left and CuPy's pool holds in reserve."""
        free, _ = cupy.cuda.runtime.memGetInfo()
        return int(free) + int(cupy.get_default_memory_pool().free_bytes())


class _Buffer:
    """Memory of the host that the device copies from by itself, and memory of the device to copy to."""

    def __init__(self) -> None:
        self.host, self.device = np.empty(0, np.uint8), cupy.empty(0, np.uint8)
        self.copied, self.used = (cupy.cuda.Event(disable_timing=True) for _ in range(2))

    def filled(self, part: Array, work: Any, copies: Any) -> Array:
        """Return a host array on the device: the stream `work` waits until the stream `copies` has copied it."""
        kind = part.dtype.newbyteorder("=")
        if len(self.host) < part.nbytes:
            self.copied.synchronize()
            self.host = np.frombuffer(cupy.cuda.alloc_pinned_memory(part.nbytes), np.uint8, part.nbytes)
            self.device = cupy.empty(part.nbytes, np.uint8)
            self.used.record(work)  # the pool may have taken it from work that still runs
        self.copied.synchronize()  # of the part before the last
        self.host[: part.nbytes].view(kind).reshape(part.shape)[...] = part
        copies.wait_event(self.used)
        self.device.data.copy_from_host_async(self.host.ctypes.data, part.nbytes, copies)
        self.copied.record(copies)
        work.wait_event(self.copied)
        filled: Array = self.device[: part.nbytes].view(kind).reshape(part.shape)
        return filled


@cache
def _kernel(device: int, file: str, name: str) -> Kernel:
    """Compile one instantiation of one file for a device; CuPy keeps the machine code on disk."""
    module = cupy.RawModule(code=source(file), options=OPTIONS, name_expressions=(name,))
    try:
        with cupy.cuda.Device(device):
            function = module.get_function(name)
    except cupy.cuda.compiler.CompileException as error:
        raise BackendError(f"kernel {name} of {file} does not compile: {error}") from error

    def launch(grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], *, shared_bytes: int = 0) -> None:
        if shared_bytes > 48 * 1024:
            function.max_dynamic_shared_size_bytes = shared_bytes
        function(tuple(grid), tuple(block), tuple(arguments), shared_mem=shared_bytes)

    return launch

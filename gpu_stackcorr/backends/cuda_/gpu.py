"""A GPU, through CuPy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, cached_property, lru_cache
from itertools import cycle
from typing import Any

import cupy
import numpy as np

from gpu_stackcorr.backends.base import Array
from gpu_stackcorr.errors import InputTypeError

from .compiler import compiled
from .device import Device, Downloads, Kernel

PLAIN_SHARED_BYTES = 48 * 1024
"""Shared memory of a block, what the kernel declares counted in, that need not be asked for."""

OUT_OF_MEMORY = 2
"""``cudaErrorMemoryAllocation``."""

MOST_KEPT_BYTES = 2**16
"""Of a small array that stays on the device for later calls: edges of cells, weights."""

PIECE_BYTES = 2**26
"""Of a host array, strided or in foreign byte order, that are copied on the host at once on its way to the device."""


def _in_pieces(array: Array, native: np.dtype[Any]) -> Array:
    """Return a host array on the device; the host's copies are of pieces along its first axis."""
    moved: Array = cupy.empty(array.shape, native)
    step = max(1, PIECE_BYTES * len(array) // array.nbytes)
    for start in range(0, len(array), step):
        part = slice(start, start + step)
        moved[part] = cupy.asarray(np.ascontiguousarray(array[part], native))
    return moved


class Gpu(Device):
    """The current CUDA device and stream."""

    @property
    def multiprocessors(self) -> int:  # type: ignore[override]
        """Number of multiprocessors of the current device."""
        return _attribute(int(cupy.cuda.Device().id), "MultiProcessorCount")

    @property
    def shared_bytes(self) -> int:  # type: ignore[override]
        """Shared memory of a multiprocessor of the current device."""
        return _attribute(int(cupy.cuda.Device().id), "MaxSharedMemoryPerMultiprocessor")

    def kernel(self, file: str, name: str) -> Kernel:
        """Return a kernel, compiled on first use on the current device."""
        return _kernel(int(cupy.cuda.Device().id), file, name)

    def empty(self, shape: Sequence[int], dtype: Any) -> Array:
        """Return an array in device memory, from CuPy's pool."""
        array: Array = cupy.empty(tuple(shape), dtype)
        return array

    def to_device(self, array: Any) -> Array:
        """Copy a host array to the device; a device array only where it is not contiguous."""
        if isinstance(array, np.ndarray):
            # CuPy's own ascontiguousarray takes device arrays only.
            native = array.dtype.newbyteorder("=")
            if array.nbytes > PIECE_BYTES and not (array.flags.c_contiguous and array.dtype.isnative):
                return _in_pieces(array, native)
            copied: Array = cupy.asarray(np.ascontiguousarray(array, native))
            return copied.reshape(array.shape)
        moved: Array = array if array.flags.c_contiguous else cupy.ascontiguousarray(array)
        return moved

    def keep(self, array: Array) -> Array:
        """Copy a small array of the host to the device, or find the copy of an earlier call."""
        if array.nbytes > MOST_KEPT_BYTES:
            return self.to_device(array)
        return _kept(int(cupy.cuda.Device().id), array.dtype.str, array.shape, array.tobytes())

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

    def fetch(self, arrays: Sequence[Array]) -> tuple[list[Array], Callable[[], None]]:
        """Begin to copy device arrays to the host, into memory of their own that the device writes to by itself."""
        stream, hosts = cupy.cuda.get_current_stream(), [_pinned(max(1, array.nbytes)) for array in arrays]
        for host, array in zip(hosts, arrays, strict=True):
            array.data.copy_to_host_async(host.ctypes.data, array.nbytes, stream)  # type: ignore[attr-defined]
        hosts = [h[: a.nbytes].view(a.dtype).reshape(a.shape) for h, a in zip(hosts, arrays, strict=True)]
        kept = list(arrays)  # until the copies have ended

        def wait() -> None:
            stream.synchronize()
            kept.clear()

        return hosts, wait

    def downloads(self) -> Downloads:
        """Return what copies results to the host beside the work on the next ones."""
        return _Downloads(self)

    def free_bytes(self) -> int:
        """Return the memory that the driver has left and CuPy's pool holds in reserve."""
        free, _ = cupy.cuda.runtime.memGetInfo()
        return int(free) + int(cupy.get_default_memory_pool().free_bytes())

    def adopt(self, array: Any) -> tuple[Array, Callable[[Array], Any]]:
        """Return an array of any library's as CuPy's, without a copy, and what turns results into the library's."""
        taken: Any = array if isinstance(array, cupy.ndarray) else _from_other(array)
        here, there = int(cupy.cuda.Device().id), int(taken.device.id)
        if here != there:
            raise InputTypeError(
                f"an array is on CUDA device {there} and the current one is {here}: "
                f"allowed are arrays of the current one, as inside `with cupy.cuda.Device({there}):`"
            )
        return taken, _back_to(array)

    def carried(self) -> Callable[[], AbstractContextManager[None]]:
        """Return what gives another thread the current device and stream of this one."""
        device, stream = int(cupy.cuda.Device().id), cupy.cuda.get_current_stream()
        so_far = stream.record()  # the default stream may be another in another thread

        @contextmanager
        def here() -> Iterator[None]:
            with cupy.cuda.Device(device), stream:
                stream.wait_event(so_far)
                yield

        return here


def _from_other(array: Any) -> Array:
    """Return another library's array as CuPy's: by DLPack, which lets streams wait, or by its address."""
    if type(array).__module__.partition(".")[0] == "torch":
        array = array.detach()
    # DLPack before version 1.0 knows no bool.
    by_address = not hasattr(array, "__dlpack__") or str(array.dtype).endswith("bool")
    taken: Array = cupy.asarray(array) if by_address else cupy.from_dlpack(array)
    return taken


def _back_to(array: Any) -> Callable[[Array], Any]:
    """Return what turns CuPy arrays into arrays of the library of `array`, without a copy; CuPy's where it has none."""
    library = type(array).__module__.partition(".")[0]
    if library == "torch":
        torch = sys.modules["torch"]

        def tensor(result: Array) -> Any:
            flat = torch.from_dlpack(result.view(np.uint8) if result.dtype == bool else result)
            return flat.view(torch.bool) if result.dtype == bool else flat

        return tensor
    if library == "numba":
        to_numba: Callable[[Array], Any] = sys.modules["numba"].cuda.as_cuda_array
        return to_numba
    if library != "cupy" and hasattr(array, "__array_namespace__"):
        namespace = array.__array_namespace__()
        return lambda result: namespace.from_dlpack(result)
    return lambda result: result


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
            self.host = _pinned(part.nbytes)
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


class _Downloads(Downloads):
    """Copies in a stream of their own, by way of memory that the device writes to by itself."""

    def __init__(self, device: Gpu) -> None:
        super().__init__(device)
        self.hosts: list[Array] = []

    @cached_property
    def copies(self) -> Any:
        """The stream of the copies, made for the first one: many slabs have results that stay on the device."""
        return cupy.cuda.Stream(non_blocking=True)

    @cached_property
    def copied(self) -> Any:
        """The moment at which the copies that were begun have ended."""
        return cupy.cuda.Event(disable_timing=True)

    def begin(self, pairs: Iterable[tuple[Array, Array]]) -> None:
        """Begin the copies once the current stream has come here. The arrays are kept until they are finished."""
        pairs = [(target, self.device.to_device(array)) for target, array in pairs]
        if not pairs:
            return
        self.hosts += [np.empty(0, np.uint8)] * (len(pairs) - len(self.hosts))
        for number, (_, array) in enumerate(pairs):
            if len(self.hosts[number]) < array.nbytes:
                self.hosts[number] = _pinned(array.nbytes)
        self.copies.wait_event(cupy.cuda.get_current_stream().record())
        self.pairs = pairs
        for host, (_, array) in zip(self.hosts, pairs, strict=False):
            array.data.copy_to_host_async(host.ctypes.data, array.nbytes, self.copies)  # type: ignore[attr-defined]
        self.copied.record(self.copies)

    def finish(self) -> None:
        """Wait for the copies, if any, and put what has come where it belongs."""
        if not self.pairs:
            return
        self.copied.synchronize()
        for host, (target, array) in zip(self.hosts, self.pairs, strict=False):
            target[...] = host[: array.nbytes].view(array.dtype).reshape(array.shape)
        self.pairs = []


def _pinned(n_bytes: int) -> Array:
    """Return bytes of the host that the driver keeps in their place."""
    try:
        memory = cupy.cuda.alloc_pinned_memory(n_bytes)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if error.status != OUT_OF_MEMORY:
            raise
        raise MemoryError(f"{n_bytes} bytes of pinned memory cannot be had") from error
    return np.frombuffer(memory, np.uint8, n_bytes)


@cache
def _attribute(device: int, name: str) -> int:
    """Return an attribute of a device; CuPy asks the driver for all of them each time."""
    return int(cupy.cuda.Device(device).attributes[name])


@lru_cache(maxsize=256)
def _kept(_device: int, dtype: str, shape: tuple[int, ...], content: bytes) -> Array:
    """Return an array on the current device, there for all streams."""
    array: Array = cupy.asarray(np.frombuffer(content, dtype).reshape(shape))
    cupy.cuda.get_current_stream().synchronize()
    return array


@cache
def _kernel(device: int, file: str, name: str) -> Kernel:
    """Return one instantiation of one file, loaded on a device."""
    with cupy.cuda.Device(device) as here:
        module = compiled(file, name, int(here.compute_capability))
        function = cupy.RawModule(path=str(module.path)).get_function(module.name)
        own = int(function.shared_size_bytes)
        most = int(here.attributes["MaxSharedMemoryPerBlockOptin"]) - own

    def launch(grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], *, shared_bytes: int = 0) -> None:
        if own + shared_bytes > PLAIN_SHARED_BYTES:  # the most: another thread may launch the same kernel with more
            function.max_dynamic_shared_size_bytes = most
        function(tuple(grid), tuple(block), tuple(map(_argument, arguments)), shared_mem=shared_bytes)

    return launch


def _argument(value: Any) -> Any:
    """Return an argument as CuPy takes it: before version 14 a structure is passed by value as an array only."""
    return np.asarray(value) if isinstance(value, np.void) else value

"""What launch code asks of the machine that runs the kernels: a GPU, or the emulator of the tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from gpu_stackcorr.backends.base import Array


class Kernel(Protocol):
    """A compiled ``__global__`` function."""

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], *, shared_bytes: int = 0
    ) -> None:
        """Launch on the current stream, asynchronously.

        Arrays lie on the device and are contiguous; numbers are NumPy scalars of the parameter's own type, as a Python
        int would be passed as 64 bits whatever the kernel expects.
        """


class Device(ABC):
    """Where kernels run and the arrays that they work on live."""

    multiprocessors: int
    """How many blocks' worth of work fill it a few times over."""

    shared_bytes: int
    """Shared memory of a multiprocessor, which the blocks that run there share."""

    @abstractmethod
    def kernel(self, file: str, name: str) -> Kernel:
        """Return a kernel of ``kernels/`` by its name expression, such as ``"moments<unsigned char, 1>"``."""

    @abstractmethod
    def empty(self, shape: Sequence[int], dtype: Any) -> Array:
        """Return an array on the device, not initialised."""

    @abstractmethod
    def to_device(self, array: Array) -> Array:
        """Return a contiguous array in native byte order on the device; one that is that already as it is."""

    def keep(self, array: Array) -> Array:
        """Return a small array of the host on the device, to be read only: perhaps one of an earlier call."""
        return self.to_device(array)

    def upload(self, parts: Iterable[Array]) -> Iterator[Array]:
        """Yield parts of an array on the device, in turn. What was yielded may be overwritten once the next one is."""
        return map(self.to_device, parts)

    @abstractmethod
    def to_host(self, array: Array) -> Array:
        """Return a NumPy array of a device array, after what was launched before has ended."""

    def fetch(self, arrays: Sequence[Array]) -> tuple[list[Array], Callable[[], None]]:
        """Begin to copy device arrays, after what was launched before, into NumPy arrays, and return these.

        They hold what they should once the second of the results has been called.
        """
        return [self.to_host(array) for array in arrays], lambda: None

    def downloads(self) -> Downloads:
        """Return what copies results to the host, one after the other."""
        return Downloads(self)

    @abstractmethod
    def free_bytes(self) -> int:
        """Return how much memory can still be had on the device."""

    def adopt(self, array: Any) -> tuple[Array, Callable[[Array], Any]]:
        """Return an array of another library's on the device as one of ours, without a copy, and the way back."""
        return array, lambda result: result

    def carried(self) -> Callable[[], AbstractContextManager[None]]:
        """Return what makes another thread work where this one does: on its device, in its stream."""
        return nullcontext


class Downloads:
    """Copies device arrays into arrays of the host: begun after one piece of work, finished after the next."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.pairs: list[tuple[Array, Array]] = []

    def begin(self, pairs: Iterable[tuple[Array, Array]]) -> None:
        """Begin to copy the second of each pair into the first, when the work launched so far has ended."""
        self.pairs = list(pairs)

    def finish(self) -> None:
        """Wait for the copies that were begun; what they were copied from may be overwritten then."""
        for target, array in self.pairs:
            target[...] = self.device.to_host(array)
        self.pairs = []

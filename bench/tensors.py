"""PyTorch's devices: the CPU, and the GPU where one answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .harness import optional


class Place(NamedTuple):
    """Where tensors are: PyTorch itself, the device, what names of contestants end with, and what waits for it."""

    torch: Any
    device: str
    suffix: str
    synchronise: Callable[[], Any] | None

    def put(self, array: Any, dtype: str | None = None) -> Any:
        """Return an array as a tensor there."""
        array = np.ascontiguousarray(array)  # tensors know no negative strides
        tensor = self.torch.from_numpy(array if array.flags.writeable else array.copy())
        return tensor.to(self.device, None if dtype is None else getattr(self.torch, dtype))

    def generator(self, seed: int = 0) -> Any:
        """Return a generator there, the same at each call."""
        return self.torch.Generator(self.device).manual_seed(seed)


def places(*modules: str, host: bool = True) -> Iterator[tuple[Any, ...]]:
    """Yield a place with the modules asked for, on the CPU (unless not `host`) and the GPU, where all are there."""
    found = optional("torch", *modules)
    if not found:
        return
    torch, *others = found
    if host:
        yield Place(torch, "cpu", "", None), *others
    if torch.cuda.is_available():
        yield Place(torch, "cuda", " on the GPU", torch.cuda.synchronize), *others


def fetch(result: Any) -> Any:
    """Return a tensor as a NumPy array on the host."""
    return result.cpu().numpy()

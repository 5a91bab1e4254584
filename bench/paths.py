"""Our own contestants: the same call on every backend that can run here, with its arrays where that computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_stackcorr import available_backends
from gpu_stackcorr.arrays import get_backend, on_host, use_backend
from gpu_stackcorr.backends.base import Backend

from .harness import OURS, Contestant, path_name

HOST = ("numba", "numpy")
DEVICE = ("cuda",)


@dataclass(frozen=True)
class Path:
    """A backend that can run here."""

    backend: str

    @property
    def engine(self) -> Backend:
        """The operations."""
        return get_backend(self.backend)

    @property
    def synchronise(self) -> Callable[[], Any] | None:
        """What waits for the device; None on the CPU."""
        if self.backend not in DEVICE:
            return None
        import cupy

        return cupy.cuda.Device().synchronize

    def used(self) -> AbstractContextManager[Backend]:
        """Return a context in which functions without a parameter for it compute here."""
        return use_backend(self.backend)

    def place(self, array: Any) -> Any:
        """Return an array where the backend computes."""
        if self.backend not in DEVICE:
            return on_host(array)
        import cupy

        return cupy.asarray(array)


def paths(*names: str) -> tuple[Path, ...]:
    """Return the backends that can run here, of those named or all."""
    able = available_backends()
    return tuple(Path(name) for name in names or HOST + DEVICE if able[name].available)


def device() -> Path | None:
    """Return the path on a CUDA device, where one answers."""
    return next(iter(paths(*DEVICE)), None)


def ours(
    make: Callable[[Path], Callable[[], Any]],
    error: Callable[[Any], float] | None,
    tolerance: float,
    *,
    also: str = "",
    backends: Sequence[str] = (),
    **rest: Any,
) -> Iterator[Contestant]:
    """Yield a contestant a backend.

    Parameters
    ----------
    make : callable
        From a path to the call; it places the arrays, which is not timed.
    error : callable
        From a result on the host to its error.
    tolerance : float
    also : str
        What the call does beside the case's work: it is named by that.
    backends : sequence of str
        Of these only.
    **rest
        `note` and `work` of the contestants.
    """
    for path in paths(*backends):
        name = f"{OURS}, {also}, {path.backend} backend" if also else path_name(path.backend)
        yield Contestant(name, make(path), error, tolerance, backend=path.backend, synchronise=path.synchronise, **rest)


def difference(reference: Any, part: Any = ..., *, margin: Sequence[int] = ()) -> Callable[[Any], float]:
    """Return what gives the largest difference of a part of a result, on the host or a device, from `reference`.

    Parameters
    ----------
    reference : array
        Of the part that is compared.
    part : index
        What of the result is; all of it by default.
    margin : sequence of int
        How much of the part, at both ends of each axis, is left out: for rivals with other borders.
    """
    inside = tuple(slice(width, -width or None) for width in margin)
    expected = np.asarray(reference, np.float64)[inside]

    def error(result: Any) -> float:
        found = np.asarray(on_host(result[part]), np.float64)[inside]
        return float(np.abs(found - expected).max())

    return error


def middle(count: int, some: int = 4) -> slice:
    """Return the middle planes of a large volume, on which results are verified."""
    return slice(count // 2, count // 2 + some)

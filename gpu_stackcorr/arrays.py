"""The array layer: which backend computes, onto it, and back to the caller's kind of array.

This is the only module that chooses a backend or asks what kind of array it was given.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import backends
from .backends.base import Backend
from .backends.info import BackendInfo
from .errors import BackendError, InputTypeError, ParameterError, check_word

logger = logging.getLogger(__name__)

VARIABLE = "GPU_STACKCORR_BACKEND"
"""The environment variable that names a backend."""

SMALL_BYTES = 2**16
"""Bytes of arrays on the host below which the automatic choice passes a GPU over: see `_automatic`."""

ON_DEVICE = (2, 13)
"""DLPack's ``kDLCUDA`` and ``kDLCUDAManaged``."""

_context: ContextVar[str | None] = ContextVar("gpu_stackcorr_backend", default=None)


def available_backends() -> dict[str, BackendInfo]:
    """Return every backend with its version, device and, where it cannot run here, the reason.

    Examples
    --------
    >>> available_backends()["numpy"].available
    True
    """
    return {name: backends.probe(name) for name in backends.PREFERENCE}


def get_backend(name: str | None = None) -> Backend:
    """Return the backend that an operation called now would run on.

    The choice, strongest first: `name`; ``with use_backend(...)``; the variable ``GPU_STACKCORR_BACKEND``; the first
    that can run here of ``cuda``, ``numba``, ``numpy``.

    Parameters
    ----------
    name : {"cuda", "numba", "numpy"}, optional
        An explicit choice, which never falls back to another.

    Raises
    ------
    ParameterError
        If the name is not that of a backend.
    BackendError
        If the backend asked for cannot run here; the message says what to install.

    Examples
    --------
    >>> get_backend("numpy").name
    'numpy'
    """
    return _backend_for(name, None)


def _backend_for(name: str | None, n_bytes: int | None) -> Backend:
    """Return the backend of that name, or the one chosen for arrays of so many bytes on the host."""
    if name is not None:
        return _explicit(name, "backend")
    if (name := _context.get()) is not None:
        return _explicit(name, "use_backend")
    if name := os.environ.get(VARIABLE):
        return _explicit(name, VARIABLE)
    return backends.load(_automatic(n_bytes is not None and n_bytes < SMALL_BYTES, os.getpid()))


@contextmanager
def use_backend(name: str) -> Iterator[Backend]:
    """Run the operations of a ``with`` block on one backend (in this thread or task).

    Parameters
    ----------
    name : {"cuda", "numba", "numpy"}

    Examples
    --------
    >>> with use_backend("numpy") as backend:
    ...     get_backend().name
    'numpy'
    """
    backend = _explicit(name, "use_backend")
    token = _context.set(name)
    try:
        yield backend
    finally:
        _context.reset(token)


def _explicit(name: str, source: str) -> Backend:
    """Return the backend of that name, or raise; `source` is the parameter or variable that named it."""
    check_word(source, name, backends.PREFERENCE)
    info = backends.probe(name)
    if not info.available:
        raise BackendError(f"{source} = {name!r}: {info.reason}")
    return backends.load(name)


@cache
def _automatic(small: bool, _process: int) -> str:
    """Return the name of the first backend that can run here, and log why, once a process.

    Small arrays of the host are not sent to a device at a loss. Their limit is an estimate, to be replaced by what
    ``bench/on_gpu.sh`` measures (`small inputs` in its summary). By count, an operation on a device takes ten to twenty
    launches and small copies of about 10 us each and waits for its result: 0.1 to 0.2 ms whatever the size, and under
    0.01 ms for 64 KiB over PCI Express at 10 GB/s or more. On two cores Numba was measured to take 0.2 ms for the
    moments and 2.3 ms for the elastic deformation of 64 KiB.
    """
    for name in backends.PREFERENCE:
        info = backends.probe(name)
        if info.available and small and name == "cuda":
            logger.info("not on cuda: inputs of less than %d KiB are not sent there", SMALL_BYTES // 1024)
        elif info.available:
            logger.info("computing on %s (%s)", name, info.device)
            return name
        else:
            logger.info("not on %s: %s", name, info.reason)
    raise BackendError("no backend can run here")


REAL_DTYPES = "bool, integers of 8 to 64 bits, float32, float64"


def check_dtype(name: str, dtype: np.dtype[Any]) -> None:
    """Raise InputTypeError unless images may have `dtype`."""
    if not (dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize in (4, 8))):
        raise InputTypeError(f"{name} has dtype {dtype}: allowed are {REAL_DTYPES}")


def check_mask(mask: Any, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Return a mask, or raise where it is not bool, has another shape or leaves nothing."""
    if mask is None:
        return None
    array = on_host(mask)
    if array.shape != shape or array.dtype != bool or not array.any():
        raise ParameterError(
            f"mask has shape {array.shape}, dtype {array.dtype} and {np.count_nonzero(array)} pixels: "
            f"allowed are bool masks of shape {shape} with at least one"
        )
    return array


def take(name: str, array: Any, backend: str | None = None) -> tuple[Backend, NDArray[Any], Callable[[Any], Any]]:
    """Return the backend for an image or field, the array on it, and what gives results back as the caller's kind.

    NumPy arrays and whatever NumPy can read come back as NumPy; PyTorch tensors of the CPU as tensors. What lives on
    a CUDA device is computed there without a copy, and comes back as an array of its own library (CuPy's where that
    has no way to take one).

    Parameters
    ----------
    name : str
        What the array is called, for messages.
    array : array_like
    backend : str, optional
        An explicit choice.
    """
    if on_device(array):
        engine = choose(backend, **{name: array})
        taken, give_back = engine.adopt(array)
        return engine, _checked(name, taken), give_back
    if backend is not None:
        get_backend(backend)  # an error in its name comes first
    if type(array).__module__.partition(".")[0] == "dask":
        raise InputTypeError(f"{name} is a Dask array: pass blocks of it, or array.compute()")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        taken = _checked(name, array.detach().numpy())
        return _backend_for(backend, taken.nbytes), taken, torch.from_numpy
    taken = _checked(name, _from_host(name, array))
    return _backend_for(backend, taken.nbytes), taken, lambda result: result


def choose(backend: str | None, /, **arrays: Any) -> Backend:
    """Return the backend for an operation on several arrays: that of the device on which one of them lies.

    Nothing is copied to the host behind the caller's back; arrays of the host beside one of a device are sent there.
    """
    for name, array in arrays.items():
        if on_device(array):
            if backend not in (None, "cuda"):
                raise InputTypeError(
                    f"{name} is on a CUDA device and backend = {backend!r}: allowed is 'cuda', or a host copy"
                )
            return get_backend("cuda")
    return _backend_for(backend, sum(int(getattr(array, "nbytes", 0)) for array in arrays.values()))


def on_device(array: Any) -> bool:
    """Whether an array of any library lies on a CUDA device."""
    place = getattr(array, "__dlpack_device__", None)
    return hasattr(array, "__cuda_array_interface__") if place is None else int(place()[0]) in ON_DEVICE


def on_host(array: Any) -> NDArray[Any]:
    """Return an array_like as a NumPy array; one on a device is copied, as the caller has asked for."""
    if not on_device(array):
        return np.asarray(array)
    engine = get_backend("cuda")
    return engine.to_host(engine.adopt(array)[0])


def plain(array: Any) -> NDArray[Any]:
    """Return an array_like as a NumPy array, or where it lies on a device as an array there, which has NumPy's ways."""
    return get_backend("cuda").adopt(array)[0] if on_device(array) else np.asarray(array)


def _from_host(name: str, array: Any) -> NDArray[Any]:
    """Return what NumPy makes of an array_like, or raise where it makes nothing of it."""
    if isinstance(array, (list, tuple)) and any(map(on_device, array)):
        raise InputTypeError(f"{name} is a list of CUDA arrays: allowed is one array on the device, or host arrays")
    if isinstance(array, np.ma.MaskedArray):
        raise InputTypeError(
            f"{name} is a masked array: allowed are plain arrays, and mask=~array.mask where there is one"
        )
    try:
        return np.asarray(array)
    except ValueError as error:
        raise ParameterError(f"{name} is no array: {error}") from error


def _checked(name: str, array: NDArray[Any]) -> NDArray[Any]:
    check_dtype(name, array.dtype)
    return array


class Stack:
    """A stack as slices (Y, X), read in slabs: an array, or anything with `shape`, `dtype` and slicing along z.

    Parameters
    ----------
    source : array_like of shape (n, Y, X) or (n, 1, Y, X)
        NumPy array, memory map, ``Volume``, Zarr, HDF5 or Dask array, PyTorch tensor, list of slices; an array on a
        CUDA device stays there.

    Attributes
    ----------
    shape : (n, Y, X)
    dtype : numpy.dtype
    spacing : float or None
        Distance between slices in nm, where the source is a ``Volume`` that knows.
    """

    def __init__(self, source: Any) -> None:
        self.on_device = on_device(source)
        if self.on_device:
            source, _ = choose(None, stack=source).adopt(source)
        lazy = all(hasattr(source, name) for name in ("shape", "dtype", "__getitem__"))
        if not lazy or isinstance(source, np.ma.MaskedArray):
            source = _from_host("stack", source)
        shape = tuple(int(n) for n in source.shape)
        if len(shape) == 4 and shape[1] != 1:
            raise ParameterError(f"stack has shape {shape}: {shape[1]} channels; choose one with stack[:, channel]")
        if len(shape) not in (3, 4):
            raise ParameterError(f"stack has shape {shape}: allowed are (n, Y, X) and (n, 1, Y, X)")
        if 0 in shape:
            raise ParameterError(f"stack has shape {shape}: it is empty")
        self.source = source
        self.spacing: float | None = None
        match getattr(source, "voxel_size", None):
            case (int() | float() as z, _, _):  # other kinds of voxel sizes are in other units
                self.spacing = float(z)
        self.shape = (shape[0], shape[-2], shape[-1])
        self.dtype = self._first_dtype()
        check_dtype("stack", self.dtype)

    def _first_dtype(self) -> np.dtype[Any]:
        """Return the dtype; that of a tensor is not NumPy's, and is known from one slice."""
        dtype = self.source.dtype
        return dtype.newbyteorder("=") if isinstance(dtype, np.dtype) else np.asarray(self.source[0]).dtype

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def in_memory(self) -> bool:
        """Whether reading it costs no more than memory does."""
        return self.on_device or (isinstance(self.source, np.ndarray) and not isinstance(self.source, np.memmap))

    @property
    def slice_bytes(self) -> int:
        """Bytes of a slice."""
        return self.shape[1] * self.shape[2] * self.dtype.itemsize

    def backend(self, backend: str | None, *references: Any) -> Backend:
        """Return the backend for work on the stack: that of its device, or of a reference's, where one lies on any."""
        arrays = {f"reference {k}" if k else "reference": array for k, array in enumerate(references)}
        if self.on_device or any(map(on_device, references)):
            return choose(backend, stack=self.source, **arrays)
        return _backend_for(backend, len(self) * self.slice_bytes)

    def slab(self, start: int, stop: int) -> NDArray[Any]:
        """Return the slices from `start` to `stop` as an array (n, Y, X), on the device where the stack is."""
        slab = self.source[start:stop] if self.on_device else np.asarray(self.source[start:stop])
        return slab[:, 0] if slab.ndim == 4 else slab

    def find(self, reference: Any) -> tuple[NDArray[Any], int | None]:
        """Return the slice that `reference` is the index of (negative from the top), or the image that it is."""
        if isinstance(reference, (int, np.integer)) and not isinstance(reference, bool):
            if not -len(self) <= reference < len(self):
                raise ParameterError(f"reference = {reference}: the stack has the slices 0 to {len(self) - 1}")
            index = int(reference) % len(self)
            return self.slab(index, index + 1)[0], index
        _, image, _ = take("reference", reference)
        if image.shape != self.shape[1:]:
            raise ParameterError(
                f"reference has shape {image.shape}: allowed is that of a slice, {self.shape[1:]}, or an index"
            )
        return image, None

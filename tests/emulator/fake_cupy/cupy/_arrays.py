"""Arrays, and the functions on them."""

import ctypes
import json
from pathlib import Path

import numpy as np
from emulator.device import EmulatedDevice

DEVICE = EmulatedDevice("random", memory_bytes=2**30)

FUNCTIONS = {
    *("arange", "array_equal", "broadcast_to", "concatenate", "copyto", "corrcoef", "diagonal", "diff", "dot"),
    *("einsum", "empty_like", "flatnonzero", "full", "gradient", "isfinite", "isnan", "logical_and", "matmul", "mean"),
    *("median", "meshgrid", "moveaxis", "ndim", "ones", "pad", "ravel", "reshape", "rot90", "shape", "size"),
    *("sqrt", "stack", "std", "sum", "where", "zeros"),
}
"""NumPy's functions that are CuPy's as well and are needed; those that take arrays of ours NumPy hands over."""

VIEWS = ("ravel", "reshape", "squeeze", "swapaxes", "transpose", "view")
RESULTS = (
    *("all", "any", "argmax", "astype", "copy", "cumsum", "dot"),
    *("fill", "max", "mean", "min", "nonzero", "std", "sum"),
)
FACTS = ("dtype", "flags", "itemsize", "nbytes", "ndim", "shape", "size", "strides")


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):  # noqa: N801
    """An array of the device: `memory` is NumPy's view of it."""

    def __init__(self, memory, owner=None):
        self.memory, self.owner = memory, owner

    def __getattr__(self, name):
        if name in FACTS:
            return getattr(self.memory, name)
        if name in VIEWS or name in RESULTS:
            return lambda *args, **kwargs: _wrapped(
                getattr(self.memory, name)(*_unwrapped(args), **_unwrapped(kwargs)), self
            )
        raise AttributeError(f"the stand-in for a CuPy array has no {name!r}")

    @property
    def T(self):  # noqa: N802
        return ndarray(self.memory.T, self)

    @property
    def data(self):
        return _Pointer(self.memory.ctypes.data)

    @property
    def device(self):
        from .cuda import Device

        return Device()

    @property
    def __cuda_array_interface__(self):
        strides = None if self.memory.flags.c_contiguous else self.memory.strides
        address = self.memory.ctypes.data, False
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": address,
            "strides": strides,
            "version": 3,
        }

    def __dlpack_device__(self):
        return 2, 0

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        _refuse_host(inputs)
        return _wrapped(getattr(ufunc, method)(*_unwrapped(inputs), **_unwrapped(kwargs)), self)

    def __array_function__(self, function, types, args, kwargs):
        if function.__name__ not in FUNCTIONS:
            return NotImplemented
        return lifted(function)(*args, **kwargs)

    def __getitem__(self, key):
        return _wrapped(self.memory[_unwrapped(key)], self)

    def __setitem__(self, key, value):
        self.memory[_unwrapped(key)] = _unwrapped(value)

    def __len__(self):
        return len(self.memory)

    def __iter__(self):
        return (self[k] for k in range(len(self)))

    def __bool__(self):
        return bool(self.memory)

    def __int__(self):
        return int(self.memory)

    def __float__(self):
        return float(self.memory)

    def __index__(self):
        return self.memory.__index__()

    def __format__(self, specification):
        return format(self.memory[()], specification)

    def __repr__(self):
        return f"device {self.memory!r}"

    def item(self):
        """Return the one number."""
        return self.memory.item()

    def get(self, *, out=None):
        """Return a copy on the host, or one in a contiguous array there."""
        if out is None:
            return np.array(self.memory)
        if out.dtype != self.dtype or out.shape != self.shape or not out.flags.c_contiguous:
            raise ValueError("out is of another shape, type or order")
        out[...] = self.memory
        return out


class _Pointer:
    """Where an array lies."""

    def __init__(self, ptr):
        self.ptr = ptr

    def copy_from_host_async(self, address, size, stream=None):
        """Copy bytes of the host."""
        ctypes.memmove(self.ptr, address, size)

    def copy_to_host_async(self, address, size, stream=None):
        """Copy bytes to the host."""
        ctypes.memmove(address, self.ptr, size)

    def copy_from_device_async(self, source, size, stream=None):
        """Copy bytes of the device."""
        ctypes.memmove(self.ptr, source.ptr, size)

    def memset_async(self, value, size, stream=None):
        """Fill bytes."""
        ctypes.memset(self.ptr, value, size)


def _unwrapped(value):
    """Return arrays of the device as NumPy sees them, wherever they are inside a value."""
    if isinstance(value, ndarray):
        return value.memory
    if isinstance(value, (list, tuple)):
        return type(value)(map(_unwrapped, value))
    return {key: _unwrapped(item) for key, item in value.items()} if isinstance(value, dict) else value


def _wrapped(value, source=None):
    """Return a result on the device: a view of `source`, or a copy."""
    if isinstance(value, tuple):
        return tuple(_wrapped(each, source) for each in value)
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    if source is not None and isinstance(value, np.ndarray) and np.may_share_memory(value, source.memory):
        return ndarray(value, source)
    return ndarray(DEVICE.to_device(np.asarray(value, order="C")))


def _refuse_host(values):
    """Raise where an array of the host is among values, or among those of a list."""
    for value in values:
        if isinstance(value, (list, tuple)):
            _refuse_host(value)
        elif isinstance(value, np.ndarray) and value.ndim:
            raise TypeError(f"Unsupported type {type(value)}")


def lifted(function):
    """Return a function of NumPy's that takes and gives arrays of the device."""

    def on_device(*args, **kwargs):
        _refuse_host([*args, *kwargs.values()])
        result = function(*_unwrapped(args), **_unwrapped(kwargs))
        return [_wrapped(each) for each in result] if isinstance(result, list) else _wrapped(result)

    return on_device


def empty(shape, dtype=float):
    """Return an array of ones in all bits."""
    return ndarray(DEVICE.empty((shape,) if isinstance(shape, int) else shape, dtype))


def asarray(array, dtype=None):
    """Return an array of the host or of another library on the device."""
    if isinstance(array, ndarray):
        return array if dtype in (None, array.dtype) else array.astype(dtype)
    if interface := getattr(array, "__cuda_array_interface__", None):
        kind = np.dtype(interface["typestr"])
        assert interface["strides"] is None, "views of other libraries are not needed"
        size = int(np.prod(interface["shape"])) * kind.itemsize
        memory = (ctypes.c_char * size).from_address(interface["data"][0])
        return ndarray(np.ndarray(interface["shape"], kind, memory), array)
    return ndarray(DEVICE.to_device(np.array(array, dtype)))


def from_dlpack(array):
    """Refuse: nothing here speaks DLPack of a device."""
    raise NotImplementedError("the stand-in for CuPy has no DLPack")


def ascontiguousarray(array):
    """Return a contiguous array of the device, from one of the device."""
    if not isinstance(array, ndarray):
        raise TypeError(f"Argument 'a' has incorrect type (expected ndarray, got {type(array)})")
    return array if array.flags.c_contiguous else _wrapped(np.ascontiguousarray(array.memory))


def asnumpy(array):
    """Return an array of the host."""
    return array.get() if isinstance(array, ndarray) else np.asarray(array)


class RawModule:
    """A module from what the stand-in for NVRTC has compiled."""

    def __init__(self, *, path):
        code = Path(path).read_bytes()
        if not code.endswith(b"\0"):
            raise RuntimeError("CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid")
        self.record = json.loads(code.rstrip(b"\0"))

    def get_function(self, name):
        """Return a kernel by its mangled name."""
        if name != self.record["lowered"]:
            raise RuntimeError("CUDA_ERROR_NOT_FOUND: named symbol not found")
        return _Function(DEVICE.kernel(self.record["file"], self.record["name"]))


class _Function:
    """A kernel, launched as CuPy does. Each passes for one that declares 2 KiB of shared memory itself."""

    shared_size_bytes = 2 * 1024
    max_dynamic_shared_size_bytes = 48 * 1024 - shared_size_bytes

    def __init__(self, kernel):
        self.kernel = kernel

    def __call__(self, grid, block, arguments, *, shared_mem=0):
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise RuntimeError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        for argument in arguments:
            if isinstance(argument, np.void) or (isinstance(argument, np.ndarray) and argument.size != 1):
                raise TypeError(f"Unsupported type {type(argument)}")
        self.kernel(grid, block, _unwrapped(list(arguments)), shared_bytes=shared_mem)


class _Pool:
    """The memory pool, which holds nothing in reserve."""

    def total_bytes(self):
        """Return 0: what is held is not known."""
        return 0

    def free_bytes(self):
        """Return 0."""
        return 0

    def free_all_blocks(self):
        """Give nothing back."""


def get_default_memory_pool():
    """Return the memory pool."""
    return _Pool()

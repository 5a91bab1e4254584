"""Checks a launch's arguments against the kernel's parameters, as no GPU does, and lays them out for the engine."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

KINDS = {0: "i", 1: "u", 2: "f", 3: "b"}
"""NumPy's kinds of the numbers among the kinds of ``entry.h``."""
STRUCTURE, POINTER = 4, 5


class Parameter(ctypes.Structure):
    """``emulator::Parameter``."""

    _fields_ = [(name, ctypes.c_int) for name in ("kind", "size", "target_kind", "target_size", "target_is_const")]


class Laid(NamedTuple):
    """Pointers to the arguments, and what they point to."""

    pointers: Any
    kept: list[Any]


def lay_out(
    parameters: Sequence[Parameter], arguments: Sequence[Any], is_on_device: Callable[[np.ndarray], bool]
) -> Laid:
    """Return the arguments as the engine takes them, or raise TypeError that says which one is wrong."""
    if len(arguments) != len(parameters):
        raise TypeError(f"{len(arguments)} arguments for {len(parameters)} parameters")
    values: list[Any] = []
    for i, (parameter, argument) in enumerate(zip(parameters, arguments, strict=True)):
        try:
            is_pointer = parameter.kind == POINTER
            values.append(_address(parameter, argument, is_on_device) if is_pointer else _number(parameter, argument))
        except TypeError as error:
            raise TypeError(f"argument {i}: {error}") from None
    pointers = (ctypes.c_void_p * max(1, len(values)))(*map(ctypes.addressof, values))
    return Laid(pointers, [*values, *arguments])


def _address(parameter: Parameter, array: Any, is_on_device: Callable[[np.ndarray], bool]) -> ctypes.c_void_p:
    if array is None:
        return ctypes.c_void_p(0)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{type(array).__name__} for a pointer")
    kind = KINDS.get(parameter.target_kind)
    if kind and (array.dtype.kind, array.dtype.itemsize) != (kind, parameter.target_size):
        raise TypeError(f"array of {array.dtype} for a pointer to {kind}{parameter.target_size}")
    if not array.dtype.isnative:
        raise TypeError("array of foreign byte order")
    if not array.flags.c_contiguous:
        raise TypeError("array that is not C-contiguous")
    if not is_on_device(array):
        raise TypeError("array of the host: to_device brings it to the device")
    if not (array.flags.writeable or parameter.target_is_const):
        raise TypeError("read-only array for a pointer to what is not const")
    return ctypes.c_void_p(array.ctypes.data)


def _number(parameter: Parameter, value: Any) -> Any:
    if not isinstance(value, (np.generic, np.ndarray)) or value.ndim:
        # CuPy passes a Python int as eight bytes and a float as a double, whatever the kernel expects.
        raise TypeError(f"{type(value).__name__} {value!r}: give a NumPy scalar of the parameter's own type")
    wanted = "V" if parameter.kind == STRUCTURE else KINDS[parameter.kind]
    if (value.dtype.kind, value.dtype.itemsize) != (wanted, parameter.size):
        raise TypeError(f"{value.dtype} scalar for a parameter of type {wanted}{parameter.size}")
    return (ctypes.c_char * parameter.size).from_buffer_copy(value.tobytes())

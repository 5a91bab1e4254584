"""What code is written about: a row of samples, its parts as addresses and numbers of LLVM IR."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

from llvmlite import ir

from .vectors import F32, F64, I32, I64, cgutils, element, load, vector

WINDOW_BYTES = 64


class Row:
    """The arguments of ``windows``, unpacked.

    Attributes
    ----------
    axes : range
        Those of three that move.
    real : LLVM type
        In which samples are weighted; that of displacements at order 0.
    place_lanes, lanes : int
        Samples of a window that is placed, and of one that is filled.
    lines : list of addresses
        Of the row's first sample, not displaced, on each line of taps, in C order.
    outside, offsets : addresses
        Where bits of windows, and offsets of samples go.
    """

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, ndim: int, order: int) -> None:
        source, moves, out, outside = (signature.args[place] for place in (0, 7, 9, 10))
        rows, part = (cgutils.unpack_tuple(builder, argument) for argument in arguments[7:9])

        def address(kind: Any, array: Any, index: Any) -> Any:
            return element(context, builder, kind, array, index)

        self.builder, self.axes, self.order, self.source_type = builder, range(3 - ndim, 3), order, source.dtype
        self.margin, self.along, self.width = arguments[5], arguments[6], part[1]
        self.strides, self.low, self.high = (cgutils.unpack_tuple(builder, argument) for argument in arguments[2:5])
        self.moves = [address(moves[axis], rows[axis], part[0]) for axis in range(3)]
        self.out, self.outside = address(out, arguments[9], part[2]), address(outside, *arguments[10:])
        number = out.dtype if order else moves[2].dtype
        self.real, self.lanes = context.get_value_type(number), 8 * WINDOW_BYTES // number.bitwidth
        self.place_lanes = 8 * WINDOW_BYTES // moves[2].dtype.bitwidth
        self.offsets = builder.bitcast(builder.gep(self.outside, [self.windows(self.place_lanes)]), I32.as_pointer())
        self.lines = []
        for steps in product(range(order + 1), repeat=ndim - 1):
            at = arguments[1]
            for axis, step in zip(self.axes, steps, strict=False):
                at = builder.add(at, builder.mul(self.strides[axis], ir.Constant(I64, step)))
            self.lines.append(address(source, arguments[0], at))

    def windows(self, lanes: int) -> Any:
        """Return the number of windows of so many samples."""
        return self.builder.udiv(self.builder.add(self.width, ir.Constant(I64, lanes - 1)), ir.Constant(I64, lanes))

    @contextmanager
    def each_window(self, lanes: int) -> Iterator[tuple[Any, Any]]:
        """Loop over windows; gives the number of each and its first sample. The last one ends with the row."""
        builder = self.builder
        last = builder.sub(self.width, ir.Constant(I64, lanes))
        with cgutils.for_range(builder, self.windows(lanes), intp=I64) as loop:
            start = builder.mul(loop.index, ir.Constant(I64, lanes))
            yield loop.index, builder.select(builder.icmp_signed("<", start, last), start, last)

    def split(self, axis: int, start: Any, lanes: int, *, wide: bool = False) -> tuple[Any, Any]:
        """Return the floors of some displacements, as float64 if `wide`, and what they are more than that."""
        builder = self.builder
        d = load(builder, builder.gep(self.moves[axis], [start]), vector(self.moves[axis].type.pointee, lanes))
        if wide and d.type.element == F32:
            d = builder.fpext(d, vector(F64, lanes))
        kind = ir.FunctionType(d.type, [d.type])
        name = f"llvm.floor.v{lanes}f{32 if d.type.element == F32 else 64}"
        floor = builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [d])
        return floor, builder.fsub(d, floor)


def reals(kind: Any, value: float) -> Any:
    """Return a vector of a number."""
    return ir.Constant(kind, [value] * kind.count)


def store(builder: Any, values: Any, place: Any) -> None:
    """Store a vector at an address of its elements."""
    builder.store(values, builder.bitcast(place, values.type.as_pointer())).align = 4

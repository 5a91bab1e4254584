"""Rows at orders 0, 1 and 3 where neighbours along x lie side by side: placed, picked and weighted in one pass.

A window is as many samples as a vector of 64 bytes holds, at order 0 as many displacements. Its displacements become
floors, fractions and 32-bit offsets in vectors; the neighbours along x that a sample needs of each line come by one
load, a sample at a time; weights and sums are vectors again. It is written in vectors, as LLVM IR without any
instruction of a particular processor, since LLVM does not make them of a plain loop: with the steps in loops of their
own (`placing`, `gathering`), or where it takes hardware gathers of single samples, a row takes two (orders 0 and 1) to
three times (order 3) as long.

At order 0 a sample is a word of its size, whatever it stands for. At order 1 taps are added as in SciPy: in C order,
weights axis by axis. Nothing is contracted, so that a sample has the same bits here and alone.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .transposing import turned
from .vectors import F32, F64, I32, I64, cgutils, constant, load, splat, vector

kinds: Any = types

WINDOW_BYTES = 64

FARTHEST_OFFSET = 1 << 29
"""How far a tap may lie from its place along an axis for offsets to fit 32 bits; samples further off go one by one."""


def _windows(ndim: int, order: int) -> Any:
    """Return the intrinsic for the last `ndim` axes of three."""

    @intrinsic
    def windows(
        _typing: Any, source: Any, _first: Any, _strides: Any, _low: Any, _high: Any, _margin: Any, _along: Any,
        moves: Any, out: Any, outside: Any,
    ) -> Any:  # fmt: skip
        """Fill `out` with samples, and return in how many windows some are outside.

        Parameters
        ----------
        source : flat array
        _first : int
            Index of the first tap of the row's first sample, not displaced.
        _strides : three ints
            In elements; that of x is 1.
        _low, _high : three ints each
            Where floors, counted from the row's first sample, have all their taps inside.
        _margin : int
            How much of that lies beyond the image, where order 0 does not take halves: which way they go depends on the
            mode.
        _along : int
            By how much the position along x increases from sample to sample: 1 or 0.
        moves : three rows of displacements
        out : row of float32 or float64, at order 0 of words, of a window or more
        outside : int64 array
            For each window its samples that are outside, as bits. The last window ends with the row.
        """
        triple = kinds.UniTuple(types.int64, 3)
        integer = types.int64
        signature = types.int64(source, integer, triple, triple, triple, integer, integer, moves, out, outside)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _Row(context, builder, signature, arguments, ndim, order).fill()

        return signature, generate

    return windows


copied_windows_2d = _windows(2, 0)
copied_windows_3d = _windows(3, 0)
linear_windows_2d = _windows(2, 1)
linear_windows_3d = _windows(3, 1)
cubic_windows_2d = _windows(2, 3)


class _Row:
    """Writes the loop over the windows of a row."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, ndim: int, order: int) -> None:
        source, _, _, _, _, _, _, moves, out, outside = signature.args
        self.context, self.builder, self.axes, self.order = context, builder, range(3 - ndim, 3), order
        self.source_type = source.dtype
        number = out.dtype if order else moves[2].dtype
        self.real, self.lanes = context.get_value_type(number), WINDOW_BYTES // (number.bitwidth // 8)
        self.source = self._address(source, arguments[0])
        self.first, self.margin, self.along = arguments[1], arguments[5], arguments[6]
        self.strides, self.low, self.high = (cgutils.unpack_tuple(builder, argument) for argument in arguments[2:5])
        rows = cgutils.unpack_tuple(builder, arguments[7])
        self.moves = [self._address(moves[axis], rows[axis]) for axis in range(3)]
        self.out, self.outside = self._address(out, arguments[8]), self._address(outside, arguments[9])
        (self.width,) = cgutils.unpack_tuple(builder, context.make_array(out)(context, builder, arguments[8]).shape)

    def _address(self, kind: Any, array: Any) -> Any:
        return self.context.make_array(kind)(self.context, self.builder, array).data

    def fill(self) -> Any:
        """Return the number of windows with samples outside, after the loop over all."""
        builder, lanes = self.builder, ir.Constant(I64, self.lanes)
        lines = self._lines()
        count = cgutils.alloca_once_value(builder, ir.Constant(I64, 0))
        windows = builder.udiv(builder.add(self.width, ir.Constant(I64, self.lanes - 1)), lanes)
        with cgutils.for_range(builder, windows, intp=I64) as loop:
            start, last = builder.mul(loop.index, lanes), builder.sub(self.width, lanes)
            start = builder.select(builder.icmp_signed("<", start, last), start, last)
            inside, offsets, fractions = self._placed(start)
            if self.order == 0:
                self._copy(lines[0], offsets, start)
            else:
                values = (self._linear if self.order == 1 else self._cubic)(lines, offsets, fractions)
                self._store(builder.gep(self.out, [start]), values)
            bits = builder.bitcast(builder.not_(inside), ir.IntType(self.lanes))
            builder.store(builder.zext(bits, I64), builder.gep(self.outside, [loop.index]))
            some = builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))
            builder.store(builder.add(builder.load(count), builder.zext(some, I64)), count)
        return builder.load(count)

    def _lines(self) -> list[Any]:
        """Return where the first sample of each line of taps lies, in C order."""
        lines = []
        for steps in product(range(self.order + 1), repeat=len(self.axes) - 1):
            at = self.first
            for axis, step in zip(self.axes, steps, strict=False):
                at = self.builder.add(at, self.builder.mul(self.strides[axis], ir.Constant(I64, step)))
            lines.append(self.builder.gep(self.source, [at]))
        return lines

    def _placed(self, start: Any) -> tuple[Any, Any, list[Any]]:
        """Return which samples of a window are inside, the offsets of their first taps, and fractions an axis."""
        builder = self.builder
        inside: Any = constant(ir.IntType(1), self.lanes, 1)
        offsets: Any = constant(I32, self.lanes, 0)
        fractions = []
        for axis in self.axes:
            d = load(builder, builder.gep(self.moves[axis], [start]), vector(self.moves[axis].type.pointee, self.lanes))
            if self.real == F64 and d.type.element == F32:
                d = builder.fpext(d, vector(F64, self.lanes))
            floor = self._floor(d)
            t = builder.fsub(d, floor)
            at = builder.fadd(floor, self._steps(start, d.type)) if axis == 2 else floor
            low, high = (self._as_real(limit[axis], d.type) for limit in (self.low, self.high))
            kept = builder.and_(builder.fcmp_ordered(">=", at, low), builder.fcmp_ordered("<=", at, high))
            kept = builder.and_(kept, builder.fcmp_ordered("<", t, ir.Constant(d.type, [1.0] * self.lanes)))
            if self.order == 0:
                at, certain = self._nearest(axis, at, t)
                kept = builder.and_(kept, certain)
            whole = builder.fptosi(builder.select(kept, at, low), vector(I32, self.lanes))
            if axis < 2:
                whole = builder.mul(whole, splat(builder, builder.trunc(self.strides[axis], I32), self.lanes))
            offsets, inside = builder.add(offsets, whole), builder.and_(inside, kept)
            fractions.append(t if d.type.element == self.real else builder.fptrunc(t, vector(self.real, self.lanes)))
        return inside, offsets, fractions

    def _nearest(self, axis: int, floor: Any, t: Any) -> tuple[Any, Any]:
        """Return the whole numbers next to floors and fractions, and where no mode has a say in them."""
        builder = self.builder
        half, one = (ir.Constant(t.type, [value] * self.lanes) for value in (0.5, 1.0))
        above = builder.fcmp_ordered(">=", t, half)
        at = builder.select(above, builder.fadd(floor, one), floor)
        low = self._as_real(builder.add(self.low[axis], self.margin), t.type)
        high = self._as_real(builder.sub(self.high[axis], self.margin), t.type)
        core = builder.and_(builder.fcmp_ordered(">=", floor, low), builder.fcmp_ordered("<=", floor, high))
        return at, builder.or_(core, builder.fcmp_ordered("!=", t, half))

    def _floor(self, d: Any) -> Any:
        kind = ir.FunctionType(d.type, [d.type])
        name = f"llvm.floor.v{self.lanes}f{32 if d.type.element == F32 else 64}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [d])

    def _steps(self, start: Any, kind: Any) -> Any:
        """Return how far along x each sample of a window lies from the row's first, as floats."""
        numbers = ir.Constant(vector(I32, self.lanes), list(range(self.lanes)))
        numbers = self.builder.add(splat(self.builder, self.builder.trunc(start, I32), self.lanes), numbers)
        along = splat(self.builder, self.builder.trunc(self.along, I32), self.lanes)
        return self.builder.sitofp(self.builder.mul(numbers, along), kind)

    def _as_real(self, integer: Any, kind: Any) -> Any:
        return splat(self.builder, self.builder.sitofp(integer, kind.element), self.lanes)

    def _copy(self, line: Any, offsets: Any, start: Any) -> None:
        """Copy the one tap of each sample at order 0, as it is."""
        builder = self.builder
        kept = cgutils.alloca_once(builder, offsets.type)  # by way of memory: faster than to take a vector apart
        builder.store(offsets, kept)
        numbers = builder.bitcast(kept, I32.as_pointer())
        for lane in range(self.lanes):
            number = ir.Constant(I64, lane)
            offset = builder.sext(builder.load(builder.gep(numbers, [number])), I64)
            builder.store(
                builder.load(builder.gep(line, [offset])), builder.gep(self.out, [builder.add(start, number)])
            )

    def _pairs(self, offsets: Any, line: Any) -> tuple[Any, Any]:
        """Return the two neighbours along x of each sample on a line of taps, as vectors of reals."""
        builder, bits = self.builder, self.source_type.bitwidth
        places = [
            builder.gep(line, [builder.sext(builder.extract_element(offsets, ir.Constant(I32, lane)), I64)])
            for lane in range(self.lanes)
        ]
        if bits > 32:
            nexts = [builder.gep(place, [ir.Constant(I64, 1)]) for place in places]
            return self._real(self._gathered(places)), self._real(self._gathered(nexts))
        both = ir.IntType(2 * bits)
        pairs = self._gathered([builder.bitcast(place, both.as_pointer()) for place in places])
        narrow = vector(ir.IntType(bits), self.lanes)
        right = builder.lshr(pairs, constant(both, self.lanes, bits))
        return self._real(builder.trunc(pairs, narrow)), self._real(builder.trunc(right, narrow))

    def _gathered(self, places: list[Any]) -> Any:
        """Return a vector of what lies at some places."""
        values: Any = ir.Constant(vector(places[0].type.pointee, self.lanes), ir.Undefined)
        for lane, place in enumerate(places):
            value = self.builder.load(place)
            value.align = self.source_type.bitwidth // 8
            values = self.builder.insert_element(values, value, ir.Constant(I32, lane))
        return values

    def _real(self, values: Any) -> Any:
        """Return the reals that samples are, be it as bits, or that integers become."""
        builder, reals = self.builder, vector(self.real, values.type.count)
        if isinstance(self.source_type, kinds.Integer):
            return builder.sitofp(values, reals) if self.source_type.signed else builder.uitofp(values, reals)
        if isinstance(values.type.element, ir.IntType):
            values = builder.bitcast(values, vector(F32, values.type.count))
        return values if values.type == reals else builder.fpext(values, reals)

    def _linear(self, lines: list[Any], offsets: Any, fractions: list[Any]) -> Any:
        """Return the weighted sums of all taps at order 1."""
        builder = self.builder
        one = ir.Constant(fractions[0].type, [1.0] * self.lanes)
        weights = [(builder.fsub(one, t), t) for t in fractions]
        total = None
        for line, steps in zip(lines, product((0, 1), repeat=len(self.axes) - 1), strict=True):
            for tap, last in zip(self._pairs(offsets, line), weights[-1], strict=True):
                value = tap
                for own, step in zip(weights, steps, strict=False):
                    value = builder.fmul(value, own[step])
                value = builder.fmul(value, last)
                total = value if total is None else builder.fadd(total, value)
        return total

    def _cubic(self, lines: list[Any], offsets: Any, fractions: list[Any]) -> Any:
        """Return the weighted sums of 4 x 4 taps at order 3: along y sample by sample, along x for all."""
        across, along = (self._cubic_weights(t) for t in fractions)
        sums = [self._sum_across(lines, offsets, across, lane) for lane in range(self.lanes)]
        columns = [turned(self.builder, sums[k : k + 4]) for k in range(0, self.lanes, 4)]
        total: Any = None
        for parts, weight in zip(zip(*columns, strict=True), along, strict=True):
            value = self.builder.fmul(self._joined(list(parts)), weight)
            total = value if total is None else self.builder.fadd(total, value)
        return total

    def _sum_across(self, lines: list[Any], offsets: Any, weights: list[Any], lane: int) -> Any:
        """Return four neighbours along x of one sample, summed over its lines."""
        builder, number = self.builder, ir.Constant(I32, lane)
        offset = builder.sext(builder.extract_element(offsets, number), I64)
        total: Any = None
        for line, weight in zip(lines, weights, strict=True):
            place = builder.bitcast(builder.gep(line, [offset]), vector(line.type.pointee, 4).as_pointer())
            taps = builder.load(place)
            taps.align = self.source_type.bitwidth // 8
            value = builder.fmul(self._real(taps), splat(builder, builder.extract_element(weight, number), 4))
            total = value if total is None else builder.fadd(total, value)
        return total

    def _cubic_weights(self, t: Any) -> list[Any]:
        """Return the four weights of cubic B-splines, left to right, at fractions of a knot interval."""
        builder = self.builder

        def number(value: float) -> Any:
            return ir.Constant(t.type, [value] * self.lanes)

        def outer(x: Any) -> Any:  # x^3 / 6
            return builder.fmul(builder.fmul(builder.fmul(x, x), x), number(1 / 6))

        def inner(x: Any) -> Any:  # 2/3 - x^2 (1 - x/2)
            bend = builder.fmul(builder.fmul(x, x), builder.fsub(number(1.0), builder.fmul(x, number(0.5))))
            return builder.fsub(number(2 / 3), bend)

        s = builder.fsub(number(1.0), t)
        return [outer(s), inner(t), inner(s), outer(t)]

    def _joined(self, parts: list[Any]) -> Any:
        """Return vectors laid end to end, two by two."""
        while len(parts) > 1:
            width = ir.Constant(vector(I32, 2 * parts[0].type.count), list(range(2 * parts[0].type.count)))
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [self.builder.shuffle_vector(*pair, width) for pair in pairs]
        return parts[0]

    def _store(self, place: Any, values: Any) -> None:
        self.builder.store(values, self.builder.bitcast(place, values.type.as_pointer())).align = 4

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

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .placing import REACH
from .transposing import turned
from .vectors import F32, F64, I32, I64, cgutils, constant, element, load, splat, vector

kinds: Any = types

WINDOW_BYTES = 64

FARTHEST_OFFSET = 1 << 29
"""How far a tap may lie from its place along an axis for offsets to fit 32 bits; samples further off go one by one."""


def _windows(ndim: int, order: int) -> Any:
    """Return the intrinsic for the last `ndim` axes of three."""

    @intrinsic
    def windows(
        _typing: Any, source: Any, _first: Any, _strides: Any, _low: Any, _high: Any, _margin: Any, _along: Any,
        moves: Any, _part: Any, out: Any, outside: Any, _outside_at: Any,
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
        moves : three flat arrays of displacements
        _part : three ints
            Where the row begins in them, its samples, a window or more, and where it begins in `out`.
        out : flat array of float32 or float64, at order 0 of words
        outside : int64 array
            From `_outside_at` on, for each window its samples that are outside, as bits. The last window ends with the
            row. Behind that is working memory, half a word a sample.
        """
        triple = kinds.UniTuple(types.int64, 3)
        integer = types.int64
        before = (source, integer, triple, triple, triple, integer, integer, moves)
        signature = types.int64(*before, triple, out, outside, integer)

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
        source, moves, out, outside = (signature.args[place] for place in (0, 7, 9, 10))
        self.context, self.builder, self.axes, self.order = context, builder, range(3 - ndim, 3), order
        self.source_type = source.dtype
        number = out.dtype if order else moves[2].dtype
        self.real, self.lanes = context.get_value_type(number), WINDOW_BYTES // (number.bitwidth // 8)
        self.source = self._address(source, arguments[0], ir.Constant(I64, 0))
        self.first, self.margin, self.along = arguments[1], arguments[5], arguments[6]
        self.strides, self.low, self.high = (cgutils.unpack_tuple(builder, argument) for argument in arguments[2:5])
        rows, part = (cgutils.unpack_tuple(builder, argument) for argument in arguments[7:9])
        self.moves = [self._address(moves[axis], rows[axis], part[0]) for axis in range(3)]
        self.width, self.out = part[1], self._address(out, arguments[9], part[2])
        self.outside = self._address(outside, *arguments[10:])
        self.windows = builder.udiv(
            builder.add(self.width, ir.Constant(I64, self.lanes - 1)), ir.Constant(I64, self.lanes)
        )
        self.offsets = builder.bitcast(builder.gep(self.outside, [self.windows]), I32.as_pointer())

    def _address(self, kind: Any, array: Any, index: Any) -> Any:
        return element(self.context, self.builder, kind, array, index)

    def fill(self) -> Any:
        """Return the number of windows with samples outside, after a loop that places them and one that fills them."""
        builder, lines = self.builder, self._lines()
        count = cgutils.alloca_once_value(builder, ir.Constant(I64, 0))
        with self._each_window() as (number, start):
            outside, offsets = self._placed(start)
            self._store(builder.gep(self.offsets, [start]), offsets)
            bits = builder.bitcast(outside, ir.IntType(self.lanes))
            builder.store(builder.zext(bits, I64), builder.gep(self.outside, [number]))
            some = builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))
            builder.store(builder.add(builder.load(count), builder.zext(some, I64)), count)
        with self._each_window() as (_, start):
            places = [builder.add(start, ir.Constant(I64, lane)) for lane in range(self.lanes)]
            offsets = [builder.sext(builder.load(builder.gep(self.offsets, [place])), I64) for place in places]
            if self.order == 0:
                for place, offset in zip(places, offsets, strict=True):
                    builder.store(builder.load(builder.gep(lines[0], [offset])), builder.gep(self.out, [place]))
            else:
                fractions = [self._fraction(axis, start) for axis in self.axes]
                values = (self._linear if self.order == 1 else self._cubic)(lines, offsets, fractions)
                self._store(builder.gep(self.out, [start]), values)
        return builder.load(count)

    @contextmanager
    def _each_window(self) -> Iterator[tuple[Any, Any]]:
        """Loop over windows; gives the number of each and its first sample. The last one ends with the row."""
        builder, lanes = self.builder, ir.Constant(I64, self.lanes)
        with cgutils.for_range(builder, self.windows, intp=I64) as loop:
            start, last = builder.mul(loop.index, lanes), builder.sub(self.width, lanes)
            yield loop.index, builder.select(builder.icmp_signed("<", start, last), start, last)

    def _lines(self) -> list[Any]:
        """Return where the first sample of each line of taps lies, in C order."""
        lines = []
        for steps in product(range(self.order + 1), repeat=len(self.axes) - 1):
            at = self.first
            for axis, step in zip(self.axes, steps, strict=False):
                at = self.builder.add(at, self.builder.mul(self.strides[axis], ir.Constant(I64, step)))
            lines.append(self.builder.gep(self.source, [at]))
        return lines

    def _placed(self, start: Any) -> tuple[Any, Any]:
        """Return which samples of a window are outside, and the offsets of their first taps.

        What is asked of a sample is answered by signs, which are joined and looked at once: on a Zen 5 comparisons of
        vectors and their joining took a quarter of the time of a row.
        """
        builder = self.builder
        outside: Any = constant(I32, self.lanes, 0)
        offsets: Any = constant(I32, self.lanes, 0)
        lowest: Any = ir.Constant(I64, 0)
        for axis in self.axes:
            floor, t = self._split(axis, start)
            at = self._whole(floor)
            if axis == 2:
                at = builder.add(at, self._steps(start))
            out = builder.or_(
                self._beyond(at, self.low[axis], self.high[axis]),
                builder.not_(self._sign(builder.fsub(t, self._reals(t.type, 1.0)))),
            )
            if self.order == 0:
                at, unsure = self._nearest(axis, at, t)
                out = builder.or_(out, unsure)
            stride = self.strides[axis] if axis < 2 else ir.Constant(I64, 1)
            offsets = builder.add(offsets, builder.mul(at, self._as_vector(stride)))
            lowest = builder.add(lowest, builder.mul(self.low[axis], stride))
            outside = builder.or_(outside, out)
        is_outside = builder.icmp_signed("<", outside, constant(I32, self.lanes, 0))
        return is_outside, builder.select(is_outside, self._as_vector(lowest), offsets)

    def _split(self, axis: int, start: Any) -> tuple[Any, Any]:
        """Return the floors of a window of displacements, and what they are more than that."""
        builder = self.builder
        d = load(builder, builder.gep(self.moves[axis], [start]), vector(self.moves[axis].type.pointee, self.lanes))
        if self.real == F64 and d.type.element == F32:
            d = builder.fpext(d, vector(F64, self.lanes))
        kind = ir.FunctionType(d.type, [d.type])
        name = f"llvm.floor.v{self.lanes}f{32 if d.type.element == F32 else 64}"
        floor = builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [d])
        return floor, builder.fsub(d, floor)

    def _fraction(self, axis: int, start: Any) -> Any:
        """Return what a window of displacements is more than their floors, in the precision of weights."""
        _, t = self._split(axis, start)
        kind = vector(self.real, self.lanes)
        return t if t.type == kind else self.builder.fptrunc(t, kind)

    def _nearest(self, axis: int, floor: Any, t: Any) -> tuple[Any, Any]:
        """Return the whole numbers next to floors and fractions, and signs of where a mode may have a say in them."""
        builder, one = self.builder, constant(I32, self.lanes, 1)
        below = self._sign(builder.fsub(t, self._reals(t.type, 0.5)))
        at = builder.add(builder.add(floor, one), builder.ashr(below, constant(I32, self.lanes, 31)))
        low, high = builder.add(self.low[axis], self.margin), builder.sub(self.high[axis], self.margin)
        half = builder.fcmp_ordered("==", t, self._reals(t.type, 0.5))
        nothing = constant(I32, self.lanes, 0)
        return at, builder.select(half, self._beyond(floor, low, high), nothing)

    def _beyond(self, at: Any, low: Any, high: Any) -> Any:
        """Return integers that are negative where others are not from low to high."""
        builder = self.builder
        return builder.or_(builder.sub(at, self._as_vector(low)), builder.sub(self._as_vector(high), at))

    def _whole(self, floor: Any) -> Any:
        """Return floors as integers; those that are too large for one, and NaN, are outside of any image."""
        builder = self.builder
        least, most = (self._reals(floor.type, sign * 2.0 * REACH) for sign in (-1, 1))
        floor = builder.select(builder.fcmp_ordered(">", floor, least), floor, least)
        floor = builder.select(builder.fcmp_ordered("<", floor, most), floor, most)
        return builder.fptosi(floor, vector(I32, self.lanes))

    def _sign(self, values: Any) -> Any:
        """Return integers with the signs of reals."""
        if values.type.element == F32:
            return self.builder.bitcast(values, vector(I32, self.lanes))
        bits = self.builder.bitcast(values, vector(I64, self.lanes))
        return self.builder.trunc(self.builder.lshr(bits, constant(I64, self.lanes, 32)), vector(I32, self.lanes))

    def _reals(self, kind: Any, value: float) -> Any:
        return ir.Constant(kind, [value] * self.lanes)

    def _steps(self, start: Any) -> Any:
        """Return how far along x each sample of a window lies from the row's first."""
        numbers = ir.Constant(vector(I32, self.lanes), list(range(self.lanes)))
        numbers = self.builder.add(self._as_vector(start), numbers)
        return self.builder.mul(numbers, self._as_vector(self.along))

    def _as_vector(self, integer: Any) -> Any:
        return splat(self.builder, self.builder.trunc(integer, I32), self.lanes)

    def _pairs(self, offsets: list[Any], line: Any) -> tuple[Any, Any]:
        """Return the two neighbours along x of each sample on a line of taps, as vectors of reals."""
        builder, bits = self.builder, self.source_type.bitwidth
        places = [builder.gep(line, [offset]) for offset in offsets]
        if bits > 32:
            nexts = [builder.gep(place, [ir.Constant(I64, 1)]) for place in places]
            return self._real(self._gathered(places)), self._real(self._gathered(nexts))
        both = ir.IntType(2 * bits).as_pointer()
        places = [builder.bitcast(place, both) for place in places]
        if bits == 32:
            return self._split_words(places)
        pairs = self._gathered(places)
        narrow = vector(ir.IntType(bits), self.lanes)
        right = builder.lshr(pairs, constant(pairs.type.element, self.lanes, bits))
        return self._real(builder.trunc(pairs, narrow)), self._real(builder.trunc(right, narrow))

    def _split_words(self, places: list[Any]) -> tuple[Any, Any]:
        """Return what the left and what the right words of pairs at some places stand for.

        The pairs go to two vectors, by turns of two, so that none has to leave its quarter of a vector afterwards.
        """
        words = vector(I32, self.lanes)
        parts = [
            self.builder.bitcast(self._gathered([place for n, place in enumerate(places) if n // 2 % 2 == part]), words)
            for part in (0, 1)
        ]
        lefts = [4 * (n // 4) + 2 * (n % 2) + (self.lanes if n % 4 > 1 else 0) for n in range(self.lanes)]
        left, right = (
            self.builder.shuffle_vector(*parts, ir.Constant(words, [n + side for n in lefts])) for side in (0, 1)
        )
        return self._real(left), self._real(right)

    def _gathered(self, places: list[Any]) -> Any:
        """Return a vector of what lies at some places."""
        values: Any = ir.Constant(vector(places[0].type.pointee, len(places)), ir.Undefined)
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

    def _linear(self, lines: list[Any], offsets: list[Any], fractions: list[Any]) -> Any:
        """Return the weighted sums of all taps at order 1."""
        builder = self.builder
        weights = [(builder.fsub(self._reals(t.type, 1.0), t), t) for t in fractions]
        total = None
        for line, steps in zip(lines, product((0, 1), repeat=len(self.axes) - 1), strict=True):
            for tap, last in zip(self._pairs(offsets, line), weights[-1], strict=True):
                value = tap
                for own, step in zip(weights, steps, strict=False):
                    value = builder.fmul(value, own[step])
                value = builder.fmul(value, last)
                total = value if total is None else builder.fadd(total, value)
        return total

    def _cubic(self, lines: list[Any], offsets: list[Any], fractions: list[Any]) -> Any:
        """Return the weighted sums of 4 x 4 taps at order 3: along y sample by sample, along x for all."""
        across, along = (self._cubic_weights(t) for t in fractions)
        sums = [self._sum_across(lines, offset, across, lane) for lane, offset in enumerate(offsets)]
        columns = [turned(self.builder, sums[k : k + 4]) for k in range(0, self.lanes, 4)]
        total: Any = None
        for parts, weight in zip(zip(*columns, strict=True), along, strict=True):
            value = self.builder.fmul(self._joined(list(parts)), weight)
            total = value if total is None else self.builder.fadd(total, value)
        return total

    def _sum_across(self, lines: list[Any], offset: Any, weights: list[Any], lane: int) -> Any:
        """Return four neighbours along x of one sample, summed over its lines."""
        builder, number = self.builder, ir.Constant(I32, lane)
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

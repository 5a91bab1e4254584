"""The samples of a row at their offsets: copied at order 0, weighted sums of their taps at orders 1 and 3."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

from llvmlite import ir
from numba.core import types

from .transposing import turned
from .vectors import F32, F64, I32, I64, constant, prefetch, splat, vector
from .window_rows import Row, reals, store

kinds: Any = types

QUARTER_BITS = 128
"""Of a vector of 64 bytes: within one, words change places at no cost worth mentioning."""


LINES_AHEAD = 24
"""Lines of the image by which one is asked for ahead: most samples do not reach it yet. With that, and displacements
asked for, slices that come from memory take 1.4 ms in float64 and 0.8 in float32, before 3.1 and 0.9 to 1.2 (768 x
1024, two threads of a Zen 5, each with its own)."""


def fill_windows(row: Row) -> None:
    """Fill a row whose samples are placed."""
    builder = row.builder
    ahead = builder.mul(row.strides[1], ir.Constant(I64, LINES_AHEAD))
    with row.each_window(row.lanes) as (_, start):
        here = builder.mul(start, row.along)
        prefetch(builder, builder.gep(row.lines[0], [builder.add(ahead, here)]))
        window = _Window(row, start)
        if row.order == 0:
            window.copy()
        else:
            values = window.linear() if row.order == 1 else window.cubic()
            store(builder, values, builder.gep(row.out, [start]))


class _Window:
    """Fills one window."""

    def __init__(self, row: Row, start: Any) -> None:
        self.row, self.builder, self.start, self.lanes = row, row.builder, start, row.lanes
        self.places = [row.builder.add(start, ir.Constant(I64, lane)) for lane in range(self.lanes)]
        loads = (row.builder.load(row.builder.gep(row.offsets, [place])) for place in self.places)
        self.offsets = [row.builder.sext(offset, I64) for offset in loads]

    def copy(self) -> None:
        """Copy the one tap of each sample, as it is."""
        for place, offset in zip(self.places, self.offsets, strict=True):
            word = self.builder.load(self.builder.gep(self.row.lines[0], [offset]))
            self.builder.store(word, self.builder.gep(self.row.out, [place]))

    def _fractions(self) -> list[Any]:
        """Return what displacements are more than their floors, in the precision of weights."""
        wide, kind = self.row.real == F64, vector(self.row.real, self.lanes)
        fractions = [self.row.split(axis, self.start, self.lanes, wide=wide)[1] for axis in self.row.axes]
        return [t if t.type == kind else self.builder.fptrunc(t, kind) for t in fractions]

    def linear(self) -> Any:
        """Return the weighted sums of all taps at order 1."""
        builder = self.builder
        weights = [(builder.fsub(reals(t.type, 1.0), t), t) for t in self._fractions()]
        total = None
        for line, steps in zip(self.row.lines, product((0, 1), repeat=len(self.row.axes) - 1), strict=True):
            for tap, last in zip(self._pairs(line), weights[-1], strict=True):
                value = tap
                for own, step in zip(weights, steps, strict=False):
                    value = builder.fmul(value, own[step])
                value = builder.fmul(value, last)
                total = value if total is None else builder.fadd(total, value)
        return total

    def cubic(self) -> Any:
        """Return the weighted sums of 4 x 4 taps at order 3: along y sample by sample, along x for all."""
        across, along = (self._cubic_weights(t) for t in self._fractions())
        sums = [self._sum_across(across, lane) for lane in range(self.lanes)]
        columns = [turned(self.builder, sums[k : k + 4]) for k in range(0, self.lanes, 4)]
        total: Any = None
        for parts, weight in zip(zip(*columns, strict=True), along, strict=True):
            value = self.builder.fmul(self._joined(list(parts)), weight)
            total = value if total is None else self.builder.fadd(total, value)
        return total

    def _sum_across(self, weights: list[Any], lane: int) -> Any:
        """Return four neighbours along x of one sample, summed over its lines."""
        builder, number = self.builder, ir.Constant(I32, lane)
        total: Any = None
        for line, weight in zip(self.row.lines, weights, strict=True):
            taps = self._loaded(builder.gep(line, [self.offsets[lane]]), vector(line.type.pointee, 4))
            value = builder.fmul(self._real(taps), splat(builder, builder.extract_element(weight, number), 4))
            total = value if total is None else builder.fadd(total, value)
        return total

    def _cubic_weights(self, t: Any) -> list[Any]:
        """Return the four weights of cubic B-splines, left to right, at fractions of a knot interval."""
        builder, number = self.builder, partial(reals, t.type)

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

    def _pairs(self, line: Any) -> tuple[Any, Any]:
        """Return the two neighbours along x of each sample on a line of taps, as vectors of reals."""
        builder, bits = self.builder, self.row.source_type.bitwidth
        places = [builder.gep(line, [offset]) for offset in self.offsets]
        if bits >= 32:
            return self._split_pairs(places)
        pairs = self._gathered(places, ir.IntType(2 * bits))
        narrow = vector(ir.IntType(bits), self.lanes)
        right = builder.lshr(pairs, constant(pairs.type.element, self.lanes, bits))
        return self._real(builder.trunc(pairs, narrow)), self._real(builder.trunc(right, narrow))

    def _split_pairs(self, places: list[Any]) -> tuple[Any, Any]:
        """Return what the left and what the right words at some places stand for.

        Pairs go to two vectors, by turns of as many as fill a quarter, so that no word has to leave its quarter when
        the left ones are parted from the right ones.
        """
        bits = self.row.source_type.bitwidth
        together = QUARTER_BITS // (2 * bits)
        words = vector(ir.IntType(bits), self.lanes)
        parts, lefts = [], []
        for part in (0, 1):
            own = [place for n, place in enumerate(places) if n // together % 2 == part]
            if together > 1:
                pairs = self._gathered(own, ir.IntType(2 * bits))
            else:
                pairs = self._joined([self._loaded(place, vector(ir.IntType(bits), 2)) for place in own])
            parts.append(self.builder.bitcast(pairs, words))
        for n in range(self.lanes):
            turn, within = divmod(n, together)
            lefts.append(2 * (turn // 2 * together + within) + turn % 2 * self.lanes)
        left, right = (
            self.builder.shuffle_vector(*parts, ir.Constant(vector(I32, self.lanes), [n + side for n in lefts]))
            for side in (0, 1)
        )
        return self._real(left), self._real(right)

    def _gathered(self, places: list[Any], kind: Any) -> Any:
        """Return a vector of what lies at some places."""
        values: Any = ir.Constant(vector(kind, len(places)), ir.Undefined)
        for lane, place in enumerate(places):
            values = self.builder.insert_element(values, self._loaded(place, kind), ir.Constant(I32, lane))
        return values

    def _loaded(self, place: Any, kind: Any) -> Any:
        """Return what lies at the place of a sample."""
        value = self.builder.load(self.builder.bitcast(place, kind.as_pointer()))
        value.align = self.row.source_type.bitwidth // 8
        return value

    def _real(self, values: Any) -> Any:
        """Return the reals that samples are, be it as bits, or that integers become."""
        builder, source, count = self.builder, self.row.source_type, values.type.count
        wanted = vector(self.row.real, count)
        if isinstance(source, kinds.Integer):
            return builder.sitofp(values, wanted) if source.signed else builder.uitofp(values, wanted)
        if isinstance(values.type.element, ir.IntType):
            values = builder.bitcast(values, vector(F32 if source.bitwidth == 32 else F64, count))
        return values if values.type == wanted else builder.fpext(values, wanted)

"""Symmetric FIR filters of many lines side by side: outputs stay in vector registers while all taps pass by.

Vectors run across the lines. Some outputs and some pairs of taps meet in registers: of 8 outputs and 4 pairs, 22 reads
serve 32 additions and 32 products. See `fir` for the order of operations.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from .vectors import F32, cgutils, has_many_registers, hidden, int64, load, multiply_add, splat, vector

LANES = 128
"""Lines side by side: a constant of the code. 64 and 32 lose by the way in which they read memory, a row of a page at a
time (in loops that LLVM made vectors of, 2.1 and 1.8 ms against 1.2 ms for 768 x 1024, radius 20)."""

APART = LANES + 16
"""Samples from one position to the next of so many lines. Were it LANES, 512 bytes of float32, those of a vector of
lines would share an eighth of the first cache. As it is, and with all outputs of a vector of lines before those of the
next one, a filter of 768 x 1024 takes 0.8 to 1 of the time on a Zen 3."""

BLOCK = 16
"""Outputs of each of the lines side by side that one call computes."""

OUTPUTS, TAPS = 8 if has_many_registers() else 4, 4
"""Outputs, and pairs of taps, that meet in registers."""

VECTOR_BITS = 512 if has_many_registers() else 256
"""Of lines that are filtered side by side in one step. With two registers each, sums and what meets them do not all fit
into 16: float32 took 1.15 times as long on a Zen 3."""


class _Column:
    """Some neighbouring outputs of as many lines as a vector has lanes.

    Positions are so many samples `apart`. Products and sums are `fused` in float32, and if asked for in float64.
    """

    def __init__(self, builder: Any, centre: Any, weights: Any, apart: int, fused: bool) -> None:
        self.builder, self.centre, self.weights, self.apart = builder, centre, weights, apart
        self.real = centre.type.pointee
        self.kind = vector(self.real, VECTOR_BITS // (32 if self.real == F32 else 64))
        self.fused = fused or self.real == F32
        shares = not self.fused and has_many_registers()
        self.one = splat(builder, hidden(builder, 1.0), self.kind.count) if shares else None
        first = self._weight(int64(0))
        self.sums = [cgutils.alloca_once(builder, self.kind) for _ in range(OUTPUTS)]
        for k, place in enumerate(self.sums):
            builder.store(builder.fmul(self._row(int64(k)), first), place)

    def add_pairs(self, outermost: Any, count: int) -> None:
        """Add pairs of taps to the sums, from the outermost distance inwards."""
        builder = self.builder
        before = [self._row(builder.sub(int64(k), outermost)) for k in range(OUTPUTS + count - 1)]
        after = [self._row(builder.add(int64(k + 1 - count), outermost)) for k in range(OUTPUTS + count - 1)]
        sums = [builder.load(place) for place in self.sums]
        for inwards in range(count):
            weight = self._weight(builder.sub(outermost, int64(inwards)))
            for k in range(OUTPUTS):
                pair = before[k + inwards], after[k + count - 1 - inwards]
                sums[k] = self._with_pair(sums[k], *pair, weight, shared=(k + inwards) % 2 == 0)
        for place, value in zip(self.sums, sums, strict=True):
            builder.store(value, place)

    def write(self, address: Any, scale: Any) -> None:
        """Write the sums, times `scale` where there is one, to rows from an address on."""
        builder = self.builder
        for k, place in enumerate(self.sums):
            at = builder.bitcast(builder.gep(address, [int64(k * self.apart)]), self.kind.as_pointer())
            value = builder.load(place)
            if scale is not None:
                value = builder.fmul(value, splat(builder, scale, self.kind.count))
            builder.store(value, at).align = 4

    def _with_pair(self, total: Any, before: Any, after: Any, weight: Any, *, shared: bool) -> Any:
        """Return a sum and the weighted sum of two samples.

        Fused, a tap takes 1.2 cycles a vector on a Zen 4. Where products and sums are not, it takes two sums and one
        product, and a Zen 4 or 5 has as many units that add as units that multiply. So half of the sums of pairs are
        `shared` with the latter, as fused products with 1, which have the same bits: 1.8 cycles, else 2.1.
        """
        builder = self.builder
        if self.fused:
            return multiply_add(builder, builder.fadd(before, after), weight, total, always=False)
        if shared and self.one is not None:
            pair = multiply_add(builder, before, self.one, after)
        else:
            pair = builder.fadd(before, after)
        return builder.fadd(total, builder.fmul(pair, weight))

    def _row(self, row: Any) -> Any:
        """Return the samples so many rows after those of the first output."""
        address = self.builder.gep(self.centre, [self.builder.mul(row, int64(self.apart))])
        return load(self.builder, address, self.kind)

    def _weight(self, distance: Any) -> Any:
        """Return a weight in all lanes."""
        return splat(self.builder, self.builder.load(self.builder.gep(self.weights, [distance])), self.kind.count)


def block_filter(lines: int, apart: int, *, fused: bool = False) -> Any:
    """Return the filter of a block, for compiled code: ``filter_block(window, weights, sums)``.

    It filters BLOCK positions of so many lines side by side, in rows so many samples `apart`. Arrays are of one real
    type, C-contiguous: a window of ``BLOCK + 2 * radius`` rows or more, the first output in row `radius`; the weights
    of the samples at distances 0 to `radius`; BLOCK rows of sums, where the outputs go. A `fused` one takes, after
    these, a real of that type by which the sums are multiplied.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """Emit the filter: lines by vectors, outputs by OUTPUTS, pairs of taps by TAPS, then one by one."""
        window, weights, sums = (
            context.make_array(kind)(context, builder, array)
            for kind, array in zip(signature.args[:3], arguments[:3], strict=True)
        )
        scale = arguments[3] if fused else None
        radius = builder.sub(builder.extract_value(weights.shape, 0), int64(1))
        lanes = VECTOR_BITS // signature.args[0].dtype.bitwidth
        first = builder.gep(window.data, [builder.mul(radius, int64(apart))])
        with (
            cgutils.for_range_slice(builder, *map(int64, (0, lines, lanes))) as (line, _),
            cgutils.for_range_slice(builder, *map(int64, (0, BLOCK * apart, OUTPUTS * apart))) as (row, _),
        ):
            at = builder.add(row, line)
            column = _Column(builder, builder.gep(first, [at]), weights.data, apart, fused)
            rest = builder.srem(radius, int64(TAPS))
            with cgutils.for_range_slice(builder, radius, rest, int64(-TAPS), inc=False) as (outermost, _):
                column.add_pairs(outermost, TAPS)
            with cgutils.for_range_slice(builder, rest, int64(0), int64(-1), inc=False) as (outermost, _):
                column.add_pairs(outermost, 1)
            column.write(builder.gep(sums.data, [at]), scale)
        return context.get_dummy_value()

    def filter_block(_typing: Any, window: Any, weights: Any, sums: Any) -> Any:
        return types.void(window, weights, sums), emit

    def filter_and_scale(_typing: Any, window: Any, weights: Any, sums: Any, scale: Any) -> Any:
        return types.void(window, weights, sums, scale), emit

    return intrinsic(filter_and_scale if fused else filter_block)


filter_block = block_filter(LANES, APART)

"""Sums of floating images about a shift, over some rows of the blocks of a grid at a time.

Sixteen lanes of float64, in one order on every processor: products and sums are fused by name, and nothing is added in
another order, so that the bits depend on the pixels of the block alone. An image with itself has the same sums of xy,
xx and yy to the last bit, because the same operations make them. (Without fused products a Zen 3, which adds on two of
its four units only, takes 1.4 times as long.)
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .vectors import (
    F32,
    F64,
    I64,
    Accumulators,
    add_to,
    blocks_of,
    element,
    load,
    prefetch,
    some_rows,
    splat,
    sum_of_halves,
    vector,
    windows,
)

LANES = 16
"""Pixels of a window: with eight, the time that a fused product takes would show."""

WORDS = 8
"""Words of float64 for the lanes of each sum."""

ROWS = 2
"""Rows that may be taken at once, which halves the way of the sums to memory and back and leaves their bits: with cells
of 64 pixels on a Zen 5 float32 took a tenth, float64 a fifth longer. With four rows both take a fifth longer."""

LINE_BYTES = 64
"""Bytes of a cache line, of which a window has several."""

_VECTOR = vector(F64, LANES)


def _deviations(builder: Any, address: Any, kind: Any, shift: Any) -> Any:
    """Return a window less its shift."""
    if kind.bitwidth == 32:
        pixels = builder.fpext(load(builder, address, vector(F32, LANES)), vector(F64, LANES))
    else:
        pixels = load(builder, address, vector(F64, LANES))
    return builder.fsub(pixels, shift)


def _masked(builder: Any, values: Any, mask: Any) -> Any:
    """Return 0 where a mask is 0, whatever is there."""
    bits = builder.and_(builder.bitcast(values, mask.type), mask)
    return builder.bitcast(bits, values.type)


def _rows(context: Any, builder: Any, signature: Any, arguments: Any, *, with_y: bool) -> Any:
    """Emit the sums over some rows of every block: whole windows, then the masked one."""
    y, y_start, y_step, ahead, shifts, shift_start, x, x_start, x_step, count, columns, keep, *places = arguments
    lanes, start, size, offset = places
    y_kind, shift_kind, x_kind, columns_kind, keep_kind, lanes_kind = (signature.args[i] for i in (0, 4, 6, 10, 11, 12))
    y, x = (element(context, builder, *a) for a in ((y_kind, y, y_start), (x_kind, x, x_start)))
    pixels_a_line = 8 * LINE_BYTES // y_kind.dtype.bitwidth

    def add_windows(rows: list[tuple[Any, Accumulators]], first: Any, shift: Any, mask: Any) -> None:
        for row, sums in rows:
            at_y = builder.gep(y, [builder.add(first, builder.mul(row, y_step))])
            at_x = builder.gep(x, [builder.add(first, builder.mul(row, x_step))])
            for pixel in range(0, LANES if with_y else 0, pixels_a_line):
                prefetch(builder, builder.gep(at_y, [builder.add(ahead, ir.Constant(I64, pixel))]))
            values = _deviations(builder, at_y, y_kind.dtype, shift), load(builder, at_x, _VECTOR)
            of_y, of_x = values if mask is None else (_masked(builder, v, mask) for v in values)
            sums.add_product("xy", of_y, of_x)
            if with_y:
                sums.add("y", of_y)
                sums.add_product("yy", of_y, of_y)

    def add_rows(numbers: list[Any]) -> None:
        with blocks_of(context, builder, columns_kind, columns) as block:
            at = element(context, builder, shift_kind, shifts, builder.add(shift_start, block.number))
            shift = splat(builder, builder.load(at), LANES)
            kinds = dict.fromkeys(("y", "yy", "xy"), _VECTOR)
            rows = [(number, Accumulators(builder, **kinds)) for number in numbers]  # so that they add up one by one
            with windows(builder, block.whole, LANES, rolled=len(rows) > 1) as first:
                add_windows(rows, builder.add(block.first, first), shift, None)
            with builder.if_then(block.is_masked):
                mask = load(builder, element(context, builder, keep_kind, keep, block.mask), vector(I64, LANES))
                add_windows(rows, builder.add(block.first, block.rest), shift, mask)
            place = builder.add(start, builder.mul(block.number, size))
            places = {"xy": builder.add(place, offset)}
            if with_y:
                places |= {"y": place, "yy": builder.add(place, ir.Constant(I64, WORDS))}
            for name, index in places.items():
                address = element(context, builder, lanes_kind, lanes, index)
                add_to(builder, address, *(sum_of_halves(builder, sums[name]) for _, sums in rows))

    some_rows(builder, count, (ROWS,), add_rows)
    return context.get_dummy_value()


def _definition(with_y: bool) -> Any:
    """Return what Numba asks for: the types of a call, and what emits it."""

    def define(
        typing: Any, y: Any, y_start: Any, y_step: Any, ahead: Any, shifts: Any, shift_start: Any, x: Any, x_start: Any,
        x_step: Any, count: Any, columns: Any, keep: Any, lanes: Any, start: Any, size: Any, offset: Any,
    ) -> Any:  # fmt: skip
        del typing, y_start, y_step, ahead, shift_start, x_start, x_step, count, start, size, offset
        index = types.int64
        flat = (y, index, index, index, shifts, index, x, index, index)
        signature = types.void(*flat, index, columns, keep, lanes, index, index, index)
        return signature, partial(_rows, with_y=with_y)

    return define


add_rows: Any = intrinsic(_definition(True))
"""Adds the sums of y, yy and xy over some rows of every block, about the shift of the block, to its lanes.

``add_rows(y, y_start, y_step, ahead, shifts, shift_start, x, x_start, x_step, count, columns, keep, lanes, start, size,
offset)``: the first of `count` rows of flat pixels begins at its start, the next one a step further; pixels of y are
asked for so many ahead; x holds deviations from a shift; the shifts of y are those from `shift_start` on; `columns` and
`keep` are those of a grid; the lanes of block j begin at ``start + j * size``, with those of y and yy, and those of xy
``offset`` behind.
"""

add_products: Any = intrinsic(_definition(False))
"""As `add_rows`, the sum of xy alone."""


def _define_ask_for(typing: Any, x: Any, start: Any, count: Any) -> Any:
    """Return the types and the code of `ask_for`."""
    del typing, start, count

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, start, count = arguments
        kind = signature.args[0]
        row = element(context, builder, kind, x, start)
        step = 512 // kind.dtype.bitwidth
        lines = builder.add(builder.sdiv(count, ir.Constant(I64, step)), ir.Constant(I64, 1))
        with windows(builder, lines, step) as first:
            prefetch(builder, builder.gep(row, [first]))
        return context.get_dummy_value()

    return types.void(x, types.int64, types.int64), emit


ask_for: Any = intrinsic(_define_ask_for)
"""``ask_for(x, start, count)``: have some samples brought to the cache."""

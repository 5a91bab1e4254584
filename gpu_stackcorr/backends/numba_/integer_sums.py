"""Exact sums of products of integer images, over some rows of the blocks of a grid at a time.

Unsigned bytes are multiplied as they are, 64 at once, by y less 128 as a signed byte, where the processor has the
instruction: the 128 times the sum of x, or of y, that are missing then are added to a block in the end. A grid whose
masks are bytes stands for that.

Otherwise pixels are taken as int16, 32 at once: bytes as they are, uint16 less 32768, which `OFFSETS` puts back.
Adjacent products are added in int32. Where both images are bytes these sums stay in eight lanes of int32, each of which
gains at most 4 * 255^2 a window: a block may have 8192 windows. Else a sum of two products takes 32 bits and goes into
int64 lanes twice, as it lies there with a neighbour in the upper half, and that upper half alone: which costs less than
to take both apart.

The last pixels of a run that do not fill a window are masked in a window that may reach out of the run, not out of the
row.

Several rows may be taken at once, so that the sums of a block go to memory and come back for a part of the rows only:
in cells 64 pixels wide that costs as much as all products.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .vectors import (
    I8,
    I16,
    I32,
    I64,
    Accumulators,
    add_to,
    blocks_of,
    byte_products,
    constant,
    element,
    load,
    prefetch,
    some_rows,
    sum_of_halves,
    sum_of_lanes,
    sums_of_pairs,
    vector,
    windows,
)

LANES, BYTE_LANES = 32, 64
"""Pixels of a window, and of one of bytes."""

ROWS, FEWER_ROWS = 4, 2
"""Rows that may be taken at once, with one reference, and of bytes with several."""

REFERENCES = 4
"""References that `add_many_rows` takes at once, while y is at hand."""

OFFSETS = {np.dtype(np.uint16): 32768}
"""What a kernel subtracts from the pixels of a dtype."""

WORDS = 4
"""Words of int64 for the lanes of each sum."""

_BIAS = 2**31 - 1
"""Makes sums of two products of int16, which lie in (-2^31, 2^31], unsigned."""


def _pixels(builder: Any, address: Any, kind: Any) -> Any:
    """Return a window as int16, uint16 less its offset."""
    raw = load(builder, address, vector(ir.IntType(kind.bitwidth), LANES))
    if kind.bitwidth == 16:
        return raw if kind.signed else builder.xor(raw, constant(I16, LANES, -32768))
    return (builder.sext if kind.signed else builder.zext)(raw, vector(I16, LANES))


def _is_narrow(y_kind: Any, x_kind: Any) -> bool:
    """Whether both images are bytes."""
    return bool(y_kind.dtype.bitwidth == x_kind.dtype.bitwidth == 8)


def _accumulators(builder: Any, narrow: bool, bytewise: bool, *, of_y: bool, references: int) -> Accumulators:
    """Return the sums of a run, zero."""
    lanes = {"y": vector(I32, 8 if narrow and not bytewise else 16)} if of_y else {}
    for name in (["yy"] if of_y else []) + [f"xy {k}" for k in range(references)]:
        lanes |= {name: vector(I32, 16)} if narrow else {name: vector(I64, 8), f"{name} upper": vector(I64, 8)}
    return Accumulators(builder, **lanes)


def _add_products(builder: Any, sums: Accumulators, name: str, products: Any, narrow: bool) -> None:
    """Add sums of two products each, sixteen of int32, to the lanes of a sum."""
    if narrow:
        sums.add(name, products)
        return
    doubled = builder.bitcast(products, vector(I64, 8))
    sums.add(name, doubled)
    sums.add(f"{name} upper", builder.lshr(doubled, constant(I64, 8, 32)))


def _add_window(builder: Any, sums: Accumulators, y: Any, xs: list[Any], *, narrow: bool) -> None:
    """Add the sums over a window of int16."""
    for k, x in enumerate(xs):
        products = sums_of_pairs(builder, y, x)
        products = products if narrow else builder.add(products, constant(I32, 16, _BIAS))
        _add_products(builder, sums, f"xy {k}", products, narrow)
    if "y" in sums:
        _add_products(builder, sums, "yy", sums_of_pairs(builder, y, y), narrow)
        if narrow:  # two bytes add up in 16 bits
            sums.add("y", sums_of_pairs(builder, sum_of_halves(builder, y), constant(I16, LANES // 2, 1)))
        else:
            sums.add("y", sums_of_pairs(builder, y, constant(I16, LANES, 1)))


def _add_bytes(builder: Any, sums: Accumulators, y: Any, xs: list[Any], mask: Any) -> None:
    """Add the sums over a window of bytes."""
    less = builder.xor(y, constant(I8, BYTE_LANES, -128))
    y, less = (value if mask is None else builder.and_(value, mask) for value in (y, less))
    products = {f"xy {k}": (x, less) for k, x in enumerate(xs)}
    if "y" in sums:
        products |= {"yy": (y, less), "y": (y, constant(I8, BYTE_LANES, 1))}
    for name, factors in products.items():
        sums.set(name, byte_products(builder, sums[name], *factors))


def _rows(context: Any, builder: Any, signature: Any, arguments: Any, *, of_y: bool, references: int) -> Any:
    """Emit the sums over some rows of every block: whole windows, then the masked one."""
    y, y_places, x, x_places, count, columns, keep, lanes, places = arguments
    y_kind, x_kind, columns_kind, keep_kind, lanes_kind = (signature.args[i] for i in (0, 2, 5, 6, 7))
    narrow, bytewise = _is_narrow(y_kind, x_kind), keep_kind.dtype.bitwidth == 8
    width, lane = (BYTE_LANES, I8) if bytewise else (LANES, I16)
    (y_start, y_step, ahead), (x_start, x_step, apart), (start, size, offset) = (
        [builder.extract_value(each, i) for i in range(3)] for each in (y_places, x_places, places)
    )
    first_y, first_x = (element(context, builder, *a) for a in ((y_kind, y, y_start), (x_kind, x, x_start)))

    def pixels(address: Any, kind: Any) -> Any:
        return load(builder, address, vector(I8, BYTE_LANES)) if bytewise else _pixels(builder, address, kind)

    def add_window(sums: Accumulators, row: tuple[Any, list[Any]], first: Any, mask: Any) -> None:
        at_y, at_xs = row
        from_y = pixels(builder.gep(at_y, [first]), y_kind.dtype)
        from_xs = [pixels(builder.gep(at_x, [first]), x_kind.dtype) for at_x in at_xs]
        if bytewise:
            _add_bytes(builder, sums, from_y, from_xs, mask)
        else:
            _add_window(builder, sums, from_y if mask is None else builder.and_(from_y, mask), from_xs, narrow=narrow)

    def add_windows(sums: Accumulators, rows: list[tuple[Any, list[Any]]], first: Any, mask: Any) -> None:
        for row in rows:
            if of_y:
                prefetch(builder, builder.gep(row[0], [builder.add(first, ahead)]))
            add_window(sums, row, first, mask)

    def row(number: Any) -> tuple[Any, list[Any]]:
        at_x = builder.gep(first_x, [builder.mul(number, x_step)])
        apart_by = [builder.mul(apart, ir.Constant(I64, k)) for k in range(references)]
        return builder.gep(first_y, [builder.mul(number, y_step)]), [builder.gep(at_x, [by]) for by in apart_by]

    def add_rows(numbers: list[Any]) -> None:
        rows = [row(number) for number in numbers]
        with blocks_of(context, builder, columns_kind, columns) as block:
            sums = _accumulators(builder, narrow, bytewise, of_y=of_y, references=references)
            with windows(builder, block.whole, width, rolled=len(rows) > 1) as first:
                add_windows(sums, rows, builder.add(block.first, first), None)
            with builder.if_then(block.is_masked):
                mask = load(builder, element(context, builder, keep_kind, keep, block.mask), vector(lane, width))
                add_windows(sums, rows, builder.add(block.first, block.rest), mask)
            at = builder.add(start, builder.mul(block.number, size))
            parts = {"y": ir.Constant(I64, 0), "yy": ir.Constant(I64, WORDS)} if of_y else {}
            parts |= {f"xy {k}": builder.add(offset, ir.Constant(I64, k * WORDS)) for k in range(references)}
            for name, part in parts.items():
                address = element(context, builder, lanes_kind, lanes, builder.add(at, part))
                add_to(builder, address, _folded(builder, sums, name))

    some_rows(builder, count, (ROWS, FEWER_ROWS) if references == 1 else (FEWER_ROWS,) if narrow else (), add_rows)
    return context.get_dummy_value()


def _folded(builder: Any, sums: Accumulators, name: str) -> Any:
    """Return a sum in as many lanes as it has in memory."""
    values = sums[name]
    if f"{name} upper" in sums:
        # Modulo 2^64, where what went in as it lay is the lower halves and 2^32 times the upper ones.
        upper = sums[f"{name} upper"]
        values = builder.add(builder.sub(values, builder.shl(upper, constant(I64, 8, 32))), upper)
    return values if values.type.count == 8 and values.type.element == I32 else sum_of_halves(builder, values)


def _definition(*, of_y: bool, references: int) -> Any:
    """Return what Numba asks for: the types of a call, and what emits it."""

    def define(
        typing: Any, y: Any, y_places: Any, x: Any, x_places: Any, count: Any, columns: Any, keep: Any, lanes: Any,
        places: Any,
    ) -> Any:  # fmt: skip
        del typing, count
        signature = types.void(y, y_places, x, x_places, types.int64, columns, keep, lanes, places)
        return signature, partial(_rows, of_y=of_y, references=references)

    return define


add_rows: Any = intrinsic(_definition(of_y=True, references=1))
"""Adds the sums of y, yy and xy over some rows of every block to the lanes of the block.

``add_rows(y, (start, step, ahead), x, (start, step, apart), count, columns, keep, lanes, (start, size, offset))``: the
first of `count` rows of a flat image begins at its start, the next one a step further; the pixels of y are asked for so
many ahead; `columns` and `keep` are those of a grid; the lanes of block j begin at ``start + j * size``, with those of
y and yy, and those of xy ``offset`` behind.
"""

add_many_rows: Any = intrinsic(_definition(of_y=True, references=REFERENCES))
"""As `add_rows`, for several references, which lie `apart`, as do the lanes of xy one after the other."""

add_products: Any = intrinsic(_definition(of_y=False, references=1))
"""As `add_rows`, the sum of xy alone."""


def _define_total_y(typing: Any, lanes: Any, start: Any) -> Any:
    """Return the types and the code of `total_y`."""
    del typing, start

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values = load(builder, element(context, builder, signature.args[0], *arguments), vector(I32, 8))
        return sum_of_lanes(builder, builder.sext(values, vector(I64, 8)))

    return types.int64(lanes, types.int64), emit


def _define_total_products(typing: Any, y: Any, x: Any, lanes: Any, start: Any, biased: Any) -> Any:
    """Return the types and the code of `total_products`."""
    del typing, start, biased

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        y_kind, x_kind, lanes_kind = signature.args[:3]
        _, _, lanes, start, biased = arguments
        address = element(context, builder, lanes_kind, lanes, start)
        if _is_narrow(y_kind, x_kind):
            return sum_of_lanes(builder, builder.sext(load(builder, address, vector(I32, 8)), vector(I64, 8)))
        bias = builder.mul(biased, ir.Constant(I64, _BIAS * LANES // 2))
        return builder.sub(sum_of_lanes(builder, load(builder, address, vector(I64, 4))), bias)

    return types.int64(y, x, lanes, types.int64, types.int64), emit


total_y: Any = intrinsic(_define_total_y)
"""``total_y(lanes, start)``: the sum of y from its lanes."""

total_products: Any = intrinsic(_define_total_products)
"""``total_products(y, x, lanes, start, biased)``: a sum of products; `biased` windows of xy are in it, 0 for yy."""

"""Exact sums of products of integer images, over some rows of the blocks of a grid at a time.

Unsigned bytes are multiplied as they are, 64 at once, by y less 128 as a signed byte, where the processor has the
instruction: the 128 times the sum of x, or of y, that are missing then are added to a block in the end.

Otherwise pixels are taken as int16: bytes as they are, 64 at once where both images are of bytes, uint16 less 32768,
which `OFFSETS` puts back, 32 at once. Adjacent products are added in int32. Those of bytes stay in eight lanes of
int32, each of which gains at most 8 * 255^2 a window: a block may have 4096 windows. Else a sum of two products takes
32 bits and goes into int64 lanes twice, as it lies there with a neighbour in the upper half, and that upper half alone:
which costs less than to take both apart.

The masks of a grid say which windows these are: 64 pixels of bytes, masked by bytes, which are signed where bytes are
multiplied as they are; else 32.

The last pixels of a run that do not fill a window are masked in a window that may reach out of the run, not out of the
row.

Several rows may be taken at once, so that the sums of a block go to memory and come back for a part of the rows only:
in cells 64 pixels wide that costs as much as all products. So may two slices, for which pixels of references are read
once: with that one thread of a Zen 4 takes 0.76 of the time in cells of bytes, 0.79 with four references.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
    Lookahead,
    add_to,
    blocks_of,
    byte_products,
    constant,
    element,
    has_many_registers,
    int64,
    load,
    numbers,
    sum_of_halves,
    sum_of_lanes,
    sums_of_pairs,
    vector,
    width_of,
    windows,
)

LANES, BYTE_LANES = 32, 64
"""Pixels of a window, and of one of bytes beside bytes."""

ROWS = 4
"""Rows of narrow blocks that are taken at once. With two, cells of bytes took 1.12 times as long on a Zen 3, with one
1.28 times."""

REFERENCES = 4
"""References that `add_many_rows` takes at once, while y is at hand."""

SLICES = 2
"""Slices that `add_slices` takes at once, while x is at hand: where there are 32 vector registers."""

OFFSETS = {np.dtype(np.uint16): 32768}
"""What a kernel subtracts from the pixels of a dtype."""

WORDS = 4
"""Words of int64 for the lanes of each sum."""

_REGISTER_WORDS = 8 if has_many_registers() else 4
"""Words of int64 in the vectors that sums are kept in."""

_BIAS = 2**31 - 1
"""Makes sums of two products of int16, which lie in (-2^31, 2^31], unsigned."""


def _as_int16(builder: Any, pixels: Any, kind: Any) -> Any:
    """Return a window as int16, uint16 less its offset."""
    lanes = pixels.type.count
    if kind.bitwidth == 16:
        return pixels if kind.signed else builder.xor(pixels, constant(I16, lanes, -32768))
    return (builder.sext if kind.signed else builder.zext)(pixels, vector(I16, lanes))


def _is_narrow(y_kind: Any, x_kind: Any) -> bool:
    """Whether both images are bytes."""
    return bool(y_kind.dtype.bitwidth == x_kind.dtype.bitwidth == 8)


def _accumulators(builder: Any, narrow: bool, bytewise: bool, *, of_y: bool, references: int) -> Accumulators:
    """Return the sums of a run, zero."""
    words = 8 if bytewise else _REGISTER_WORDS
    lanes = {"y": vector(I32, 2 * words)} if of_y else {}
    for name in (["yy"] if of_y else []) + [f"xy {k}" for k in range(references)]:
        wide = vector(I64, words)
        lanes |= {name: vector(I32, 2 * words)} if narrow else {name: wide, f"{name} upper": wide}
    return Accumulators(builder, **lanes)


def _add(builder: Any, sums: Accumulators, name: str, values: Any) -> None:
    """Add values to the lanes of a sum, of which there may be fewer."""
    while values.type.count > sums[name].type.count:
        values = sum_of_halves(builder, values)
    sums.add(name, values)


def _add_products(builder: Any, sums: Accumulators, name: str, products: Any, narrow: bool) -> None:
    """Add sums of two products each, of int32, to the lanes of a sum."""
    if narrow:
        _add(builder, sums, name, products)
        return
    doubled = builder.bitcast(products, vector(I64, 8))
    _add(builder, sums, name, doubled)
    _add(builder, sums, f"{name} upper", builder.lshr(doubled, constant(I64, 8, 32)))


def _add_window(builder: Any, sums: Accumulators, y: Any, xs: list[Any], *, narrow: bool) -> None:
    """Add the sums over a window of int16."""
    for k, x in enumerate(xs):
        products = sums_of_pairs(builder, y, x)
        products = products if narrow else builder.add(products, constant(I32, 16, _BIAS))
        _add_products(builder, sums, f"xy {k}", products, narrow)
    if "y" in sums:
        _add_products(builder, sums, "yy", sums_of_pairs(builder, y, y), narrow)
        while narrow and y.type.count > LANES // 2:  # four bytes add up in 16 bits
            y = sum_of_halves(builder, y)
        _add(builder, sums, "y", sums_of_pairs(builder, y, constant(I16, y.type.count, 1)))


def _add_bytes(builder: Any, sums: Accumulators, y: Any, xs: list[Any], mask: Any) -> None:
    """Add the sums over a window of bytes."""
    less = builder.xor(y, constant(I8, BYTE_LANES, -128))
    y, less = (value if mask is None else builder.and_(value, mask) for value in (y, less))
    products = {f"xy {k}": (x, less) for k, x in enumerate(xs)}
    if "y" in sums:
        products |= {"yy": (y, less), "y": (y, constant(I8, BYTE_LANES, 1))}
    for name, factors in products.items():
        sums.set(name, byte_products(builder, sums[name], *factors))


@contextmanager
def _each_window(builder: Any, rows: Any, whole: Any, width: int) -> Iterator[tuple[Any, Any]]:
    """Loop over the whole windows of some rows of a block; gives the row and the first pixel of each.

    The inner loop is the one with more turns in narrow blocks, where each row has one window of bytes.
    """
    if width == BYTE_LANES:
        with windows(builder, whole, BYTE_LANES) as first, numbers(builder, rows, rolled=True) as row:
            yield row, first
    else:
        with numbers(builder, rows) as row, windows(builder, whole, LANES, rolled=True) as first:
            yield row, first


def _images(context: Any, builder: Any, kind: Any, images: Any, start: Any, apart: Any, count: int) -> list[Any]:
    """Return the addresses of some images from one on."""
    places = (builder.add(start, builder.mul(apart, int64(n))) for n in range(count))
    return [element(context, builder, kind, images, place) for place in places]


def _rows(
    context: Any, builder: Any, signature: Any, arguments: Any, *, of_y: bool, references: int, slices: int
) -> Any:
    """Emit the sums over some rows of every block: whole windows, then the masked one."""
    y, y_places, x, x_places, count, columns, keep, lanes, places = arguments
    y_kind, x_kind, columns_kind, keep_kind, lanes_kind = (signature.args[i] for i in (0, 2, 5, 6, 7))
    narrow, bytewise = _is_narrow(y_kind, x_kind), keep_kind.dtype == types.int8
    width, lane = (BYTE_LANES, I8) if keep_kind.dtype.bitwidth == 8 else (LANES, I16)
    y_start, y_step, y_apart, ahead = (builder.extract_value(y_places, i) for i in range(4))
    x_start, x_step, x_apart = (builder.extract_value(x_places, i) for i in range(3))
    start, size, offset, lanes_apart = (builder.extract_value(places, i) for i in range(4))
    ys = _images(context, builder, y_kind, y, y_start, y_apart, slices)
    xs = _images(context, builder, x_kind, x, x_start, x_apart, references)
    later = Lookahead(builder, ahead, y_step, width_of(context, builder, columns_kind, columns))

    def pixels(images: list[Any], kind: Any, place: Any) -> list[Any]:
        raw = [load(builder, builder.gep(image, [place]), vector(ir.IntType(kind.bitwidth), width)) for image in images]
        return raw if bytewise else [_as_int16(builder, values, kind) for values in raw]

    def add_window(sums: list[Accumulators], row: Any, first: Any, mask: Any) -> None:
        y_place, x_place = (builder.add(first, builder.mul(row, step)) for step in (y_step, x_step))
        if of_y:
            later.ask(ys, width)
        from_ys, from_xs = pixels(ys, y_kind.dtype, y_place), pixels(xs, x_kind.dtype, x_place)
        for of_slice, from_y in zip(sums, from_ys, strict=True):
            if bytewise:
                _add_bytes(builder, of_slice, from_y, from_xs, mask)
            else:
                own = from_y if mask is None else builder.and_(from_y, mask)
                _add_window(builder, of_slice, own, from_xs, narrow=narrow)

    with blocks_of(context, builder, columns_kind, columns) as block:
        sums = [_accumulators(builder, narrow, bytewise, of_y=of_y, references=references) for _ in range(slices)]
        with _each_window(builder, count, block.whole, width) as (row, first):
            add_window(sums, row, builder.add(block.first, first), None)
        with builder.if_then(block.is_masked):
            mask = load(builder, element(context, builder, keep_kind, keep, block.mask), vector(lane, width))
            mask = mask if bytewise or lane == I16 else builder.sext(mask, vector(I16, width))
            with numbers(builder, count) as row:
                add_window(sums, row, builder.add(block.first, block.rest), mask)
        at = builder.add(start, builder.mul(block.number, size))
        parts = {"y": int64(0), "yy": int64(WORDS)} if of_y else {}
        parts |= {f"xy {k}": builder.add(offset, int64(k * WORDS)) for k in range(references)}
        for number, of_slice in enumerate(sums):
            own = builder.add(at, builder.mul(lanes_apart, int64(number)))
            for name, part in parts.items():
                address = element(context, builder, lanes_kind, lanes, builder.add(own, part))
                add_to(builder, address, _folded(builder, of_slice, name))
    return context.get_dummy_value()


def _folded(builder: Any, sums: Accumulators, name: str) -> Any:
    """Return a sum in as many lanes as it has in memory."""
    values = sums[name]
    if f"{name} upper" in sums:
        # Modulo 2^64, where what went in as it lay is the lower halves and 2^32 times the upper ones.
        upper = sums[f"{name} upper"]
        values = builder.add(builder.sub(values, builder.shl(upper, constant(I64, upper.type.count, 32))), upper)
    is_whole = values.type.count * values.type.element.width == 64 * WORDS
    return values if is_whole else sum_of_halves(builder, values)


def _definition(*, of_y: bool = True, references: int = 1, slices: int = 1) -> Any:
    """Return what Numba asks for: the types of a call, and what emits it."""

    def define(
        typing: Any, y: Any, y_places: Any, x: Any, x_places: Any, count: Any, columns: Any, keep: Any, lanes: Any,
        places: Any,
    ) -> Any:  # fmt: skip
        del typing, count
        signature = types.void(y, y_places, x, x_places, types.int64, columns, keep, lanes, places)
        return signature, partial(_rows, of_y=of_y, references=references, slices=slices)

    return define


add_rows: Any = intrinsic(_definition())
"""Adds the sums of y, yy and xy over some rows of every block to the lanes of the block.

``add_rows(y, (start, step, apart, ahead), x, (start, step, apart), count, columns, keep, lanes, (start, size, offset,
apart))``: the first of `count` rows of a flat image begins at its start, the next one a step further; the pixels of y
are asked for so many ahead; `columns` and `keep` are those of a grid; the lanes of block j begin at ``start + j *
size``, with those of y and yy, and those of xy ``offset`` behind. What lies `apart` are more images.
"""

add_many_rows: Any = intrinsic(_definition(references=REFERENCES))
"""As `add_rows`, for several references, whose lanes lie one after the other."""

add_slices: Any = intrinsic(_definition(slices=SLICES))
"""As `add_rows`, for several slices."""

add_many_slices: Any = intrinsic(_definition(references=REFERENCES, slices=SLICES))
"""As `add_many_rows`, for several slices."""

add_products: Any = intrinsic(_definition(of_y=False))
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

"""Sums of floating images about a shift, over some rows of the blocks of a grid at a time.

Eight lanes of float64, in one order on every processor: products and sums are fused by name, and nothing is added in
another order, so that the bits depend on the pixels of the block alone. An image with itself has the same sums of xy,
xx and yy to the last bit, because the same operations make them. (Without fused products a Zen 3, which adds on two of
its four units only, takes 1.4 times as long.)
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Self

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .memory import LINE_BYTES
from .vectors import (
    F32,
    F64,
    I64,
    Accumulators,
    add_to,
    blocks_of,
    element,
    has_many_registers,
    load,
    numbers,
    prefetch,
    some_lanes,
    splat,
    sum_of_halves,
    vector,
    windows,
)

LANES, WORDS = 16, 4
"""Pixels of a window, of which two go to each lane of a sum, and words of float64 in memory, where a sum has half of
its lanes: in cells of 64 pixels one thread of a Zen 4 took 1 to 7 % less than with all of them."""

ROWS = 2
"""Rows of a block of float32 that are taken one after the other before the sums go to memory. Ten slices in cells of 64
pixels took 5 % less than with one row on a Zen 5; of float64, whose rows are longer, more."""

REFERENCES = 4
"""References that `add_many_rows` takes at once, while y is at hand."""

SLICES = 4 if has_many_registers() else 2
"""Slices that `add_slices` takes at once, while x is at hand, as many as registers hold the sums of. With two, whose
sums had sixteen lanes, one thread of a Zen 4 took float32 1.35 times as long, with four references 1.25 times."""

_VECTOR, _SUMS = vector(F64, LANES), vector(F64, LANES // 2)
_HALVES = range(LANES // 2), range(LANES // 2, LANES)


class _Image(NamedTuple):
    """An image as the intrinsics take it, from the row on at which they start: values of LLVM.

    Attributes
    ----------
    kind
        The type of its pixels.
    pixels, step
        The address of the first row, and the pixels between rows.
    shifts
        The address of the shift of the first block.
    """

    kind: Any
    pixels: Any
    step: Any
    shifts: Any

    @classmethod
    def of(cls, context: Any, builder: Any, kinds: Any, arguments: Any) -> Self:
        """Return it from the arguments for one."""
        pixels, places, shifts = arguments
        start, step, shift_start = (builder.extract_value(places, i) for i in range(3))
        first = element(context, builder, kinds[0], pixels, start)
        return cls(kinds[0].dtype, first, step, element(context, builder, kinds[2], shifts, shift_start))

    def beside(self, builder: Any, number: int, places: Any) -> Self:
        """Return the image that lies so many images further."""
        apart, shifts_apart = (builder.mul(builder.extract_value(places, i), ir.Constant(I64, number)) for i in (3, 4))
        return self._replace(pixels=builder.gep(self.pixels, [apart]), shifts=builder.gep(self.shifts, [shifts_apart]))

    def shift(self, builder: Any, block: Any) -> Any:
        """Return the shift of a block in all lanes."""
        return splat(builder, builder.load(builder.gep(self.shifts, [block])), LANES)

    def ask_for(self, builder: Any, row: Any, first: Any) -> None:
        """Ask for the pixels of a window, which may lie outside of the row."""
        address = self._window(builder, row, first)
        for pixel in range(0, LANES, 8 * LINE_BYTES // self.kind.bitwidth):
            prefetch(builder, builder.gep(address, [ir.Constant(I64, pixel)]))

    def deviations(self, builder: Any, row: Any, first: Any, shift: Any, mask: Any) -> Any:
        """Return a window of a row less its shift, 0 where a mask is 0."""
        pixels = load(builder, self._window(builder, row, first), vector(self.real, LANES))
        values = builder.fsub(builder.fpext(pixels, _VECTOR) if self.real == F32 else pixels, shift)
        if mask is None:
            return values
        return builder.bitcast(builder.and_(builder.bitcast(values, mask.type), mask), _VECTOR)

    @property
    def real(self) -> Any:
        """The type of its pixels in LLVM."""
        return F32 if self.kind.bitwidth == 32 else F64

    def _window(self, builder: Any, row: Any, first: Any) -> Any:
        """Return the address of a window of a row."""
        return builder.gep(self.pixels, [builder.add(first, builder.mul(row, self.step))])


def _rows(
    context: Any, builder: Any, signature: Any, arguments: Any, *, of_y: bool, references: int, slices: int
) -> Any:
    """Emit the sums over some rows of every block: whole windows, then the masked one."""
    kinds = signature.args
    count, columns, keep, lanes, places = arguments[6:]
    start, size, offset, lanes_apart = (builder.extract_value(places, i) for i in range(4))
    y, x = (_Image.of(context, builder, kinds[i : i + 3], arguments[i : i + 3]) for i in (0, 3))
    ahead = builder.extract_value(arguments[1], 5)
    ys, xs = (
        [image.beside(builder, number, image_places) if number else image for number in range(images)]
        for image, image_places, images in ((y, arguments[1], slices), (x, arguments[4], references))
    )
    parts = {f"xy {k}": builder.add(offset, ir.Constant(I64, k * WORDS)) for k in range(references)}
    if of_y:
        parts |= {"y": ir.Constant(I64, 0), "yy": ir.Constant(I64, WORDS)}

    def add_window(sums: list[Accumulators], row: Any, first: Any, shifts: list[Any], mask: Any) -> None:
        if of_y:
            for image in ys:
                image.ask_for(builder, row, builder.add(first, ahead))
        halves = [
            [some_lanes(builder, image.deviations(builder, row, first, shift, mask), half) for half in _HALVES]
            for image, shift in zip((*ys, *xs), shifts, strict=True)
        ]
        for of_slice, y_halves in zip(sums, halves[:slices], strict=True):
            for part, y_half in enumerate(y_halves):
                if of_y:
                    of_slice.add("y", y_half)
                    of_slice.add_product("yy", y_half, y_half)
                for k, x_halves in enumerate(halves[slices:]):
                    of_slice.add_product(f"xy {k}", y_half, x_halves[part])

    with blocks_of(context, builder, kinds[7], columns) as block:
        shifts = [image.shift(builder, block.number) for image in (*ys, *xs)]
        sums = [Accumulators(builder, **dict.fromkeys(parts, _SUMS)) for _ in ys]
        with numbers(builder, count) as row:
            with windows(builder, block.whole, LANES, rolled=True) as first:
                add_window(sums, row, builder.add(block.first, first), shifts, None)
            with builder.if_then(block.is_masked):
                mask = load(builder, element(context, builder, kinds[8], keep, block.mask), vector(I64, LANES))
                add_window(sums, row, builder.add(block.first, block.rest), shifts, mask)
        at = builder.add(start, builder.mul(block.number, size))
        for number, of_slice in enumerate(sums):
            own = builder.add(at, builder.mul(lanes_apart, ir.Constant(I64, number)))
            for name, part in parts.items():
                address = element(context, builder, kinds[9], lanes, builder.add(own, part))
                add_to(builder, address, sum_of_halves(builder, of_slice[name]))
    return context.get_dummy_value()


def _definition(*, of_y: bool = True, references: int = 1, slices: int = 1) -> Any:
    """Return what Numba asks for: the types of a call, and what emits it."""

    def define(
        typing: Any, y: Any, y_places: Any, y_shifts: Any, x: Any, x_places: Any, x_shifts: Any, count: Any,
        columns: Any, keep: Any, lanes: Any, places: Any,
    ) -> Any:  # fmt: skip
        del typing, count
        images = (y, y_places, y_shifts, x, x_places, x_shifts)
        signature = types.void(*images, types.int64, columns, keep, lanes, places)
        return signature, partial(_rows, of_y=of_y, references=references, slices=slices)

    return define


add_rows: Any = intrinsic(_definition())
"""Adds the sums of y, yy and xy over some rows of every block, about the shifts of the block, to its lanes.

``add_rows(y, y_places, y_shifts, x, x_places, x_shifts, count, columns, keep, lanes, (start, size, offset, apart))``:
places are ``(start, step, first, apart, shifts_apart, ahead)``. The first of `count` rows of flat pixels begins at its
start, the next one a step further; the shifts of the blocks are those from the first on; pixels of y are asked for so
many ahead; `columns` and `keep` are those of a grid; the lanes of block j begin at ``start + j * size``, with those of
y and yy, and those of xy ``offset`` behind. What lies `apart` are more images.
"""

add_many_rows: Any = intrinsic(_definition(references=REFERENCES))
"""As `add_rows`, for several references, whose lanes lie one after the other."""

add_slices: Any = intrinsic(_definition(slices=SLICES))
"""As `add_rows`, for several slices."""

add_many_slices: Any = intrinsic(_definition(references=REFERENCES, slices=SLICES))
"""As `add_many_rows`, for several slices."""

add_squares: Any = intrinsic(_definition(references=0))
"""As `add_rows`, the sums of y and yy alone, whatever x is."""

add_squares_of_slices: Any = intrinsic(_definition(references=0, slices=SLICES))
"""As `add_squares`, for several slices."""

add_products: Any = intrinsic(_definition(of_y=False))
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

"""Sums of floating images about a shift, over one row of the blocks of a grid at a time.

Four lanes of float64, in one order on every processor: products and sums are fused by name, and nothing is added in
another order, so that the bits depend on the pixels of the block alone. An image with itself has the same sums of xy,
xx and yy to the last bit, because the same operations make them. (Without fused products a Zen 3, which adds on two of
its four units only, takes 1.4 times as long.)
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Self

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
    int64,
    load,
    prefetch,
    some_lanes,
    splat,
    vector,
    windows,
)

LANES, WORDS = 16, 4
"""Pixels of a window, and lanes of a sum. With eight lanes one thread of a Zen 4 took the float32 windows of a slice in
the second cache in 1.1 times as long, with four references in 1.2 to 1.5 times; compiled for AVX2, where registers had
room for the sums of two slices, in 1.3 and 1.5."""

REFERENCES = 4
"""References that `add_many` takes at once, while y is at hand."""

SLICES = 4
"""Slices that `add_slices` takes at once, while x is at hand."""

NEAR_BYTES = 1 << 10
"""How far ahead of a sum the pixels of slices are asked for once more, in the first cache. Without that 165 slices of
768 x 1024 took two threads of a Zen 4 2 to 5 % longer, and where memory was fast float32 a quarter; with half or twice
as far, up to 5 %."""

_SUMS = vector(F64, WORDS)
_PARTS = [range(first, first + WORDS) for first in range(0, LANES, WORDS)]


class _Image(NamedTuple):
    """A row of an image as the intrinsics take it: values of LLVM.

    Attributes
    ----------
    kind
        The type of its pixels.
    pixels
        The address of the first one.
    shifts
        The address of the shift of the first block.
    """

    kind: Any
    pixels: Any
    shifts: Any

    @classmethod
    def of(cls, context: Any, builder: Any, kinds: Any, arguments: Any) -> Self:
        """Return it from the arguments for one."""
        pixels, places, shifts = arguments
        start, shift_start = (builder.extract_value(places, i) for i in range(2))
        first = element(context, builder, kinds[0], pixels, start)
        return cls(kinds[0].dtype, first, element(context, builder, kinds[2], shifts, shift_start))

    def beside(self, builder: Any, number: int, places: Any) -> Self:
        """Return the row of the image that lies so many images further."""
        apart, shifts_apart = (builder.mul(builder.extract_value(places, i), int64(number)) for i in (2, 3))
        return self._replace(pixels=builder.gep(self.pixels, [apart]), shifts=builder.gep(self.shifts, [shifts_apart]))

    def shift(self, builder: Any, block: Any) -> Any:
        """Return the shift of a block in all lanes."""
        return splat(builder, builder.load(builder.gep(self.shifts, [block])), WORDS)

    def ask_for(self, builder: Any, first: Any, *, near: bool = False) -> None:
        """Ask for the pixels of a window, which may lie outside of the row."""
        for pixel in range(0, LANES, 8 * LINE_BYTES // self.kind.bitwidth):
            address = builder.gep(self.pixels, [builder.add(first, int64(pixel))])
            prefetch(builder, address, near=near)

    def deviations(self, builder: Any, first: Any, part: range, shift: Any, mask: Any) -> Any:
        """Return a part of a window less its shift, 0 where a mask is 0."""
        address = builder.gep(self.pixels, [builder.add(first, int64(part.start))])
        pixels = load(builder, address, vector(self.real, WORDS))
        values = builder.fsub(builder.fpext(pixels, _SUMS) if self.real == F32 else pixels, shift)
        if mask is None:
            return values
        keep = some_lanes(builder, mask, part)
        return builder.bitcast(builder.and_(builder.bitcast(values, keep.type), keep), _SUMS)

    @property
    def real(self) -> Any:
        """The type of its pixels in LLVM."""
        return F32 if self.kind.bitwidth == 32 else F64


def _row(
    context: Any, builder: Any, signature: Any, arguments: Any, *, of_y: bool, references: int, slices: int
) -> Any:
    """Emit the sums over a row of every block: whole windows, then the masked one."""
    kinds = signature.args
    columns, keep, lanes, places = arguments[6:]
    start, size, offset, lanes_apart = (builder.extract_value(places, i) for i in range(4))
    y, x = (_Image.of(context, builder, kinds[i : i + 3], arguments[i : i + 3]) for i in (0, 3))
    ahead = builder.extract_value(arguments[1], 4)
    ys, xs = (
        [image.beside(builder, number, image_places) if number else image for number in range(images)]
        for image, image_places, images in ((y, arguments[1], slices), (x, arguments[4], references))
    )
    parts = {f"xy {k}": builder.add(offset, int64(k * WORDS)) for k in range(references)}
    if of_y:
        parts |= {"y": int64(0), "yy": int64(WORDS)}

    def add_window(sums: list[Accumulators], first: Any, shifts: list[Any], mask: Any) -> None:
        if of_y:
            for image in ys:
                image.ask_for(builder, builder.add(first, ahead))
                image.ask_for(builder, builder.add(first, int64(8 * NEAR_BYTES // image.kind.bitwidth)), near=True)
        for part in _PARTS:  # few values at a time, so that sums stay in registers
            from_ys = [
                image.deviations(builder, first, part, shift, mask)
                for image, shift in zip(ys, shifts[:slices], strict=True)
            ]
            if of_y:
                for of_slice, from_y in zip(sums, from_ys, strict=True):
                    of_slice.add("y", from_y)
                    of_slice.add_product("yy", from_y, from_y)
            for k, (image, shift) in enumerate(zip(xs, shifts[slices:], strict=True)):
                from_x = image.deviations(builder, first, part, shift, mask)
                for of_slice, from_y in zip(sums, from_ys, strict=True):
                    of_slice.add_product(f"xy {k}", from_y, from_x)

    with blocks_of(context, builder, kinds[6], columns) as block:
        shifts = [image.shift(builder, block.number) for image in (*ys, *xs)]
        sums = [Accumulators(builder, **dict.fromkeys(parts, _SUMS)) for _ in ys]
        with windows(builder, block.whole, LANES, rolled=True) as first:
            add_window(sums, builder.add(block.first, first), shifts, None)
        with builder.if_then(block.is_masked):
            mask = load(builder, element(context, builder, kinds[7], keep, block.mask), vector(I64, LANES))
            add_window(sums, builder.add(block.first, block.rest), shifts, mask)
        at = builder.add(start, builder.mul(block.number, size))
        for number, of_slice in enumerate(sums):
            own = builder.add(at, builder.mul(lanes_apart, int64(number)))
            for name, part in parts.items():
                address = element(context, builder, kinds[8], lanes, builder.add(own, part))
                add_to(builder, address, of_slice[name])
    return context.get_dummy_value()


def _definition(*, of_y: bool = True, references: int = 1, slices: int = 1) -> Any:
    """Return what Numba asks for: the types of a call, and what emits it."""

    def define(
        typing: Any, y: Any, y_places: Any, y_shifts: Any, x: Any, x_places: Any, x_shifts: Any, columns: Any,
        keep: Any, lanes: Any, places: Any,
    ) -> Any:  # fmt: skip
        del typing
        images = (y, y_places, y_shifts, x, x_places, x_shifts)
        signature = types.void(*images, columns, keep, lanes, places)
        return signature, partial(_row, of_y=of_y, references=references, slices=slices)

    return define


add_row: Any = intrinsic(_definition())
"""Adds the sums of y, yy and xy over a row of every block, about the shifts of the block, to its lanes.

``add_row(y, y_places, y_shifts, x, x_places, x_shifts, columns, keep, lanes, (start, size, offset, apart))``: places
are ``(start, first, apart, shifts_apart, ahead)``. The row of flat pixels begins at its start; the shifts of the blocks
are those from the first on; pixels of y are asked for so many ahead; `columns` and `keep` are those of a grid; the
lanes of block j begin at ``start + j * size``, with those of y and yy, and those of xy ``offset`` behind. What lies
`apart` are more images.
"""

add_many: Any = intrinsic(_definition(references=REFERENCES))
"""As `add_row`, for several references, whose lanes lie one after the other."""

add_slices: Any = intrinsic(_definition(slices=SLICES))
"""As `add_row`, for several slices."""

add_many_slices: Any = intrinsic(_definition(references=REFERENCES, slices=SLICES))
"""As `add_many`, for several slices."""

add_squares: Any = intrinsic(_definition(references=0))
"""As `add_row`, the sums of y and yy alone, whatever x is."""

add_squares_of_slices: Any = intrinsic(_definition(references=0, slices=SLICES))
"""As `add_squares`, for several slices."""

add_products: Any = intrinsic(_definition(of_y=False))
"""As `add_row`, the sum of xy alone."""


def _define_ask_for(typing: Any, x: Any, start: Any, count: Any) -> Any:
    """Return the types and the code of `ask_for`."""
    del typing, start, count

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, start, count = arguments
        kind = signature.args[0]
        row = element(context, builder, kind, x, start)
        step = 512 // kind.dtype.bitwidth
        lines = builder.add(builder.sdiv(count, int64(step)), int64(1))
        with windows(builder, lines, step) as first:
            prefetch(builder, builder.gep(row, [first]))
        return context.get_dummy_value()

    return types.void(x, types.int64, types.int64), emit


ask_for: Any = intrinsic(_define_ask_for)
"""``ask_for(x, start, count)``: have some samples brought to the cache."""

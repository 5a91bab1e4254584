"""Words for writing a loop body as LLVM vectors, which stand for themselves on every processor.

Left alone, LLVM widens as far as its accumulators allow, which halves the products of bytes an instruction, and adds up
the lanes of a sum at the end of every innermost loop, which costs more than the 64 pixels of a cell's row. Nothing here
names an instruction: LLVM turns `sums_of_pairs` into ``vpmaddwd``, into ``vpdpwssd`` where there is one, and into plain
products elsewhere. `byte_products` is the exception.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, reduce
from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba.core import cgutils as typed_cgutils
from numba.core import config as typed_config

cgutils: Any = typed_cgutils
config: Any = typed_config

I8, I16, I32, I64, F32, F64 = (
    ir.IntType(8),
    ir.IntType(16),
    ir.IntType(32),
    ir.IntType(64),
    ir.FloatType(),
    ir.DoubleType(),
)


def vector(element: ir.Type, lanes: int) -> Any:
    """Return a vector type."""
    return ir.VectorType(element, lanes)


def constant(element: ir.Type, lanes: int, value: int) -> Any:
    """Return a vector of one value."""
    return ir.Constant(vector(element, lanes), [value] * lanes)


def int64(value: int) -> Any:
    """Return a constant of 64 bits."""
    return ir.Constant(I64, value)


def splat(builder: Any, scalar: Any, lanes: int) -> Any:
    """Return a vector with a scalar in all lanes."""
    kind = vector(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(vector(I32, lanes), [0] * lanes))


def element(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Return the address of one element of a C-contiguous array, by its flat index."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def load(builder: Any, address: Any, kind: Any) -> Any:
    """Return the vector at an address of any alignment."""
    value = builder.load(builder.bitcast(address, kind.as_pointer()))
    value.align = 1
    return value


def add_to(builder: Any, address: Any, *values: Any) -> None:
    """Add vectors, of integers or of floats, one after the other to the one at an address."""
    kind = values[0].type
    add = builder.fadd if kind.element == F64 else builder.add
    store = builder.store(
        reduce(add, values, load(builder, address, kind)), builder.bitcast(address, kind.as_pointer())
    )
    store.align = 1


def some_lanes(builder: Any, value: Any, lanes: range) -> Any:
    """Return a vector of some lanes of another."""
    order = ir.Constant(vector(I32, len(lanes)), list(lanes))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), order)


def sum_of_halves(builder: Any, value: Any) -> Any:
    """Return the lower half of an integer vector plus its upper half."""
    lanes = value.type.count
    lower, upper = range(lanes // 2), range(lanes // 2, lanes)
    return builder.add(some_lanes(builder, value, lower), some_lanes(builder, value, upper))


def sums_of_pairs(builder: Any, left: Any, right: Any) -> Any:
    """Return the products of two vectors of int16, each added to its neighbour's, as int32."""
    lanes = left.type.count
    wide = vector(I32, lanes)
    products = builder.mul(builder.sext(left, wide), builder.sext(right, wide))
    even, odd = (some_lanes(builder, products, range(first, lanes, 2)) for first in (0, 1))
    return builder.add(even, odd)


@cache
def has_byte_products() -> bool:
    """Whether this processor multiplies 64 bytes and adds up four products each in one step: see `byte_products`."""
    return _has("avx512vnni", "avx512bw")


@cache
def has_many_registers() -> bool:
    """Whether this processor has 32 vector registers of 64 bytes."""
    return _has("avx512f")


def _has(*names: str) -> bool:
    """Whether this processor has some features.

    No where Numba was told to compile for another processor (``NUMBA_CPU_NAME``, ``NUMBA_CPU_FEATURES``).
    """
    if config.CPU_NAME is not None or config.CPU_FEATURES is not None:
        return False
    features = binding.get_host_cpu_features()
    return all(features.get(name, False) for name in names)


def byte_products(builder: Any, sums: Any, unsigned: Any, signed: Any) -> Any:
    """Return sixteen sums in int32, to each of which four products of uint8 and int8 are added.

    The one instruction that is called by its name (vpdpbusd): LLVM does not make it of products and sums. Ask
    `has_byte_products` first.
    """
    kind = ir.FunctionType(sums.type, [sums.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
    return builder.call(function, [sums, *(builder.bitcast(pixels, sums.type) for pixels in (unsigned, signed))])


def sum_of_lanes(builder: Any, value: Any) -> Any:
    """Return the sum of the lanes of an integer vector."""
    while value.type.count > 1:
        value = sum_of_halves(builder, value)
    return builder.extract_element(value, ir.Constant(I32, 0))


def multiply_add(builder: Any, left: Any, right: Any, total: Any, *, always: bool = True) -> Any:
    """Return ``left * right + total`` of real vectors, rounded once; if not `always`, where the processor does that."""
    kind, bits = total.type, 32 if total.type.element == F32 else 64
    name = f"llvm.{'fma' if always else 'fmuladd'}.v{kind.count}f{bits}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
    return builder.call(function, [left, right, total])


def hidden(builder: Any, value: float) -> Any:
    """Return a float64 of which LLVM does not know the value, and which it therefore multiplies by. For x86 only."""
    kind = ir.FunctionType(F64, [F64])
    return builder.asm(kind, "", "=x,0", [ir.Constant(F64, value)], side_effect=False)


def prefetch(builder: Any, address: Any, *, near: bool = False) -> None:
    """Ask for the cache line of an address, which may lie outside of any array, in the second cache, or in the first.

    In the first one, of 32 KB in eight ways, lines that lie rows apart drive each other out: moments took 1.2 to 2
    times as long on two cores of a Zen 4 where what lay rows ahead was asked for there.
    """
    pointer = builder.bitcast(address, I8.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
    function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
    how = (0, 3 if near else 2, 1)  # to read, in which cache, data
    builder.call(function, [pointer, *(ir.Constant(I32, value) for value in how)])


class Accumulators:
    """Sums that stay in registers during a loop: named vectors, which begin at zero."""

    def __init__(self, builder: Any, **kinds: Any) -> None:
        self._builder = builder
        self._slots = {name: cgutils.alloca_once(builder, kind) for name, kind in kinds.items()}
        for name, kind in kinds.items():
            builder.store(ir.Constant(kind, None), self._slots[name])

    def add(self, name: str, value: Any) -> None:
        """Add a vector to a sum."""
        add = self._builder.fadd if value.type.element == F64 else self._builder.add
        self._builder.store(add(self._builder.load(self._slots[name]), value), self._slots[name])

    def set(self, name: str, value: Any) -> None:
        """Replace a sum."""
        self._builder.store(value, self._slots[name])

    def add_product(self, name: str, left: Any, right: Any) -> None:
        """Add a product of float64 vectors to a sum, without rounding the product."""
        self._builder.store(multiply_add(self._builder, left, right, self[name]), self._slots[name])

    def __contains__(self, name: str) -> bool:
        return name in self._slots

    def __getitem__(self, name: str) -> Any:
        return self._builder.load(self._slots[name])


_FIELDS = 5
"""Numbers of a block in the columns of a grid."""


class Block(NamedTuple):
    """One row of a block, as ``cells.Grid`` describes it: values of int64."""

    number: Any
    first: Any
    whole: Any
    rest: Any
    mask: Any
    is_masked: Any


@contextmanager
def blocks_of(context: Any, builder: Any, columns_kind: Any, columns: Any) -> Iterator[Block]:
    """Loop over the blocks of a row."""
    fields = context.make_array(columns_kind)(context, builder, columns)
    count = builder.extract_value(fields.shape, 0)
    with cgutils.for_range(builder, count, intp=I64) as loop:
        at = builder.gep(fields.data, [builder.mul(loop.index, int64(_FIELDS))])
        first, whole, rest, mask = (builder.load(builder.gep(at, [ir.Constant(I64, i)])) for i in (0, 2, 3, 4))
        yield Block(loop.index, first, whole, rest, mask, builder.icmp_signed(">=", mask, ir.Constant(I64, 0)))


def width_of(context: Any, builder: Any, columns_kind: Any, columns: Any) -> Any:
    """Return the pixels of a row: where its last block ends."""
    fields = context.make_array(columns_kind)(context, builder, columns)
    count = builder.extract_value(fields.shape, 0)
    last = builder.gep(fields.data, [builder.mul(builder.sub(count, int64(1)), int64(_FIELDS))])
    return builder.add(*(builder.load(builder.gep(last, [int64(i)])) for i in range(2)))


class Lookahead:
    """Asks for pixels ahead of those that are summed: row by row, as they lie, in whatever order they are summed.

    Several rows of a narrow block are summed at once. Asked for in that order, a memory line here and one there, cells
    of bytes took 1.25 times as long on a Zen 3.
    """

    def __init__(self, builder: Any, start: Any, step: Any, width: Any) -> None:
        self._builder, self._step, self._width = builder, step, width
        self._row, self._column = (cgutils.alloca_once_value(builder, value) for value in (start, int64(0)))

    def ask(self, images: list[Any], pixels: int) -> None:
        """Ask for the next pixels of each image."""
        builder = self._builder
        row, column = builder.load(self._row), builder.load(self._column)
        for image in images:
            prefetch(builder, builder.gep(image, [builder.add(row, column)]))
        column = builder.add(column, int64(pixels))
        ends = builder.icmp_signed(">=", column, self._width)
        builder.store(builder.select(ends, int64(0), column), self._column)
        builder.store(builder.select(ends, builder.add(row, self._step), row), self._row)


@contextmanager
def numbers(builder: Any, count: Any, *, rolled: bool = False) -> Iterator[Any]:
    """Loop over the numbers from 0 on, so many.

    An empty statement keeps LLVM from unrolling a loop that is to stay `rolled`. Where blocks have one window or two,
    choosing between unrolled copies takes longer than the windows do.
    """
    with cgutils.for_range(builder, count, intp=I64) as loop:
        if rolled:
            builder.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], side_effect=True)
        yield loop.index


@contextmanager
def windows(builder: Any, count: Any, lanes: int, *, rolled: bool = False) -> Iterator[Any]:
    """Loop over windows of so many pixels; gives the number of the first pixel of each."""
    with numbers(builder, count, rolled=rolled) as number:
        yield builder.mul(number, int64(lanes))

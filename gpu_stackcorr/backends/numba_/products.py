"""Sums of products of all pairs of rows, in tiles of 6 x 2 rows that stay in vector registers.

An image arrives cut into rows of at most 2 KiB, as int16 or float64: the six rows of a tile stay in the first-level
cache while all others pass by in pairs. Sums of int16 products stay in int32 lanes for one row and then go into int64.

Numba has no vectors, and LLVM makes of a plain loop over int16 vpmulld (8 products in two steps) rather than vpmaddwd
(16 in one): 2.2 times slower. The tile is therefore written in vectors, as LLVM IR without any instruction of a
particular processor: sext, mul, and the sum of even and odd lanes become vpmaddwd (with AVX-512 VNNI, vpdpwssd). Bytes
are multiplied by `byte_products`, where the processor has it: twice as fast.

On a core of a Zen 3 at 3.24 GHz: 72 billion int16 products a second, where a bare loop of vpmaddwd and vpaddd without
any memory reaches 84, and one of float32 FMA 52; and 24 billion float64 products of at most 26. Tiles of 4 x 2 (66),
3 x 3 (62) and 4 x 3 (spills, 42) lost, and so did adding up lanes one accumulator after the other (64).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .compiler import jit
from .memory import LINE_BYTES, aligned
from .vectors import I64, byte_products, int64, multiply_add

TILE_ROWS, TILE_COLUMNS = 6, 2

ROW_BYTES = 2048

STRIDE_BYTES = ROW_BYTES + LINE_BYTES
"""From row to row: rows a power of two apart would share the same few places of the cache."""

tools: Any = cgutils


def depth(dtype: Any) -> int:
    """Return the number of values of a row: 2048 bytes, 1024 int16 or 256 float64; products of 8 x 16 bits of a row fit
    an int32."""
    return ROW_BYTES // int(np.dtype(dtype).itemsize)


def filled(length: int, dtype: Any) -> int:
    """Return `length` rounded up to whole cache lines, the widest vectors: rows are filled up with zeros."""
    values = LINE_BYTES // int(np.dtype(dtype).itemsize)
    return -(-length // values) * values


def rows_for(blocks: int, count: int, dtype: Any) -> np.ndarray[Any, Any]:
    """Return zeros (blocks, rows, stride) for `count` rows a block, in whole tiles."""
    rows = _whole(count, TILE_ROWS)  # a multiple of TILE_COLUMNS, too
    values = STRIDE_BYTES // np.dtype(dtype).itemsize
    memory = aligned(blocks * rows * values, dtype)
    memory[:] = 0
    return memory.reshape(blocks, rows, values)


def totals_for(count: int, others: int, dtype: Any) -> np.ndarray[Any, Any]:
    """Return zeros (N', M') for the sums of products of `count` rows and `others`, in whole tiles."""
    return np.zeros((_whole(count, TILE_ROWS), _whole(others, TILE_COLUMNS)), dtype)


def _whole(count: int, of: int) -> int:
    """Return `count` rounded up to a multiple."""
    return -(-count // of) * of


@jit
def add_products(left: Any, right: Any, length: int, upper: bool, totals: Any) -> None:
    """Add to ``totals[i, j]`` the sums of products of the first values of rows i of `left` and j of `right`.

    Parameters
    ----------
    left, right : (B, N, stride) and (B, M, stride) arrays from `rows_for`, int16 or float64, or int8 and uint8
        Of 16-bit numbers one side may take the whole range, the other -128..128. Bytes need `has_byte_products`.
    length : int
        Values that count, in whole lines.
    upper : bool
        Whether j < i - 5 may be left out. What then stands below the diagonal has no meaning.
    totals : int64 or float64 array by `totals_for`
    """
    for block in range(len(left)):
        rows, columns = left[block], right[block]
        for i in range(0, len(rows), TILE_ROWS):
            for j in range(i if upper else 0, totals.shape[1], TILE_COLUMNS):
                _add_tile(rows, columns, i, j, length, totals)  # type: ignore[call-arg]


@jit
def matrix(products: Any, count: int, others: int, upper: bool) -> Any:
    """Return the sums of products of the images that there are; from the upper triangle alone, if that is known."""
    result = np.empty((count, others), products.dtype)
    for i in range(count):
        for j in range(others):
            result[i, j] = products[j, i] if upper and j < i else products[i, j]
    return result


@cache
def _vector_bytes() -> int:
    """Return the width of the vectors of this processor; narrower ones take the same code in two steps."""
    return 64 if binding.get_host_cpu_features().get("avx512bw", False) else 32


@intrinsic
def _add_tile(_typing: Any, left: Any, right: Any, _i: Any, _j: Any, _length: Any, totals: Any) -> Any:
    """Add the products of rows i to i + 5 of `left` and rows j and j + 1 of `right` to their places in `totals`."""
    signature = types.void(left, right, types.intp, types.intp, types.intp, totals)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        arrays = [context.make_array(signature.args[k])(context, builder, args[k]) for k in (0, 1, 5)]
        kind: Any = left.dtype
        lanes = {8: _Bytes, 16: _Integers, 64: _Floats}[kind.bitwidth](builder)
        stride = STRIDE_BYTES * 8 // kind.bitwidth
        x, y = (
            builder.gep(array.data, [builder.mul(row, int64(stride))])
            for array, row in zip(arrays, args[2:4], strict=False)
        )
        places = [
            [tools.alloca_once_value(builder, ir.Constant(lanes.sum_type, None)) for _ in range(TILE_COLUMNS)]
            for _ in range(TILE_ROWS)
        ]
        with tools.for_range_slice(builder, int64(0), args[4], int64(lanes.count), intp=I64) as (k, _):
            of_y = [lanes.load(y, k, column * stride) for column in range(TILE_COLUMNS)]
            for row in range(TILE_ROWS):
                of_x = lanes.load(x, k, row * stride)
                for column in range(TILE_COLUMNS):
                    place = places[row][column]
                    builder.store(lanes.add_product(builder.load(place), of_x, of_y[column]), place)
        width = tools.unpack_tuple(builder, arrays[2].shape)[1]
        for row in range(0, TILE_ROWS, 2):
            sums = lanes.sum_each([builder.load(place) for pair in places[row : row + 2] for place in pair])
            for k in (0, 1):
                at = builder.add(builder.mul(builder.add(args[2], int64(row + k)), width), args[3])
                lanes.add_to(builder.gep(arrays[2].data, [at]), _part(builder, sums, [2 * k, 2 * k + 1]))
        return context.get_dummy_value()

    return signature, generate


def _pick(builder: Any, one: Any, two: Any, lanes: list[int]) -> Any:
    """Return some lanes of two vectors laid end to end."""
    indices = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(one, two, indices)


def _part(builder: Any, vector: Any, lanes: list[int]) -> Any:
    return _pick(builder, vector, vector, lanes)


class _Lanes:
    """How vectors of one type are loaded, multiplied and added up."""

    value_type: Any
    sum_type: Any
    alignment: int
    total_type: Any

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.add = builder.add

    @property
    def count(self) -> int:
        """Values of a vector."""
        return int(self.value_type.count)

    def load(self, start: Any, index: Any, offset: int) -> Any:
        """Return the vector at `start` + `index` + `offset`."""
        place = self.builder.gep(self.builder.gep(start, [index], inbounds=True), [int64(offset)], inbounds=True)
        return self._aligned(self.builder.load(self.builder.bitcast(place, self.value_type.as_pointer())))

    def _aligned(self, access: Any) -> Any:
        access.align = self.alignment
        return access

    def add_to(self, place: Any, values: Any) -> None:
        """Add a vector to what lies at a place."""
        place = self.builder.bitcast(place, values.type.as_pointer())
        old = self.builder.load(place)
        old.align = 8
        self.builder.store(self.add(old, values), place).align = 8

    def sum_each(self, four: list[Any]) -> Any:
        """Return the sums of four vectors as one of four lanes.

        Neighbours are added first, which never crosses the halves of a register: what follows is half as much work.
        """
        one, two = (self.wide(self._fold(a, b, 1)) for a, b in (four[:2], four[2:]))
        sums = self._fold(one, two, 2)
        while sums.type.count > 4:
            half = sums.type.count // 2
            low, high = (_part(self.builder, sums, list(range(k, k + half))) for k in (0, half))
            sums = self.add(low, high)
        return sums

    def _fold(self, one: Any, two: Any, step: int) -> Any:
        """Add, in each of two vectors, lanes `step` apart; the results take turns, `step` lanes each."""
        count = one.type.count
        first = [start + of + k for start in range(0, count, 2 * step) for of in (0, count) for k in range(step)]
        return self.add(
            _pick(self.builder, one, two, first), _pick(self.builder, one, two, [lane + step for lane in first])
        )

    def wide(self, sums: Any) -> Any:
        """Return sums in the type of totals."""
        return sums

    def add_product(self, sums: Any, x: Any, y: Any) -> Any:
        """Return sums with the products of two vectors added."""
        raise NotImplementedError


class _Integers(_Lanes):
    """int16 values, sums of two products each in int32, totals in int64."""

    alignment = 2

    def __init__(self, builder: Any) -> None:
        super().__init__(builder)
        count = _vector_bytes() // 2
        self.value_type = ir.VectorType(ir.IntType(16), count)
        self.product_type = ir.VectorType(ir.IntType(32), count)
        self.sum_type = ir.VectorType(ir.IntType(32), count // 2)

    def add_product(self, sums: Any, x: Any, y: Any) -> Any:
        products = self.builder.mul(*(self.builder.sext(values, self.product_type) for values in (x, y)))
        even, odd = (_part(self.builder, products, list(range(k, self.count, 2))) for k in (0, 1))
        return self.add(sums, self.add(even, odd))

    def wide(self, sums: Any) -> Any:
        return self.builder.sext(sums, ir.VectorType(I64, sums.type.count))


class _Bytes(_Integers):
    """int8 times uint8, sums of four products each in int32, totals in int64, by `byte_products`."""

    alignment = 1

    def __init__(self, builder: Any) -> None:
        super().__init__(builder)
        self.value_type, self.sum_type = ir.VectorType(ir.IntType(8), 64), ir.VectorType(ir.IntType(32), 16)

    def add_product(self, sums: Any, x: Any, y: Any) -> Any:
        return byte_products(self.builder, sums, y, x)


class _Floats(_Lanes):
    """float64 values, sums and totals."""

    alignment = 8

    def __init__(self, builder: Any) -> None:
        super().__init__(builder)
        self.add = builder.fadd
        self.value_type = self.sum_type = ir.VectorType(ir.DoubleType(), _vector_bytes() // 8)

    def add_product(self, sums: Any, x: Any, y: Any) -> Any:
        return multiply_add(self.builder, x, y, sums, always=False)

"""Philox4x64-10 in groups of blocks: most of them in vectors, and some by the units for integers meanwhile.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11 (2011). A block
of four 64-bit words is a counter that went through ten rounds of two multiplications 64 x 64 -> 128 each.

No vector unit has that multiplication, so in vectors it is put together from four of 32 x 32 -> 64: 17 operations,
for which the vector units are the limit. The units for integers have it. While two vectors of blocks go through one
round, one more block goes through all ten. One thread of a Zen 4, and the same compiled for AVX2, in ms for what
768 x 1024 float32 take:

======================================================  ==========  ==========
vectors alone: one, two, four                           0.68, 0.56, 0.55
a block a round besides: with one vector, two, four     0.45, 0.37, 0.45
the same for AVX2: with one, two                        0.44, 0.38
======================================================  ==========  ==========
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .compiler import inner
from .vectors import I32, I64, cgutils, constant, int64, splat, vector

WORDS = 4
"""64-bit words of a block."""

ROUNDS = 10

VECTORS, LANES = 2, 8
"""Vectors of blocks that go through a round together, and blocks of each."""

SINGLES = ROUNDS - 1
"""Blocks that are drawn besides: one in the first two rounds of the others, which are done at once, one in each other
round."""

GROUP = VECTORS * LANES + SINGLES
"""Blocks drawn together."""

MULTIPLIER = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
LOW = np.uint64(0xFFFFFFFF)
FROM_2_31 = np.uint64(0x41E0000000000000)
FROM_HALF = np.uint64(0x3FE0000000000000)


class _Keys:
    """The two keys of each round, in memory."""

    def __init__(self, builder: Any, first: Any) -> None:
        self._builder, self._place = builder, cgutils.alloca_once(builder, I64, size=2 * ROUNDS)
        for number in range(ROUNDS):
            for which, (key, step) in enumerate(zip(first, WEYL, strict=True)):
                value = builder.add(key, int64(number * step % 2**64))
                builder.store(value, builder.gep(self._place, [int64(2 * number + which)]))

    def of(self, number: Any) -> list[Any]:
        """Return the keys of a round."""
        builder = self._builder
        places = [builder.add(builder.shl(number, int64(1)), int64(which)) for which in (0, 1)]
        return [builder.load(builder.gep(self._place, [place])) for place in places]


class _Singles:
    """Blocks that are drawn one at a time, from a counter on, to an address on."""

    def __init__(self, builder: Any, keys: _Keys, counter: Any, address: Any) -> None:
        self._builder, self._keys = builder, keys
        self._counter = cgutils.alloca_once(builder, counter.type)
        self._address = cgutils.alloca_once(builder, address.type)
        builder.store(counter, self._counter)
        builder.store(address, self._address)

    def draw_next(self) -> None:
        builder = self._builder
        counter, address = builder.load(self._counter), builder.load(self._address)
        block = [counter, *[int64(0)] * (WORDS - 1)]
        for number in range(ROUNDS):
            block = _after_round(builder, block, self._keys.of(int64(number)), _product)
        for number, word in enumerate(block):
            builder.store(word, builder.gep(address, [int64(number)]))
        builder.store(builder.add(counter, int64(1)), self._counter)
        builder.store(builder.gep(address, [int64(WORDS)]), self._address)


class _Blocks:
    """A vector of blocks, from a counter on: a vector for each word, in registers."""

    def __init__(self, builder: Any, keys: _Keys, counter: Any) -> None:
        """Begin with (counter + lane, 0, 0, 0) after two rounds, which spares two of the four multiplications."""
        self._builder, self._keys, kind = builder, keys, vector(I64, LANES)
        (key, other), after = keys.of(int64(0)), keys.of(int64(1))
        high, low = _product(builder, key, MULTIPLIER[0])  # the first round leaves `key` in the first word of all
        counters = builder.add(splat(builder, counter, LANES), ir.Constant(kind, list(range(LANES))))
        upper, lower = _vector_product(builder, counters, MULTIPLIER[0])
        first, second = _vector_product(builder, builder.xor(upper, self._splat(other)), MULTIPLIER[1])
        third = builder.xor(lower, self._splat(builder.xor(high, after[1])))
        words = [builder.xor(first, self._splat(after[0])), second, third, self._splat(low)]
        self._words = [cgutils.alloca_once_value(builder, word) for word in words]

    def go_through(self, number: Any) -> None:
        """Go through a round."""
        builder = self._builder
        keys = [self._splat(key) for key in self._keys.of(number)]
        words = _after_round(builder, [builder.load(place) for place in self._words], keys, _vector_product)
        for place, word in zip(self._words, words, strict=True):
            builder.store(word, place)

    def write(self, address: Any) -> None:
        """Write the blocks one after the other."""
        builder = self._builder
        first, second, third, fourth = (builder.load(place) for place in self._words)
        pairs = _alternating(builder, first, second, 1), _alternating(builder, third, fourth, 1)
        for half, (left, right) in enumerate(zip(*pairs, strict=True)):
            for quarter, words in enumerate(_alternating(builder, left, right, 2)):
                place = builder.gep(address, [int64((2 * half + quarter) * LANES)])
                builder.store(words, builder.bitcast(place, words.type.as_pointer())).align = 8

    def _splat(self, word: Any) -> Any:
        return splat(self._builder, word, LANES)


def _alternating(builder: Any, left: Any, right: Any, together: int) -> list[Any]:
    """Return the lanes of two vectors, so many of the one and so many of the other in turn, as two vectors."""
    order = [side * LANES + lane + k for lane in range(0, LANES, together) for side in (0, 1) for k in range(together)]
    return [
        builder.shuffle_vector(left, right, ir.Constant(vector(I32, LANES), part))
        for part in (order[:LANES], order[LANES:])
    ]


def _after_round(builder: Any, words: list[Any], keys: list[Any], product: Any) -> list[Any]:
    """Return the words of blocks after a round."""
    (high0, low0), (high2, low2) = (product(builder, words[2 * k], MULTIPLIER[k]) for k in (0, 1))
    first, third = builder.xor(high2, words[1]), builder.xor(high0, words[3])
    return [builder.xor(first, keys[0]), low2, builder.xor(third, keys[1]), low0]


def _product(builder: Any, a: Any, b: int) -> tuple[Any, Any]:
    """Return the high and the low 64 bits of a product."""
    wide = ir.IntType(128)
    product = builder.mul(builder.zext(a, wide), ir.Constant(wide, b))
    return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), I64), builder.trunc(product, I64)


def _vector_product(builder: Any, a: Any, b: int) -> tuple[Any, Any]:
    """Return the high and the low 64 bits of the products of vectors with a number."""
    half, mask, b_high, b_low = (constant(I64, LANES, value) for value in (32, 2**32 - 1, b >> 32, b % 2**32))
    a_high, a_low = builder.lshr(a, half), builder.and_(a, mask)
    low = builder.mul(a_low, b_low)
    middle = builder.add(builder.mul(a_high, b_low), builder.lshr(low, half))
    other = builder.add(builder.mul(a_low, b_high), builder.and_(middle, mask))
    high = builder.add(builder.mul(a_high, b_high), builder.lshr(middle, half))
    high = builder.add(high, builder.lshr(other, half))
    return high, builder.or_(builder.shl(other, half), builder.and_(low, mask))


def _emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit the loop over the groups."""
    words = context.make_array(signature.args[0])(context, builder, arguments[0])
    counter, *key = arguments[1:]
    keys, in_vectors = _Keys(builder, key), VECTORS * LANES
    size = builder.extract_value(words.shape, 0)
    with cgutils.for_range_slice(builder, int64(0), size, int64(WORDS * GROUP)) as (place, _):
        first, address = builder.add(counter, builder.udiv(place, int64(WORDS))), builder.gep(words.data, [place])
        rest = builder.add(first, int64(in_vectors)), builder.gep(address, [int64(in_vectors * WORDS)])
        singles = _Singles(builder, keys, *rest)
        blocks = [_Blocks(builder, keys, builder.add(first, int64(k * LANES))) for k in range(VECTORS)]
        singles.draw_next()
        with cgutils.for_range_slice(builder, *map(int64, (2, ROUNDS, 1))) as (number, _):
            for some in blocks:
                some.go_through(number)
            singles.draw_next()
        for k, some in enumerate(blocks):
            some.write(builder.gep(address, [int64(k * LANES * WORDS)]))
    return context.get_dummy_value()


def _draw(_typing: Any, words: Any, _counter: Any, _key0: Any, _key1: Any) -> Any:
    return types.void(words, *[types.uint64] * 3), _emit


draw: Any = intrinsic(_draw)
"""``draw(words, counter, key0, key1)``: fill contiguous `words` with the blocks from `counter` on, whole groups."""


@inner
def unit(word: Any) -> Any:
    """Return ``(word >> 11) * 2^-53``, the float64 on [0, 1) that NumPy makes of a word.

    AVX2 does not convert 64-bit integers (0.6 ns each, against 0.2): the upper 21 of the 53 bits become the last ones
    of a number from 2^31 on, the lower 32 those of one from 1/2 on, and every step from there is exact.
    """
    upper = np.uint64((word >> np.uint64(43)) | FROM_2_31).view(np.float64)
    lower = np.uint64(((word >> np.uint64(11)) & LOW) | FROM_HALF).view(np.float64)
    return (upper - (2.0**31 + 0.5)) + lower

"""Philox4x64-10, block after block, in loops that fill vectors.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11 (2011). A block
of four 64-bit words is a counter that went through ten rounds of two multiplications 64 x 64 -> 128 each.

No vector unit has that multiplication, so it is put together from four of 32 x 32 -> 64. The rounds go one by one over
128 blocks that lie word by word in the L1 cache: in that form each round is a plain loop that LLVM vectorises. Measured
on a Zen 3 (AVX2), one thread, ns a 32-bit number:

====================================================  ====
rounds over 128 blocks                                1.13
two, five, all ten rounds in one pass                 1.25, 1.44, 1.44
a block after the other, ``mul`` 64 x 64 -> 128       1.74
two blocks interleaved by hand                        2.23
NumPy's PCG64, NumPy's Philox                         2.2, 3.7
====================================================  ====
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import inner

BLOCKS = 128
"""Blocks drawn together: 4 KB of words, and as much again for the rounds. Twice as many win 2 %, half lose 7 %."""

WORDS = 4
"""64-bit words of a block."""

MULTIPLIER = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
WEYL = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B))
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
FROM_2_31 = np.uint64(0x41E0000000000000)
FROM_HALF = np.uint64(0x3FE0000000000000)


@inner
def draw(words: Any, planes: Any, counter: Any, key0: Any, key1: Any) -> None:
    """Fill `words` with the blocks from `counter` on; both arrays are uint64, of one length, at most 4 * BLOCKS."""
    n = words.size // WORDS
    c0, c1, c2, c3 = planes[:n], planes[n : 2 * n], planes[2 * n : 3 * n], planes[3 * n : 4 * n]
    _first_two_rounds(c0, c1, c2, c3, counter, key0, key1)
    for rounds in range(2, 10):
        bumps = np.uint64(rounds)
        _round(c0, c1, c2, c3, np.uint64(key0 + bumps * WEYL[0]), np.uint64(key1 + bumps * WEYL[1]))
    for i in range(n):
        words[4 * i] = c0[i]
        words[4 * i + 1] = c1[i]
        words[4 * i + 2] = c2[i]
        words[4 * i + 3] = c3[i]


@inner
def _first_two_rounds(c0: Any, c1: Any, c2: Any, c3: Any, counter: Any, key0: Any, key1: Any) -> None:
    """Begin at the blocks (counter + i, 0, 0, 0), which spares two of the four multiplications."""
    same_high, same_low = _multiply(MULTIPLIER[0], key0)  # the first round leaves key0 in the first word of all blocks
    next0, next1 = np.uint64(key0 + WEYL[0]), np.uint64(key1 + WEYL[1])
    for i in range(c0.size):
        high, low = _multiply(MULTIPLIER[0], np.uint64(counter + np.uint64(i)))
        high2, low2 = _multiply(MULTIPLIER[1], high ^ key1)
        c0[i] = high2 ^ next0
        c1[i] = low2
        c2[i] = same_high ^ low ^ next1
        c3[i] = same_low


@inner
def _round(c0: Any, c1: Any, c2: Any, c3: Any, key0: Any, key1: Any) -> None:
    """Send all blocks through one round."""
    for i in range(c0.size):
        high0, low0 = _multiply(MULTIPLIER[0], c0[i])
        high2, low2 = _multiply(MULTIPLIER[1], c2[i])
        c0[i] = high2 ^ c1[i] ^ key0
        c1[i] = low2
        c2[i] = high0 ^ c3[i] ^ key1
        c3[i] = low0


@inner
def _multiply(a: Any, b: Any) -> Any:
    """Return the high and the low 64 bits of the product of two uint64."""
    a_low, a_high, b_low, b_high = a & LOW, a >> HALF, b & LOW, b >> HALF
    low = a_low * b_low
    middle = a_high * b_low + (low >> HALF)
    other = a_low * b_high + (middle & LOW)
    return a_high * b_high + (middle >> HALF) + (other >> HALF), (other << HALF) | (low & LOW)


@inner
def unit(word: Any) -> Any:
    """Return ``(word >> 11) * 2^-53``, the float64 on [0, 1) that NumPy makes of a word.

    AVX2 does not convert 64-bit integers (0.6 ns each, against 0.2): the upper 21 of the 53 bits become the last ones
    of a number from 2^31 on, the lower 32 those of one from 1/2 on, and every step from there is exact.
    """
    upper = np.uint64((word >> np.uint64(43)) | FROM_2_31).view(np.float64)
    lower = np.uint64(((word >> np.uint64(11)) & LOW) | FROM_HALF).view(np.float64)
    return (upper - (2.0**31 + 0.5)) + lower

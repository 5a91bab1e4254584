"""Normal numbers from pairs of uniform ones, in loops that fill vectors.

G. E. P. Box and M. E. Muller, "A note on the generation of random normal deviates", Ann. Math. Statist. 29 (1958). The
logarithm and the cosine are polynomials: calls of the C library for each number take five times as long (24 against 5
ns on one core of a Zen 3), and their digits differ from one library to the next. The numbers are good to 1e-12.
"""

from __future__ import annotations

from math import factorial, pi
from typing import Any

import numpy as np

from .compiler import inner, jit
from .philox import unit

SQRT_2 = float(np.sqrt(2))
LN_2 = float(np.log(2))
FRACTION = np.int64(0x000FFFFFFFFFFFFF)
ONE = np.int64(0x3FF0000000000000)
LARGE = np.int64(0x4330000000000000)
COS = tuple((-1) ** k * (2 * pi) ** (2 * k) / factorial(2 * k) for k in range(8))
SIN = tuple((-1) ** k * (2 * pi) ** (2 * k + 1) / factorial(2 * k + 1) for k in range(8))


@jit
def normal(words: Any, numbers: Any) -> None:
    """Turn each two 64-bit words into one normal number: ``sqrt(-2 log1p(-u0)) cos(2 pi u1)``."""
    for i in range(numbers.size):
        # 1 - u0 is exact, so that its logarithm is that of log1p.
        radius = np.sqrt(-2.0 * _log(1.0 - unit(words[2 * i])))
        numbers[i] = radius * _cos_turns(unit(words[2 * i + 1]))


@inner
def _log(v: Any) -> Any:
    """Return the natural logarithm of a normal float64: of the exponent and, by atanh, of the mantissa."""
    bits = np.float64(v).view(np.int64)
    # AVX2 does not convert 64-bit integers: the exponent becomes the last bits of a number in [2^52, 2^53).
    exponent = np.int64((bits >> np.int64(52)) | LARGE).view(np.float64) - (2.0**52 + 1023)
    mantissa = np.int64((bits & FRACTION) | ONE).view(np.float64)
    large = mantissa > SQRT_2
    mantissa = 0.5 * mantissa if large else mantissa
    exponent = exponent + 1.0 if large else exponent
    s = (mantissa - 1.0) / (mantissa + 1.0)
    z = s * s
    series = 1.0 + z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13 + z * (1 / 15)))))))
    return exponent * LN_2 + 2.0 * s * series


@inner
def _cos_turns(u: Any) -> Any:
    """Return cos(2 pi u) for u in [0, 1]: a cosine or sine of at most an eighth of a turn."""
    quarter = np.floor(4.0 * u + 0.5)
    t = u - 0.25 * quarter
    z = t * t
    cosine, sine = COS[7], SIN[7]
    for k in range(6, -1, -1):
        cosine = cosine * z + COS[k]
        sine = sine * z + SIN[k]
    sine = sine * t
    odd = quarter == 1.0 or quarter == 3.0
    value = sine if odd else cosine
    return -value if quarter == 1.0 or quarter == 2.0 else value

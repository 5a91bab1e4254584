"""Where a sample beyond the end of a line comes from: the boundary modes of SciPy's filters as index arithmetic."""

from __future__ import annotations

from typing import Any

from .compiler import inner

CONSTANT, NEAREST, REFLECT, MIRROR, WRAP = range(5)

MODES = {
    "constant": CONSTANT,
    "grid-constant": CONSTANT,
    "nearest": NEAREST,
    "reflect": REFLECT,
    "grid-mirror": REFLECT,
    "mirror": MIRROR,
    "wrap": WRAP,
    "grid-wrap": WRAP,
}
"""Code of each mode. In filters, unlike in interpolation, the modes named ``grid-`` are those without it."""


@inner
def sample_at(position: Any, length: Any, mode: Any) -> Any:
    """Return the index in ``range(length)`` whose value stands at any integer `position`; -1 for a constant.

    ``reflect`` repeats the sample at the border (d c b a | a b c d | d c b a), ``mirror`` does not.
    """
    if 0 <= position < length:
        return position
    if mode == CONSTANT:
        return -1
    if mode == NEAREST or length == 1:
        return 0 if position < 0 else length - 1
    if mode == WRAP:
        return position % length
    edge = 1 if mode == REFLECT else 0
    if position < 0:
        position = -edge - position
    if position >= length:  # most positions are not so far out, and a remainder takes long
        position %= 2 * (length - 1 + edge)
        if position >= length:
            position = 2 * (length - 1) + edge - position
    return position

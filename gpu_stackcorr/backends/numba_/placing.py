"""Where the samples of a row lie: one pass over vectors an axis gives offsets into the image and fractions.

A displacement is split into its floor and a fraction, and the floor is added to the position as an integer. Where all
taps of a sample lie inside of the image, its offset is that of the first tap. Where they do not, or the displacement is
no number, large, or so small that its fraction rounds to 1, the fraction is OUTSIDE and the offset that of some sample
that can be read: such samples are computed again one by one (see ``rows``), with the same bits where both could be.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import inner

OUTSIDE = 2.0
"""A fraction that is none. Comparing in floating point leaves NaN and infinity outside without a question."""

REACH = 1 << 22
"""Floors up to here, and the numbers of samples in a row added, are exact in float32; beyond, samples go one by one."""


@inner
def place_row(
    displacement: Any,
    along: Any,
    position: Any,
    n: Any,
    stride: Any,
    margin: Any,
    order: Any,
    offsets: Any,
    fractions: Any,
) -> Any:
    """Add to `offsets` what the taps along one axis ask for, fill `fractions`, and return how many are outside.

    `margin` is how far beyond the image its memory goes on. `along` is 1 on the axis that the row runs along, where
    `position` is that of its first sample, and 0 on the others.
    """
    number = fractions.dtype.type
    zero, one, outside = number(0), number(1), number(OUTSIDE)
    before = order // 2
    # Order 0 takes positions between the first and the last sample, where no mode has a say (beyond them it says which
    # way halves go); even orders may go up by 1.
    most = n - 2 if order == 0 else n - 1 - order + before - (order % 2 == 0)
    around = 0 if order == 0 else margin
    low, high = max(before - around - position, -REACH), min(most + around - position, REACH)
    if low > high or abs(stride) >= 1 << 31:
        fractions[:] = outside
        return displacement.size
    low, high, step = number(low), number(high), number(along)
    wide, base = np.int64(np.int32(stride)), (position - before) * stride
    count = np.int32(0)
    for x in range(displacement.size):
        d = displacement[x] + zero  # the wider of the two dtypes
        floor = np.floor(d)
        t = d - floor
        i = floor + np.float32(np.int32(x)) * step
        inside = (i >= low) & (i <= high) & (t < one)
        offsets[x] += base + np.int64(np.int32(i if inside else low)) * wide
        fractions[x] = t if inside else outside
        count += np.int32(0) if inside else np.int32(1)
    if order % 2 == 0:
        _go_to_knots(stride, offsets, fractions)
    return np.int64(count)


@inner
def _go_to_knots(stride: Any, offsets: Any, fractions: Any) -> None:
    """Splines of even order have their knots between the samples: count fractions from there; OUTSIDE stays above 1."""
    half = fractions.dtype.type(0.5)
    for x in range(offsets.size):
        t = fractions[x]
        up = t >= half
        offsets[x] += stride if up & (t <= half + half) else 0
        fractions[x] = t - half if up else t + half

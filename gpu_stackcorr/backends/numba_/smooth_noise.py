"""Smooth noise of a plane, strip by strip: drawn, filtered along y, then along x, before it leaves the second cache.

A window holds the rows that a strip depends on; the next one shares most of them. The field is only written. Any piece
of it can be had alone, at the price of the noise around that it depends on, so that planes are cut where threads would
be idle. What a sample is does not depend on the piece.

The filters are SciPy's, in its order of operations (see `fir`), but for products of float64, which are fused with sums
as those of float32 are: that takes two thirds of the time, and less is rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from math import gcd
from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from gpu_stackcorr.backends.base import Array, Box
from gpu_stackcorr.random_fields import grow_box

from .boundary import MODES, WRAP, sample_at
from .compiler import inner, jit
from .fir_blocks import BLOCK, block_filter
from .gaussian import half_kernel
from .lines import PITCH, TURNED, copy_times
from .memory import kept
from .parallel import cut
from .random_field import PER_BLOCK, SYMMETRIC, Layout, fill_runs, layout_of, new_words
from .transposing import transpose
from .vectors import I64, cgutils, load, vector

STRIP_BYTES = 256
"""Of a column of a strip: 64 rows in float32, 32 in float64."""

WIDEST = 1024
"""Columns of a piece, where filters do not reach far: of radius 20 the window takes 0.4 MB in float32, 0.6 in float64,
and a second cache of 1 MB holds it. Pieces of 512 columns took up to 13 % longer, for the noise beside them."""

LOWEST = 64
"""Rows of a piece, at least."""

LARGEST_RADIUS = 256
"""Of a filter in strips. Where it reaches further, they take longer than one step after the other with large images."""

DRAWN = 8
"""Rows that are drawn together: 32 KB in float32."""

SIDE = np.int64(BLOCK)
"""Samples that are filtered side by side: columns along y, rows along x. Windows of so many have no gaps."""

filter_block = block_filter(BLOCK, fused=True)


class Piece(NamedTuple):
    """A piece of a field: its `box` of the whole, that of the noise it depends on, and where in the field it begins."""

    box: Box
    drawn: Box
    layout: Layout
    start: int


class SmoothNoise:
    """Noise over an image, smoothed along y and x, and the pieces in which a box of it is drawn.

    Pieces are of moderate width, and as many as keep so many threads busy with so many planes.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        box: Box,
        sigma: tuple[float, float],
        truncate: float,
        mode: str,
        dtype: DTypeLike,
        planes: int,
        threads: int,
    ) -> None:
        self.shape, self.mode = shape, MODES[mode]
        weights = [half_kernel(width, truncate, dtype) for width in sigma]
        self.weights = [some if some.size else np.ones(1, dtype) for some in weights]
        radii = [some.size - 1 for some in self.weights]
        wraps = self.mode == WRAP
        reach = shape if wraps else radii
        self.pieces = []
        (top, _), (left, right) = box
        for piece in _cut(box, radii, wraps, planes, threads):
            drawn, _ = grow_box(piece, reach, shape)
            start = (piece[0][0] - top) * (right - left) + piece[1][0] - left
            self.pieces.append(Piece(piece, drawn, layout_of(drawn, shape), start))
        self.strip = STRIP_BYTES // self.weights[0].itemsize
        widest = max(last - first for _, (_, (first, last)), _, _ in self.pieces)
        self.ends = list(accumulate(_sizes(self.strip, widest, *radii), initial=0))

    def draw(self, field: Array, piece: Piece, seed: int, stream: int, scale: Any) -> None:
        """Fill a piece of a contiguous field with smooth noise times `scale`, in this thread."""
        size = self.ends[-1]
        space = kept("smooth noise", size * field.itemsize).array((size,), field.dtype)
        memory = tuple([space[start:end] for start, end in pairwise(self.ends)])
        noise = piece.layout, (np.uint64(seed), np.uint64(stream)), new_words()
        there = field.reshape(-1)[piece.start :], field.shape[1], piece.box
        draw_piece(*there, piece.drawn, self.shape, self.mode, *self.weights, scale, noise, self.strip, memory)


@lru_cache(maxsize=16)
def smooth_noise(*how: Any) -> SmoothNoise:
    """Return ``SmoothNoise(*how)``, made once for many fields of a kind."""
    return SmoothNoise(*how)


def _cut(box: Box, radii: Sequence[int], wraps: bool, planes: int, threads: int) -> list[Box]:
    """Cut a box into pieces. Where it wraps, all columns are drawn for each."""
    (top, bottom), (left, right) = box
    bands = 1 if planes >= 8 * threads else threads // gcd(planes, threads)
    rows = cut(bottom - top, min(bands, (bottom - top) // max(LOWEST, 2 * radii[0])))
    columns = cut(right - left, 1 if wraps else -(-(right - left) // max(WIDEST, 4 * radii[1])))
    return [((top + y.start, top + y.stop), (left + x.start, left + x.stop)) for y in rows for x in columns]


def _sizes(strip: int, columns: int, radius_y: int, radius_x: int) -> tuple[int, ...]:
    """Return the sizes of the arrays that ``draw_piece`` works in; all begin with a cache line where the first does."""
    return (
        -(-columns // BLOCK) * BLOCK * (strip + 2 * radius_y + 1),  # a row more: tiles are no power of two apart
        BLOCK * BLOCK,
        (columns + 2 * radius_x + TURNED + BLOCK) * BLOCK,
        TURNED * BLOCK,
        BLOCK * PITCH,
        DRAWN * columns + BLOCK,
    )


@jit
def draw_piece(
    target: Any, pitch: Any, piece: Any, drawn: Any, shape: Any, mode: Any, weights_y: Any, weights_x: Any, scale: Any,
    noise: Any, strip: Any, memory: Any,
) -> None:  # fmt: skip
    """Fill a piece of the whole, whose rows lie `pitch` apart in `target`, strip by strip.

    `drawn` is the box of the noise it depends on; `noise` is the layout of that, the key, and memory for words.
    """
    window, sums, lines, _, _, _ = memory
    top, bottom = piece[0]
    columns, reach = drawn[1][1] - drawn[1][0], 2 * (weights_y.size - 1)
    tiles = (columns + SIDE - 1) // SIDE
    apart = (strip + reach + 1) * SIDE  # of tiles in the window
    row, ready = top - weights_y.size + 1, np.int64(0)  # the next row, and how many are in the window
    for start in range(top, bottom, strip):
        stop = min(start + strip, bottom)
        if start > top:
            for tile in range(tiles):
                copy_runs(window, tile * apart + strip * SIDE, SIDE, window, tile * apart, SIDE, reach)
            ready = reach
        while ready < stop - start + reach:
            count = _draw_rows(row, stop - start + reach - ready, drawn, shape, mode, noise, memory[5])
            for k in range(count):
                copy_runs(memory[5], k * columns, SIDE, window, (ready + k) * SIDE, apart, tiles)
            row, ready = row + count, ready + count
        for first in range(start, stop, SIDE):
            for tile in range(tiles):
                filter_block(window[tile * apart + (first - start) * SIDE :], weights_y, sums)
                transpose(sums, SIDE, lines[(weights_x.size - 1 + tile * SIDE) * SIDE :], SIDE, SIDE, SIDE)
            _extend(lines, drawn[1], shape[1], mode, weights_x.size - 1)
            rows = target[(first - top) * pitch :]
            _filter_x(rows, pitch, min(SIDE, stop - first), piece[1], drawn[1][0], weights_x, scale, memory)


@jit
def _draw_rows(row: Any, wanted: Any, drawn: Any, shape: Any, mode: Any, noise: Any, rows: Any) -> Any:
    """Draw some rows from `row` on, which may lie beyond a border; return how many."""
    height, columns = shape[0], drawn[1][1] - drawn[1][0]
    count = min(DRAWN, wanted, height - row) if 0 <= row < height else np.int64(1)
    at = sample_at(row, height, mode)
    numbers = rows[: count * columns]
    if at < 0:
        for x in range(columns):
            numbers[x] = 0
    else:
        layout, key, words = noise
        how = np.int64(SYMMETRIC), np.int64(PER_BLOCK[SYMMETRIC]), np.float32(0)
        fill_runs(numbers, (at - drawn[0][0]) * columns, layout, key, *how, words)
    return count


@inner
def _extend(lines: Any, drawn: Any, width: Any, mode: Any, radius: Any) -> None:
    """Write what lies beyond the borders of lines side by side."""
    first, last = drawn
    for k in range(radius):
        if first == 0:
            _copy_position(lines, k, sample_at(k - radius, width, mode), first, radius)
        if last == width:
            _copy_position(lines, radius + last - first + k, sample_at(width + k, width, mode), first, radius)


@inner
def _copy_position(lines: Any, position: Any, column: Any, first: Any, radius: Any) -> None:
    """Copy a position of lines side by side, of which the window begins with column `first`, from that of a column."""
    for y in range(SIDE):
        lines[position * SIDE + y] = 0 if column < 0 else lines[(column - first + radius) * SIDE + y]


@inner
def _filter_x(
    target: Any, pitch: Any, rows: Any, columns: Any, first: Any, weights: Any, scale: Any, memory: Any
) -> None:
    """Filter some columns of lines side by side, of which the window begins with column `first`, and write the rows."""
    _, _, lines, sums, turned, _ = memory
    left, right = columns
    for column in range(left, right, TURNED):
        count = min(TURNED, right - column)
        for k in range(0, count, BLOCK):
            filter_block(lines[(column - first + k) * SIDE :], weights, sums[k * SIDE :])
        transpose(sums, SIDE, turned, np.int64(PITCH), count, SIDE)
        for y in range(rows):
            copy_times(scale, turned[y * PITCH :], target[y * pitch + column - left :], count)


def _copy_runs(
    _typing: Any, source: Any, _at: Any, _step: Any, target: Any, _place: Any, _target_step: Any, _count: Any
) -> Any:
    """Copy runs of SIDE samples between flat arrays, from and to places some steps apart."""
    signature = types.void(source, types.int64, types.int64, target, types.int64, types.int64, types.int64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, at, step, target, place, target_step, count = arguments
        start, end = (
            builder.gep(context.make_array(kind)(context, builder, array).data, [index])
            for kind, array, index in ((signature.args[0], source, at), (signature.args[3], target, place))
        )
        kind = vector(start.type.pointee, BLOCK)
        with cgutils.for_range(builder, count, intp=I64) as loop:
            run = load(builder, builder.gep(start, [builder.mul(loop.index, step)]), kind)
            to = builder.gep(end, [builder.mul(loop.index, target_step)])
            builder.store(run, builder.bitcast(to, kind.as_pointer())).align = 4
        return context.get_dummy_value()

    return signature, emit


copy_runs: Any = intrinsic(_copy_runs)
"""``copy_runs(source, at, step, target, place, target_step, count)``"""

"""Smooth noise of a plane, strip by strip: drawn, filtered along y, then along x, before it leaves the second cache.

A window holds the rows that a strip depends on; the next one shares most of them. Some rows are smoothed at a time,
and written to a field here, or read by those of a warp (see ``elastic``). Any piece of a plane can be had alone, at the
price of the noise around that it depends on, so that planes are cut where threads would be idle. What a sample is does
not depend on the piece.

The filters are SciPy's, in its order of operations (see `fir`), but for products of float64, which are fused with sums
as those of float32 are: that takes two thirds of the time, and less is rounded.
"""

from __future__ import annotations

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
from .memory import kept
from .parallel import cut
from .random_field import PER_BLOCK, SYMMETRIC, Layout, fill_runs, layout_of, new_words
from .transposing import transpose
from .vectors import I64, cgutils, load, vector

STRIP_BYTES = 256
"""Of a column of a strip: 64 rows in float32, 32 in float64."""

WIDEST = 1024
"""Columns of a piece, where filters do not reach far: of radius 20 the window takes 0.4 MB in float32, 0.6 in float64,
and a second cache of 1 MB holds it. Pieces of 512 columns took up to 13 % longer, for the noise beside them; where two
planes are drawn together, up to 5 %."""

LOWEST = 64
"""Rows of a piece, at least. The rows beside that it draws take little of the time of filters that reach so far."""

LARGEST_RADIUS = 256
"""Of a filter in strips. Where it reaches further, they take longer than one step after the other with large images."""

DRAWN = 8
"""Rows that are drawn together: 32 KB in float32."""

SIDE = np.int64(BLOCK)
"""Samples that are filtered side by side: columns along y, rows along x. Windows of so many have no gaps."""

filter_block = block_filter(BLOCK, BLOCK, fused=True)


class Piece(NamedTuple):
    """A piece of smooth noise, as compiled code draws it."""

    box: Box
    """Of the whole."""
    drawn: Box
    """The noise it depends on."""
    layout: Layout
    """Where that lies."""
    shape: tuple[int, int]
    """Of the whole."""
    mode: int
    weights: tuple[Array, Array]
    """Of the filters along y and x, from the middle outwards."""
    strip: int
    """Rows of a strip."""


class Workspace(NamedTuple):
    """Where a plane is drawn in a thread: arrays that begin with a cache line."""

    window: Array
    """Noise that a strip depends on, in tiles of SIDE columns."""
    rows: Array
    """SIDE rows of the result, ``row_pitch`` apart."""
    sums: Array
    lines: Array
    """SIDE rows that are filtered along y, side by side."""
    noise: Array
    """Rows that were drawn together."""
    words: Array


class SmoothNoise:
    """Noise over an image, smoothed along y and x, and the pieces in which a box of it is drawn.

    Pieces are of moderate width, and as many as keep so many threads busy with so many planes, of which some are drawn
    `together`.
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
        together: int = 1,
    ) -> None:
        self.dtype, code, strip = np.dtype(dtype), MODES[mode], STRIP_BYTES // np.dtype(dtype).itemsize
        y, x = (some if some.size else np.ones(1, dtype) for some in (half_kernel(s, truncate, dtype) for s in sigma))
        radii = y.size - 1, x.size - 1
        reach = shape if code == WRAP else radii
        self.pieces, widest = [], 0
        for piece in _cut(box, radii, code == WRAP, planes // together, threads):
            drawn, _ = grow_box(piece, reach, shape)
            self.pieces.append(Piece(piece, drawn, layout_of(drawn, shape), shape, code, (y, x), strip))
            widest = max(widest, drawn[1][1] - drawn[1][0])
        self.ends = list(accumulate(_sizes(strip, widest, *radii, together), initial=0))

    def draw(self, field: Array, box: Box, piece: Piece, seed: int, stream: int, scale: Any) -> None:
        """Fill a piece of a contiguous field over `box` with smooth noise times `scale`, in this thread."""
        (top, _), (left, _) = box
        start = (piece.box[0][0] - top) * field.shape[1] + piece.box[1][0] - left
        (memory,) = self.workspaces()
        draw_piece(field.reshape(-1)[start:], field.shape[1], piece, key_of(seed, stream), scale, memory)

    def workspaces(self) -> tuple[Workspace, ...]:
        """Return one of this thread for each plane that is drawn together; only windows and rows are its own."""
        size = self.ends[-1]
        space = kept("smooth noise", size * self.dtype.itemsize).array((size,), self.dtype)
        *own, sums, lines, noise = [space[start:end] for start, end in pairwise(self.ends)]
        words = new_words()
        return tuple([Workspace(*pair, sums, lines, noise, words) for pair in zip(own[::2], own[1::2], strict=True)])


def key_of(seed: int, stream: int) -> tuple[np.uint64, np.uint64]:
    """Return the key with which the noise of a stream is drawn."""
    return np.uint64(seed), np.uint64(stream)


@lru_cache(maxsize=16)
def smooth_noise(*how: Any) -> SmoothNoise:
    """Return ``SmoothNoise(*how)``, made once for many fields of a kind."""
    return SmoothNoise(*how)


def _cut(box: Box, radii: tuple[int, int], wraps: bool, planes: int, threads: int) -> list[Box]:
    """Cut a box into pieces. Where it wraps, all columns are drawn for each."""
    (top, bottom), (left, right) = box
    bands = 1 if planes >= 8 * threads else threads // gcd(planes, threads)
    rows = cut(bottom - top, min(bands, (bottom - top) // LOWEST))
    columns = cut(right - left, 1 if wraps else -(-(right - left) // max(WIDEST, 4 * radii[1])))
    return [((top + y.start, top + y.stop), (left + x.start, left + x.stop)) for y in rows for x in columns]


def _sizes(strip: int, columns: int, radius_y: int, radius_x: int, together: int) -> tuple[int, ...]:
    """Return the sizes of the arrays of a ``Workspace``; all begin with a cache line where the first does."""
    own = -(-columns // BLOCK) * BLOCK * (strip + 2 * radius_y + 1), BLOCK * row_pitch(columns)
    return (*own * together, BLOCK * BLOCK, (columns + 2 * radius_x + 2 * BLOCK) * BLOCK, DRAWN * columns + BLOCK)


@jit
def draw_piece(target: Any, pitch: Any, piece: Any, key: Any, scale: Any, memory: Any) -> None:
    """Fill a piece, whose rows lie `pitch` apart in `target`, strip by strip."""
    (top, bottom), (left, right) = piece.box
    width, apart = right - left, row_pitch(right - left)
    for start in range(top, bottom, piece.strip):
        stop = min(start + piece.strip, bottom)
        slide(piece, start, stop, key, memory)
        for first in range(start, stop, SIDE):
            smooth_rows(piece, first - start, scale, memory)
            for k in range(min(SIDE, stop - first)):
                to, row = np.uint64((first - top + k) * pitch), np.uint64(k * apart)
                for x in range(np.uint64(width)):
                    target[to + x] = memory.rows[row + x]


@inner
def slide(piece: Any, start: Any, stop: Any, key: Any, memory: Any) -> None:
    """Have the window hold the noise that a strip depends on: what the strip before it shares with it is there."""
    columns, reach = piece.drawn[1][1] - piece.drawn[1][0], 2 * (piece.weights[0].size - 1)
    tiles, apart = (columns + SIDE - 1) // SIDE, _tile_pitch(piece)
    ready = np.int64(0)
    if start > piece.box[0][0]:
        for tile in range(tiles):
            at = tile * apart
            copy_runs(memory.window, at + piece.strip * SIDE, SIDE, memory.window, at, SIDE, reach)
        ready = reach
    while ready < stop - start + reach:
        count = _draw_rows(piece, start - reach // 2 + ready, stop - start + reach - ready, key, memory)
        for k in range(count):
            copy_runs(memory.noise, k * columns, SIDE, memory.window, (ready + k) * SIDE, apart, tiles)
        ready += count


@inner
def _draw_rows(piece: Any, row: Any, wanted: Any, key: Any, memory: Any) -> Any:
    """Draw some rows from `row` on, which may lie beyond a border; return how many."""
    height, columns = piece.shape[0], piece.drawn[1][1] - piece.drawn[1][0]
    count = min(DRAWN, wanted, height - row) if 0 <= row < height else np.int64(1)
    at = sample_at(row, height, piece.mode)
    numbers = memory.noise[: count * columns]
    if at < 0:
        for x in range(columns):
            numbers[x] = 0
    else:
        first = (at - piece.drawn[0][0]) * columns
        how = np.int64(SYMMETRIC), np.int64(PER_BLOCK[SYMMETRIC]), np.float32(0)
        fill_runs(numbers, first, piece.layout, key, *how, memory.words)
    return count


@inner
def smooth_rows(piece: Any, first: Any, scale: Any, memory: Any) -> None:
    """Smooth SIDE rows of the strip in the window from its row `first` on, and write them, times `scale`, to memory."""
    window, rows, sums, lines, _, _ = memory
    (weights_y, weights_x), (begin, end), (left, right) = piece.weights, piece.drawn[1], piece.box[1]
    radius, apart, one = weights_x.size - 1, _tile_pitch(piece), type(scale)(1)
    for tile in range((end - begin + SIDE - 1) // SIDE):
        filter_block(window[tile * apart + first * SIDE :], weights_y, sums, one)
        transpose(sums, SIDE, lines[(radius + tile * SIDE) * SIDE :], SIDE, SIDE, SIDE)
    _extend(lines, piece.drawn[1], piece.shape[1], piece.mode, radius)
    for column in range(left, right, SIDE):
        filter_block(lines[(column - begin) * SIDE :], weights_x, sums, scale)
        transpose(sums, SIDE, rows[column - left :], row_pitch(right - left), SIDE, SIDE)


@inner
def _tile_pitch(piece: Any) -> Any:
    """Return how far apart the tiles of a window are: a row more than they have, no power of two."""
    return (piece.strip + 2 * (piece.weights[0].size - 1) + 1) * SIDE


@inner
def row_pitch(width: Any) -> Any:
    """Return how far apart rows of so many samples are in memory: no power of two."""
    return (width + SIDE - 1) // SIDE * SIDE + SIDE


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

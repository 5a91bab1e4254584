"""Filter all lines of an axis through a window that moves along them.

The window is filled from the lines with their ends extended, filtered, and the sums written back; then its last rows
move to the front and the next ones are read. Since the extension of both ends is taken before anything is written, an
array can be filtered in place, and the scratch memory does not grow with the length of the lines.

Arrays are given flat, with a shape (A, L, B) whose middle axis is filtered. Where B is large, LANES neighbours of the
last axis are filtered side by side; else all B of them are filtered along, as one row of samples B apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array

from .boundary import sample_at
from .compiler import inner, jit
from .fir import GRAIN, filter_row
from .fir_blocks import APART, BLOCK, LANES, filter_block
from .memory import aligned
from .transposing import transpose

SEGMENT = 256
"""Positions between two moves of the window of lines side by side."""

ROW = 1024
"""Samples, at least, between two moves of the window along a line."""

TURNED, SQUARE = 64, 16
"""Positions and lines that are turned together: 0.09 ms for 768 x 1024 float32. Written where they belong as they are
turned, lines 4 KiB apart take each other's places in the cache: 0.3 to 0.5 ms."""

PITCH = TURNED + SQUARE
"""Distance of lines in between."""


def make_scratch(radius: int, dtype: Any) -> Array:
    """Return scratch memory for both filters of this or a smaller radius, to be made once a thread."""
    length = max(
        (SEGMENT + 3 * radius + TURNED) * APART + SQUARE * PITCH, 2 * (ROW + LANES + GRAIN) + 3 * radius * LANES
    )
    return aligned(length, dtype)


@jit
def filter_side_by_side(
    source: Any, target: Any, shape: Any, weights: Any, mode: Any, cval: Any, tiles: Any, scratch: Any
) -> None:
    """Filter LANES lines at a time, of ``tiles_side_by_side(shape)`` tiles those from ``tiles[0]`` to ``tiles[1]``.

    Lines of the last axis (B = 1) are turned on their way into the window and out of it. `source` may be `target`.
    """
    _, length, side = shape
    radius = weights.size - 1
    end = (SEGMENT + 2 * radius) * APART
    window, beyond, sums = scratch[:end], scratch[end:], scratch[end + radius * APART :]
    together = TURNED if side == 1 else BLOCK
    for tile in range(tiles[0], tiles[1]):
        base, width = _tile(shape, tile)
        for k in range(2 * radius):  # before the first sample, then beyond the last
            at = sample_at(k - radius if k < radius else length + k - radius, length, mode)
            row = window[k * APART : (k + 1) * APART] if k < radius else beyond[(k - radius) * APART :]
            if at < 0:
                row[:LANES] = cval
            else:
                _read_positions(source[base:], at, at + 1, length, side, width, row)
        ready = np.int64(0)  # positions before this one are in the window
        for start in range(0, length, SEGMENT):
            if start > 0:
                _copy(window[SEGMENT * APART :], window, 2 * radius * APART)
            stop = min(start + SEGMENT, length)
            until = min(stop + radius, length)
            if ready < until:
                room = window[(ready - start + radius) * APART :]
                _read_positions(source[base:], ready, until, length, side, width, room)
            for position in range(max(ready, length), stop + radius):
                _copy(beyond[(position - length) * APART :], window[(position - start + radius) * APART :], width)
            ready = stop + radius
            for first in range(start, stop, together):
                last = min(first + together, stop)
                for k in range(0, last - first, BLOCK):
                    filter_block(window[(first + k - start) * APART :], weights, sums[k * APART :])
                _write_positions(sums, target[base:], first, last, length, side, width)


def tiles_side_by_side(shape: tuple[int, int, int]) -> int:
    """Return the number of tiles of LANES lines of an array."""
    batch, _, side = shape
    return -(-batch // LANES) if side == 1 else batch * -(-side // LANES)


@inner
def _tile(shape: Any, tile: Any) -> Any:
    """Return where the first sample of a tile lies, and how many lines it has."""
    batch, length, side = shape
    if side == 1:
        return tile * LANES * length, min(LANES, batch - tile * LANES)
    across = (side + LANES - 1) // LANES
    column = (tile % across) * LANES
    return (tile // across) * length * side + column, min(LANES, side - column)


@inner
def _read_positions(source: Any, start: Any, stop: Any, length: Any, side: Any, width: Any, window: Any) -> None:
    """Copy some positions of `width` lines to rows that lie APART."""
    if side == 1:
        transpose(source[start:], length, window, np.int64(APART), width, stop - start)
        return
    for position in range(start, stop):
        _copy(source[position * side :], window[(position - start) * APART :], width)


@inner
def _write_positions(sums: Any, target: Any, start: Any, stop: Any, length: Any, side: Any, width: Any) -> None:
    """Copy rows that lie APART to some positions of `width` lines.

    Lines are turned within a cache, then written whole.
    """
    count = stop - start
    if side > 1:
        for k in range(count):
            _copy(sums[k * APART :], target[(start + k) * side :], width)
        return
    turned = sums[TURNED * APART :]
    for first in range(0, width, SQUARE):
        lines = min(SQUARE, width - first)
        transpose(sums[first:], np.int64(APART), turned, np.int64(PITCH), count, lines)
        for k in range(lines):
            _copy(turned[k * PITCH :], target[(first + k) * length + start :], count)


@jit
def filter_rows(
    source: Any,
    target: Any,
    shape: Any,
    cut: Any,
    weights: Any,
    mode: Any,
    cval: Any,
    tiles: Any,
    scratch: Any,
) -> None:
    """Filter the B lines of one of A, in pieces of ``cut[0]`` positions, ``cut[1]`` of these pieces in one window.

    Of ``ceil(A * ceil(L / cut[0]) / cut[1])`` tiles those from ``tiles[0]`` to ``tiles[1]`` are filtered. `source` may
    be `target` where pieces are whole lines. More than one piece a window is allowed up to a length of ROW / B.
    """
    batch, length, side = shape
    span, together = cut
    reach = (weights.size - 1) * side
    pieces = (length + span - 1) // span
    segment = min((ROW + side - 1) // side, span)
    pitch = segment * side + 2 * reach
    width = (together * pitch - 2 * reach + GRAIN - 1) // GRAIN * GRAIN
    window, sums, beyond = scratch[: width + 2 * reach], scratch[width + 2 * reach :], scratch[2 * (width + reach) :]
    before, after = np.empty(reach, np.int64), np.empty(reach, np.int64)
    first = tiles[0] * together
    for tile in range(tiles[0], tiles[1]):
        last = min((tile + 1) * together, batch * pieces)
        for start in range(0, span, segment):
            for piece in range(tile * together, last):
                line = source[piece // pieces * length * side :]
                begin = piece % pieces * span
                end = min(begin + span, length)
                room = window[(piece - tile * together) * pitch :]
                if start == 0:
                    if pieces > 1 or piece == first:
                        _find_borders(begin, end, shape, mode, before, after)
                    _read_border(line, before, cval, room)
                    _read_border(line, after, cval, beyond)
                _read_row(line, begin + start, end, start == 0, side, segment, reach, room, beyond)
            filter_row(window, side, weights, sums[:width])
            for piece in range(tile * together, last):
                begin = piece % pieces * span
                end = min(begin + start + segment, begin + span, length)
                smooth = target[(piece // pieces * length + begin + start) * side :]
                _copy(sums[(piece - tile * together) * pitch :], smooth, (end - begin - start) * side)


@inner
def _find_borders(begin: Any, end: Any, shape: Any, mode: Any, before: Any, after: Any) -> None:
    """Find where on a line the samples before and after a piece come from; -1 for a constant."""
    _, length, side = shape
    for c in range(before.size):
        k = c // side
        at = sample_at(begin - before.size // side + k, length, mode)
        before[c] = -1 if at < 0 else at * side + c % side
        at = sample_at(end + k, length, mode)
        after[c] = -1 if at < 0 else at * side + c % side


@inner
def _read_border(line: Any, places: Any, cval: Any, row: Any) -> None:
    for c in range(places.size):
        row[c] = cval if places[c] < 0 else line[places[c]]


@inner
def _read_row(
    line: Any, start: Any, end: Any, is_first: Any, side: Any, segment: Any, reach: Any, window: Any, beyond: Any
) -> None:
    """Move the window to `start`, and fill in what is new there."""
    radius = reach // side
    ready = start  # positions before this one are in the window
    if not is_first:
        _copy(window[segment * side :], window, 2 * reach)
        ready = start + radius
    stop = min(start + segment, end)
    until = min(stop + radius, end)
    if until > ready:
        _copy(line[ready * side :], window[(ready - start) * side + reach :], (until - ready) * side)
        ready = until
    if stop + radius > ready:
        room = window[(ready - start) * side + reach :]
        _copy(beyond[(ready - end) * side :], room, (stop + radius - ready) * side)


@inner
def _copy(source: Any, target: Any, count: Any) -> None:
    """Copy from the front on: `target` may lie before `source` in the same memory."""
    for k in range(count):
        target[k] = source[k]

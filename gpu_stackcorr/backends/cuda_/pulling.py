"""Slices pulled through a displacement: launches ``kernels/warp.cu``.

A launch takes one batch axis along which displacements differ and one along which they are shared. Neighbouring axes
that lie in memory like one are joined; an axis that is left over costs a launch for each of its slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from gpu_stackcorr.backends.base import Array

from . import layout
from .boundary import INTERPOLATION
from .device import Device
from .layout import grid
from .passes import TYPES, real_type, samples
from .pixels import THREADS, code, word
from .views import View

NARROW, NEAR = 2**30, 2**31
"""Below them numbers of samples, and distances in a slice and of slices in bytes, are told by 32 bits."""

BLOCKS = 16
"""Blocks a multiprocessor that are enough: channels are spread over no more than that takes."""

ROWS = 8
"""Rows that a thread takes where there are enough blocks: 40 instructions are for all of them, 80 or more for each."""


class _Tile(NamedTuple):
    """What a block of ``warp_rows`` takes: columns and rows at once, by so many warps, and how often, where there are
    enough blocks: rows below are begun while those above are still in the L1 cache."""

    columns: int
    rows: int
    warps: int
    turns: int


PIXELS, WORDS = _Tile(32, 8, 2, 5), _Tile(128, 4, 4, 8)
"""Pixel by pixel (4 rows at once of volumes and of what is computed in float64), and of bytes by words of four. A block
holds its registers until its last warp ends: with 8 warps float32 took a sixteenth longer."""

IMAGE, LABELS, DISPLACEMENT, OUT, LABELS_OUT = range(5)
STEPS = ("image", "labels", "displacement", "out", "labels_out")
"""The arrays whose steps a launch is told."""


class Moved(NamedTuple):
    """What is pulled and where it goes: views of the axes (batch..., moving axes...)."""

    source: View
    target: View


class _Batch(NamedTuple):
    """A batch axis: how many slices, and how far apart they are in each of the arrays."""

    slices: int
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Pull:
    """What the launches of one call have in common; as in ``Backend.warp``. The last `ndim` axes move."""

    device: Device
    ndim: int
    order: int
    mode: str
    cval: float

    def __call__(
        self,
        displacement: View,
        *,
        image: Moved | None = None,
        labels: Moved | None = None,
        padding: int = 0,
        start: int = 0,
    ) -> None:
        """Fill the targets.

        Parameters
        ----------
        displacement : View
            Of the axes (components, batch..., moving axes...), broadcast to those of the targets.
        image : Moved, optional
            Of orders above 0. The source is `padding` samples longer than the image at each end of a moving axis.
        labels : Moved, optional
            At order 0.
        start : int
            Where the targets begin along the first moving axis of the sources.
        """
        moved = image or labels
        if moved is None or not prod(moved.target.shape):
            return
        field = displacement.transpose(range(1, len(displacement.shape)))
        copied = labels or moved
        views = [(image or moved).source, copied.source, field, moved.target, copied.target]
        own, shared, others = _batches(views, self.ndim)
        for place in product(*(range(axis.slices) for axis in others)):
            shifts = [sum(n * axis.steps[k] for n, axis in zip(place, others, strict=True)) for k in range(5)]
            here = [view.memory[shift:] for view, shift in zip(views, shifts, strict=True)]
            launch = _Launch(self, views, own, shared, displacement.steps[0], padding, start)
            launch(here, with_image=image is not None, with_labels=labels is not None)


@dataclass(frozen=True)
class _Launch:
    """One launch: its views, its two batch axes and the distance of the components of the displacement."""

    pull: Pull
    views: list[View]
    own: _Batch
    shared: _Batch
    component: int
    padding: int
    start: int

    def __call__(self, memory: Sequence[Array], *, with_image: bool, with_labels: bool) -> None:
        """Launch on flat memory of the arrays."""
        pull, block, integer = self.pull, self._block(), self._integer()
        plain = with_image and not with_labels and integer == "int" and self._is_plain(memory)
        by_words = plain and self._is_words(memory)
        if plain:
            columns, at_once, warps, most = WORDS if by_words else PIXELS
            block = (32, warps)
        else:
            columns, at_once, most = *block, ROWS
        blocks, groups, rows = self._grid(columns, at_once, most)
        job = self._job(integer, groups, rows)
        mode, displacement = np.int32(INTERPOLATION[pull.mode]), memory[DISPLACEMENT]
        words: tuple[Any, ...] = (None, None, np.int32(0), np.uint64(0))
        if with_labels:
            kind, copied = memory[LABELS].dtype, (samples(memory[k]) for k in (LABELS, LABELS_OUT))
            words = (*copied, np.int32(kind.itemsize), word(pull.cval, kind))
        common = (*words, displacement, np.int32(displacement.dtype == np.float64), job, mode)
        if not with_image:
            pull.device.kernel("warp.cu", f"warp_labels<{pull.ndim}, {integer}>")(blocks, block, common)
            return
        pixels, out = samples(memory[IMAGE]), memory[OUT]
        sample, cval = TYPES[pixels.dtype.name], real_type(pixels.dtype)(pull.cval)
        name, between = f"warp<{sample}, {pull.ndim}, {pull.order}, {integer}>", common
        if plain:
            name = f"warp_rows<{sample}, {pull.ndim}, {str(by_words).lower()}>"
            between = (displacement, job, mode)
        pull.device.kernel("warp.cu", name)(blocks, block, (pixels, samples(out), code(out.dtype), *between, cval))

    def _is_plain(self, memory: Sequence[Array]) -> bool:
        """Whether an image at offsets of 32 bits is what ``warp_rows`` is for."""
        image, target, ndim = self.views[IMAGE], self.views[OUT], self.pull.ndim
        return (
            self.pull.order == 1
            and ndim > 1
            and self.shared.slices == 1
            and memory[DISPLACEMENT].dtype == np.float32
            and memory[OUT].dtype == memory[IMAGE].dtype
            and image.steps[-1] == 1
            and min(image.shape[-ndim:]) > 1
            and target.shape[-2] > 1
            and self._planes() <= layout.LARGEST_GRID[2]
        )

    def _is_words(self, memory: Sequence[Array]) -> bool:
        """Whether four bytes side by side are a word in all rows of image and result, and four displacements are 16."""
        if self.pull.ndim != 2 or memory[IMAGE].dtype.itemsize > 1:
            return False
        if any(self.views[k].shape[-1] % 4 or self.views[k].steps[-1] != 1 for k in (IMAGE, OUT)):
            return False
        if self.views[DISPLACEMENT].steps[-1] != 1 or self.component % 4:
            return False
        starts, steps = (_address(memory[k]) for k in (IMAGE, DISPLACEMENT, OUT)), self._steps()
        words = zip(starts, (steps[k] for k in (IMAGE, DISPLACEMENT, OUT)), (4, 16, 4), strict=True)
        return not any(number % size for start, (field, _, _, row, _), size in words for number in (start, field, row))

    def _planes(self) -> int:
        """Return how many planes of rows there are."""
        return self.own.slices * prod(self.views[OUT].shape[-self.pull.ndim : -2])

    def _block(self) -> tuple[int, int]:
        """Return how many threads lie along x and along rows."""
        target = self.views[OUT]
        if self.pull.ndim > 1:
            return (32, THREADS // 32) if target.shape[-2] > 1 else (THREADS, 1)
        beside = self.own.slices > 1 and self.own.steps[OUT] < target.steps[-1]
        return (1, THREADS) if beside else (THREADS, 1)  # neighbours in memory go to neighbouring threads

    def _grid(self, columns: int, rows: int, most: int) -> tuple[tuple[int, int, int], int, int]:
        """Return the grid, the number of groups of channels, and how many rows a block takes.

        A block takes `columns` by `rows` at once, and up to `most` times so many rows.
        """
        _, y, x = _three(self.views[OUT].shape, self.pull.ndim, 1)
        height, planes = (y, self._planes()) if self.pull.ndim > 1 else (self.own.slices, 1)
        blocks = -(-x // columns) * -(-height // rows) * planes
        wanted = BLOCKS * self.pull.device.multiprocessors
        groups = -(-self.shared.slices // _a_group(self.shared.slices, -(-wanted // blocks)))
        turns = max(min(most, blocks * groups // wanted), -(-height // (layout.LARGEST_GRID[1] * rows)), 1)
        a_block = turns * rows
        return grid(-(-x // columns), -(-height // a_block), planes * groups), groups, a_block

    def _integer(self) -> str:
        """Return the type of integers that hold what is counted, and offsets in a slice, as the kernel calls it."""
        sizes, count = self._sizes()
        steps = self._steps()
        extents = [
            sum((n - 1) * step for n, step in zip(_three(view.shape, self.pull.ndim, 1), each[2:], strict=True))
            for view, each in zip(self.views, steps, strict=True)
        ]
        planes = self.own.slices * self.shared.slices * count[0]
        most = max(*sizes, *count, *self._origin(), self.own.slices, planes)
        return "int" if most < NARROW and max(*extents, *map(max, steps)) < NEAR else "i64"

    def _sizes(self) -> list[list[int]]:
        """Return the sizes of the image and of the result along z, y and x."""
        return [_three(self.views[k].shape, self.pull.ndim, 1) for k in (IMAGE, OUT)]

    def _origin(self) -> list[int]:
        """Return where the result begins in the padded image."""
        origin = [self.padding] * 3
        origin[3 - self.pull.ndim] += self.start
        return origin

    def _steps(self) -> list[list[int]]:
        """Return the steps of each array, in bytes: from field to field, channel to channel, and along z, y and x."""
        batch = zip(self.own.steps, self.shared.steps, self.views, strict=True)
        return [
            [step * view.array.itemsize for step in (own, shared, *_three(view.steps, self.pull.ndim, 0))]
            for own, shared, view in batch
        ]

    def _job(self, integer: str, groups: int, rows: int) -> Any:
        """Return the struct ``Pull``."""
        channels = self.shared.slices
        job = np.zeros((), _struct(np.int32 if integer == "int" else np.int64))
        for name, each in zip(STEPS, self._steps(), strict=True):
            job[name] = each
        job["component"] = self.component * self.views[DISPLACEMENT].array.itemsize
        job["fields"], job["channels"], job["groups"] = self.own.slices, channels, groups
        job["channels_a_group"], job["rows_a_block"] = -(-channels // groups), rows
        job["size"], job["count"] = self._sizes()
        job["origin"], job["padding"] = self._origin(), self.padding
        return job[()]


def _address(memory: Array) -> int:
    """Return where an array on the device begins."""
    interface = getattr(memory, "__cuda_array_interface__", None) or memory.__array_interface__
    return int(interface["data"][0])


def _a_group(channels: int, groups: int) -> int:
    """Return how many channels a thread takes where so many groups are wanted."""
    return -(-channels // min(channels, groups))


def _struct(integer: type[np.integer[Any]]) -> np.dtype[Any]:
    """Return the struct ``Pull`` of the kernel."""
    numbers = ("fields", "channels", "groups", "channels_a_group", "rows_a_block")
    fields: list[Any] = [("component", np.int64), *((name, integer, 5) for name in STEPS)]
    fields += [*((name, integer) for name in numbers), *((name, integer, 3) for name in ("size", "count", "origin"))]
    return np.dtype([*fields, ("padding", integer)], align=True)


def _three(values: Sequence[int], ndim: int, missing: int) -> list[int]:
    """Return one entry for each of z, y and x, of which the last `ndim` move."""
    return [missing] * (3 - ndim) + list(values[len(values) - ndim :])


def _batches(views: Sequence[View], ndim: int) -> tuple[_Batch, _Batch, list[_Batch]]:
    """Return an axis of slices with displacements of their own, one of slices that share them, and those left over."""
    joined: list[_Batch] = []
    shape = views[OUT].shape
    for axis in range(len(shape) - ndim):
        here = _Batch(shape[axis], tuple(view.steps[axis] for view in views))
        if here.slices == 1:
            continue
        if joined and joined[-1].steps == tuple(here.slices * step for step in here.steps):
            here = _Batch(joined.pop().slices * here.slices, here.steps)
        joined.append(here)
    alone = _Batch(1, (0,) * len(views))
    own, shared = (
        max((axis for axis in joined if bool(axis.steps[DISPLACEMENT]) == differ), default=alone)
        for differ in (True, False)
    )
    return own, shared, [axis for axis in joined if axis is not own and axis is not shared]

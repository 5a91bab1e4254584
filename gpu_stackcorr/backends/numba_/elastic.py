"""Images pulled through random displacements: slices at order 1 strip by strip, as noise is smoothed.

Of both components some rows are smoothed at a time (see ``smooth_noise``), and the rows of the result read them from
the second cache: no displacement is kept, and every sample has the bits that it has with one. At other orders, where
gathering takes most of the time, and in other than two dimensions the displacements of a few slices are kept at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array, Folds, field_dtype
from gpu_stackcorr.backends.numpy_.interpolation import boxes
from gpu_stackcorr.backends.numpy_.jacobian import folds_of_parts
from gpu_stackcorr.random_fields import whole_box
from gpu_stackcorr.threads import allowed_threads

from .compiler import jit
from .displacement import displacement, fits_strips
from .flat_images import as_bytes, in_a_row, limits_of
from .folding import MODE_CODES
from .jacobian import count_folds
from .memory import Memory, kept
from .parallel import run
from .rows import working_memory
from .smooth_noise import SIDE, key_of, row_pitch, slide, smooth_noise, smooth_rows
from .warp import GROUP, Source, as_loops_read, computed_dtype, keep_constant, linear_block, pull, ready


class Deformation(NamedTuple):
    """How images are deformed, each by noise of its own; see ``Backend.elastic``."""

    seed: int
    alpha: float | NDArray[np.float64]
    sigma: tuple[float, ...]
    truncate: float
    order: int
    mode: str
    cval: float

    def deform(
        self,
        images: Array,
        streams: NDArray[np.uint64],
        target: Array,
        margins: Memory,
        field: Memory,
        *,
        count: bool = False,
    ) -> Folds | None:
        """Fill `target` with images (slices..., axes that move) pulled through noise; count its folds if asked to.

        It takes memory for copies of the images, and for a displacement where one is kept.
        """
        slices, shape = images.shape[: streams.ndim - 1], images.shape[streams.ndim - 1 :]
        source, folds = ready(images, len(slices), self.order, self.mode, self.cval, margins), None
        if self.order == 1 and not count and fits_strips(self.sigma, self.truncate):
            self._pull_strips(source, streams, target)
        else:
            moves = field.array((*streams.shape, *shape), field_dtype(images.dtype))
            self.draw(streams, moves)
            folds = count_folds(moves, axes=range(len(slices), images.ndim)) if count else None
            pull(source, moves, target, order=self.order, mode=self.mode, cval=self.cval)
        for place in np.ndindex(*slices):
            keep_constant(images[place], target[place])
        return folds

    def draw(self, streams: NDArray[np.uint64], moves: Array) -> None:
        """Fill a displacement for each of some streams."""
        how: dict[str, Any] = {"alpha": self.alpha, "sigma": self.sigma, "truncate": self.truncate}
        displacement(self.seed, streams, moves.shape[streams.ndim :], **how, dtype=moves.dtype, out=moves)

    def _pull_strips(self, source: Source, streams: NDArray[np.uint64], target: Array) -> None:
        """Fill `target` (slices..., Y, X) from a source; `streams` (2, slices...) are those of y and x."""
        slices, shape = target.shape[:-2], target.shape[-2:]
        dtype, computed = field_dtype(target.dtype), computed_dtype(target.dtype)
        limits, rounded = limits_of(target.dtype), target.dtype.kind != "f"
        how: tuple[Any, ...] = shape, whole_box(shape), self.sigma, self.truncate, "constant", dtype
        noise = smooth_noise(*how, 2 * prod(slices), allowed_threads(), 2)
        scales = np.broadcast_to(np.asarray(self.alpha, dtype), streams.shape)
        values, grid_at = as_loops_read(source, len(slices), as_bytes)
        rows = as_bytes(target).reshape(*slices, prod(shape))
        places, pieces = list(np.ndindex(*slices)), noise.pieces

        def task(number: int) -> None:
            place, piece = places[number // len(pieces)], pieces[number % len(pieces)]
            offsets, floats, row = working_memory(self.order, computed)
            memory = offsets, floats, row if rounded else rows[place]
            how = MODE_CODES[self.mode], float(self.cval), limits, rounded, memory, rows[place]
            both = slice(None), *place
            y, x = (key_of(self.seed, stream) for stream in streams[both].tolist())
            spaces = noise.workspaces()
            along_y, along_x = (in_a_row(space.rows) for space in spaces)
            moves = along_y, along_y, along_x  # the first stands for z, along which nothing moves
            pull_piece(values, grid_at(place), moves, *how, piece, (y, x), tuple(scales[both]), spaces)

        run(task, len(places) * len(pieces))


def elastic(
    image: Array,
    seed: int,
    stream: NDArray[np.uint64],
    *,
    alpha: float | NDArray[np.float64],
    sigma: Sequence[float],
    truncate: float = 4.0,
    order: int,
    mode: str,
    cval: float = 0.0,
    count_folds: bool = False,
) -> tuple[Array, Folds | None]:
    """See ``Backend.elastic``."""
    fixed = image.ndim - len(sigma)
    slices, pixels = image.shape[:fixed], prod(image.shape[fixed:])
    scales = np.broadcast_to(alpha, stream.shape)
    result = np.empty(image.shape, image.dtype.newbyteorder("="))
    found: list[Folds | None] = []
    if result.size:
        together = max(allowed_threads(), GROUP // pixels)
        count = min(together, prod(slices)) * pixels
        margins = kept("margins", count * image.itemsize)
        field = kept("field", count * len(sigma) * np.dtype(field_dtype(image.dtype)).itemsize)
        for group in boxes(slices, together):
            both = slice(None), *group
            deformation = Deformation(seed, scales[both], tuple(sigma), truncate, order, mode, cval)
            found.append(
                deformation.deform(image[group], stream[both], result[group], margins, field, count=count_folds)
            )
    return result, folds_of_parts([folds for folds in found if folds is not None]) if count_folds else None


@jit
def pull_piece(
    source: Any, grid: Any, moves: Any, mode: Any, cval: Any, limits: Any, rounded: Any, memory: Any, target: Any,
    piece: Any, keys: Any, scales: Any, spaces: Any,
) -> None:  # fmt: skip
    """Fill a piece of a slice, strip by strip: see ``linear_block`` for the warp, and ``draw_piece`` for the noise.

    `moves` are the rows of `spaces`, typed as memory that cannot be written, as those of other displacements are.
    """
    (top, bottom), (left, right) = piece.box
    width, pitch = piece.shape[1], row_pitch(right - left)
    for start in range(top, bottom, piece.strip):
        stop = min(start + piece.strip, bottom)
        for axis in range(2):
            slide(piece, start, stop, keys[axis], spaces[axis])
        for first in range(start, stop, SIDE):
            for axis in range(2):
                smooth_rows(piece, first - start, scales[axis], spaces[axis])
            size = np.int64(1), min(SIDE, stop - first), right - left
            place = (np.int64(0), first, left), size, (pitch, width, first * width + left)
            linear_block(source, grid, place, moves, mode, cval, limits, rounded, memory, target)

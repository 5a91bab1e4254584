"""Bugs planted in copies of the project's own kernels, which the cases of ``operations.py`` must show.

Every barrier is left out in turn; bounds are off by one. Run as a program under AddressSanitizer, it launches those
that nothing else shows, and prints ``== number`` before what is said of each.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from emulator.device import EmulatedDevice, EmulatorError, Schedule
from emulator.operations import CASES, differences, small_grids
from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.cuda_.backend import CudaBackend
from gpu_stackcorr.backends.cuda_.loader import kernel_directory

BARRIERS = ("__syncthreads();", "__syncwarp();")

CASES_OF_BARRIERS = {
    "cross_moments.cu": ("all pairs of bytes", "all pairs of floats"),
    "gaussian.cu": ("smoothing of float32", "smoothing of bytes by loads of four"),
    "jacobian.cu": ("folds of planes",),
    "moments_total.cu": (
        "moments of bytes in narrow cells",
        "moments of many blocks a cell",
        "moments of floats of many blocks a cell",
    ),
    "noise_columns.cu": ("deformed bytes in steps of noise",),
    "spline.cu": ("prefilter of order 3",),
    "warp_moments.cu": ("deformed bytes in any words", "deformed bytes by a wide Gaussian"),
}
"""By file that has barriers: the cases of which one at least is wrong without any one of them."""


class Mutant(NamedTuple):
    """A file of ``kernels/`` in which one text stands for another."""

    file: str
    old: str
    new: str
    cases: tuple[str, ...]
    """Of ``operations.CASES``, those that may show it."""
    place: int = 0
    """Which of several occurrences of `old`."""

    def __str__(self) -> str:
        """Return a name for tests."""
        return f"{self.file}: {self.old} -> {self.new} {self.place or ''}".rstrip()

    def source(self) -> str:
        """Return the text of the file with its bug."""
        pieces = (kernel_directory() / self.file).read_text().split(self.old)
        if len(pieces) < self.place + 2:
            raise ValueError(f"{self.file} does not say {self.old!r} any more: plant another bug in mutants.py")
        return self.old.join(pieces[: self.place + 1]) + self.new + self.old.join(pieces[self.place + 1 :])


def without_barriers() -> Iterator[Mutant]:
    """Yield the kernels without one of their barriers."""
    for path in sorted(kernel_directory().glob("*.cu*")):
        for barrier in BARRIERS:
            for place in range(path.read_text().count(barrier)):
                yield Mutant(path.name, barrier, ";", CASES_OF_BARRIERS.get(path.name, ()), place)


LABELLED = "warp of channels and their labels"
BY_ROWS = "warp of bytes by rows"
FULL = "deformed bytes in full boxes"
BY_WORDS = "warp of bytes by words"
IN_TURN = "deformed bytes by a wide Gaussian"
NARROW = "moments of bytes in narrow cells"

OFF_BY_ONE = [
    Mutant(
        "block_sums.cuh", "int distance = 16 / COUNT;", "int distance = 8 / COUNT;", ("moments of floats by fours",)
    ),
    Mutant("boundary.cuh", "index < n ? index :", "index <= n ? index :", ("smoothing of float32",)),
    Mutant("control_grid.cu", "x < length;", "x <= length;", ("control grid of a line",)),
    Mutant("control_grid.cu", "row < outer;", "row < outer - 1;", ("control grid of a plane",)),
    Mutant("control_grid.cu", "at < cell;", "at < cell - 1;", ("control grid of a plane",)),
    Mutant("control_grid.cu", "x + column * LANES < inner)", "x < inner)", ("control grid of a plane",), 1),
    Mutant("control_grid.cu", "POSITIONS, length)", "POSITIONS, length - 1)", ("box of a control grid",)),
    Mutant("convert.cu", "i < count;", "i <= count;", ("prefilter of one pixel",)),
    Mutant("cross_moments.cu", "first + i < end &&", "first + i <= end &&", ("all pairs of bytes",)),
    Mutant("cross_moments.cu", "at < end &&", "at <= end &&", ("all pairs of floats",)),
    Mutant("displacement.cu", "x < length;", "x <= length;", ("box of a displacement",)),
    Mutant("fir.cuh", "t0 - s <= top", "t0 - s < top", ("smoothing of float32",)),
    Mutant("gaussian.cu", "if (j < outputs) *to", "if (j <= outputs) *to", ("smoothing of float32",)),
    Mutant("gaussian.cu", "s < span; s += LANES", "s <= span; s += LANES", ("smoothing of float32",)),
    Mutant(
        "jacobian.cu", "at[axis] + 1 < field.size[axis]", "at[axis] + 1 <= field.size[axis]", ("folds of a volume",)
    ),
    Mutant("jacobian.cu", "at[axis] > 0", "at[axis] > 1", ("folds of planes",)),
    Mutant("jacobian.cu", "x < box.size[3];", "x <= box.size[3];", ("folds of planes",)),
    Mutant("jacobian.cu", "y < box.size[2];", "y <= box.size[2];", ("folds of planes apart",)),
    Mutant("jacobian.cu", "value <= T(0)", "value < T(-0.5)", ("folds of lines",)),
    Mutant("jacobian.cu", "distance = 16;", "distance = 8;", ("folds of lines", "folds of a volume")),
    Mutant("jacobian.cu", "warp = 1; warp < WARPS", "warp = 1; warp < WARPS - 1", ("folds of planes",)),
    Mutant("jacobian.cu", "block < blocks;", "block < blocks - 1;", ("folds of planes",)),
    Mutant("moments.cu", "lane + distance < stop)", "lane + distance <= stop)", (NARROW,), 1),
    Mutant("moments.cu", "turn.row < bottom", "turn.row + step < bottom", (NARROW,)),
    Mutant(
        "moments.cu",
        "bytes_below(right - 4 * i)",
        "bytes_below(1 + right - 4 * i)",
        ("moments of 16 bits in whole words",),
    ),
    Mutant("moments.cu", "y < bottom && loaded", "y <= bottom && loaded", (NARROW,)),
    Mutant("moments_shifted.cu", "lane / units < step;", "lane / units <= step;", ("moments of bytes at any address",)),
    Mutant("moments_shifted.cu", "min(WORD, before +", "min(WORD, 1 + before +", ("moments of bytes at any address",)),
    Mutant("moments_floats.cu", "column + i >= right", "column + i > right", ("moments of floats by fours",)),
    Mutant(
        "moments_floats.cu", "row < bottom; row += step", "row <= bottom; row += step", ("moments of floats by ones",)
    ),
    Mutant("moments_total.cu", "i < blocks.area;", "i <= blocks.area;", ("moments of many blocks a cell",)),
    Mutant("moments_total.cu", "b < end;", "b < end - 1;", ("moments of bytes at any address",)),
    Mutant("moments_total.cu", "i < cells;", "i < cells - 1;", ("moments of bytes in many cells",)),
    Mutant("noise_columns.cu", "if (first + j < bottom)", "if (first + j <= bottom)", ("deformed bytes in any words",)),
    Mutant("random_field.cu", "index + i < end", "index + i <= end", ("uniform field",)),
    Mutant("spline.cu", "min(to + reach, total) - 1", "min(to + reach, total)", ("prefilter of order 3",)),
    Mutant("spline.cu", "i < span;", "i <= span;", ("prefilter of order 3",)),
    Mutant("interpolation.cuh", "max(size - ORDER, (Int)0)", "size - ORDER + 1", ("warp of bytes",)),
    Mutant("interpolation.cuh", "fold(index + k, size", "fold(index + k, size + 1", ("warp at order 2",)),
    Mutant("map_coordinates.cu", "i < points;", "i <= points;", ("samples of 16 bits",), 1),
    Mutant("pad.cu", "x < width;", "x <= width;", ("warp of a volume at order 3",)),
    Mutant("samples.cuh", "case 4: return __stcs((u32*)to", "case 4: return __stcs((u32*)to + 1", (LABELLED,)),
    Mutant("warp.cu", "if (x >= pull.count[2])", "if (x > pull.count[2])", ("warp of bytes",)),
    Mutant("warp.cu", "+ r * Here::Y < end;", "+ r * Here::Y < end - 1;", (BY_ROWS,)),
    Mutant("warp.cu", "(at & 3) == 3", "(at & 3) == 2", (BY_WORDS,)),
    Mutant("warp.cu", "nth_bit(mask, rest) * WIDE", "nth_bit(mask, rest)", (BY_WORDS,)),
    Mutant("warp.cu", "rest >= __popc(mask)", "rest > __popc(mask)", (BY_ROWS,)),
    Mutant("warp.cu", "item += LANES", "item += LANES + 1", (BY_ROWS,)),
    Mutant("warp.cu", "row += Here::HEIGHT", "row += Here::HEIGHT + 1", (BY_ROWS,)),
    Mutant("warp.cu", "if (n >= below)", "if (n > below)", (BY_ROWS,)),
    Mutant("warp.cu", "if (++c >= last)", "if (++c > last)", (LABELLED,)),
    Mutant("warp_moments.cu", "c + k * LANES < span", "c + k * LANES < span - 8", ("deformed 16 bits in whole words",)),
    Mutant("warp_moments.cu", "c + k * LANES < span", "c + k * LANES < span - 8", ("deformed bytes in any words",), 1),
    Mutant("box_sums.cuh", "row + i * step < down)", "row + i * step <= down)", (IN_TURN,), 1),
    Mutant("box_sums.cuh", "row < down; row += step) {", "row <= down; row += step) {", ("deformed floats",)),
    Mutant("box_sums.cuh", "row < BOX_ROWS; row++) {", "row < BOX_ROWS - 1; row++) {", (FULL,)),
    Mutant("warp_moments.cu", "box.down == BOX_ROWS && ", "", (FULL,)),
    Mutant("tile_copy.cuh", "x + pixels <= width", "x + pixels < width", (FULL,)),
    Mutant("tile_copy.cuh", "fold(left + column, width", "fold(left + column, width + 1", ("deformed floats",)),
    Mutant(
        "deformed_pixels.cuh", "whole_x < width - 1 - x", "whole_x < width - x", ("deformed 16 bits in whole words",)
    ),
]
"""Shown by a plain run, as an error or by a wrong result."""

READS_TOO_FAR = [
    Mutant("moments.cu", "loaded.first + s < slice_count", "true", ("moments of 16 bits in whole words",)),
    Mutant("moments_shifted.cu", "at + WORD <= end", "at < end", ("moments of bytes at any address",)),
    Mutant(
        "moments_shifted.cu", "min(first + s, slice_count - 1)", "(first + s)", ("moments of 16 bits at any address",)
    ),
    Mutant("tile_copy.cuh", "~3ull) <= end)", "~3ull) <= end + 3)", ("deformed bytes in any words",)),
]
"""What is read is not used: shown by AddressSanitizer alone."""


@contextmanager
def sources(mutant: Mutant) -> Iterator[Path]:
    """Give a folder of all kernels, one with its bug."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "kernels"
        shutil.copytree(kernel_directory(), copy)
        (copy / mutant.file).write_text(mutant.source())
        yield copy


def shown(mutant: Mutant, schedules: Iterable[Schedule]) -> str:
    """Return the first error or difference that the cases of a bug show in one of the schedules, or nothing."""
    with sources(mutant) as folder, small_grids():
        for schedule in schedules:
            backend = CudaBackend(EmulatedDevice(schedule, sources=folder, optimised=False))
            for call, tolerance in map(CASES.__getitem__, mutant.cases):
                try:
                    different = differences(call(backend), call(get_backend("numpy")), tolerance)
                except (EmulatorError, RuntimeWarning) as error:  # a count that is no number, say
                    return str(error)
                if different:
                    return different[0]
    return ""


def main() -> None:
    """Launch what AddressSanitizer should show."""
    for number, mutant in enumerate(READS_TOO_FAR):
        print(f"== {number}", file=sys.stderr, flush=True)
        shown(mutant, ["random"])


if __name__ == "__main__":
    main()

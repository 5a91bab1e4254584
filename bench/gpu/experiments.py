"""What only a GPU can settle of the kernels' design: gathers, issue rate, caches, and the launchers' own parameters.

    python -m bench.gpu.experiments FOLDER [--tiny]

Writes FOLDER/experiments.json after every group. Each figure is a row with its unit; none has a target.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import cupy
import numpy as np

from gpu_stackcorr import intervals
from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.cuda_.gpu import Gpu
from gpu_stackcorr.backends.cuda_.integer_sums import IntegerSums
from gpu_stackcorr.displacement_fields import displacement_streams

from .cases import ALPHA, SEED, SIGMA, SLICES, fitting, uniform
from .timing import Clock, about, free_bytes

SOURCE = str(Path(__file__).with_name("experiments.cu"))
THREADS, FLOATS = 256, 2048
"""As in the kernels."""

CUDA = "gpu_stackcorr.backends.cuda_"


class Figure(NamedTuple):
    """A figure, in its unit."""

    group: str
    name: str
    value: float
    unit: str


class Bench:
    """What the experiments share: a device, a clock, sizes."""

    def __init__(self, *, tiny: bool) -> None:
        self.tiny, self.device, self.engine = tiny, Gpu(), get_backend("cuda")
        self.clock = Clock(seconds=0.0, tiny=tiny)
        self.blocks = 2 if tiny else 16 * self.device.multiprocessors
        self.rounds = 64 if tiny else 4096
        self.shape = (3, 48, 64) if tiny else SLICES

    def ms(self, call: Callable[[], Any], *, empty: bool = True) -> float:
        """Return the median of some milliseconds on the device, after one call to warm up."""
        call()
        return float(np.median([self.clock.device_ms(call, empty=empty) for _ in range(1 if self.tiny else 9)]))


def gathers(bench: Bench) -> Iterator[Figure]:
    """Loads of a warp from 1 to 32 lines of L1, or from shared memory: how many a multiprocessor serves in a ns."""
    table, out = bench.device.empty((FLOATS,), np.float32), bench.device.empty((bench.blocks * THREADS,), np.float32)
    table[:] = 0
    warps = bench.blocks * THREADS // 32 * bench.rounds / bench.device.multiprocessors
    for lines in (1, 4, 16, 32):
        for place, shared in (("L1", "false"), ("shared memory", "true")):
            kernel = bench.device.kernel(SOURCE, f"gather<{lines}, {shared}>")
            ms = bench.ms(lambda k=kernel: k((bench.blocks,), (THREADS,), (table, out, np.int32(bench.rounds))))
            yield Figure("gather", f"{lines} lines, {place}: loads", warps / ms / 1e6, "a multiprocessor and ns")


def draws(bench: Bench) -> Iterator[Figure]:
    """Philox alone, and with fewer blocks on a multiprocessor."""
    out = bench.device.empty((1,), np.uint32)
    for name, wide, halves in (("4x64", "true", 8), ("4x32", "false", 4)):
        kernel = bench.device.kernel(SOURCE, f"draw<{wide}>")
        for blocks in (0, 5, 8, 10):
            shared = 0 if not blocks else 40 * 1024 // blocks * (1 if bench.tiny else 5)
            ms = bench.ms(
                lambda k=kernel, s=shared: k((bench.blocks,), (THREADS,), (out, np.int32(bench.rounds)), shared_bytes=s)
            )
            numbers = halves * bench.blocks * THREADS * bench.rounds
            note = f", {shared} bytes of shared memory a block" if shared else ""
            yield Figure("draw", f"Philox {name}{note}: numbers of 32 bits", numbers / ms / 1e6, "a ns")


def reads(bench: Bench) -> Iterator[Figure]:
    """Bandwidth by the size of what is read: the caches, then memory."""
    out = bench.device.empty((1,), np.uint32)
    kernel = bench.device.kernel(SOURCE, "read")
    for size in (2**12, 2**14) if bench.tiny else (2**22, 2**24, 2**25, 2**26, 2**28, 2**31):
        if size > free_bytes() // 2:
            continue
        data, times = bench.device.empty((size,), np.uint8), 2 if bench.tiny else max(2, 2**31 // size)
        arguments = data, out, np.int64(size // 16), np.int32(times)
        ms = bench.ms(lambda a=arguments: kernel((bench.blocks,), (THREADS,), a), empty=False)
        yield Figure("read", f"{size / 2**20:g} MiB: bytes", size * times / ms / 1e6, "a ns (GB/s)")


@contextmanager
def changed(module: str, **values: Any) -> Iterator[None]:
    """Let launch code work with other parameters for a while."""
    owner = import_module(f"{CUDA}.{module}")
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def launches(bench: Bench) -> Iterator[Figure]:
    """The elastic experiment with copies of other reaches and groups of other sizes."""
    slices = uniform((fitting(bench.shape[0], 40 * bench.shape[1] * bench.shape[2]), *bench.shape[1:]), "uint8")
    streams, tiles = displacement_streams(2, np.arange(len(slices))), intervals.cell_edges(slices.shape[1:])

    def work() -> Any:
        return bench.engine.warp_moments(
            [slices[0]], slices, seed=SEED, stream=streams, alpha=np.array([ALPHA] * 2), sigma=[SIGMA] * 2, tiles=tiles
        )

    name, unit = "uint8: milliseconds", "ms"
    yield Figure("warp_moments", f"as it is, {name}", bench.ms(work), unit)
    for spread in (0.01, 1.5, 3.0, 5.0):
        with changed("warp_moments", SPREAD=spread):
            yield Figure("warp_moments", f"copy of {spread} standard deviations, {name}", bench.ms(work), unit)
    for count in (4, 8, 40, 165):
        with changed("warp_moments", COLUMNS_BYTES=count * 8 * slices[0].size):
            yield Figure("warp_moments", f"groups of {count} slices, {name}", bench.ms(work), unit)
    for blocks in (4, 8, 32):
        with changed("warp_moments", BLOCKS_A_MULTIPROCESSOR=blocks):
            yield Figure("warp_moments", f"{blocks} blocks a multiprocessor, {name}", bench.ms(work), unit)


def pulls(bench: Bench) -> Iterator[Figure]:
    """`warp` of order 1 by the experiment's field, by a smoother one, and by zeros: what divergence costs."""
    image = uniform((fitting(bench.shape[0], 60 * bench.shape[1] * bench.shape[2]), *bench.shape[1:]), "float32")
    streams = displacement_streams(2, np.arange(len(image)))
    for name, alpha, sigma in (
        ("the experiment's field", ALPHA, SIGMA),
        ("a smooth field", ALPHA, 15.0),
        ("zeros", 0.0, SIGMA),
    ):
        field = bench.engine.displacement(SEED, streams, image.shape[1:], alpha=alpha, sigma=[sigma] * 2)
        ms = bench.ms(lambda f=field: bench.engine.warp(image, f, axes=(1, 2), order=1, mode="reflect"))
        yield Figure("warp", f"float32, {name}: milliseconds", ms, "ms")


def loads(bench: Bench) -> Iterator[Figure]:
    """`moments` of uint8 with 1, 2 and 4 slices a warp."""
    slices = uniform((8 if bench.tiny else 1000, *bench.shape[1:]), "uint8")
    tiles = intervals.cell_edges(slices.shape[1:])
    for count in (1, 2, 4):
        with changed("integer_sums", slices_at_once=lambda _sums, _slices, n=count: n):
            sums = IntegerSums(bench.device, [slices[0]], slices.shape, slices.dtype, tiles, [], None)
            ms = bench.ms(lambda s=sums: s.of_slab(0, slices))
        yield Figure("moments", f"uint8, tiles, {count} slices a warp: bytes", slices.nbytes / ms / 1e6, "a ns (GB/s)")


GROUPS = (gathers, draws, reads, pulls, loads, launches)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true", help="sizes for a rehearsal")
    arguments = parser.parse_args()
    record: dict[str, Any] = {**about(), "tiny": arguments.tiny, "figures": [], "failures": []}
    bench = Bench(tiny=arguments.tiny)
    record["copy_gigabytes_per_second"] = bench.clock.copy_gigabytes_per_second
    for group in GROUPS:
        try:
            for figure in group(bench):
                record["figures"].append(figure._asdict())
                print(f"{figure.group}: {figure.name} {figure.value:.4g} {figure.unit}", file=sys.stderr, flush=True)
        except Exception:
            record["failures"].append(traceback.format_exc())
            print(record["failures"][-1], file=sys.stderr, flush=True)
        path = arguments.folder / "experiments.json"
        path.with_suffix(".unfinished").write_text(json.dumps(record, indent=1) + "\n")
        path.with_suffix(".unfinished").replace(path)
        cupy.get_default_memory_pool().free_all_blocks()
    sys.exit(1 if record["failures"] else 0)


if __name__ == "__main__":
    main()

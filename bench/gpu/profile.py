"""One call of each operation, for a profiler to look at.

    ncu --profile-from-start off --set full -o FILE python -m bench.gpu.profile [--only WORDS] [--tiny]

Without a profiler it prints what each launch of a kernel takes, in the order of the calls.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import cupy
import numpy as np
from cupyx.profiler import profile

from gpu_stackcorr import intervals
from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.cuda_ import gpu
from gpu_stackcorr.displacement_fields import displacement_streams

from .cases import ALPHA, SEED, SIGMA, SLICES, uniform


def calls(*, tiny: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the operations by name."""
    engine, shape = get_backend("cuda"), (3, 48, 64) if tiny else SLICES
    tiles, streams = intervals.cell_edges(shape[1:]), displacement_streams(2, np.arange(shape[0]))
    stacks = {dtype: uniform(shape, dtype) for dtype in ("uint8", "uint16", "float32")}
    field = engine.displacement(SEED, streams, shape[1:], alpha=ALPHA, sigma=[SIGMA] * 2)
    large = cache(lambda shape: uniform((3, 48, 64) if tiny else shape, "uint8"))

    def moments_of(shape: tuple[int, int, int], count: int) -> Any:
        slices = large(shape)
        return engine.moments(list(slices[:1]) * count, slices, tiles=intervals.cell_edges(slices.shape[1:]))

    for name, size in (("2600 slices", (2600, 768, 1024)), ("4 huge slices", (4, 16384, 16384))):
        for count in (1, 4):
            yield f"moments of {name}, {count} references", partial(moments_of, size, count)
    elastic: dict[str, Any] = {"seed": SEED, "stream": streams, "alpha": np.array([ALPHA] * 2), "sigma": [SIGMA] * 2}
    for dtype, stack in stacks.items():
        yield f"moments {dtype}", lambda s=stack: engine.moments([s[0]], s, tiles=tiles)
        yield f"4 references {dtype}", lambda s=stack: engine.moments(list(s[:4]), s, tiles=tiles)
    for dtype in ("uint8", "float32"):
        stack = stacks[dtype]
        yield f"warp {dtype}", lambda s=stack: engine.warp(s, field, axes=(1, 2), order=1, mode="reflect")
        yield f"warp_moments {dtype}", lambda s=stack: engine.warp_moments([s[0]], s, tiles=tiles, **elastic)
    floats = stacks["float32"]
    yield (
        "gaussian_filter float32",
        lambda: engine.gaussian_filter(floats, [SIGMA] * 2, axes=(1, 2), mode=["reflect"] * 2),
    )
    yield (
        "displacement",
        lambda: engine.displacement(SEED, streams, shape[1:], alpha=ALPHA, sigma=[SIGMA] * 2),
    )


def timed(launches: list[tuple[str, Any, Any]]) -> Callable[[Any, str, str], Any]:
    """Return a `Device.kernel` whose kernels note an event before and after each launch."""
    original = gpu.Gpu.kernel

    def kernel(self: Any, file: str, name: str) -> Any:
        launch = original(self, file, name)

        def noted(grid: Sequence[int], block: Sequence[int], *arguments: Any, **options: Any) -> None:
            before, after = cupy.cuda.Event(), cupy.cuda.Event()
            before.record()
            launch(grid, block, *arguments, **options)
            after.record()
            launches.append((f"{name} grid {tuple(grid)} block {tuple(block)}", before, after))

        return noted

    return kernel


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="operations whose names match this regular expression")
    parser.add_argument("--tiny", action="store_true", help="sizes for a rehearsal")
    arguments = parser.parse_args()
    launches: list[tuple[str, Any, Any]] = []
    gpu.Gpu.kernel = timed(launches)  # type: ignore[method-assign]
    for name, call in calls(tiny=arguments.tiny):
        if not re.search(arguments.only, name):
            continue
        call()
        launches.clear()
        with profile():
            call()
        cupy.cuda.Device().synchronize()
        print(name)
        for launch, before, after in launches:
            print(f"  {cupy.cuda.get_elapsed_time(before, after):8.3f} ms  {launch}")


if __name__ == "__main__":
    main()

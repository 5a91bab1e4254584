"""Peak memory of warping a volume, and of deforming one on disk block by block.

    python -m bench.deformation_memory [--side 512] [--output bench/results/deformation_memory.json]

`warp` of a uint8 volume through a float32 displacement: its input, its output and the displacement are all it should
take, so that a call adds its output. `deform_volume` from one Zarr array to another, with the bytes of a block bounded.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gpu_stackcorr import deform_volume, displacement_field, warp

from .machine import machine
from .memory import method, peak_memory

ALPHA, SIGMA, SEED = 200.0, 6.0, 1
BUDGET = 256 * 2**20


def measured(call: Callable[[], Any], small: Callable[[], Any]) -> dict[str, float]:
    """Return by how much a call grows the resident memory, in MB, and its seconds; `small` has compiled it before."""
    small()
    start = time.perf_counter()
    peak = peak_memory(call)
    return {"megabytes": round((peak.host or 0) / 1e6, 1), "seconds": round(time.perf_counter() - start, 2)}


def volume(side: int) -> Any:
    """Return a uint8 volume."""
    return np.random.default_rng(0).integers(0, 256, (side,) * 3, np.uint8)


def of_warp(side: int, backend: str) -> dict[str, Any]:
    """Measure `warp` at orders 0 and 1."""
    image = volume(side)
    field = displacement_field(image.shape, 5.0, 32.0, seed=SEED, method="grid", backend=backend)
    cut = (slice(0, 32),) * 3
    found: dict[str, Any] = {"input_megabytes": image.nbytes / 1e6, "displacement_megabytes": field.nbytes / 1e6}
    for order in (0, 1):
        how = {"order": order, "backend": backend}
        small, part = image[cut].copy(), field[(slice(None), *cut)].copy()
        found[f"order {order}"] = measured(lambda: warp(image, field, **how), lambda: warp(small, part, **how))  # noqa: B023
    return found


def of_blocks(side: int, backend: str) -> dict[str, Any]:
    """Measure `deform_volume` between Zarr arrays."""
    import zarr

    def deform(source: Any, target: Any) -> None:
        deform_volume(source, target, ALPHA, SIGMA, seed=SEED, memory=BUDGET, backend=backend)

    with tempfile.TemporaryDirectory() as folder:
        sizes = {"small": 64, "large": side}
        made: dict[str, Any] = {}
        for name, size in sizes.items():
            how = {"shape": (size,) * 3, "chunks": (64,) * 3, "dtype": "uint8"}
            made[name] = [zarr.create_array(Path(folder) / f"{name}_{end}", **how) for end in ("source", "target")]
            made[name][0][...] = volume(size)
        found = measured(lambda: deform(*made["large"]), lambda: deform(*made["small"]))
    return {"budget_megabytes": BUDGET / 1e6, "alpha": ALPHA, "sigma": SIGMA, **found}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.deformation_memory", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    record: dict[str, Any] = {"machine": machine(), "side": arguments.side, "method": method()}
    for backend in ("numba", "numpy"):
        record[backend] = {"warp": of_warp(arguments.side, backend), "blocks": of_blocks(arguments.side, backend)}
    text = json.dumps(record, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

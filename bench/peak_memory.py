"""Peak memory of the main job on a volume far larger than its memory budget.

    python bench/peak_memory.py [--slices 683] [--memory 512] [--output bench/results/peak_memory.json]

Writes a float64 NPY file of the notebook's shape, (slices, 1, 768, 1024), 4.3 GB by default, into a temporary folder,
writes its report, all figures included, in a process of its own, and records that process's peak resident memory
before and after.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def write_stack(path: Path, slices: int) -> None:
    """Write noise that decorrelates with depth, a slice at a time."""
    rng = np.random.default_rng(0)
    header = {"descr": "<f8", "fortran_order": False, "shape": (slices, 1, 768, 1024)}
    image = rng.standard_normal((768, 1024))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(slices):
            image.tofile(file)
            image = 0.95 * image + np.sqrt(1 - 0.95**2) * rng.standard_normal(image.shape)


def peak_mib() -> float:
    """Return the peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(path: str, memory: int, elastic: bool) -> dict[str, float]:
    """Run the report in this process; return its peak memory before and after in MiB, and the time."""
    from gpu_stackcorr import open_volume
    from gpu_stackcorr.report import ReportOptions, write_report

    options = ReportOptions(seed=0, elastic=elastic, memory=memory * 2**20)
    with open_volume(path) as volume, tempfile.TemporaryDirectory() as folder:
        tiny = volume.crop(z=(0, 8), y=(0, 64), x=(0, 64))
        write_report(tiny, folder, options)  # everything is imported
        before, start = peak_mib(), time.perf_counter()
        write_report(volume, folder, options)
        seconds = time.perf_counter() - start
        results = json.loads((Path(folder) / "results.json").read_text())
    after = peak_mib()
    assert abs(results["curves"]["identity"]["r"][20] - 0.95**20) < 0.01, "wrong result: nothing is recorded"
    return {"before_mib": before, "after_mib": after, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=683)
    parser.add_argument("--memory", type=int, default=512, help="budget in MiB")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", nargs=2, metavar=("PATH", "ELASTIC"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], options.memory, options.measure[1] == "1")))
        return
    record = {
        "machine": f"{platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "file_bytes": options.slices * 768 * 1024 * 8,
        "budget_mib": options.memory,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training_inputs.npy"
        write_stack(path, options.slices)
        for name, elastic in (("without_elastic", "0"), ("with_elastic", "1")):
            command = [sys.executable, __file__, "--memory", str(options.memory), "--measure", str(path), elastic]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            record[name] = {key: round(value, 1) for key, value in json.loads(run.stdout).items()}
    text = json.dumps(record, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""What reports of the benchmarks are made of: a record with everything in it, and a file of bench/gpu."""

from __future__ import annotations

from gpu_stackcorr.benchmarks import module

harness, record = module("harness"), module("record")
OURS, NUMBA, NUMPY = harness.OURS, harness.path_name("numba"), harness.path_name("numpy")


def row(operation, case, contestant, median, **rest):
    """Return a row; its quartiles are a hundredth away."""
    backend = next((name for name in ("cuda", "numba", "numpy") if contestant == harness.path_name(name)), None)
    return {
        "operation": operation,
        "case": case,
        "contestant": contestant,
        "median": median,
        "lower_quartile": 0.99 * median,
        "upper_quartile": 1.01 * median,
        "rounds": 9,
        "gigapixels_per_second": 1.5,
        "error": 1e-9,
        "note": "",
        "backend": backend,
        **rest,
    }


def case(operation, name, **rest):
    """Return what a record says of a case."""
    counts = {"pixels": 1000, "bytes": 4000, "written": 0, "operations": 10000, "arithmetic": "float32"}
    entry = {"operation": operation, "case": name, "group": "operation", "parameters": {}, "reason": ""}
    return {**entry, **counts, **rest}


def made():
    """Return a record with everything in it."""
    series_of = [
        (
            case("moments", f"{n} slices", group="scaling", parameters={"slices": n}, operations=1000 * n),
            row("moments", f"{n} slices", NUMBA, 1e-4 * n + 1e-4, peak_host_bytes=2**20 * n),
        )
        for n in (1, 2, 4)
    ]
    rows = [
        row("warp", "a", NUMBA, 0.001, of_limit=0.8, bound="memory", peak_host_bytes=2**20, first_call=1.5),
        row("warp", "a", NUMPY, 0.02),
        row("warp", "a", f"{OURS}, with labels, numba backend", 0.0005, backend="numba"),
        row("warp", "a", "limit: memory read once", 0.0001),
        row("warp", "a", "slow", 0.01),
        row("warp", "a", "fast", 0.004, note="other numbers"),
        row("warp", "b", NUMBA, 0.002, of_limit=0.02, bound="neither"),
        row("warp", "b", "fast | wide", 0.001, note="float32"),
        row("moments", "c", NUMBA, 0.001),
        row("the notebook's flip", "small", NUMBA, 0.5),
        row("the notebook's flip", "small", "the notebook", 50.0),
        *(entry for _, entry in series_of),
    ]
    return record.completed(
        {
            **record.new(seconds=0.1, quick=True),
            "machine": {"processor": "abacus", "threads": 2, "memory_bytes": 2**30, "versions": {"numpy": "2.0"}},
            "limits": {"cpu": {"read_bytes_per_second": 2e10, "copy_bytes_per_second": 1e10, "float32_flops": 1e11}},
            "cases": [
                case("warp", "a"),
                case("warp", "b", reason="it reads <half> of the bytes"),
                case("moments", "c", operations=None),
                case("the notebook's flip", "small", group="experiment"),
                *(entry for entry, _ in series_of),
            ],
            "rows": rows,
            "missing": {"cv2": "ModuleNotFoundError: no cv2"},
            "skipped": [{"operation": "warp", "case": "huge", "reason": "needs 1 PB"}],
            "failures": [{"operation": "warp", "case": "a", "contestant": "torch", "failure": "ValueError: no"}],
        }
    )


GPU = {
    "started": "2026-11-25T00:00:00Z",
    "device": "NVIDIA Abacus",
    "cupy": "14.0",
    "driver": 13000,
    "tiny": False,
    "copy_gigabytes_per_second": 2000.0,
    "failures": ["Traceback\nMemoryError: all"],
    "targets": [
        {"case": "warp, order 1", "text": "share", "figure": 0.5, "limit": 0.7, "at_least": True, "reached": False},
        {"case": "warp, order 1", "text": "other", "figure": float("nan"), "limit": 3, "at_least": 0, "reached": None},
    ],
    "rows": [
        {
            "case": name,
            "contestant": contestant,
            "median": median,
            "lower_quartile": median,
            "upper_quartile": median,
            "wall": 2 * median,
            "first": 1.0,
            "rounds": 5,
            "gigabytes_per_second": 1000.0 if contestant == OURS else None,
            "of_copy": 0.5 if contestant == OURS else None,
            "error": None,
            "note": note,
            "failure": failure,
        }
        for name, contestant, median, note, failure in (
            ("warp, order 1", OURS, 2.0, "", ""),
            ("warp, order 1", "cupyx", 8.0, "scaled", ""),
            ("warp, order 1", "cuBLAS", 8.0, "", "error 1"),
            ("small inputs, 4 KiB", "moments on cuda", 1.0, "from the host; see wall", ""),
            ("small inputs, 4 KiB", "moments on numpy", 0.1, "from the host; see wall", ""),
        )
    ],
}

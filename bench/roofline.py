"""The least time that a machine allows for some work: the roofline, from limits measured in the same run.

Bytes that are read and written in equal measure move at the rate of a copy, what is read beyond that at the rate of
reading, what is written beyond it at that of writing. Arithmetic runs at the rate of a product of matrices. The larger
of both times is the least; data that stay in a cache may beat it.
"""

from __future__ import annotations

from collections.abc import Mapping

Limits = Mapping[str, float]
"""What `bench.limits.measure` returns: read_, copy_ and, where it is measured, write_bytes_per_second (a copy counts
the bytes read and those written), float32_flops and float64_flops."""

MEMORY, ARITHMETIC, OVERHEAD, NEITHER = "memory", "arithmetic", "overhead", "neither"

NEAR = 0.5
"""Share of the limit from which it is said to bound."""

CALL_SECONDS = 5e-5
"""What a call costs that does nothing: checks and launches, in Python. Below it the limits say nothing."""


def memory_seconds(limits: Limits, n_bytes: float, written: float) -> float | None:
    """Return the least time to move bytes, of which some are written."""
    read, copy = limits.get("read_bytes_per_second"), limits.get("copy_bytes_per_second")
    if not read or not copy:
        return None
    write = limits.get("write_bytes_per_second", copy)
    copied = 2 * min(written, n_bytes - written)
    alone = n_bytes - copied
    return copied / copy + alone / (write if 2 * written > n_bytes else read)


def least_seconds(
    limits: Limits,
    *,
    n_bytes: float | None,
    written: float,
    operations: float | None,
    arithmetic: str,
    seconds: float,
) -> tuple[float | None, str]:
    """Return the least time of some work, and what bounds a call of so many `seconds`; None and "" where unknown."""
    flops = limits.get(f"{arithmetic}_flops")
    moving = None if n_bytes is None else memory_seconds(limits, n_bytes, written)
    counting = operations / flops if operations is not None and flops else None
    known = [(least, name) for least, name in ((moving, MEMORY), (counting, ARITHMETIC)) if least is not None]
    if not known:
        return None, ""
    least, name = max(known)
    if least < NEAR * seconds:
        name = OVERHEAD if seconds < 2 * CALL_SECONDS else NEITHER
    return least, name

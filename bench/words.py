"""Numbers as tables and the page show them."""

from __future__ import annotations

import math

DASH = "–"


def significant(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits, and no power of ten where a whole number does; a dash for None."""
    if value is None or math.isnan(value):
        return DASH
    if value == 0 or 1e-3 <= abs(value) < 10**digits:
        return f"{value:.{digits}g}"
    return f"{value:.0f}" if 10**digits <= abs(value) < 1e7 else f"{value:.{digits - 1}e}"


def milliseconds(seconds: float | None) -> str:
    """Return seconds as milliseconds."""
    return significant(None if seconds is None else 1e3 * seconds)


def share(value: float | None) -> str:
    """Return 0.5 as "50 %"."""
    return DASH if value is None else f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.2g} %"


def times(value: float | None) -> str:
    """Return 2.0 as "2×"."""
    return DASH if value is None else f"{significant(value)}×"


def size(count: float | None) -> str:
    """Return a number of bytes in words."""
    if count is None:
        return DASH
    units = ("B", "KiB", "MiB", "GiB")
    for unit in units:
        if count < 1000:
            return f"{significant(count)} {unit}"
        count /= 1024
    return f"{significant(count)} TiB"


def rate(value: float | None, unit: str) -> str:
    """Return units a second with a thousand million of them as one: "12.3 GB/s"."""
    return DASH if value is None else f"{significant(value / 1e9)} G{unit}/s"


def error(value: float | None) -> str:
    """Return an error with two digits; nothing where it is not known."""
    return "" if value is None else "0" if value == 0 else f"{value:.1e}"

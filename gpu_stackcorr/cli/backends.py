"""``stackcorr backends``: what can run here, and why the rest cannot."""

from __future__ import annotations

from dataclasses import asdict

from .options import Json
from .screen import say, say_json


def backends(as_json: Json = False) -> None:
    """List the backends: what can run here, and why the rest cannot."""
    from gpu_stackcorr.arrays import available_backends

    found = available_backends()
    if as_json:
        say_json({name: asdict(info) for name, info in found.items()})
        return
    rows = [("backend", "runs here", "version", "device, or what is missing")]
    rows += [
        (i.name, "yes" if i.available else "no", i.version or "-", i.device if i.available else i.reason)
        for i in found.values()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

"""The backends by name. Each subpackage answers ``probe.probe()``; ``backend`` is imported when it is chosen."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from .base import Backend, BackendInfo

PREFERENCE = ("cuda", "numba", "numpy")
"""The order in which the automatic choice tries them."""


def probe(name: str) -> BackendInfo:
    """Return what is known of a backend on this machine, without loading its operations."""
    info: BackendInfo = import_module(f".{name}_.probe", __package__).probe()
    return info


@cache
def load(name: str) -> Backend:
    """Return the one instance of an available backend."""
    backend: Backend = import_module(f".{name}_.backend", __package__).BACKEND()
    return backend

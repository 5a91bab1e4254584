"""The backends by name. Each subpackage answers ``probe.probe()``; ``backend`` is imported when it is chosen."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType

from .base import Backend
from .info import BackendInfo

PREFERENCE = ("cuda", "numba", "numpy")
"""The order in which the automatic choice tries them."""


def probe(name: str) -> BackendInfo:
    """Return what is known of a backend on this machine, without loading its operations."""
    info: BackendInfo = _probe_module(name).probe()
    return info


@cache
def _probe_module(name: str) -> ModuleType:
    """Return the module that knows; to have it imported anew takes 3 us, as often as an operation asks."""
    return import_module(f".{name}_.probe", __package__)


@cache
def load(name: str) -> Backend:
    """Return the one instance of an available backend."""
    backend: Backend = import_module(f".{name}_.backend", __package__).BACKEND()
    return backend

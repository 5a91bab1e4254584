"""What is known of a backend without loading its operations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What is known of a backend on this machine.

    Attributes
    ----------
    name : str
        ``"numpy"``, ``"numba"`` or ``"cuda"``.
    available : bool
        Whether operations can run on it here.
    version : str
        Version of the library that it stands on, empty where that is missing.
    device : str
        What it computes on.
    reason : str
        Why it is not available, and what to install; empty where it is.
    """

    name: str
    available: bool
    version: str
    device: str
    reason: str = ""

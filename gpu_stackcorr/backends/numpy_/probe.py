"""Whether the ``numpy`` backend can run here: always."""

import os
import platform
from functools import cache

import numpy as np

from gpu_stackcorr.backends.info import BackendInfo


def probe() -> BackendInfo:
    """Return what is known of the backend on this machine."""
    return BackendInfo("numpy", True, np.__version__, device())


@cache
def device() -> str:
    """Return what this machine computes on; to count its cores takes 6 us."""
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"

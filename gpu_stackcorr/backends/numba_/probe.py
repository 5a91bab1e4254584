"""Whether the ``numba`` backend can run here."""

from importlib.metadata import version
from importlib.util import find_spec

from gpu_stackcorr.backends.base import BackendInfo


def probe() -> BackendInfo:
    """Return what is known of the backend on this machine. Numba itself is not imported."""
    if find_spec("numba") is None:
        reason = 'Numba is not installed: pip install "gpu-stackcorr[numba]"'
        return BackendInfo("numba", False, "", "", reason)
    reason = "this version of gpu_stackcorr has no compiled CPU operations yet"
    return BackendInfo("numba", False, version("numba"), "", reason)

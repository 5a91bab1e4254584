"""Whether the ``cuda`` backend can run here."""

from importlib.util import find_spec

from gpu_stackcorr.backends.base import BackendInfo


def probe() -> BackendInfo:
    """Return what is known of the backend on this machine. CuPy itself is not imported."""
    if find_spec("cupy") is None:
        reason = 'CuPy is not installed: pip install "gpu-stackcorr[cuda12]" or "gpu-stackcorr[cuda13]"'
        return BackendInfo("cuda", False, "", "", reason)
    return BackendInfo("cuda", False, "", "", "this version of gpu_stackcorr has no CUDA operations yet")

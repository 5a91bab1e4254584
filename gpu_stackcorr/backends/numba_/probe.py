"""Whether the ``numba`` backend can run here."""

from importlib.metadata import version
from importlib.util import find_spec

from gpu_stackcorr.backends.info import BackendInfo
from gpu_stackcorr.backends.numpy_.probe import device


def probe() -> BackendInfo:
    """Return what is known of the backend on this machine.

    Numba is imported to find out: it refuses interpreters and versions of NumPy that it does not know. Every operation
    with a choice of backend comes by: nothing here may take long (reading a package's metadata takes 0.6 ms).
    """
    if find_spec("numba") is None:
        reason = 'Numba is not installed: pip install "gpu-stackcorr[numba]"'
        return BackendInfo("numba", False, "", "", reason)
    try:
        import numba
    except Exception as error:  # whatever an unsupported interpreter, NumPy or LLVM makes it raise
        return BackendInfo("numba", False, version("numba"), "", f"Numba cannot be imported: {_first_line(error)}")
    return BackendInfo("numba", True, numba.__version__, device())


def _first_line(error: Exception) -> str:
    """Return the first line of what an exception says, or its name where it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]

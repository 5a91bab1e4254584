"""What the driver says of itself; tests put other answers in their place."""

from cupy._arrays import DEVICE

is_hip = False


class CUDARuntimeError(RuntimeError):
    """What the driver refuses."""

    def __init__(self, status, message="cudaError"):
        self.status = status
        super().__init__(message)


def driverGetVersion():  # noqa: N802
    """Return 13.0."""
    return 13000


def runtimeGetVersion():  # noqa: N802
    """Return 13.0."""
    return 13000


def getDeviceCount():  # noqa: N802
    """Return one."""
    return 1


def getDeviceProperties(device):  # noqa: N802
    """Return a part of them."""
    return {"name": b"Emulated GPU", "totalGlobalMem": DEVICE.memory_bytes}


def memGetInfo():  # noqa: N802
    """Return the free memory and all of it."""
    return DEVICE.free_bytes(), DEVICE.memory_bytes

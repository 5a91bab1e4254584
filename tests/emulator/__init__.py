"""Runs the CUDA kernels' own sources on a CPU: no machine of ours has a GPU, and no GPU names the line of a race.

``emulated_devices`` names the devices that tests are run on, ``emulated_device`` makes one of them.
"""

from __future__ import annotations

from .availability import require_emulator
from .build import sanitizer
from .device import EmulatedDevice, EmulatorError, Schedule

__all__ = ["EmulatedDevice", "EmulatorError", "emulated_device", "emulated_devices", "sanitizer"]

SCHEDULES: dict[str, Schedule] = {
    "emulator": "in order",
    "emulator-reversed": "reversed",
    "emulator-random": "random",
}


def emulated_devices() -> list[str]:
    """Return the names of the devices, as parameters of a fixture. Under a sanitizer one schedule is enough."""
    return ["emulator-random"] if sanitizer() else list(SCHEDULES)


def emulated_device(name: str, *, watched: bool = False) -> EmulatedDevice:
    """Return a device by its name. Skips the test where none can run, or fails it where REQUIRE_EMULATOR is 1."""
    require_emulator()
    return EmulatedDevice(SCHEDULES[name], watched=watched)

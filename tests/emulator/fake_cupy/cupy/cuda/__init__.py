"""Devices, streams and events; all work is done when it is asked for."""

import time

import numpy as np

from . import nvrtc, runtime

__all__ = ["Device", "Event", "Stream", "alloc_pinned_memory", "get_current_stream", "nvrtc", "runtime"]


class Device:
    """The one device."""

    compute_capability = "90"
    mem_info = (2**30, 2**30)

    def __init__(self, device=None):
        self.id = 0 if device is None else int(device)
        self.attributes = {
            "MultiProcessorCount": 4,
            "MaxSharedMemoryPerBlockOptin": 64 * 1024,
            "MaxSharedMemoryPerMultiprocessor": 64 * 1024,
            "L2CacheSize": 2**16,
            "ClockRate": 10**6,
        }

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def synchronize(self):
        """Wait for nothing."""


class Stream:
    """A stream, in which everything has been done."""

    ptr = 0

    def __init__(self, null=False, non_blocking=False):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def wait_event(self, event):
        """Wait for nothing."""

    def synchronize(self):
        """Wait for nothing."""

    def record(self, event=None):
        """Return an event at this moment."""
        event = event or Event()
        event.record(self)
        return event


class Event:
    """A moment."""

    def __init__(self, block=False, disable_timing=False):
        self.seconds = None

    def record(self, stream=None):
        """Remember the time."""
        self.seconds = time.perf_counter()

    def synchronize(self):
        """Wait for nothing."""


def get_current_stream():
    """Return a stream."""
    return Stream()


def get_elapsed_time(start, end):
    """Return the milliseconds between two events."""
    return 1e3 * (end.seconds - start.seconds)


def alloc_pinned_memory(size):
    """Return memory of the host."""
    return memoryview(np.empty(size, np.uint8))

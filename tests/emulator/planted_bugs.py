"""What the kernels of ``planted_bugs.cu`` should do, and what shows that they do not.

Run as a program under a sanitizer, it launches those that this one shows, and prints ``== name`` before what is said of
each.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emulator.build import sanitizer
from emulator.device import EmulatedDevice

N = 64
FOLDER = Path(__file__).parent


class Bug(NamedTuple):
    """A kernel that should copy N numbers, and does something else."""

    shown_by: str = "plain"
    """The weakest that shows it: a plain run, ``"address"`` or ``"thread"``."""
    message: str = ""
    """What its error or the sanitizer's report says. Empty: there is no error, but a wrong result in some schedule."""
    grid: int = 1
    block: int = N


BUGS = {
    "reads_beyond_array": Bug(),
    "reads_beyond_array_unused": Bug("address", "use-after-poison"),
    "reads_before_array": Bug("address", "use-after-poison"),
    "writes_beyond_array": Bug(message="written beyond the end of an array of 256 bytes"),
    "reads_beyond_shared": Bug(message="index 64 is out of bounds"),
    "reads_beyond_dynamic_shared": Bug("address", "use-after-poison"),
    "writes_beyond_dynamic_shared": Bug(message="written beyond the end of dynamic shared memory"),
    "leaves_its_row": Bug(message="is out of bounds"),
    "reads_beyond_local": Bug(message="index 4 is out of bounds"),
    "null_pointer": Bug(message="null pointer"),
    "wild_pointer": Bug(message="where no memory is"),
    "uninitialised_shared": Bug(),
    "uninitialised_local": Bug(),
    "shared_of_the_last_block": Bug(grid=2, block=32),
    "lost_element": Bug(),
    "no_barrier": Bug(),
    "no_warp_barrier": Bug(),
    "shuffle_as_barrier": Bug("thread", "data race"),
    "no_barrier_before_reuse": Bug(),
    "race_of_blocks": Bug("thread", "data race", grid=2),
    "order_of_tickets": Bug(),
    "two_barriers": Bug(message="while others wait at planted_bugs.cu"),
    "barrier_of_some": Bug(message="__syncthreads"),
    "half_a_warp_shuffles": Bug(message="warp collective"),
    "shuffle_from_absent_lane": Bug(),
    "lane_outside_its_mask": Bug(message="not in the mask of its own collective"),
    "misaligned_vector": Bug(message="misaligned address for 'const struct float4', which needs 16 bytes"),
    "misaligned_shared": Bug(message="misaligned address"),
    "integer_overflow": Bug(message="overflow of a signed product"),
    "negative_to_unsigned": Bug(message="outside 'unsigned char'"),
    "shift_of_all_bits": Bug(message="shift by"),
}


def launch(name: str, device: EmulatedDevice) -> np.ndarray:
    """Run a kernel and return what it wrote; right is a copy of 1 to N."""
    bug = BUGS[name]
    out, numbers = device.empty((N,), "f4"), device.to_device(expected())
    device.kernel("planted_bugs.cu", name)((bug.grid,), (bug.block,), [out, numbers, np.int32(N)], shared_bytes=4 * N)
    return device.to_host(out)


def expected() -> np.ndarray:
    """Return what every kernel should write."""
    return np.arange(1, N + 1, dtype=np.float32)


def main() -> None:
    """Launch the bugs of the sanitizer that this process runs under."""
    names = [name for name, bug in BUGS.items() if bug.shown_by == sanitizer()]
    device = EmulatedDevice("random", sources=FOLDER)
    for name in names:  # AddressSanitizer does not find the source of what is loaded after its first report
        device.kernel("planted_bugs.cu", name)
    for name in names:
        print(f"== {name}", file=sys.stderr, flush=True)
        launch(name, device)


if __name__ == "__main__":
    main()

"""Puts the stand-in for CuPy in CuPy's place for a while: the ``cuda`` backend then runs on the emulator."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpu_stackcorr import arrays, backends
from gpu_stackcorr.backends.cuda_ import compiler, probe

from .availability import require_emulator

FOLDER = Path(__file__).parent / "fake_cupy"

OURS = ("gpu_stackcorr.backends.cuda_.gpu", "gpu_stackcorr.backends.cuda_.backend")
"""What imports CuPy, or keeps what does."""


@contextmanager
def cupy_stand_in(cache: Path) -> Iterator[Any]:
    """Give the stand-in for CuPy as a module; machine code is kept in the folder `cache`. Skips where none can run."""
    require_emulator()
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_replaced(name)}
    variable = os.environ.get(compiler.VARIABLE)
    os.environ[compiler.VARIABLE] = str(cache)
    sys.path.insert(0, str(FOLDER))
    forget()
    try:
        import cupy

        yield cupy
    finally:
        sys.path.remove(str(FOLDER))
        os.environ.pop(compiler.VARIABLE)
        if variable is not None:
            os.environ[compiler.VARIABLE] = variable
        for name in list(filter(_is_replaced, sys.modules)):
            del sys.modules[name]
        sys.modules.update(kept)
        forget()


def _is_replaced(name: str) -> bool:
    return name in OURS or name.partition(".")[0] in ("cupy", "cupyx", "cupy_backends")


def forget() -> None:
    """Forget which backends were found, and where machine code is kept."""
    probe._of_process.cache_clear()
    backends.load.cache_clear()
    arrays._automatic.cache_clear()
    compiler._folder.cache_clear()

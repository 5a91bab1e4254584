"""Compiles kernels by NVRTC and keeps the machine code on disk, for many processes at once.

CuPy's own cache does not serve. ``cupy/cuda/compiler.py`` up to CuPy 14.0 never reads it for name expressions (``if
os.path.exists(path) and not name_expressions``), so that every process compiles again; 14.1 reads it and guesses names
from mangled ones, which know nothing of typedefs such as ``u8``; 14.2 is the first to keep the names. Neither hashes
included headers, and both flush denormal numbers to zero (``-ftz=true``), which the reference and the emulator do not.

Here a module is one name expression of one file: an operation needs a few of the many that a file has, and one takes
0.04 to 0.2 s (NVRTC 13.5, on one core), of which reading the source is less than 0.04. The key of a module is the hash
of what it depends on: source with its headers expanded, options with the architecture, name, versions of CuPy and
NVRTC. Files are written beside their places and moved there, which is atomic; one that is torn all the same does not
match its hash, and is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from gpu_stackcorr.errors import BackendError

from .loader import source

VARIABLE = "GPU_STACKCORR_CACHE_DIR"
"""The environment variable that names the folder of machine code."""

OPTIONS = ("-std=c++17", "-fmad=false", "-default-device")
"""No contraction: kernels say ``fma`` where they mean it, and digits are those of the reference and the emulator."""


class Compiled(NamedTuple):
    """A module on disk, and the name of its kernel there."""

    path: Path
    name: str


def compiled(file: str, name: str, capability: int) -> Compiled:
    """Return a kernel of ``kernels/`` compiled for a device, from the disk where it is there.

    Parameters
    ----------
    file : str
    name : str
        The kernel's name expression.
    capability : int
        Ten times the major version of the device's compute capability, and the minor one.

    Raises
    ------
    BackendError
        If the source does not compile; the message holds the compiler's first error.
    """
    text, architecture = source(file), _architecture(capability)
    options = (*OPTIONS, f"-arch={architecture}")
    stem = _folder() / _key(text, options, name)
    if (kept := _read(stem)) is None:
        code, lowered = _compile(text, file, options, name)
        _write(stem, code, lowered)
        kept = Compiled(stem.with_suffix(".bin"), lowered)
    return kept


def _architecture(capability: int) -> str:
    """Return ``sm_90`` for machine code, or ``compute_90``, which newer devices' drivers translate."""
    known = _nvrtc().getSupportedArchs()
    if capability in known:
        return f"sm_{capability}"
    older = [architecture for architecture in known if architecture < capability]
    if not older:
        raise BackendError(f"NVRTC {version()} does not know GPUs of compute capability {capability / 10}")
    return f"compute_{max(older)}"


def version() -> str:
    """Return the version of NVRTC."""
    return "{}.{}".format(*_nvrtc().getVersion())


def _nvrtc() -> Any:
    """Return CuPy's door to NVRTC, which loads the library when it is first asked something."""
    from cupy.cuda import nvrtc

    return nvrtc


def _key(text: str, options: Sequence[str], name: str) -> str:
    """Return the hash of what the machine code depends on."""
    import cupy

    parts = [cupy.__version__, version(), *options, name, text]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


def _compile(text: str, file: str, options: Sequence[str], name: str) -> tuple[bytes, str]:
    """Return the machine code, or PTX, and the kernel's name in it."""
    nvrtc = _nvrtc()
    program = nvrtc.createProgram(text, file, (), ())
    try:
        nvrtc.addNameExpression(program, name)
        try:
            nvrtc.compileProgram(program, tuple(options))
        except nvrtc.NVRTCError as error:
            lines = [line for line in nvrtc.getProgramLog(program).splitlines() if "error" in line] or [str(error)]
            raise BackendError(f"kernel {name} does not compile ({options[-1]}): {lines[0]}") from error
        # CuPy drops the last byte of machine code, as if it ended a string; the driver reads the file as it lies.
        real = options[-1].startswith("-arch=sm_")
        code = nvrtc.getCUBIN(program) + b"\0" if real else nvrtc.getPTX(program)
        return code, nvrtc.getLoweredName(program, name)
    finally:
        nvrtc.destroyProgram(program)


def _read(stem: Path) -> Compiled | None:
    """Return a module that lies on disk whole."""
    try:
        record = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        code = stem.with_suffix(".bin").read_bytes()
        if hashlib.sha256(code).hexdigest() == record["sha256"]:
            return Compiled(stem.with_suffix(".bin"), str(record["name"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _write(stem: Path, code: bytes, name: str) -> None:
    """Put a module on disk; the record that vouches for it comes last."""
    record = {"name": name, "sha256": hashlib.sha256(code).hexdigest()}
    for suffix, content in ((".bin", code), (".json", json.dumps(record).encode())):
        handle, path = tempfile.mkstemp(dir=stem.parent)
        with os.fdopen(handle, "wb") as unfinished:
            unfinished.write(content)
        with suppress(PermissionError):  # on Windows, where another process has the same file open
            Path(path).replace(stem.with_suffix(suffix))
        Path(path).unlink(missing_ok=True)


@cache
def _folder() -> Path:
    """Return the folder of machine code; one that ends with the process where the user's cannot be written to.

    Nobody else may write there: what lies in it is run.
    """
    home = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get(VARIABLE) or Path(home) / "gpu_stackcorr" / "kernels")
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    return Path(_temporary().name)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that goes with the process."""
    return tempfile.TemporaryDirectory(prefix="gpu_stackcorr_")

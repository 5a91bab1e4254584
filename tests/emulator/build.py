"""Compiles the engine and kernels with g++, once for each content of sources and flags.

``EMULATOR_SANITIZER=address`` or ``thread`` in the environment chooses a sanitizer for the process, which must have
been started with that sanitizer's library (`sanitizers.py`). In a process without one kernels may be watched by
UndefinedBehaviorSanitizer, which the engine answers with an error of the launch. It takes as long as all else of a
build, and half as long as all else of a run: ``EMULATOR_WATCHED=1`` has it in all kernels.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from .translate import translate

HERE = Path(__file__).parent
ENGINE_SOURCES = ("launch.cpp", "schedule.cpp", "waiting.cpp", "memory.cpp", "undefined.cpp")

COMMON = ["-std=gnu++17", "-g1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", f"-I{HERE}"]
# -fno-strict-aliasing: kernels read floats as vectors and integers. -ffp-contract=off: kernels say fma if they mean it.
# -nodefaultlibs: without the sanitizers' own libraries, for the preloaded one or the engine stands in for them.
KERNEL = [
    *["-fvisibility=hidden", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-exceptions", "-fno-rtti"],
    *["-fno-threadsafe-statics", "-nodefaultlibs", "-Wno-unknown-pragmas", "-Wno-unused-function"],
    *["-Wno-unused-parameter", "-Wno-unused-local-typedefs", "-Wno-maybe-uninitialized"],
]
WATCHED = ["-fsanitize=undefined,float-cast-overflow", "-fno-sanitize=vptr", "-fno-sanitize-recover=all"]
SANITIZED = {
    "": [],
    "address": ["-fsanitize=address", "-fno-omit-frame-pointer", "-fsanitize-recover=address"],
    "thread": ["-fsanitize=thread"],
}
KEPT_SECONDS = 7 * 24 * 3600
ENGINE = {"": [], "address": ["-DEMULATOR_ADDRESS"], "thread": ["-DEMULATOR_THREAD"]}


def sanitizer() -> str:
    """Return the sanitizer of this process: ``""``, ``"address"`` or ``"thread"``."""
    return os.environ.get("EMULATOR_SANITIZER", "")


def engine() -> Path:
    """Return the engine as a shared library."""
    sources = [HERE / name for name in ENGINE_SOURCES]
    return _built(["-O2", *ENGINE[sanitizer()], *map(str, sources)], _headers() + "".join(map(Path.read_text, sources)))


def watches_all() -> bool:
    """Return whether UndefinedBehaviorSanitizer is to watch all kernels of this process."""
    return os.environ.get("EMULATOR_WATCHED") == "1"


def kernel(path: Path, name: str, *, optimised: bool = True, watched: bool = False) -> Path:
    """Return one kernel of a CUDA source as a shared library."""
    source, watched = translate(path, name), (watched or watches_all()) and not sanitizer()
    with tempfile.NamedTemporaryFile("w", suffix=".cpp") as file:
        file.write(source)
        file.flush()
        checks = WATCHED if watched else SANITIZED[sanitizer()]
        options = ["-O1" if optimised else "-O0", *KERNEL, *filled_locals(), *checks]
        return _built(options, _headers() + source, file.name)


@cache
def _headers() -> str:
    return "".join(path.read_text() for path in sorted(HERE.glob("*.h")))


@cache
def _compiler() -> tuple[str, str]:
    """Return g++ and its version."""
    path = shutil.which("g++")
    if path is None:
        raise FileNotFoundError("g++ is not installed")
    return path, subprocess.run([path, "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()


def filled_locals() -> list[str]:
    """Return the option that fills local variables, so that a read before any write shows. g++ has it since 12."""
    return ["-ftrivial-auto-var-init=pattern"] if int(_compiler()[1].split(".")[0]) >= 12 else []


def _built(options: Sequence[str], content: str, *sources: str) -> Path:
    compiler, version = _compiler()
    arguments = [*COMMON, *options]
    key = hashlib.sha256("\0".join([version, *arguments, content]).encode()).hexdigest()[:32]
    library = _folder() / f"{key}.so"
    with _locked(library):
        if not library.exists():
            unfinished = library.with_suffix(".unfinished")
            command = [compiler, *arguments, *sources, "-o", str(unfinished)]
            environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # a sanitizer's
            run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            if run.returncode:
                raise RuntimeError(f"{run.stderr}\n{' '.join(command)}")
            unfinished.replace(library)
    return library


@cache
def _folder() -> Path:
    """Return this user's folder of builds. Nobody else may write into it: what lies there is loaded."""
    folder = Path(os.environ.get("EMULATOR_CACHE") or Path(tempfile.gettempdir()) / f"cuda_emulator_{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else; name another in EMULATOR_CACHE")
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process may be doing the same
            if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                path.unlink()
    return folder


@contextmanager
def _locked(library: Path) -> Iterator[None]:
    """Let one process build a library while the others wait for it."""
    import fcntl  # there is none on Windows, where nothing of this runs

    with library.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

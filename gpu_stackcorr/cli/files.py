"""Outputs that are whole or absent."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gpu_stackcorr.errors import VolumeError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new file beside `path` to write to; it takes the place of `path` when the block succeeds.

    Made before the block runs, so that work which could not be written is not begun.
    """
    if path.exists() and not path.is_file():
        raise VolumeError(f"'{path}' is not a file and cannot be written over")
    target = path.resolve()  # through a link to the file that it points at
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        partial.touch(exist_ok=False)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        yield partial
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def directory(path: Path) -> Iterator[Path]:
    """Make a directory, with its parents; where the block fails, those that were made and are empty go again."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        yield path
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise

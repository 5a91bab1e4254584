"""Files that appear together or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gpu_stackcorr.errors import VolumeError


@contextmanager
def staged(directory: Path, own: Sequence[str]) -> Iterator[Path]:
    """Give a temporary folder, and move what was written there into `directory` once the block has ended well.

    Files that were in `directory` before stay, but for those named in `own` (paths in it): a former run's, which are
    replaced, or removed where they were not written again. After an error, also an interrupt, everything is as before.

    Raises
    ------
    VolumeError
        If the folders or files cannot be written.
    """
    made: list[Path] = []
    try:
        with writing(directory):
            staging = _make_staging(directory, made)
        yield staging
        with writing(directory):
            _publish(staging, directory, own)
    except BaseException:
        for folder in reversed(made):
            # A parent may have been filled by someone else in the meantime.
            shutil.rmtree(folder, ignore_errors=True) if folder is made[-1] else _remove_empty(folder)
        raise


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turn an error of the file system into a VolumeError of one line."""
    try:
        yield
    except VolumeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        where = f" ({error.filename})" if error.filename else ""
        raise VolumeError(f"cannot write to '{directory}': {reason}{where}") from error


def _make_staging(directory: Path, made: list[Path]) -> Path:
    """Make a folder on the file system of `directory`; the folders that were made are added to `made`."""
    if directory.exists() and not directory.is_dir():
        raise VolumeError(f"cannot write to '{directory}': it is a file, not a folder")
    # Inside a folder that is there, which may be a mount point or a link; beside one that is not.
    name = f".stackcorr-{secrets.token_hex(4)}"
    staging = directory / name if directory.exists() else directory.parent / name
    for folder in (*reversed(staging.parents), staging):
        if not folder.exists():
            folder.mkdir()
            made.append(folder)
    return staging


def _publish(staging: Path, directory: Path, own: Sequence[str]) -> None:
    """Move the files of `staging` into `directory`."""
    if not directory.exists():
        staging.rename(directory)
        return
    written = [path.relative_to(staging) for path in sorted(staging.rglob("*")) if path.is_file()]
    for folder in sorted({path.parent for path in written}):
        (directory / folder).mkdir(exist_ok=True)
    for path in written:
        (staging / path).replace(directory / path)
    for stale in set(map(Path, own)) - set(written):
        (directory / stale).unlink(missing_ok=True)
    shutil.rmtree(staging)


def _remove_empty(folder: Path) -> None:
    """Remove a folder if nothing is in it."""
    with suppress(OSError):
        folder.rmdir()

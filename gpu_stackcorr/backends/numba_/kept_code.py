"""Machine code on disk: a file for each signature of a function, named after all that the code depends on."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile

logger = logging.getLogger(__name__)


class _Files(IndexDataCacheFile):
    """The files of one function.

    Numba numbers them, and an index says which signature is in which. Two processes that compile a function at the same
    time, for different arguments, may both take the next number; one of them then finds code made for the other's
    arguments under its own. And Numba asks the file of the function alone whether code is old, not those of the
    functions that it calls.
    """

    def __init__(self, folder: str, function: str, version: str) -> None:
        super().__init__(folder, function, version)  # type: ignore[no-untyped-call]
        self.folder, self.function, self.version = Path(folder), function, version

    def load(self, key: Any) -> Any:
        """Return the code for a signature and a processor, or None."""
        try:
            return self._load_data(self._name(key))  # type: ignore[no-untyped-call]
        except OSError:
            return None

    def save(self, key: Any, data: Any) -> None:
        """Keep the code for a signature and a processor, and remove what other versions kept."""
        self._save_data(self._name(key), data)  # type: ignore[no-untyped-call]
        for path in self._of("*") - self._of(self.version):
            with suppress(OSError):  # another process may have done it, or still read it
                path.unlink()

    def is_empty(self) -> bool:
        """Whether no code of this version is kept, for any signature."""
        return not self._of(self.version)

    def _of(self, version: str) -> set[Path]:
        return set(self.folder.glob(f"{self.function}.{version}.*.nbc"))

    def _name(self, key: Any) -> str:
        return f"{self.function}.{self.version}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"


@cache
def _version() -> str:
    """Return a hash of all modules of this backend and of Numba's version."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    parts = [numba.__version__.encode(), *(path.read_bytes() for path in sources)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def kept(compiled: Any) -> Any:
    """Return a function whose machine code is kept on disk, if there is a place for it."""
    try:
        compiled.enable_caching()
        found = compiled._cache
        found._cache_file = _Files(found.cache_path, found._impl.filename_base, _version())
    except RuntimeError as error:
        logger.info("compiled code is not kept on disk: %s", error)
    return compiled


def is_missing(compiled: Any) -> bool:
    """Whether no machine code of a function is kept on disk, though there is a place for it."""
    files = getattr(compiled._cache, "_cache_file", None)
    return files is not None and files.is_empty()

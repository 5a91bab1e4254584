"""A process that compiles, while a first report begins, what that comes to later.

Numba compiles one function after the other, and finds on disk what another process has compiled.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_stackcorr.report import ReportOptions

logger = logging.getLogger(__name__)


@contextmanager
def compiling_ahead(dtype: str, options: ReportOptions) -> Iterator[None]:
    """Compile for images of a dtype in a process beside this one, where that was not done before and a thread is free.

    The process ends with the block at the latest.
    """
    process = _start(dtype) if _is_worth_it(options) else None
    try:
        yield
    finally:
        if process is not None:
            process.terminate()
            process.wait()


def _is_worth_it(options: ReportOptions) -> bool:
    """Whether a report is to compile much, and may take a second processor."""
    from gpu_stackcorr.arrays import get_backend
    from gpu_stackcorr.threads import allowed_threads

    if (
        not options.elastic
        or get_backend(options.backend).name != "numba"
        or (options.threads or allowed_threads()) < 2
    ):
        return False
    from gpu_stackcorr.backends.numba_ import elastic, kept_code

    return kept_code.is_missing(elastic.pull_piece)


def _start(dtype: str) -> subprocess.Popen[bytes] | None:
    """Start the process, which finds modules where this one does.

    It is of a session of its own, so that a terminal interrupts this process alone.
    """
    code = f"import sys; sys.path[:] = {sys.path}; from {__name__} import compile_later_part as run; run({dtype!r})"
    nothing = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            [sys.executable, "-c", code], stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        )
    except OSError as error:
        logger.info("nothing is compiled ahead: %s", error)
        return None


def compile_later_part(dtype: str) -> None:
    """Compile what elastic slices, their folds and pairs of slices take, by computing little of each."""
    import numpy as np

    from gpu_stackcorr import displacement_field, elastic_transform, fold_report, lag_correlation
    from gpu_stackcorr.backends.base import field_dtype

    stack = (np.arange(16 * 64 * 64) % 127).reshape(16, 64, 64).astype(dtype)
    elastic_transform(stack[0], 1.0, 2.0, seed=0, check_folds=False, backend="numba")
    field = displacement_field(stack.shape[1:], 1.0, 2.0, seed=0, dtype=field_dtype(stack.dtype), backend="numba")
    fold_report(field, bins=1, backend="numba")
    lag_correlation(stack, 4, backend="numba")  # last: the first process comes to pairs before it comes to folds

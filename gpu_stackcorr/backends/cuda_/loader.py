"""Finds the CUDA sources, and makes one text of a kernel's file and the headers that it includes.

Included files are expanded, so that machine code is kept by all of its source and an edited header is never run stale.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from gpu_stackcorr.errors import BackendError

PACKAGE = Path(__file__).resolve().parents[2]

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"[^\n]*$', re.MULTILINE)


def kernel_directory() -> Path:
    """Return the folder of the CUDA sources: inside an installed package, beside it in a source tree."""
    for folder in (PACKAGE / "_kernels", PACKAGE.parent / "kernels"):
        if (folder / "common.cuh").is_file():
            return folder
    raise BackendError(f"the CUDA sources are missing from {PACKAGE}: reinstall gpu-stackcorr")


@cache
def source(file: str) -> str:
    """Return the text of a file of ``kernels/`` with its quoted includes expanded, each once.

    Lines keep their numbers and files in the compiler's messages.
    """
    return _expanded(kernel_directory() / file, set())


def _expanded(path: Path, seen: set[Path]) -> str:
    """Return the text of a file; nothing where it was included before."""
    if path in seen:
        return ""
    seen.add(path)
    text = path.read_text(encoding="utf-8").replace("#pragma once", "")

    def included(match: re.Match[str]) -> str:
        line = text.count("\n", 0, match.end()) + 2
        return f'{_expanded(path.parent / match[1], seen)}\n#line {line} "{path.name}"'

    return f'#line 1 "{path.name}"\n' + _INCLUDE.sub(included, text)

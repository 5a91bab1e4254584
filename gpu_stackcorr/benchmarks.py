"""Finds the benchmarks: inside an installed package, beside it in a source tree."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from gpu_stackcorr.errors import StackCorrError

PACKAGE = Path(__file__).resolve().parent

NAME = "gpu_stackcorr._bench"


def module(name: str) -> ModuleType:
    """Return a module of the benchmarks.

    Under one name wherever they are: another ``bench`` may be on the path.
    """
    if NAME not in sys.modules and not (PACKAGE / "_bench").is_dir():
        _load(PACKAGE.parent / "bench")
    return importlib.import_module(f"{NAME}.{name}")


def _load(folder: Path) -> None:
    """Load the package of a source tree as ours."""
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if not (folder / "harness.py").is_file() or spec is None or spec.loader is None:
        raise StackCorrError(f"the benchmarks are missing from {PACKAGE}: reinstall gpu-stackcorr")
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)

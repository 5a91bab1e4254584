"""Hypothesis where it is installed; elsewhere the tests of properties are skipped, and the rest of their file runs."""

from __future__ import annotations

from typing import Any

import pytest

try:
    from hypothesis import given
    from hypothesis import strategies as st
except ImportError:

    class _Nothing:
        """Stands for any strategy while a module is imported."""

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: self

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self

        def __or__(self, other: Any) -> Any:
            return self

    st: Any = _Nothing()  # type: ignore[no-redef]

    def given(*strategies: Any, **by_name: Any) -> Any:  # type: ignore[no-redef]
        """Skip the test."""

        def skipped(test: Any) -> Any:
            def replaced() -> None:
                pytest.skip("Hypothesis is not installed")

            replaced.__name__ = test.__name__
            return replaced

        return skipped


__all__ = ["given", "st"]

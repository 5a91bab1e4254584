"""How the loops of this backend are compiled: without the GIL, without fast-math, and kept on disk.

No loop is compiled as a parallel one. Threads are ours (see ``parallel``), which spares the trouble that Numba's own
have with ``fork`` (OpenMP kills the child) and with concurrent callers (workqueue aborts), and halves the time that
compiling takes.

Where a function is called with ``np.int64(1)`` here and a variable there, 1 would not do: to Numba a literal is of a
type of its own, for which it compiles the function once more, in a quarter of a second.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import Linkage, parse_assembly
from numba.core import cgutils, event
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher

from .kept_code import kept

logger = logging.getLogger(__name__)


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call with new types, and keep the machine code on disk.

    The code lies in ``NUMBA_CACHE_DIR``, in the package's own folder, or in the user's cache folder where that is not
    writable; where none is, it lives as long as the process.
    """
    return kept(CPUDispatcher(function, targetoptions=_options(borrows=False)))


def borrowing(function: Callable[..., Any]) -> Any:
    """Do the same with a function that neither makes arrays nor returns any, and calls none that does.

    Numba then does not count who holds an array. Counting took 0.15 microseconds a row of a warp, where 1024 samples
    at order 1 take 0.6 (a core of a Zen 5).
    """
    return kept(CPUDispatcher(function, targetoptions=_options(borrows=True)))


def inner(function: Callable[..., Any]) -> Any:
    """Do the same with such a function that compiled ones alone call: what Python needs to call it is not compiled.

    It cannot copy an array into a slice of another either, for which Numba asks for what counts.
    """
    return kept(_Inner(function, targetoptions=_options(borrows=True, inner=True)))


def reassociated(function: Callable[..., Any]) -> Any:
    """Do the same with one that may add in the order that vectors ask for. NaN and infinity keep their meaning."""
    options = _options(borrows=True, inner=True) | {"fastmath": {"reassoc", "contract", "nsz"}}
    return kept(_Inner(function, targetoptions=options))


class _CodeToLink(JITCodeLibrary):
    """Code that callers are linked with.

    No machine code is made of it: `elastic_transform` of bytes is compiled in 14 to 16 s on a Zen 3, else in 19 to 20.
    """

    def _finalize_final_module(self) -> None:
        """Keep the code, and be ready with those variables alone that Numba asks machine code for."""
        self._finalize_dynamic_globals()
        self._finalized = True  # as far as the next call asks, which remembers what it returns
        self._get_module_for_linking()
        self._finalized = False
        module = self._codegen._create_empty_module(self.name)
        for each in self._final_module.global_variables:
            if each.linkage == Linkage.common:
                variable = ir.GlobalVariable(module, cgutils.voidptr_t, each.name)
                variable.linkage, variable.initializer = "common", ir.Constant(cgutils.voidptr_t, None)
        self._final_module = parse_assembly(str(module))
        self._final_module.name = self.name
        super()._finalize_final_module()


class _InnerCompiler(Compiler):
    """Compiles a function that compiled ones call."""

    def compile_extra(self, func: Any) -> Any:
        """Compile a function into code to link."""
        self.state.library = _CodeToLink(self.state.targetctx.codegen(), func.__qualname__)
        self.state.library.enable_object_caching()
        return super().compile_extra(func)


class _Inner(CPUDispatcher):
    """A function that compiled ones call. To Python, which has no way into the machine code, it is what it was."""

    def __init__(self, function: Callable[..., Any], targetoptions: dict[str, Any]) -> None:
        super().__init__(function, targetoptions=targetoptions, pipeline_class=_InnerCompiler)

    def __call__(self, *arguments: Any) -> Any:
        return self.py_func(*arguments)


def _options(*, borrows: bool, inner: bool = False) -> dict[str, Any]:
    """Return how Numba is to compile; `_nrt` is what counts who holds an array."""
    return {
        "nopython": True,
        "nogil": True,
        "error_model": "numpy",
        "fastmath": False,
        "_nrt": not borrows,
        "no_cfunc_wrapper": True,
        "no_cpython_wrapper": inner,
    }


class _Watch(event.Listener):
    """Says on a terminal, once a process, that code is being compiled; meanwhile nobody looks for garbage.

    Numba makes millions of objects, and to go through them time and again took a tenth of the time.
    """

    def __init__(self) -> None:
        self.given = False
        self.collected: list[bool] = []
        """Whether garbage was looked for when the functions that are being compiled were begun, which nest."""

    def on_start(self, event: Any) -> None:
        if not _is_ours(event):
            return
        self.collected.append(gc.isenabled())
        gc.disable()
        function = event.data["dispatcher"].py_func
        logger.debug("compiling %s.%s", function.__module__, function.__qualname__)
        if not self.given and sys.stderr is not None and sys.stderr.isatty():
            self.given = True
            print("gpu_stackcorr: compiling for this processor, once; this takes some seconds", file=sys.stderr)

    def on_end(self, event: Any) -> None:
        if _is_ours(event) and self.collected.pop():
            gc.enable()


def _is_ours(event: Any) -> bool:
    """Whether a function of this package is being compiled. One that was made by exec may have no module."""
    return (event.data["dispatcher"].py_func.__module__ or "").startswith(__package__)


event.register("numba:compile", _Watch())

"""The manners of the numba backend: its threads, its cache on disk, what it says, and what happens without Numba."""

from __future__ import annotations

import gc
import logging
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import gpu_stackcorr
from gpu_stackcorr import backends
from gpu_stackcorr.arrays import _automatic, available_backends, get_backend
from gpu_stackcorr.threads import use_threads

if not available_backends()["numba"].available:
    pytest.skip(available_backends()["numba"].reason, allow_module_level=True)

from gpu_stackcorr.backends.numba_ import kept_code, parallel

PACKAGE = Path(gpu_stackcorr.__file__).parent
IMAGE = np.random.default_rng(0).random((70, 90), np.float32)

# Threads.


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_every_task_runs_once(threads, count):
    done = []
    with use_threads(threads):
        parallel.run(done.append, count)
    assert sorted(done) == list(range(count))


def test_tasks_run_at_once():
    meeting = threading.Barrier(3)
    with use_threads(3):
        parallel.run(lambda _: meeting.wait(10), 3)


def test_a_callers_own_thread_is_enough():
    """Nested runs and many callers share one pool, and none waits for another's helpers."""

    def outer(_):
        parallel.run(lambda _: time.sleep(0.001), 4)

    with use_threads(2):
        callers = [threading.Thread(target=parallel.run, args=(outer, 5)) for _ in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(30)
            assert not caller.is_alive()


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("error", [ValueError, IndexError])
def test_an_exception_of_a_task_is_raised(threads, error):
    def task(number):
        if number == 5:
            raise error("five")

    with use_threads(threads), pytest.raises(error, match="five"):
        parallel.run(task, 20)
    parallel.run(lambda _: None, 20)


def test_cuts_are_whole_and_begin_at_multiples():
    for length in (0, 1, 7, 64, 65, 1000):
        for parts in (1, 2, 3, 50):
            pieces = parallel.cut(length, parts, multiple=8)
            assert np.concatenate([np.arange(length)[piece] for piece in pieces]).tolist() == list(range(length))
            assert all(piece.start % 8 == 0 for piece in pieces)
            assert 1 <= len(pieces) <= parts


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside other tests' threads
def test_a_forked_child_computes():
    backend = get_backend("numba")
    with use_threads(2):
        expected = backend.gaussian_filter(IMAGE, (2.0, 2.0), axes=(0, 1), mode=["reflect"] * 2)
        child = os.fork()
        if child == 0:
            same = np.array_equal(
                backend.gaussian_filter(IMAGE, (2.0, 2.0), axes=(0, 1), mode=["reflect"] * 2), expected
            )
            os._exit(0 if same else 1)
    for _ in range(600):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert status == 0


# Compiling.

SMOOTH = """if True:
    import numpy as np
    from gpu_stackcorr import gaussian_filter
    image = np.random.default_rng(0).random((70, 90), np.float32)
    gaussian_filter(image, 2, backend="numba")
"""


def run_python(code: str, path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds the package in `path`."""
    environment = {**os.environ, "PYTHONPATH": str(path), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def copy(tmp_path):
    """A copy of the package without compiled code."""
    shutil.copytree(PACKAGE, tmp_path / "gpu_stackcorr", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_code_is_kept_where_the_variable_says(copy):
    cache = copy / "cache"
    run_python(SMOOTH, copy, NUMBA_CACHE_DIR=str(cache))
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.nbc")}
    assert kept
    run_python(SMOOTH, copy, NUMBA_CACHE_DIR=str(cache))
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.nbc")} == kept


FUNCTIONS = """
from gpu_stackcorr.backends.numba_ import boundary, lines
def count(*functions):
    compiled = [each for function in functions for each in function.overloads.values()]
    assert compiled
    return sum(1 for each in compiled for _ in each.library.get_defined_functions())
print(count(boundary.sample_at), count(lines.filter_rows, lines.filter_side_by_side))
"""
"""Says how many functions there are in machine code: of one that the other two call, and of those."""


@pytest.mark.parametrize("kept", [False, True])
def test_functions_that_compiled_ones_alone_call_have_no_machine_code(copy, kept):
    """Once they are linked with their callers, that of those is all there is."""
    cache = {"NUMBA_CACHE_DIR": str(copy / "cache")}
    if kept:
        run_python(SMOOTH, copy, **cache)
        for path in (copy / "cache").rglob("lines.filter_*.nbc"):
            path.unlink()  # and is made anew of what they were linked with
    said = run_python(SMOOTH + FUNCTIONS, copy, **cache).stdout.split()
    inner, outer = said[-2:]
    assert inner == "0"
    assert int(outer) > 0


def test_processes_that_compile_at_one_time_keep_what_is_theirs(tmp_path, monkeypatch):
    one, other = (kept_code._Files(str(tmp_path), "function", "version") for _ in range(2))
    dump = one._dump

    def dump_late(data):
        other.save("other", "code for other arguments")
        return dump(data)

    monkeypatch.setattr(one, "_dump", dump_late)
    one.save("one", "code for these")
    assert one.load("one") == other.load("one") == "code for these"
    assert one.load("other") == other.load("other") == "code for other arguments"
    assert one.load("another") is None


def test_code_of_another_version_is_not_loaded_and_goes_in_the_end(tmp_path):
    old, new = (kept_code._Files(str(tmp_path), "function", version) for version in ("old", "new"))
    kept_code._Files(str(tmp_path), "function_too", "old").save("signature", "neighbour's code")
    half_written = tmp_path / "function.old.signature.nbc.tmp.1"
    half_written.touch()
    assert old.is_empty()
    old.save("signature", "old code")
    assert not old.is_empty()
    assert new.is_empty()
    assert new.load("signature") is None
    new.save("signature", "new code")
    assert new.load("signature") == "new code"
    half_written.unlink()
    assert [path.name.split(".")[:2] for path in sorted(tmp_path.iterdir())] == [
        ["function", "new"],
        ["function_too", "old"],
    ]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="folders are not made read-only by their mode here")
def test_a_read_only_folder_and_no_home_are_no_hindrance(copy):
    """A file stands where the folders for compiled code would be made, which stops even the superuser."""
    (copy / "gpu_stackcorr/backends/numba_/__pycache__").write_text("")
    (copy / "home").mkdir()
    variables = {"HOME": str(copy / "home"), "XDG_CACHE_HOME": str(copy / "home"), "NUMBA_CACHE_DIR": ""}
    run_python(SMOOTH, copy, **variables)
    assert list((copy / "home").rglob("*.nbc"))
    shutil.rmtree(copy / "home")
    (copy / "home").write_text("")
    run_python(SMOOTH, copy, **variables)


PLAIN_PROCESSOR = """
import numpy as np
from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.numba_.vectors import has_byte_products

assert not has_byte_products()
slices = np.random.default_rng(0).integers(0, 256, (3, 40, 90), np.uint8)
numba, numpy = get_backend("numba"), get_backend("numpy")
for ours, expected in zip(numba.moments([slices[0]], slices), numpy.moments([slices[0]], slices), strict=True):
    assert (ours.sums.xy == expected.sums.xy).all()
assert (numba.cross_moments(slices).xy == numpy.cross_moments(slices).xy).all()
reals = slices.astype(np.float32)
for ours, expected in zip(numba.moments([reals[0]], reals), numpy.moments([reals[0]], reals), strict=True):
    np.testing.assert_allclose(ours.ss_xy, expected.ss_xy, rtol=1e-12)
doubles = slices.astype(np.float64)
smooth, expected = (backend.gaussian_filter(doubles, [2], axes=[2], mode=["reflect"]) for backend in (numba, numpy))
assert (smooth == expected).all()
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names a processor of this architecture")
def test_code_for_another_processor_has_none_of_this_ones_instructions(copy):
    run_python(PLAIN_PROCESSOR, copy, NUMBA_CACHE_DIR=str(copy / "kept"), NUMBA_CPU_NAME="x86-64")


def test_a_change_in_one_module_recompiles_what_calls_it(copy):
    """Numba alone looks at the file of the function that is called."""
    folder = copy / "gpu_stackcorr/backends/numba_"
    (folder / "inner.py").write_text(
        "from .compiler import inner\n\n@inner\ndef after(x):\n    return x + 1\n", encoding="utf-8"
    )
    (folder / "outer.py").write_text(
        "from .compiler import jit\nfrom .inner import after\n\n@jit\ndef outer(x):\n    return 10 * after(x)\n",
        encoding="utf-8",
    )
    code = "from gpu_stackcorr.backends.numba_.outer import outer; print(outer(1))"
    variables = {"NUMBA_CACHE_DIR": str(copy / "cache")}
    assert run_python(code, copy, **variables).stdout.strip() == "20"
    text = (folder / "inner.py").read_text(encoding="utf-8").replace("x + 1", "x + 2")
    (folder / "inner.py").write_text(text, encoding="utf-8")
    assert run_python(code, copy, **variables).stdout.strip() == "30"


def test_the_first_call_says_on_a_terminal_that_it_compiles(copy):
    pty = pytest.importorskip("pty")
    environment = {**os.environ, "PYTHONPATH": str(copy), "NUMBA_CACHE_DIR": str(copy / "cache")}

    def said() -> bytes:
        terminal, inside = pty.openpty()
        done = subprocess.run([sys.executable, "-c", SMOOTH], stderr=inside, env=environment, cwd=copy, timeout=300)
        os.close(inside)
        assert done.returncode == 0
        try:
            return os.read(terminal, 10_000)
        except OSError:  # what Linux answers where nothing was written
            return b""
        finally:
            os.close(terminal)

    assert said().count(b"compiling") == 1
    assert b"compiling" not in said()


def test_other_functions_are_compiled_as_ever():
    """Numba tells of every function that it compiles; one made by ``exec`` has no module."""
    numba = pytest.importorskip("numba")
    made: dict[str, object] = {"__name__": None}
    exec("def successor(x):\n    return x + 1", made)
    assert made["successor"].__module__ is None
    assert numba.njit(made["successor"])(1) == 2


def test_python_may_call_what_only_compiled_code_calls():
    """Without a wrapper, machine code that was called from there would end the process."""
    from gpu_stackcorr.backends.numba_.compiler import inner, jit

    def successor(x):
        return x + 1

    alone = inner(successor)

    def twice(x):
        return alone(alone(x))

    assert jit(twice)(1) == 3
    assert alone(1) == 2


def test_nobody_looks_for_garbage_while_code_is_compiled():
    numba = pytest.importorskip("numba")

    class Witness(numba.core.event.Listener):
        looked = True

        def on_start(self, event):
            self.looked = gc.isenabled()

        def on_end(self, event):
            """Have seen enough."""

    def successor(x):
        return x + 1

    successor.__module__ = f"{parallel.__package__}.successor"
    compiled, witness = numba.njit(successor), Witness()
    with numba.core.event.install_listener("numba:compile", witness):
        compiled(1)
    assert not witness.looked
    assert gc.isenabled()
    gc.disable()
    try:
        compiled(1.0)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_nothing_is_said_elsewhere(copy):
    assert run_python(SMOOTH, copy, NUMBA_CACHE_DIR=str(copy / "cache")).stderr == ""


# Without Numba.


def test_the_automatic_choice_goes_on_without_numba(copy, monkeypatch, caplog):
    """Where Numba refuses the interpreter, the reason is logged once, and NumPy computes."""
    (copy / "numba.py").write_text("raise ImportError('Numba needs an older Python\\nthan this')\n", encoding="utf-8")
    code = """if True:
        import logging
        logging.basicConfig(level="INFO", format="%(message)s")
        from gpu_stackcorr import get_backend
        print(get_backend().name, get_backend().name)"""
    done = run_python(code, copy, GPU_STACKCORR_BACKEND="")
    assert done.stdout.split() == ["numpy", "numpy"]
    assert done.stderr.count("not on numba: Numba cannot be imported: Numba needs an older Python\n") == 1


def test_numba_is_chosen_where_it_is(monkeypatch):
    monkeypatch.delenv("GPU_STACKCORR_BACKEND", raising=False)
    if backends.probe("cuda").available:
        pytest.skip("a GPU comes first")
    _automatic.cache_clear()
    assert get_backend().name == "numba"


def test_the_choice_is_logged(monkeypatch, caplog):
    monkeypatch.delenv("GPU_STACKCORR_BACKEND", raising=False)
    _automatic.cache_clear()
    with caplog.at_level(logging.INFO, "gpu_stackcorr"):
        name = get_backend().name
    assert f"computing on {name}" in caplog.text

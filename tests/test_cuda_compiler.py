"""What machine code is kept of, and that many processes may do so at once. NVRTC compiles; no GPU is needed."""

import os
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import gpu_stackcorr
from gpu_stackcorr.backends.cuda_ import compiler, loader
from gpu_stackcorr.errors import BackendError

KERNEL = "convert<u8, float>"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder for machine code. Skips where there is no NVRTC."""
    try:
        with warnings.catch_warnings(action="ignore"):  # CuPy warns where it finds no CUDA
            import cupy  # noqa: F401
        compiler.version()
    except Exception as error:
        if os.environ.get("REQUIRE_NVRTC") == "1":
            pytest.fail(f"REQUIRE_NVRTC=1, but {error!r}")
        pytest.skip(f"NVRTC cannot be had: {str(error).splitlines()[0]}")
    monkeypatch.setenv(compiler.VARIABLE, str(tmp_path))
    compiler._folder.cache_clear()
    yield tmp_path
    compiler._folder.cache_clear()


@pytest.fixture
def count(monkeypatch):
    """Count what is compiled."""
    options = []
    compile_ = compiler._compile
    monkeypatch.setattr(compiler, "_compile", lambda *args: options.append(args[2][-1]) or compile_(*args))
    return options


def test_a_kernel_is_compiled_once(folder, count):
    first = compiler.compiled("convert.cu", KERNEL, 80)
    assert compiler.compiled("convert.cu", KERNEL, 80) == first
    assert count == ["-arch=sm_80"]
    assert first.path.parent == folder
    assert first.path.read_bytes()[:4] == b"\x7fELF"
    assert first.name.encode() in first.path.read_bytes()


@pytest.mark.parametrize("capability", [75, 90, 120])
def test_machine_code_is_whole(folder, capability):
    """CuPy's door to NVRTC drops the last byte, and the driver reads this file as it lies."""
    code = compiler.compiled("convert.cu", KERNEL, capability).path.read_bytes()
    segments, sections = struct.unpack_from("<QQ", code, 32)
    sizes = struct.unpack_from("<4H", code, 54)
    assert len(code) == max(segments + sizes[0] * sizes[1], sections + sizes[2] * sizes[3])


def test_all_that_matters_makes_another(folder, count, monkeypatch):
    import cupy

    seen = {compiler.compiled("convert.cu", KERNEL, 80).path}

    def another():
        path = compiler.compiled("convert.cu", KERNEL, 80).path
        new = path not in seen
        seen.add(path)
        return new

    assert not another()
    seen.add(compiler.compiled("convert.cu", KERNEL, 90).path)
    seen.add(compiler.compiled("convert.cu", "convert<u8, double>", 80).path)
    assert len(seen) == len(count) == 3
    text = loader.source("convert.cu")
    with monkeypatch.context() as patch:  # an edited header is in the text
        patch.setattr(compiler, "source", lambda file: text + "\n// edited")
        assert another()
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "OPTIONS", (*compiler.OPTIONS, "-DNDEBUG"))
        assert another()
    with monkeypatch.context() as patch:
        patch.setattr(cupy, "__version__", "15.0")
        assert another()
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "version", lambda: "99.0")
        assert another()
    assert not another()


@pytest.mark.parametrize("suffix", [".bin", ".json"])
@pytest.mark.parametrize("damage", [lambda content: content[:20], lambda content: b"", lambda content: b"[1]"])
def test_what_is_torn_is_made_again(folder, count, suffix, damage):
    first = compiler.compiled("convert.cu", KERNEL, 80)
    path, code = first.path.with_suffix(suffix), first.path.read_bytes()
    path.write_bytes(damage(path.read_bytes()))
    assert compiler.compiled("convert.cu", KERNEL, 80) == first
    assert len(count) == 2
    assert first.path.read_bytes() == code
    assert compiler.compiled("convert.cu", KERNEL, 80) == first
    assert len(count) == 2
    assert len(list(folder.iterdir())) == 2


def test_newer_gpus_get_what_their_driver_translates(folder, count):
    module = compiler.compiled("convert.cu", KERNEL, 999)
    assert count[0].startswith("-arch=compute_")
    assert b".version" in module.path.read_bytes()


def test_older_gpus_are_refused(folder):
    with pytest.raises(BackendError, match=r"NVRTC .* does not know GPUs of compute capability 3\.5"):
        compiler.compiled("convert.cu", KERNEL, 35)


def test_the_compilers_first_error_is_told(folder):
    with pytest.raises(BackendError, match=r"^kernel convert<nonsense> does not compile \(-arch=sm_80\): .*error: "):
        compiler.compiled("convert.cu", "convert<nonsense>", 80)
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_written_is_replaced_for_the_process(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(compiler.VARIABLE, str(tmp_path / "file"))
    compiler._folder.cache_clear()
    module = compiler.compiled("convert.cu", KERNEL, 80)
    assert module.path.is_file()
    assert tmp_path not in module.path.parents


def test_many_processes_at_once(folder):
    code = f"""if True:
        import warnings
        warnings.simplefilter("ignore")
        from gpu_stackcorr.backends.cuda_.compiler import compiled
        for n in range(3):
            module = compiled("convert.cu", {KERNEL!r}, 80)
            assert module.path.read_bytes()[:4] == b"\\x7fELF"
        print(module.name, module.path.name)"""
    root = str(Path(gpu_stackcorr.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = {process.communicate()[0] for process in processes}
    assert all(process.returncode == 0 for process in processes)
    assert len(said) == 1
    assert sorted(path.suffix for path in folder.iterdir()) == [".bin", ".json"]

"""The emulator of CUDA: every planted bug is shown, no correct kernel is accused, wrong launches are refused."""

import re
from functools import cache

import numpy as np
import pytest
from emulator import EmulatorError, build, emulated_device, sanitizers
from emulator.availability import require_emulator
from emulator.device import EmulatedDevice
from emulator.planted_bugs import BUGS, FOLDER, expected, launch
from emulator.translate import global_functions, rewrite, translate

SCHEDULES = [("in order", 0), ("reversed", 0), ("random", 0), ("random", 1)]


@pytest.fixture(scope="module")
def device():
    device = emulated_device("emulator", watched=True)
    device.sources = FOLDER
    return device


@pytest.fixture(scope="module")
def correct():
    """Give each planted bug's result in every schedule that ends without an error, and the errors."""
    require_emulator()
    devices = {key: EmulatedDevice(key[0], seed=key[1], sources=FOLDER, watched=True) for key in SCHEDULES}

    @cache
    def run(name):
        results, errors = [], []
        for device in devices.values():
            try:
                results.append(np.array_equal(launch(name, device), expected()))
            except EmulatorError as error:
                errors.append(str(error))
        return results, errors

    return run


# Planted bugs


def test_every_planted_bug_is_listed():
    assert set(BUGS) == global_functions(FOLDER / "planted_bugs.cu")


@pytest.mark.parametrize("name", [name for name, bug in BUGS.items() if bug.shown_by == "plain"])
def test_bug_shows_in_a_plain_run(correct, name):
    if name == "uninitialised_local" and not build.filled_locals():
        pytest.skip("this g++ cannot fill local variables")
    results, errors = correct(name)
    if BUGS[name].message:
        assert not results
        assert all(BUGS[name].message in error for error in errors)
    else:
        assert not errors
        assert not all(results)


@pytest.mark.parametrize("name", [name for name, bug in BUGS.items() if bug.shown_by != "plain"])
def test_bug_needs_its_sanitizer(correct, name):
    assert correct(name) == ([True] * len(SCHEDULES), [])


def test_schedules_show_what_the_order_of_threads_hides(correct):
    results, _ = correct("no_barrier")
    assert results[0]
    assert not all(results[2:])


def reports(sanitizer):
    """Return what a sanitizer says of each planted bug that it should show."""
    run = sanitizers.run_python(sanitizer, ["-m", "emulator.planted_bugs"], halt=False)
    return sanitizers.by_section(run.stderr)


@pytest.mark.parametrize("sanitizer", sanitizers.LIBRARIES)
def test_sanitizer_shows_its_bugs(sanitizer):
    said = reports(sanitizer)
    assert set(said) == {name for name, bug in BUGS.items() if bug.shown_by == sanitizer}
    for name in said:
        assert BUGS[name].message in said[name]
        assert f"planted_bugs.cu:{line_of(name)}" in said[name]


def line_of(name):
    """Return the line that a report should name: the one in the kernel where `out` is written last."""
    lines = (FOLDER / "planted_bugs.cu").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if f" {name}(" in line)
    end = next(i for i in range(first, len(lines)) if lines[i] == "}")
    return 1 + max(i for i in range(first, end) if "out[" in lines[i])


@pytest.mark.parametrize("sanitizer", sanitizers.LIBRARIES)
def test_selection_runs_clean_under_sanitizer(sanitizer):
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    run = sanitizers.run_python(sanitizer, ["-m", "pytest", *options, *sanitizers.SELECTION])
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert " passed" in run.stdout


# Launches


def arguments(device):
    """Return right arguments of ``lost_element(float*, const float*, int)``."""
    return [device.empty((64,), "f4"), device.to_device(expected()), np.int32(64)]


@pytest.mark.parametrize(
    ("position", "wrong", "message"),
    [
        (0, lambda device: np.zeros(64, "f4"), "array of the host"),
        (0, lambda device: device.empty((64,), "f8"), "array of float64 for a pointer to f4"),
        (0, lambda device: device.empty((64,), "i4"), "array of int32 for a pointer to f4"),
        (0, lambda device: device.empty((64,), ">f4"), "foreign byte order"),
        (0, lambda device: device.empty((128,), "f4")[::2], "not C-contiguous"),
        (0, lambda device: read_only(device.empty((64,), "f4")), "read-only"),
        (0, lambda device: 64, "int for a pointer"),
        (2, lambda device: 64, "give a NumPy scalar"),
        (2, lambda device: np.int64(64), "int64 scalar for a parameter of type i4"),
        (2, lambda device: np.uint32(64), "uint32 scalar for a parameter of type i4"),
        (2, lambda device: np.float32(64), "float32 scalar"),
        (2, lambda device: device.empty((1,), "i4"), "give a NumPy scalar"),
    ],
)
def test_wrong_argument_is_refused(device, position, wrong, message):
    values = arguments(device)
    values[position] = wrong(device)
    with pytest.raises(TypeError, match=re.escape(f"argument {position}: ") + ".*" + re.escape(message)):
        device.kernel("planted_bugs.cu", "lost_element")((1,), (64,), values)


def read_only(array):
    """Return the array, not writeable."""
    array.flags.writeable = False
    return array


def test_number_of_arguments(device):
    with pytest.raises(TypeError, match="2 arguments for 3 parameters"):
        device.kernel("planted_bugs.cu", "lost_element")((1,), (64,), arguments(device)[:2])


@pytest.mark.parametrize("fields", [[("v", "f4", 5)], [("v", "f4", 3)]])
def test_structure_of_another_size(device, fields):
    values = [device.empty((8,), "f4"), device.empty((8,), "f4"), np.zeros((), fields)[()], np.int32(8)]
    with pytest.raises(TypeError, match=r"argument 2: .* scalar for a parameter of type V16"):
        device.kernel("example_kernels.cu", "filtered<3>")((1,), (32,), values)


def test_read_only_array_for_a_pointer_to_const(device):
    values = arguments(device)
    values[1].flags.writeable = False
    device.kernel("planted_bugs.cu", "lost_element")((1,), (64,), values)
    np.testing.assert_array_equal(values[0][:63], values[1][:63])


@pytest.mark.parametrize(
    ("grid", "block", "shared_bytes", "message"),
    [
        ((1,), (1025,), 0, "invalid block size"),
        ((1,), (32, 33), 0, "invalid block size"),
        ((1,), (1, 1, 65), 0, "invalid block size"),
        ((1,), (0,), 0, "invalid block size"),
        ((0,), (64,), 0, "empty grid"),
        ((1, 65536), (64,), 0, "invalid grid size"),
        ((1,), (64,), 228 * 1024, "more than 227 KiB"),
    ],
)
def test_launch_that_a_gpu_refuses(device, grid, block, shared_bytes, message):
    with pytest.raises(EmulatorError, match=message):
        device.kernel("planted_bugs.cu", "lost_element")(grid, block, arguments(device), shared_bytes=shared_bytes)


def test_launch_beyond_launch_bounds(device):
    values = [device.empty((64,), "f4"), device.empty((2,), "f8")]
    with pytest.raises(EmulatorError, match="more threads than __launch_bounds__"):
        device.kernel("example_kernels.cu", "block_sum<float, double, 32>")((2,), (33,), values)


def test_device_works_on_after_an_error(device):
    for name in ("two_barriers", "half_a_warp_shuffles", "writes_beyond_array", "null_pointer", "wild_pointer"):
        with pytest.raises(EmulatorError):
            device.kernel("planted_bugs.cu", name)((1,), (64,), arguments(device))
        values = arguments(device)
        device.kernel("planted_bugs.cu", "reads_beyond_array_unused")((1,), (64,), values)
        np.testing.assert_array_equal(values[0], values[1])


def test_random_schedule_is_the_same_every_time(device):
    devices = [EmulatedDevice("random", seed=seed, sources=FOLDER) for seed in (3, 3, 4)]
    runs = [launch("order_of_tickets", device).tolist() for device in devices]
    assert runs[0] == runs[1] != runs[2]


def test_unknown_schedule():
    with pytest.raises(ValueError, match="alphabetical"):
        EmulatedDevice("alphabetical")


# Memory


def test_empty_array_is_full_of_nan(device):
    assert np.isnan(device.empty((3, 5), "f8")).all()
    assert (device.empty((4,), "i2") == -1).all()
    assert device.empty((0, 7), "f4").shape == (0, 7)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(4, 6)[::-1, ::2],
        np.arange(5, dtype=">i4"),
        np.array(3.5),
        np.zeros((2, 0)),
        np.array([True, False]),
    ],
)
def test_to_device_copies(device, array):
    copy = device.to_device(array)
    assert copy.flags.c_contiguous
    assert copy.dtype.isnative
    assert copy.ctypes.data % 256 == 0
    np.testing.assert_array_equal(copy, array)
    assert not np.shares_memory(copy, array)
    assert device.to_device(copy) is copy
    back = device.to_host(copy)
    np.testing.assert_array_equal(back, array)
    assert not np.shares_memory(back, copy)


def test_device_memory_runs_out(device):
    device = EmulatedDevice(memory_bytes=1000)
    first = device.empty((200,), "f4")
    assert device.free_bytes() == 200
    with pytest.raises(MemoryError, match="804 bytes asked of an emulated device with 200 left"):
        device.empty((201,), "f4")
    view = first[10:]
    del first
    assert device.free_bytes() == 200
    del view
    assert device.free_bytes() == 1000


# Sources


def test_source_that_does_not_compile(tmp_path, device):
    (tmp_path / "wrong.cu").write_text("__global__ void wrong(int* out) { out[0] = undeclared; }\n")
    with pytest.raises(RuntimeError, match=r"wrong\.cu:1:.*undeclared"):
        EmulatedDevice(sources=tmp_path).kernel("wrong.cu", "wrong")


def test_headers_count_in_the_key(tmp_path, device):
    (tmp_path / "kernel.cu").write_text('#include "header.cuh"\n__global__ void set(int* out) { *out = VALUE; }\n')
    for value in (1, 2):
        (tmp_path / "header.cuh").write_text(f"#pragma once\n#define VALUE {value}\n")
        changed = EmulatedDevice(sources=tmp_path)
        out = changed.empty((1,), np.int32)
        changed.kernel("kernel.cu", "set")((1,), (1,), [out])
        assert out[0] == value


def test_kernel_is_built_once(device, monkeypatch):
    first = build.kernel(FOLDER / "planted_bugs.cu", "lost_element")
    monkeypatch.setattr(build.subprocess, "run", None)
    assert build.kernel(FOLDER / "planted_bugs.cu", "lost_element") == first


@pytest.mark.parametrize(
    ("declaration", "translation"),
    [
        (
            "__shared__ float a[4][N + 1];",
            "typedef float a_shared[4][N + 1]; a_shared& a = emulator::shared<a_shared>([] {});",
        ),
        (
            "__shared__ __align__(16) typename Kind<T, 2>::Sum a;",
            "typedef typename Kind<T, 2>::Sum a_shared; a_shared& a = emulator::shared<a_shared>([] {}, 16);",
        ),
        (
            "extern __shared__ __align__(alignof(T)) unsigned char a[];",
            "unsigned char* const a = static_cast<unsigned char*>(emulator::dynamic_shared(alignof(T)));",
        ),
        (
            "__global__ void __launch_bounds__(32 * f(W), 2)\n name(int* p) {\n}",
            "__global__ void __launch_bounds__(32 * f(W), 2)\n name(int* p) {"
            " emulator::check_launch_bounds(32 * f(W), 2);\n}",
        ),
    ],
)
def test_rewriting(declaration, translation):
    assert rewrite(declaration) == translation


@pytest.mark.parametrize("declaration", ["__shared__ int a, b;", "__shared__ int a = 1;"])
def test_shared_memory_that_is_not_understood(declaration):
    with pytest.raises(ValueError, match="one variable a declaration"):
        rewrite(declaration)


def test_system_header_is_refused(tmp_path):
    (tmp_path / "kernel.cu").write_text("#include <cstdint>\n")
    with pytest.raises(ValueError, match="<cstdint>: a kernel includes project headers only"):
        translate(tmp_path / "kernel.cu", "kernel")

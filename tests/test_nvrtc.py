"""The CUDA sources as NVRTC compiles them for several architectures, with the options of the loader. It needs no GPU.

Of the instantiations that launch code asks for it compiles those that have every value of a template argument once, for
MAIN and the oldest architecture; with ``--full``, all for MAIN, and every value once for each of the others. What does
not fit the registers of a thread spills into memory; ptxas says how much, and both are held to a limit.
"""

import os
import re
import warnings

import pytest
from emulator.asked import asked_instantiations, few_of
from emulator.planted_bugs import BUGS, FOLDER
from emulator.translate import global_functions

from gpu_stackcorr.backends.cuda_.loader import kernel_directory, source

ARCHITECTURES = [75, 80, 90, 100, 120]
MAIN = 90
KERNELS = [
    (path.name, kernel) for path in sorted(kernel_directory().glob("*.cu")) for kernel in sorted(global_functions(path))
]
MAX_REGISTERS = 128  # which leave room for two blocks of 256 threads
MAX_SPILL_BYTES = 64  # stored and loaded; not 0: compilers differ by a few bytes
SPILL_BYTES = {"sum_shifted": 128, "warp_rows": 72, "sum_centred": 164, "warp_moments": 128}
"""By kernel, where a thread may spill more. sum_shifted: 96, four references of 16 bits. sum_centred: 160 on sm_120
alone, with eight references. warp_rows: 72 on sm_120 alone, of integers computed in float64. warp_moments: 116 of 16
bits on sm_90, one component of displacements while the other is smoothed, so that three blocks run at once."""
EXAMPLES = {
    "example_kernels.cu": [
        *["ranks", "reversed_twice", "shuffles", "neighbours", "votes", "part_of_a_warp", "histogram"],
        *["last_block_adds", "integers", "reals", "constants", "filtered<3>", "reversed<double>"],
        *["block_sum<unsigned char, unsigned, 64>", "block_sum<float, double, 32>"],
    ],
    "planted_bugs.cu": list(BUGS),
}
RESOURCES = re.compile(
    r"Compiling entry function '(?P<name>\S+)' for"
    r".*?(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


@pytest.fixture(scope="module")
def nvrtc():
    """Give CuPy's door to NVRTC. It loads the library when it is first asked something."""
    try:
        with warnings.catch_warnings(action="ignore"):  # CuPy warns where it finds no CUDA
            from cupy.cuda import nvrtc
        nvrtc.getVersion()
    except Exception as error:  # ImportError, or CuPy's own where the library is missing
        if os.environ.get("REQUIRE_NVRTC") == "1":
            pytest.fail(f"REQUIRE_NVRTC=1, but {error!r}")
        pytest.skip(f"NVRTC cannot be had: {str(error).splitlines()[0]}")
    return nvrtc


def compiled(nvrtc, text, file, names, architecture):
    """Compile as the loader does, and return what ptxas says of each name: registers and bytes spilled."""
    if architecture not in nvrtc.getSupportedArchs():
        pytest.skip(f"NVRTC {nvrtc.getVersion()} does not know sm_{architecture}")
    from gpu_stackcorr.backends.cuda_.compiler import OPTIONS

    asked = ["--ptxas-options=-v", "--ptxas-options=--warn-on-spills"]
    program = nvrtc.createProgram(text, file, (), ())
    try:
        for name in names:
            nvrtc.addNameExpression(program, name)
        try:
            nvrtc.compileProgram(program, (*OPTIONS, f"-arch=sm_{architecture}", *asked))
        except nvrtc.NVRTCError:
            pytest.fail(f"{file}, sm_{architecture}:\n{nvrtc.getProgramLog(program)}")
        names_of = {nvrtc.getLoweredName(program, name): name for name in names}
        log = nvrtc.getProgramLog(program)
    finally:
        nvrtc.destroyProgram(program)
    return {
        names_of[match["name"]]: (int(match["registers"]), int(match["stores"]) + int(match["loads"]))
        for match in RESOURCES.finditer(log)
        if match["name"] in names_of
    }


def pytest_generate_tests(metafunc):
    if "architecture" in metafunc.fixturenames:
        some = ARCHITECTURES if metafunc.config.getoption("full") else [ARCHITECTURES[0], MAIN]
        metafunc.parametrize("architecture", some)


@pytest.mark.parametrize(("file", "kernel"), KERNELS)
def test_kernels_compile_and_fit_the_registers(nvrtc, file, kernel, architecture, pytestconfig):
    names = [name for name in asked_instantiations().get(file, []) if name.partition("<")[0] == kernel]
    assert names, "no launch code of tests/emulator/asked.py asks for it"
    if architecture != MAIN or not pytestconfig.getoption("full"):
        names = few_of(names)
    resources = compiled(nvrtc, source(file), file, names, architecture)
    assert set(resources) == set(names)
    most_spilled = SPILL_BYTES.get(kernel, MAX_SPILL_BYTES)
    too_much = {name: used for name, used in resources.items() if used[0] > MAX_REGISTERS or used[1] > most_spilled}
    assert not too_much, "registers, bytes spilled"


@pytest.mark.parametrize("file", EXAMPLES)
def test_what_the_emulator_is_tried_on_is_cuda(nvrtc, file):
    text = (FOLDER / file).read_text().replace('#include "example_taps.cuh"', (FOLDER / "example_taps.cuh").read_text())
    assert set(compiled(nvrtc, text, file, EXAMPLES[file], 80)) == set(EXAMPLES[file])


def test_limits_are_measured(nvrtc):
    """A kernel that needs more than its launch bounds leave spills, and the log says so."""
    values = "".join(f"float v{i} = in[{i} * 256 + t];" for i in range(100))
    sums = "".join(f"for (int i = 0; i < n; i++) v{i} = v{i} * v{(i * 37 + 11) % 100} + 1;" for i in range(100))
    total = " + ".join(f"v{i}" for i in range(100))
    text = f"""extern "C" __global__ void __launch_bounds__(1024) spills(float* out, const float* in, int n) {{
      int t = threadIdx.x; {values} {sums} out[t] = {total}; }}"""
    ((registers, spilled),) = compiled(nvrtc, text, "spills.cu", ["spills"], 80).values()
    assert registers <= 64
    assert spilled > MAX_SPILL_BYTES

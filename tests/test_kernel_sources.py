"""The CUDA sources: found where the package looks for them, written as kernels/README.md says, Philox as NumPy's."""

import re

import numpy as np
import pytest
from emulator import EmulatedDevice
from emulator.availability import require_emulator
from emulator.translate import COMMENT

from gpu_stackcorr.backends.cuda_.loader import kernel_directory

SOURCES = sorted(kernel_directory().glob("*.cu*"))

WORDS = f"""
#include "{kernel_directory() / "philox.cuh"}"
__global__ void words(u64* out, u64 first, u64 seed, u64 stream) {{
  u64 word[4];
  philox_block(word, first + threadIdx.x, seed, stream);
  for (int i = 0; i < 4; i++) out[4 * threadIdx.x + i] = word[i];
}}
"""


def test_sources_are_found():
    assert {"common.cuh", "philox.cuh"} <= {path.name for path in SOURCES}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Give a kernel that writes Philox's words, and the device it runs on."""
    require_emulator()
    folder = tmp_path_factory.mktemp("philox")
    (folder / "words.cu").write_text(WORDS)
    device = EmulatedDevice(sources=folder)
    return device, device.kernel("words.cu", "words")


@pytest.mark.parametrize(("seed", "stream"), [(0, 0), (5, 7), (2**64 - 1, 1 << 56 | 2 << 48 | 12345)])
@pytest.mark.parametrize("block", [0, 1, 2**40])
def test_philox_gives_numpys_words(words, seed, stream, block):
    device, kernel = words
    numpys = np.random.Philox(key=np.array([seed, stream], np.uint64))
    numpys.advance(block)
    drawn = device.empty((12,), np.uint64)
    kernel((1,), (3,), [drawn, *map(np.uint64, (block, seed, stream))])
    assert drawn.tolist() == numpys.random_raw(12).tolist()


RULES = [
    (r"#\s*include\s*<", "#include <cstdint>", "NVRTC has no system headers where no CUDA toolkit is installed"),
    (r"\batomic\w+\(.*\b(float|double)\b", "atomicAdd((float*)sum, v);", "a floating-point sum has one order"),
    (r"\basm\b", 'asm("bar.sync 0;");', "the emulator runs C++ only; ASSEMBLY has C++ beside it"),
    (r"\b__(\w+f|fdividef)\((?<!__saturatef\()", "y = __expf(x);", "no fast mathematics"),
    (r"\b__(shfl(_\w+)?|any|all|ballot)(?<!_sync)\(", "__shfl_down(v, 1)", "collectives name their lanes"),
    (r"(?<!long )\blong\b(?! long)", "unsigned long n", "long has another size on Windows"),
]

ASSEMBLY = ("async_copy.cuh", "load_tap.cuh")


@pytest.mark.parametrize(("forbidden", "example", "reason"), RULES)
def test_sources_keep_the_rules(forbidden, example, reason):
    assert re.search(forbidden, example)
    found = [reason]
    for path in SOURCES:
        if forbidden == r"\basm\b" and path.name in ASSEMBLY:
            continue
        code = COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), path.read_text())
        found += [
            f"{path.name}:{i}: {line}" for i, line in enumerate(code.split("\n"), 1) if re.search(forbidden, line)
        ]
    assert found == [reason]

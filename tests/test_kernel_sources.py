"""The CUDA sources: found where the package looks for them, and right when compiled for the host."""

import shutil
import subprocess

import numpy as np
import pytest

from gpu_stackcorr.backends.cuda_.loader import kernel_directory

HOST = """
#include <cstdio>
#include <cstdlib>
#define __device__
#define __forceinline__ inline
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
#include "philox.cuh"
int main(int, char** argument) {
  for (u64 block = strtoull(argument[3], 0, 10), end = block + 3; block < end; block++) {
    u64 word[4];
    philox_block(word, block, strtoull(argument[1], 0, 10), strtoull(argument[2], 0, 10));
    for (u64 w : word) printf("%llu\\n", w);
  }
}
"""


def test_sources_are_found():
    assert {"common.cuh", "philox.cuh"} <= {path.name for path in kernel_directory().iterdir()}


@pytest.fixture(scope="module")
def philox_program(tmp_path_factory):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    folder = tmp_path_factory.mktemp("philox")
    (folder / "philox.cpp").write_text(HOST)
    options = ["-std=c++17", "-Wall", "-Wno-unknown-pragmas", "-Werror", f"-I{kernel_directory()}"]
    subprocess.run([compiler, *options, "philox.cpp", "-o", "philox"], cwd=folder, check=True)
    return folder / "philox"


@pytest.mark.parametrize(("seed", "stream"), [(0, 0), (5, 7), (2**64 - 1, 1 << 56 | 2 << 48 | 12345)])
@pytest.mark.parametrize("block", [0, 1, 2**40])
def test_philox_gives_numpys_words(philox_program, seed, stream, block):
    numpys = np.random.Philox(key=np.array([seed, stream], np.uint64))
    numpys.advance(block)
    run = subprocess.run([philox_program, *map(str, (seed, stream, block))], capture_output=True, text=True, check=True)
    assert [int(line) for line in run.stdout.split()] == numpys.random_raw(12).tolist()

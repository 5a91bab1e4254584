// cuda_emulator.h: lets a CUDA C++ kernel compile as host C++. `translate.py` puts it before the kernel's source.
#pragma once
// The C library's own header and not libstdc++'s around it, which takes three quarters of the time of a build.
#define _GLIBCXX_INCLUDE_NEXT_C_HEADERS
#include <math.h>
#include <stdlib.h>
#undef _GLIBCXX_INCLUDE_NEXT_C_HEADERS
#include <string.h>

#include <type_traits>
#include <utility>

#include "engine.h"

#define CUDA_EMULATOR 1
#define __CUDA_ARCH__ 800
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define __grid_constant__
#define __grid_constant__

#define EMULATOR_HERE (emulator::Place{__FILE__, __LINE__})
#define threadIdx (emulator::current->index)
#define blockIdx (emulator::block_index)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)
enum { warpSize = 32 };

#undef assert
#define assert(condition) ((condition) ? (void)0 : emulator::fail("assert(" #condition ")", EMULATOR_HERE))
#define __trap() emulator::fail("__trap()", EMULATOR_HERE)

#define __syncthreads() ((void)emulator::block_barrier(EMULATOR_HERE, emulator::Vote::none, false))
#define __syncthreads_count(p) emulator::block_barrier(EMULATOR_HERE, emulator::Vote::count, (p) != 0)
#define __syncthreads_and(p) emulator::block_barrier(EMULATOR_HERE, emulator::Vote::all, (p) != 0)
#define __syncthreads_or(p) emulator::block_barrier(EMULATOR_HERE, emulator::Vote::any, (p) != 0)
#define __threadfence() emulator::fence()
#define __threadfence_block() __threadfence()

namespace emulator {
inline void check_launch_bounds(unsigned threads, unsigned = 0, unsigned = 0) {
  if (block_size.x * block_size.y * block_size.z > threads) fail("more threads than __launch_bounds__", {"launch", 0});
}
// `translate.py` makes a __shared__ declaration a reference to this. The tag is a lambda, which has a type of its own
// in every instantiation of the template around it, as the variable has a place of its own on a GPU.
template <class T, class Tag>
T& shared(Tag, size_t alignment = alignof(T)) {
  static const char variable = 0;
  return *static_cast<T*>(static_shared(&variable, sizeof(T), alignment));
}
}  // namespace emulator

#include "vectors.h"
#include "arithmetic.h"
#include "atomics.h"
#include "entry.h"
#include "warp.h"

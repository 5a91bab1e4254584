// common.cuh: the words that every kernel uses. No system headers, so that NVRTC and a host compiler both take it.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// A C-ordered array of up to four axes, or a box of one: sizes and steps in elements. Passed by value.
constexpr int MAX_AXES = 4;

struct Axes {
  i64 size[MAX_AXES];
  i64 step[MAX_AXES];
};

// The offset of flat position `index` of an array of these axes; the last axis moves fastest.
__device__ __forceinline__ i64 offset_of(const Axes& axes, i64 index) {
  i64 offset = 0;
#pragma unroll
  for (int axis = MAX_AXES - 1; axis >= 0; axis--) {
    const i64 rest = index / axes.size[axis];
    offset += (index - rest * axes.size[axis]) * axes.step[axis];
    index = rest;
  }
  return offset;
}

// The sum over the lanes of a warp, the same in all of them. Every lane takes part.
template <class T> __device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

// block_sums.cuh: the sums over a block of pixels that the first stage of `moments` writes and the second reads.
#pragma once
#include "common.cuh"

constexpr int WARPS = 8;  // of a thread block
constexpr u32 ALL = 0xffffffffu;

// What an image has alone in a block: its shift, and sums of value - shift and of their squares.
template <class T> struct Alone {
  T shift, sum, square;
};

// The type of sums of a pair: exact integers where both are of bool, 8 or 16 bits.
template <bool EXACT> struct Wide {
  typedef double type;
};
template <> struct Wide<true> {
  typedef i64 type;
};
template <class Y, class X> using SumOf = typename Wide<(sizeof(Y) <= 2 && sizeof(X) <= 2)>::type;

__device__ __forceinline__ int multiply_add(int a, int b, int sum) { return a * b + sum; }
__device__ __forceinline__ i64 multiply_add(i64 a, i64 b, i64 sum) { return a * b + sum; }
__device__ __forceinline__ double multiply_add(double a, double b, double sum) { return fma(a, b, sum); }

// The mean over the lanes of value(i), i the pixel of a block that the lane found; -1 where it found none.
template <class Value> __device__ __forceinline__ double mean_of_found(int found, Value value) {
  const double sum = warp_sum(found < 0 ? 0.0 : value(found));
  return sum / max(1, __popc(__ballot_sync(ALL, found >= 0)));
}

constexpr int power_of_two(int least) { return least <= 4 ? 4 : least <= 8 ? 8 : least <= 16 ? 16 : 32; }

// Half of the lanes hand over the first HALF of their values, the others the second, until each lane has one.
template <int COUNT, int HALF, class T> __device__ __forceinline__ void halve(T (&value)[COUNT]) {
  constexpr int DISTANCE = 32 / COUNT * HALF;
  const bool upper = threadIdx.x & DISTANCE;
#pragma unroll
  for (int i = 0; i < HALF; i++) {
    const T other = __shfl_xor_sync(ALL, upper ? value[i] : value[i + HALF], DISTANCE);
    value[i] = (upper ? value[i + HALF] : value[i]) + other;
  }
  if constexpr (HALF > 1) halve<COUNT, HALF / 2>(value);
}

// The sums over the lanes of COUNT values; lane l has that of value l * COUNT / 32. Each is added as `warp_sum` does,
// to the bit, whatever COUNT is; 16 of them take 16 shuffles instead of 80.
template <int COUNT, class T> __device__ __forceinline__ T warp_sums(T (&value)[COUNT]) {
  halve<COUNT, COUNT / 2>(value);
#pragma unroll
  for (int distance = 16 / COUNT; distance > 0; distance /= 2) value[0] += __shfl_xor_sync(ALL, value[0], distance);
  return value[0];
}

// Write what `warp_sums` gave: for each of S slices sum y, sum y^2 and K products. `place` is lane * COUNT.
template <int K, int S, class T>
__device__ __forceinline__ void write_sums(T sum, int place, i64 first, i64 slice_count, int reference_count, i64 block,
                                           i64 blocks, Alone<T>* alone, T* products) {
  const int s = place / 32 / (2 + K), which = place / 32 % (2 + K);
  const i64 at = (first + s) * blocks + block;
  if (place % 32 || s >= S || first + s >= slice_count) return;
  if (which == 0) alone[at].sum = sum;
  if (which == 1) alone[at].square = sum;
  if (which >= 2 && which - 2 < reference_count) products[(which - 2) * slice_count * blocks + at] = sum;
}

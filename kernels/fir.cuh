// fir.cuh: pairs of taps of a symmetric filter, for OUT neighbouring outputs of a thread at once.
//
//   sum[i] += (in[i - t] + in[i + t]) w[t] for t = top, ..., bottom + 1
//
// This order wherever it is used, so that a block of a pass has the bits of the whole, and noise that is smoothed as it
// is drawn those of noise that was stored before. How a thread holds its samples: `gaussian.cu`.
#pragma once
#include "common.cuh"

constexpr int OUT = 8;  // outputs a thread

template <class T, int N> struct __align__(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack { T value[N]; };

__host__ __device__ constexpr int up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

__device__ __forceinline__ float with_pair(float sum, float left, float right, float weight) {
  return fmaf(left + right, weight, sum);
}
__device__ __forceinline__ double with_pair(double sum, double left, double right, double weight) {
  return sum + (left + right) * weight;
}

// OUT steps, of taps t0, t0 - 1, ...; of taps above `top` nothing is added. left[k] and right[k] hold the samples at
// k modulo OUT from output 0; PITCH lies between neighbours in shared memory, GROUP between samples OUT apart.
template <bool PARTIAL, int PITCH, int GROUP, class Real>
__device__ __forceinline__ void add_group(Real (&sum)[OUT], Real (&left)[OUT], Real (&right)[OUT],
                                          const Real* from_left, const Real* from_right,
                                          const Real* __restrict__ weights, int t0, int top) {
  const Pack<Real, OUT> weight = *(const Pack<Real, OUT>*)(weights + t0 - OUT);
#pragma unroll
  for (int s = 0; s < OUT; s++) {
    if (!PARTIAL || t0 - s <= top) {
#pragma unroll
      for (int j = 0; j < OUT; j++)
        sum[j] = with_pair(sum[j], left[(j + s) % OUT], right[(j + OUT - s) % OUT], weight.value[OUT - 1 - s]);
    }
    left[s] = from_left[GROUP + s * PITCH];
    right[OUT - 1 - s] = from_right[-GROUP + (OUT - 1 - s) * PITCH];
  }
}

// Adds the pairs of taps top, ..., bottom + 1; bottom is a multiple of OUT. from_left is where the sample up(top)
// before output 0 lies, from_right where the sample `bottom` behind it lies.
template <int PITCH, int GROUP, class Real>
__device__ __forceinline__ void add_pairs(Real (&sum)[OUT], const Real* from_left, const Real* from_right,
                                          const Real* __restrict__ weights, int top, int bottom) {
  Real left[OUT], right[OUT];
  int t0 = up(top, OUT);
  from_right += (t0 - bottom) / OUT * GROUP;
#pragma unroll
  for (int k = 0; k < OUT; k++) {
    left[k] = from_left[k * PITCH];
    right[k] = from_right[k * PITCH];
  }
  if (t0 > top) {
    add_group<true, PITCH, GROUP>(sum, left, right, from_left, from_right, weights, t0, top);
    t0 -= OUT, from_left += GROUP, from_right -= GROUP;
  }
#pragma unroll 1
  for (; t0 > bottom; t0 -= OUT, from_left += GROUP, from_right -= GROUP)
    add_group<false, PITCH, GROUP>(sum, left, right, from_left, from_right, weights, t0, top);
}

// Where a sample of a row lies in shared memory: threads OUT samples apart are on different banks.
__host__ __device__ constexpr int padded(int position) { return position + position / OUT; }

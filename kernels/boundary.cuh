// boundary.cuh: what stands beyond the ends of an axis, in SciPy's eight modes, for filters and for interpolation.
//
// Everything is arithmetic of integers: positions are an index and a fraction in [0, 1), n is the number of samples.
//
//   fold     which sample a tap at any index takes, or -1 where it takes the constant
//   enter    interpolation only: what a mode does to a position before its taps are known; CONSTANT may lose it, WRAP
//            moves it by multiples of n - 1. The taps beside the border are then mirrored.
//   nearest  interpolation of order 0 only: the index next to a position, not folded yet
//   Outside  which samples of a stretch of an axis are to be folded
//
// grid-mirror is REFLECT. A filter knows no positions: its modes wrap and constant are GRID_WRAP and GRID_CONSTANT.
// The mode is a run-time argument, as it is read where a tap is outside and nowhere else.
#pragma once
#include "common.cuh"

enum Mode { REFLECT, MIRROR, CONSTANT, WRAP, GRID_WRAP, NEAREST, GRID_CONSTANT };

// What is left of `index` after whole periods, in [0, period).
template <class Int> __device__ __forceinline__ Int modulo(Int index, Int period) {
  index %= period;
  return index < 0 ? index + period : index;
}

// Not inlined: the eight modes would be repeated wherever a tap is read, and hardly any tap is outside.
template <class Int> __device__ __noinline__ Int fold_outside(Int index, Int n, int mode) {
  if (mode == GRID_CONSTANT) return -1;
  if (mode == NEAREST || n == 1) return index < 0 ? 0 : n - 1;
  if (mode == GRID_WRAP) return modulo(index, n);  // a b c d | a b c d | a b c d
  const Int last = mode == REFLECT ? 2 * n - 1 : 2 * n - 2;
  index = modulo(index, mode == REFLECT ? 2 * n : last);  // d c b a | a b c d | d c b a  or  d c b | a b c d | c b a
  return index < n ? index : last - index;
}

// The sample, 0 to n - 1, that a tap at `index` takes; -1 where it takes the constant.
template <class Int> __device__ __forceinline__ Int fold(Int index, Int n, int mode) {
  return index >= 0 && index < n ? index : fold_outside(index, n, mode);
}

// Moves the position `index` + `fraction` as `mode` does; false where it is lost.
template <class Int, class Real> __device__ __forceinline__ bool enter(Int& index, Real fraction, Int n, int mode) {
  if (mode != CONSTANT && mode != WRAP) return true;
  if (index >= 0 && (index < n - 1 || (index == n - 1 && fraction == 0))) return true;
  if (mode == CONSTANT) return false;
  const Int period = n > 1 ? n - 1 : 1;
  if (index < 0) index += period * ((-index - (fraction > 0 ? 1 : 0)) / period + 1);  // minus floor(-x / period)
  else index %= period;
  return true;
}

// The index next to a position: a half goes up as the image is read. Where a reflection is read backwards "up" is down:
// SciPy folds first and rounds then, and so it is here.
template <class Int, class Real> __device__ __forceinline__ Int nearest(Int index, Real fraction, Int n, int mode) {
  if (fraction == (Real)0.5 && n > 1) {
    if (mode == REFLECT && modulo(index, 2 * n) >= n) return index;
    if (mode == MIRROR && modulo(index, 2 * n - 2) >= (index < 0 ? n - 1 : n)) return index;
  }
  return fraction >= (Real)0.5 ? index + 1 : index;
}

// A stretch of `count` samples of an axis of `length`, from `first` on: those before the axis, and from `end` on those
// behind it. Samples inside are loaded first, without a question asked, so that several loads are in flight.
struct Outside {
  int before, end, count;
  __device__ __forceinline__ Outside(i64 first, int count, i64 length) : count(count) {
    before = (int)min(max(-first, (i64)0), (i64)count);
    end = (int)min(max(length - first, (i64)0), (i64)count);
  }
  __device__ __forceinline__ int samples() const { return before + count - end; }
  __device__ __forceinline__ int sample(int k) const { return k < before ? k : k - before + end; }
};

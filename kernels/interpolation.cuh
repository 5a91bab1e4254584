// interpolation.cuh: where a position falls among the samples of an axis, the weights of its taps, and their sum.
//
//   value = sum over taps k, j, i of  image[fold(z + k), fold(y + j), fold(x + i)] w_k w_j w_i,   orders 0 to 5
//   w^m_j(t) = ((t + m - j) w^(m-1)_(j-1) + (1 + j - t) w^(m-1)_j) / m,   w^1 = (1 - t, t)
//
//   Uniform B-splines by de Boor's recursion, every term of which is positive (C. de Boor, J. Approx. Theory 6 (1972)
//   50-62). The division is a product with the reciprocal: one unit in the last place off. Splines of even order have
//   their knots between the samples.
//
// A position is an integer p plus a number d. d is split into its floor, which is added to p as an integer, and a
// fraction t in [0, 1), so that precision does not fall with p; d = -1e-17 is -1 + 1.0 after rounding, and becomes
// 0 + 0.0. The split is made in the wider of the types of d and of the arithmetic.
//
// Taps inside of the image go by constant steps from the first one. Only an axis with a tap outside, or a d that is no
// number or too large for Int, asks `boundary.cuh`, in 64 bits; the modes stay run-time arguments, as they are read
// there alone. Both ways weigh and sum in the same steps, so that which of them a position took does not show in its
// bits. Int holds offsets in a slice: 32 bits wherever they do.
#pragma once
#include "boundary.cuh"

constexpr double FARTHEST = 4611686018427387904.0;  // 2^62: from here on, like NaN, d leads outside of every image

// How a position was placed: its taps are neighbours in the image; some were folded into it; the constant stands for
// some; or it has none at all.
enum Placed { INSIDE, FOLDED, REPLACED, LOST };

template <int ORDER, class Int, class Real> struct Taps {
  Int offset[ORDER + 1];  // of the samples, in bytes; below 0 where the constant stands for one
  Real weight[ORDER + 1];
};

// What lies `bytes` behind `base`. An offset of 32 bits is one register beside a base that all threads share.
template <class T> __device__ __forceinline__ const T* behind(const void* base, int bytes) {
  return (const T*)((const char*)base + (u32)bytes);
}
template <class T> __device__ __forceinline__ const T* behind(const void* base, i64 bytes) {
  return (const T*)((const char*)base + bytes);
}

// Whether an index is 0 to count - 1; count is not below 0.
__device__ __forceinline__ bool is_among(int index, int count) { return (u32)index < (u32)count; }
__device__ __forceinline__ bool is_among(i64 index, i64 count) { return (u64)index < (u64)count; }

// The floor; saturated beyond the range of Int, anything for NaN.
__device__ __forceinline__ void floor_of(float d, int& whole) { whole = __float2int_rd(d); }
__device__ __forceinline__ void floor_of(double d, int& whole) { whole = __double2int_rd(d); }
__device__ __forceinline__ void floor_of(float d, i64& whole) { whole = __float2ll_rd(d); }
__device__ __forceinline__ void floor_of(double d, i64& whole) { whole = __double2ll_rd(d); }

// a + b without signed overflow: a saturated floor stays far outside.
__device__ __forceinline__ int wrapped_sum(int a, int b) { return (int)((u32)a + (u32)b); }
__device__ __forceinline__ i64 wrapped_sum(i64 a, i64 b) { return (i64)((u64)a + (u64)b); }

template <int ORDER, class Real> __device__ __forceinline__ void spline_weights(Real (&w)[ORDER + 1], Real t) {
  w[0] = 1 - t, w[ORDER > 0] = t;
#pragma unroll
  for (int m = 2; m <= ORDER; m++) {
    const Real scale = (Real)1 / m;
    w[m] = t * w[m - 1] * scale;
#pragma unroll
    for (int j = m - 1; j > 0; j--) w[j] = ((t + (m - j)) * w[j - 1] + ((1 + j) - t) * w[j]) * scale;
    w[0] = (1 - t) * w[0] * scale;
  }
}

// From the sample at or before a position to the first tap: an even ORDER goes to the knots, half a sample away.
template <int ORDER, class Index, class Number>
__device__ __forceinline__ void to_first_tap(Index& first, Number& t) {
  if (ORDER % 2 == 0) {
    const bool up = t >= (Number)0.5;
    first = wrapped_sum(first, (Index)up);
    t = up ? t - (Number)0.5 : t + (Number)0.5;
  }
  first = wrapped_sum(first, (Index)(-(ORDER / 2)));
}

// A number d as floor and fraction, where it is not large; t is not in [0, 1) where it is, or where d is NaN or -1e-17.
template <class Int, class Real> struct Split {
  double d;
  Int whole;
  Real t;
};

template <class Int, class Real, class Number> __device__ __forceinline__ Split<Int, Real> split(Number d) {
  Split<Int, Real> parts;
  parts.d = d;
  floor_of(d, parts.whole);
  parts.t = (Real)(d - (Number)parts.whole);
  return parts;
}

// The number `bytes` behind `numbers`, float64 where `wide`, else float32, split. It is read past the image's cache.
template <class Int, class Real, class Bytes>
__device__ __forceinline__ Split<Int, Real> split_at(const void* numbers, Bytes bytes, int wide) {
  if (wide) return split<Int, Real>(__ldcs(behind<double>(numbers, bytes)));
  return split<Int, Real>((Real)__ldcs(behind<float>(numbers, bytes)));
}

// Splits p + d where nothing is known of d, and moves it as `mode` does; false where it is lost.
__device__ __forceinline__ bool find(i64 p, double d, i64 size, int mode, i64& index, double& t) {
  if (!(fabs(d) < FARTHEST)) return false;
  floor_of(d, index);
  t = d - (double)index;
  if (t >= 1) index++, t = 0;
  index += p;
  return enter(index, t, size, mode);
}

// The same as `place`, where a tap may be outside. Not inlined, and on a copy of the taps: registers are counted for
// what is common.
template <int ORDER, class Int, class Real>
__device__ __noinline__ Placed place_outside(Taps<ORDER, Int, Real>& taps, i64 p, double d, i64 size, i64 step,
                                             int mode) {
  i64 index;
  double t;
  if (!find(p, d, size, mode, index, t)) return LOST;
  to_first_tap<ORDER>(index, t);
  Placed placed = FOLDED;
#pragma unroll 1
  for (int k = 0; k <= ORDER; k++) {
    const i64 sample = fold(index + k, size, mode);
    taps.offset[k] = sample < 0 ? -1 : (Int)(sample * step);
    if (sample < 0) placed = REPLACED;
  }
  spline_weights<ORDER>(taps.weight, (Real)t);
  return placed;
}

// The taps of p + d along an axis of `size` samples, `step` bytes apart; none where it is LOST. `placed` gets worse.
template <int ORDER, class Int, class Real>
__device__ __forceinline__ void place(Taps<ORDER, Int, Real>& taps, Placed& placed, Int p, const Split<Int, Real>& d,
                                      Int size, Int step, int mode) {
  Int first = wrapped_sum(d.whole, p);
  Real t = d.t;
  const bool is_split = t < 1;  // neither of NaN nor of -1e-17
  to_first_tap<ORDER>(first, t);
  if (is_split && is_among(first, max(size - ORDER, (Int)0))) {
#pragma unroll
    for (int k = 0; k <= ORDER; k++) taps.offset[k] = (first + k) * step;
    spline_weights<ORDER>(taps.weight, t);
  } else {
    Taps<ORDER, Int, Real> outside;
    const Placed here = place_outside(outside, p, d.d, size, step, mode);
    if (here != LOST) taps = outside;
    if (here > placed) placed = here;
  }
}

// Order 0: the offset of the sample next to p + d; false where there is none. Split in float64, in which a half is a
// half.
template <class Int>
__device__ __forceinline__ bool place_nearest(Int& offset, Int p, double d, Int size, Int step, int mode) {
  const Split<Int, double> parts = split<Int, double>(d);
  const Int first = wrapped_sum(parts.whole, p);
  if (parts.t < 1 && is_among(first, max(size - 1, (Int)0))) {  // between two samples no mode has a say
    offset = (first + (parts.t >= 0.5)) * step;
    return true;
  }
  i64 index;
  double fraction;
  if (!find(p, d, size, mode, index, fraction)) return false;
  index = fold(nearest(index, fraction, (i64)size, mode), (i64)size, mode);
  if (index < 0) return false;
  offset = (Int)(index * step);
  return true;
}

// Between a and b in float32. Weights 1 - t and t alone would move a constant image by a unit in the last place here and
// there, and its r would be noise instead of NaN; a + t (b - a) would make NaN beside infinity, where SciPy has none.
__device__ __forceinline__ float between(float a, float b, const float (&weight)[2]) {
  return a == b ? a : fmaf(b, weight[1], a * weight[0]);
}

// The weighted sum of the taps of NDIM axes, the last ones of z, y and x; load(k, j, i) gives a sample as a Real.
//
// float64 at order 1 adds in SciPy's order, taps as they lie and weights axis by axis, and has its digits. All else
// sums axis by axis, a row first, in fused steps: half the instructions; float32 at order 1 by `between`. Planes of
// splines are a loop: unrolled, order 5 would be 216 loads of code, and its weights along z, read by index, are 1 of 37
// loads.
template <int NDIM, bool UNROLLED = true, int ORDER, class Int, class Real, class Load>
__device__ __forceinline__ Real weighted_sum(const Taps<ORDER, Int, Real> (&taps)[3], const Load& load) {
  constexpr int K = ORDER + 1, ROWS = NDIM > 1 ? K : 1, PLANES = NDIM > 2 ? K : 1;
  constexpr bool AS_SCIPY = ORDER == 1 && sizeof(Real) == 8;
  if constexpr (ORDER == 1 && sizeof(Real) == 4) {
    const auto row = [&](int k, int j) { return between(load(k, j, 0), load(k, j, 1), taps[2].weight); };
    const auto plane = [&](int k) { return NDIM > 1 ? between(row(k, 0), row(k, 1), taps[1].weight) : row(k, 0); };
    return NDIM > 2 ? between(plane(0), plane(1), taps[0].weight) : plane(0);
  }
  Real total = 0;
#pragma unroll(UNROLLED && ORDER == 1 ? PLANES : 1)
  for (int k = 0; k < PLANES; k++) {
    Real plane = 0;
#pragma unroll(UNROLLED ? ROWS : 1)
    for (int j = 0; j < ROWS; j++) {
      Real row = 0;
#pragma unroll(UNROLLED ? K : 1)
      for (int i = 0; i < K; i++) {
        Real value = load(k, j, i);
        if (AS_SCIPY) {
          if (NDIM > 2) value *= taps[0].weight[k];
          if (NDIM > 1) value *= taps[1].weight[j];
          value *= taps[2].weight[i];
          total = k || j || i ? total + value : value;
        } else {
          row = i ? fma(value, taps[2].weight[i], row) : value * taps[2].weight[i];
        }
      }
      if (NDIM > 1) plane = j ? fma(row, taps[1].weight[j], plane) : row * taps[1].weight[j];
      else plane = row;
    }
    if (!AS_SCIPY) total = NDIM > 2 ? fma(plane, taps[0].weight[k], total) : plane;
  }
  return total;
}

// The weighted sum where taps were folded, and `cval` may stand for some. Not inlined either.
template <int NDIM, class In, int ORDER, class Int, class Real>
__device__ __noinline__ Real folded_sum(const Taps<ORDER, Int, Real> (&taps)[3], const In* image, Real cval) {
  return weighted_sum<NDIM, false>(taps, [&](int k, int j, int i) {
    const Int z = NDIM > 2 ? taps[0].offset[k] : 0, y = NDIM > 1 ? taps[1].offset[j] : 0, x = taps[2].offset[i];
    return z < 0 || y < 0 || x < 0 ? cval : (Real)__ldg(behind<In>(image, z + y + x));
  });
}

// The value of an image at a position. Steps in bytes: inside, taps go on from the first by one pointer; along x, where
// samples are neighbours in memory, by an offset that the load holds.
template <int NDIM, class In, int ORDER, class Int, class Real>
__device__ __forceinline__ Real value_at(const Taps<ORDER, Int, Real> (&taps)[3], Placed placed, const In* image,
                                         const Int (&step)[3], Real cval) {
  if (placed == LOST) return cval;
  if (placed == INSIDE) {
    const Int z = NDIM > 2 ? taps[0].offset[0] : 0, y = NDIM > 1 ? taps[1].offset[0] : 0;
    const In* const first = behind<In>(image, z + y + taps[2].offset[0]);
    if (step[2] == sizeof(In))
      return weighted_sum<NDIM>(taps, [&](int k, int j, int i) {
        return (Real)__ldg(behind<In>(first, k * step[0] + j * step[1]) + i);
      });
    return weighted_sum<NDIM>(taps, [&](int k, int j, int i) {
      return (Real)__ldg(behind<In>(first, k * step[0] + j * step[1] + i * step[2]));
    });
  }
  const Taps<ORDER, Int, Real> copies[3] = {taps[0], taps[1], taps[2]};
  return folded_sum<NDIM>(copies, image, cval);
}

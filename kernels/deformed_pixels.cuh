// deformed_pixels.cuh: pixels that displacements pull to theirs, bilinear, from a copy of a tile or from the slice.
//
// Integers have the bits of float64 in SciPy's order. Those of one byte are interpolated in float32 first, which is off
// by less than 1e-4: taps are exact, their differences too, and three sums of at most 255 are rounded by 2^-17 each,
// fractions by 2^-25 of at most 510. What comes nearer than twice that to the middle between two integers, one pixel in
// 2500, float64 decides. float32 is interpolated in float32, so that alike taps give their own value.
#pragma once
#include "interpolation.cuh"
#include "samples.cuh"

template <class T> using Real = typename Computed<T>::type;  // what pixels are interpolated in

// A pixel as a number: an addition instead of a conversion, which has a quarter of its rate or less. The bits of 2^52 +
// n are those of 2^52 and n side by side, for n from 0 to 2^32 - 1.
template <class T> __device__ __forceinline__ double number_of(T pixel) {
  if (T(-1) < T(0)) return __hiloint2double(0x43300000, (int)((u32)(int)pixel ^ 0x80000000u)) - 4503601774854144.0;
  return __hiloint2double(0x43300000, (int)pixel) - 4503599627370496.0;
}
__device__ __forceinline__ float number_of(float pixel) { return pixel; }

// What is left of a displacement above its whole part: from float32, but in the type of the interpolation.
__device__ __forceinline__ void take_fraction(double& f, float d, int whole) { f = (double)d - number_of(whole); }
__device__ __forceinline__ void take_fraction(float& f, float d, int whole) { f = d - (float)whole; }

// a, b above c, d: in SciPy's order for integers. In float32 so that alike taps give their own value.
__device__ __forceinline__ double bilinear(double a, double b, double c, double d, double y, double x) {
  const double above = 1.0 - y, before = 1.0 - x;
  return a * above * before + b * above * x + c * y * before + d * y * x;
}
__device__ __forceinline__ float bilinear(float a, float b, float c, float d, float y, float x) {
  const float upper = fmaf(x, b - a, a), lower = fmaf(x, d - c, c);
  return fmaf(y, lower - upper, upper);
}

// A value that lies within the range of the type, and one that may not; half away from zero.
template <class T> __device__ __forceinline__ T rounded_inside(double v) {
  return (T)__double2int_rz(v + (T(-1) < T(0) && v < 0.0 ? -0.5 : 0.5));
}
template <> __device__ __forceinline__ bool rounded_inside<bool>(double v) { return v >= 0.5; }
template <class T> __device__ __forceinline__ T rounded_inside(float v) { return v; }
template <class T> __device__ __forceinline__ T sample_of(double v) { return rounded<T>(v); }
template <> __device__ __forceinline__ bool sample_of<bool>(double v) { return v >= 0.5; }
template <class T> __device__ __forceinline__ T sample_of(float v) { return v; }

// The value at (y + dy, x + dx) wherever that is. Not inlined: hardly any pixel comes here.
template <class T>
__device__ __noinline__ T sample_far(const T* __restrict__ image, i64 y, i64 x, float dy, float dx, i64 height,
                                     i64 width, int mode, double cval) {
  double fy, fx;
  if (!find(y, dy, height, mode, y, fy) || !find(x, dx, width, mode, x, fx)) return sample_of<T>((Real<T>)cval);
  const i64 rows[2] = {fold(y, height, mode), fold(y + 1, height, mode)};
  const i64 columns[2] = {fold(x, width, mode), fold(x + 1, width, mode)};
  Real<T> tap[2][2];
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int j = 0; j < 2; j++)
      tap[i][j] = rows[i] < 0 || columns[j] < 0 ? (Real<T>)cval : number_of(image[rows[i] * width + columns[j]]);
  return sample_of<T>(bilinear(tap[0][0], tap[0][1], tap[1][0], tap[1][1], (Real<T>)fy, (Real<T>)fx));
}

// The bits of |d|, which are in the order of what they stand for, NaN above all.
__device__ __forceinline__ u32 size_bits(float d) { return __float_as_uint(d) & 0x7fffffffu; }

// Whether all taps are inside of the slice, where modes with rules of their own leave alone what is pulled to (y, x).
// The carry of `find` moves others only.
__device__ __forceinline__ bool has_taps(int y, int x, float dy, float dx, int height, int width) {
  const int whole_y = __float2int_rd(dy), whole_x = __float2int_rd(dx);
  return whole_y >= -y && whole_y < height - 1 - y && whole_x >= -x && whole_x < width - 1 - x;
}

// The value that is pulled to a pixel, which lies at `own` in the copy.
template <class T> __device__ __forceinline__ T sample_near(const T* own, int pitch, float dy, float dx) {
  const int whole_y = __float2int_rd(dy), whole_x = __float2int_rd(dx);
  const T* const tap = own + whole_y * pitch + whole_x;
  Real<T> fy, fx;
  take_fraction(fy, dy, whole_y), take_fraction(fx, dx, whole_x);
  const Real<T> a = number_of(tap[0]), b = number_of(tap[1]);
  return rounded_inside<T>(bilinear(a, b, number_of(tap[pitch]), number_of(tap[pitch + 1]), fy, fx));
}

// ---- pixels of one byte ----
constexpr float MIDDLE = 12582912.0f;  // 1.5 * 2^23: of what is added to it, the integer part is left in the low bits
constexpr u32 MIDDLE_BITS = 0x4B400000u;
constexpr float UNSURE = 2e-4f;

// A displacement of less than 2^22 as its floor, above MIDDLE_BITS, and the rest.
__device__ __forceinline__ u32 split_near(float d, float& rest) {
  const float moved = __fadd_rd(d, MIDDLE);
  rest = d - (moved - MIDDLE);
  return __float_as_uint(moved);
}

// A byte as the float BIAS above its number, without a conversion.
template <class T> struct Byte {
  static constexpr u32 FLIP = T(-1) < T(0) ? 0x80u : 0u;
  static constexpr float BIAS = 8388608.0f + (float)FLIP;
  static __device__ __forceinline__ float above(u8 byte) { return __uint_as_float(0x4B000000u | (byte ^ FLIP)); }
};
template <class T> __device__ __forceinline__ T byte_of(u32 bits) { return (T)(u8)bits; }
template <> __device__ __forceinline__ bool byte_of<bool>(u32 bits) { return bits & 1; }

// The value between four bytes, and its distance from an integer less what is sure: not below 0 where it is not. Every
// difference but of fractions is exact.
template <class T> __device__ __forceinline__ T byte_near(const T* own, int pitch, float y, float x, float& doubt) {
  const u8* const tap = (const u8*)own;
  const float a = Byte<T>::above(tap[0]), upper = Byte<T>::above(tap[1]) - a;
  const float c = Byte<T>::above(tap[pitch]), lower = Byte<T>::above(tap[pitch + 1]) - c;
  const float value = fmaf(y, fmaf(x, lower - upper, c - a), fmaf(x, upper, a - Byte<T>::BIAS));
  const float moved = value + MIDDLE;
  doubt = fabsf(value - (moved - MIDDLE)) - (0.5f - UNSURE);
  return byte_of<T>(__float_as_uint(moved));
}

// All pixels of a thread, whose taps are read side by side; a bit for each that is not sure. `place` is where its first
// pixel lies in the copy, pixel p is `place_of(p)` behind. What is not near takes anything of the copy, whose last
// pixel with four taps is `last`.
template <int COUNT, class T, class Place>
__device__ __forceinline__ u32 bytes_near(T (&pixel)[COUNT], const T* copy, int pitch, int place, int last,
                                          const float (&dy)[COUNT], const float (&dx)[COUNT], Place place_of) {
  const u32 origin = (u32)place - MIDDLE_BITS * (u32)pitch - MIDDLE_BITS;
  u32 sure = 0;
#pragma unroll
  for (int p = COUNT - 1; p >= 0; p--) {
    float y, x, doubt;
    const u32 down = split_near(dy[p], y), right = split_near(dx[p], x);
    const u32 at = down * (u32)pitch + right + (origin + (u32)place_of(p));
    pixel[p] = byte_near(copy + (int)min(at, (u32)last), pitch, y, x, doubt);
    sure = __funnelshift_l(__float_as_uint(doubt), sure, 1);  // its sign
  }
  return ~sure;
}

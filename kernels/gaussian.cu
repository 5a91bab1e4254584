// gaussian.cu: one pass of a symmetric filter along an axis: all of SciPy's boundary modes, any length, any radius.
//
//   out[i] = w[0] in[i], then += (in[i - t] + in[i + t]) w[t] for t = radius, ..., 1      (SciPy's NI_Correlate1D)
//
// This order everywhere, so that a block of a pass has the bits of the whole. float32 is computed in float32, the sum
// of a pair and its fma: two instructions, as two fma would be. All else is computed in float64 without fma, and has
// SciPy's digits; integers are truncated as a C cast does on x86.
//
// Layout   in and out are (outer, length, inner), not the same memory; the pass runs along the middle. `weights` holds
//          w[1] .. w[radius], then zeros up to a multiple of 8. Where outer_a_scale > 0, out is multiplied by
//          scales[outer / outer_a_scale]: a pass of its own would be 8 bytes a pixel more.
// Columns  any inner: the lanes of a warp have neighbouring lines, loads are of 16 bytes where inner allows it. Grid
//          (64 outputs along the axis, 32 lines strided over): neighbours along the axis go together, as they share
//          their halo in L2. Block 8 warps, which have 8 outputs of each line.
// Rows     inner = 1. Grid (strips of 256 outputs, 8 lines strided over): a warp has a strip of a line to itself and
//          meets no barrier. Results are stored through shared memory, for stores to be contiguous.
// Window   in shared memory, the samples of the tile and its halo. A thread holds two sliding windows of 8 samples, one
//          for each side, in registers named by position modulo 8: a step of 8 outputs reads two samples. In a row the
//          threads are 9 words apart, which hits all banks. A radius whose halo does not fit into the window is taken
//          in chunks of taps, with a window for each side.
// Weights  come from the cache, 16 bytes a load for all lanes: 2 of the 153 instructions of 8 steps. By value, in the
//          constant bank, they would save these and limit the radius.
// Floor    float32: 8 bytes a pixel, the time of 62 instructions at 4.3 TB/s on an H200; an output takes 2.4 a pair of
//          taps and some 25: 73 at radius 20, of which 41 are arithmetic. float64: 16 bytes, 124 instructions, against
//          3.4 a pair at half rate; where float64 runs at 1/64 (sm_75, sm_86, sm_89, sm_120) it is arithmetic alone.
//          16 outputs a thread would take 10 % fewer instructions, and spill.
#include "boundary.cuh"
#include "fir.cuh"

constexpr int LANES = 32, WARPS = 8, THREADS = LANES * WARPS;

template <class T> struct Computed { typedef double type; };
template <> struct Computed<float> { typedef float type; };

// Blocks a multiprocessor holds at least: 64 registers a thread, or 128.
template <class T> constexpr int BLOCKS = sizeof(typename Computed<T>::type) == 4 ? 4 : 2;

// What a C cast to T gives on x86: beyond the range of the instruction's integer its most negative number.
template <class T> __device__ __forceinline__ T converted(double v) {
  if (sizeof(T) == 8 && (T)-1 > 0 && v >= 9223372036854775808.0) return v < 18446744073709551616.0 ? (T)v : 0;
  if (sizeof(T) == 8 || (sizeof(T) == 4 && (T)-1 > 0))
    return (T)(v >= -9223372036854775808.0 && v < 9223372036854775808.0 ? (i64)v : -9223372036854775807LL - 1);
  return (T)(v > -2147483649.0 && v < 2147483648.0 ? (int)v : -2147483647 - 1);
}
template <> __device__ __forceinline__ double converted<double>(double v) { return v; }
template <class T> __device__ __forceinline__ float converted(float v) { return v; }

// Samples of the block's 32 lines, V neighbouring lines a load. `line` is where the line of this lane begins, -1 where
// there is none; what the window holds there is not used.
template <int V, class T, class Real>
__device__ __forceinline__ void load_columns(Real* rows, const T* __restrict__ in, i64 line, i64 first, int count,
                                             i64 length, i64 inner, int mode, Real cval) {
  constexpr int LOADS = LANES / V, STEP = THREADS / LOADS;
  const int column = threadIdx.x % LOADS * V, row = threadIdx.x / LOADS;
  const i64 start = __shfl_sync(0xffffffffu, line, column);
  const Outside outside(first, count, length);
  if (start < 0) return;
  const auto load = [&](const T* from, Real* to) {
    const Pack<T, V> taken = *(const Pack<T, V>*)from;
    Pack<Real, V> sample;
#pragma unroll
    for (int v = 0; v < V; v++) sample.value[v] = (Real)taken.value[v];
    *(Pack<Real, V>*)to = sample;
  };
  const T* from = in + start + (first + outside.before + row) * inner;
  Real* const to = rows + column;
#pragma unroll 4
  for (int r = outside.before + row; r < outside.end; r += STEP, from += STEP * inner) load(from, to + r * LANES);
#pragma unroll 1
  for (int k = row; k < outside.samples(); k += STEP) {
    const int r = outside.sample(k);
    const i64 at = fold_outside(first + r, length, mode);
    if (at >= 0) load(in + start + at * inner, to + r * LANES);
    else
      for (int v = 0; v < V; v++) to[r * LANES + v] = cval;
  }
}

template <class T>
__global__ void __launch_bounds__(THREADS, BLOCKS<T>)
    gaussian_columns(const T* __restrict__ in, T* __restrict__ out, i64 outer, i64 length, i64 inner,
                     const typename Computed<T>::type* __restrict__ weights, typename Computed<T>::type centre,
                     int radius, int chunk, int mode, typename Computed<T>::type cval,
                     const typename Computed<T>::type* __restrict__ scales, i64 outer_a_scale) {
  typedef typename Computed<T>::type Real;
  constexpr int SPAN = OUT * WARPS, GROUP = OUT * LANES, V = sizeof(T) == 8 ? 2 : 4;
  extern __shared__ __align__(16) unsigned char memory[];
  Real* const window = (Real*)memory;
  const int lane = threadIdx.x % LANES, band = threadIdx.x / LANES;
  const Real* const own = window + band * GROUP + lane;
  const bool whole = chunk >= radius, wide = inner % V == 0 && (u64)in % sizeof(Pack<T, V>) == 0;
  const i64 y = (i64)blockIdx.x * SPAN;
  const int span = (int)min((i64)SPAN, length - y);
  for (i64 first_line = (i64)blockIdx.y * LANES; first_line < outer * inner; first_line += (i64)gridDim.y * LANES) {
    const i64 number = first_line + lane, slice = number / inner;
    const i64 line = number < outer * inner ? (slice * length - slice) * inner + number : -1;
    const int outputs = line < 0 ? 0 : min(OUT, span - band * OUT);
    const i64 first_output = line + (y + band * OUT) * inner;
    Real sum[OUT];
    if (!whole) {
#pragma unroll
      for (int j = 0; j < OUT; j++) sum[j] = j < outputs ? (Real)in[first_output + j * inner] * centre : 0;
    }
    for (int top = radius, bottom; top > 0; top = bottom) {
      const int edge = up(top, OUT);
      bottom = max(edge - chunk, 0);
      const int right = whole ? edge : SPAN + edge - bottom;
#pragma unroll 1
      for (int side = 0; side < (whole ? 1 : 2); side++) {
        Real* const rows = window + (side ? right : edge - top) * LANES;
        const i64 first = side ? y + bottom : y - top;
        const int count = span + top + (whole ? top : -bottom);
        if (wide) load_columns<V>(rows, in, line, first, count, length, inner, mode, cval);
        else load_columns<1>(rows, in, line, first, count, length, inner, mode, cval);
      }
      __syncthreads();
      if (whole) {
#pragma unroll
        for (int j = 0; j < OUT; j++) sum[j] = own[(edge + j) * LANES] * centre;
      }
      if (band * OUT < span) add_pairs<LANES, GROUP>(sum, own, own + right * LANES, weights, top, bottom);
      __syncthreads();
    }

    if (outer_a_scale > 0 && outputs > 0) {
      const Real scale = scales[slice / outer_a_scale];
#pragma unroll
      for (int j = 0; j < OUT; j++) sum[j] *= scale;
    }
    T* to = out + first_output;
    if (outputs == OUT) {
#pragma unroll
      for (int j = 0; j < OUT; j++, to += inner) *to = converted<T>(sum[j]);
    } else {
#pragma unroll
      for (int j = 0; j < OUT; j++, to += inner)
        if (j < outputs) *to = converted<T>(sum[j]);
    }
  }
}

// Samples of a line, from `position` of the window on.
template <class T, class Real>
__device__ __forceinline__ void load_row(Real* window, int position, const T* __restrict__ line, i64 first, int count,
                                         i64 length, int mode, Real cval) {
  const int lane = threadIdx.x % LANES;
  const Outside outside(first, count, length);
  const T* from = line + first + outside.before + lane;
  Real* to = window + padded(position + outside.before + lane);
#pragma unroll 4
  for (int s = outside.before + lane; s < outside.end; s += LANES, from += LANES, to += padded(LANES))
    *to = (Real)*from;
#pragma unroll 1
  for (int k = lane; k < outside.samples(); k += LANES) {
    const int s = outside.sample(k);
    const i64 at = fold_outside(first + s, length, mode);
    window[padded(position + s)] = at >= 0 ? (Real)line[at] : cval;
  }
}

template <class T>
__global__ void __launch_bounds__(THREADS, BLOCKS<T>)
    gaussian_rows(const T* __restrict__ in, T* __restrict__ out, i64 lines, i64 length,
                  const typename Computed<T>::type* __restrict__ weights, typename Computed<T>::type centre, int radius,
                  int chunk, int mode, typename Computed<T>::type cval,
                  const typename Computed<T>::type* __restrict__ scales, i64 lines_a_scale) {
  typedef typename Computed<T>::type Real;
  constexpr int SPAN = OUT * LANES, GROUP = OUT + 1;
  extern __shared__ __align__(16) unsigned char memory[];
  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  const bool whole = chunk >= radius;
  Real* const window = (Real*)memory + warp * padded(whole ? SPAN + 2 * up(radius, OUT) : 2 * (SPAN + chunk));
  Real* const own = window + lane * GROUP;
  const i64 x = (i64)blockIdx.x * SPAN;
  const int span = (int)min((i64)SPAN, length - x);
  for (i64 number = (i64)blockIdx.y * WARPS + warp; number < lines; number += (i64)gridDim.y * WARPS) {
    const i64 start = number * length;
    Real sum[OUT];
    if (!whole) {
#pragma unroll
      for (int j = 0; j < OUT; j++) sum[j] = lane * OUT + j < span ? (Real)in[start + x + lane * OUT + j] * centre : 0;
    }
    for (int top = radius, bottom; top > 0; top = bottom) {
      const int edge = up(top, OUT);
      bottom = max(edge - chunk, 0);
      const int right = whole ? edge : SPAN + edge - bottom;
#pragma unroll 1
      for (int side = 0; side < (whole ? 1 : 2); side++)
        load_row(window, side ? right : edge - top, in + start, side ? x + bottom : x - top,
                 span + top + (whole ? top : -bottom), length, mode, cval);
      __syncwarp();
      if (whole) {
#pragma unroll
        for (int j = 0; j < OUT; j++) sum[j] = own[padded(edge) + j] * centre;
      }
      add_pairs<1, GROUP>(sum, (const Real*)own, (const Real*)own + padded(right), weights, top, bottom);
      __syncwarp();
    }

    const Real scale = lines_a_scale > 0 ? scales[number / lines_a_scale] : 1;
#pragma unroll
    for (int j = 0; j < OUT; j++) own[j] = sum[j] * scale;
    __syncwarp();
    T* const to = out + start + x;
    const Real* result = window + padded(lane);
#pragma unroll 4
    for (int s = lane; s < span; s += LANES, result += padded(LANES)) to[s] = converted<T>(*result);
    __syncwarp();
  }
}

// spline.cu: B-spline coefficients along an axis, by one causal and one anticausal recursion a pole.
//
//   c = gain in,   then for each pole z:   c[i] += z c[i - 1] upwards,   c[i] = z (c[i + 1] - c[i]) downwards
//
//   M. Unser, A. Aldroubi and M. Eden, IEEE Trans. Signal Process. 41 (1993) 821-833. The line goes on beyond its ends
//   by the boundary mode, and both recursions begin so far outside that what came before weighs less than the last bit,
//   z^reach. So borders need no sums of their own, lines of any length are cut into tiles, and modes differ by `fold`
//   alone.
//
// Layout  in and out are (outer, length, inner) and not the same memory; the pass runs along the middle.
// Launch  grid (tiles of 128 samples along the axis, 32 lines strided over), block 8 warps.
// Block   the samples of 32 lines, and `halo` more on each side, in shared memory; lanes walk along lines, side by
//         side. Each warp has an eighth of the samples, and runs through `reach` before its own to find where to begin.
//         Rows (inner = 1) are transposed on their way: 33 words a sample keep both ways free of bank conflicts.
// Floor   16 bytes a float64, the time of 124 instructions at 4.3 TB/s on an H200; at order 3 an output takes some 40.
//         Threads that walk whole lines would move 32 bytes a pole, and leave an image of 1024 columns to 32 warps.
#include "boundary.cuh"

constexpr int LANES = 32, WARPS = 8, THREADS = LANES * WARPS;
constexpr int SPAN = 128;         // outputs of a tile along the axis
constexpr int PITCH = LANES + 1;  // words a sample

struct Poles {
  double pole[2];
  double gain;
  int reach[2];
  int count;
  int halo;  // the sum of the reaches
};

// Both recursions of a pole over `total` samples of the tile, in place. Each warp has `from` to `to` - 1.
template <class Real> __device__ __forceinline__ void filter_tile(Real* tile, Real pole, int reach, int total) {
  const int part = (total + WARPS - 1) / WARPS, warp = threadIdx.x / LANES;
  const int from = min(warp * part, total), to = min(from + part, total);
  Real* const line = tile + threadIdx.x % LANES;
  Real c = 0;
#pragma unroll 4
  for (int i = max(from - reach, 0); i < from; i++) c = line[i * PITCH] + pole * c;
  __syncthreads();
#pragma unroll 4
  for (int i = from; i < to; i++) line[i * PITCH] = c = line[i * PITCH] + pole * c;
  __syncthreads();
  c = 0;
#pragma unroll 4
  for (int i = min(to + reach, total) - 1; i >= to; i--) c = pole * (c - line[i * PITCH]);
  __syncthreads();
#pragma unroll 4
  for (int i = to - 1; i >= from; i--) line[i * PITCH] = c = pole * (c - line[i * PITCH]);
  __syncthreads();
}

template <class T, class Real, bool ROWS>
__global__ void __launch_bounds__(THREADS) spline(const T* __restrict__ in, Real* __restrict__ out, i64 outer,
                                                  i64 length, i64 inner, Poles poles, int mode) {
  extern __shared__ __align__(16) unsigned char memory[];
  Real* const tile = (Real*)memory;
  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  const i64 lines = outer * inner, y = (i64)blockIdx.x * SPAN, first = y - poles.halo;
  const int span = (int)min((i64)SPAN, length - y), total = span + 2 * poles.halo;
  const Outside outside(first, total, length);
  for (i64 first_line = (i64)blockIdx.y * LANES; first_line < lines; first_line += (i64)gridDim.y * LANES) {
    const int count = (int)min((i64)LANES, lines - first_line);
    // Lanes run along the axis for rows, across lines for columns; warps the other way.
    const int sample = ROWS ? lane : warp, step = ROWS ? LANES : WARPS;
    const int line = ROWS ? warp : lane, last_line = ROWS ? count : min(count, lane + 1);
    const i64 number = first_line + line, next_line = ROWS ? WARPS * length : 0;
    const i64 start = ROWS ? number * length : (number / inner * length * inner + number % inner);
    const auto load = [&](int i, i64 at) {
      const T* from = in + start + at * (ROWS ? 1 : inner);
#pragma unroll
      for (int k = 0; k < LANES / WARPS; k++)
        if ((ROWS || k == 0) && line + k * WARPS < last_line)
          tile[i * PITCH + line + k * WARPS] = (Real)from[k * next_line] * (Real)poles.gain;
    };
#pragma unroll 4
    for (int i = outside.before + sample; i < outside.end; i += step) load(i, first + i);
#pragma unroll 1
    for (int k = sample; k < outside.samples(); k += step) {
      const int i = outside.sample(k);
      load(i, fold_outside(first + i, length, mode));
    }
    __syncthreads();
    for (int p = 0; p < poles.count; p++) filter_tile(tile, (Real)poles.pole[p], poles.reach[p], total);

#pragma unroll 4
    for (int i = sample; i < span; i += step) {
      Real* const to = out + start + (y + i) * (ROWS ? 1 : inner);
#pragma unroll
      for (int k = 0; k < LANES / WARPS; k++)
        if ((ROWS || k == 0) && line + k * WARPS < last_line)
          to[k * next_line] = tile[(poles.halo + i) * PITCH + line + k * WARPS];
    }
    __syncthreads();
  }
}

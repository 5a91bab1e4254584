// control_grid.cu: a cubic B-spline along one axis, at positions that are the same for all lines.
//
//   out[p] = ((c[f] w[0] + c[f + 1] w[1]) + c[f + 2] w[2]) + c[f + 3] w[3],    f = first[p], w = weights[., p]
//
// In float64, rounded as it stands there, without fma: a box of a field has the bits of the whole. A field takes one
// pass along its last axis, where a volume has a row for every distance^2 rows of the field, then one along each other
// axis; the last pass writes nearly all that is written. The coefficients come from gaussian.cu, which is given the
// weights of the spline's inverse.
//
// Layout   in (outer, points, inner), out (outer, length, inner), both contiguous; first (length), never decreasing;
//          weights (4, length).
// Rows     inner = 1. Grid (blocks of a row, rows strided over), block 256 threads: a thread has one position, whose
//          taps it keeps, in all its rows.
// Columns  any inner. Grid (128 columns, 64 positions, outer), each strided over, block 8 warps: a thread has four
//          columns, a warp apart, and eight positions. It holds the four coefficients around a position of each column,
//          and reads one more where the next position lies in the next cell.
// Floor    the bytes written, 4 a voxel of float32: at 4.3 TB/s on an H200 the time of 31 instructions. A voxel takes
//          16 (counted in PTX, at a distance of 8), of which 7 are of float64, at half rate. Where float64 runs at 1/64
//          (sm_75, sm_86, sm_89, sm_120) these are all that counts.
#include "common.cuh"

constexpr int LANES = 32, WARPS = 8, THREADS = LANES * WARPS;
constexpr int COLUMNS = 4;    // of a thread, LANES apart
constexpr int POSITIONS = 8;  // of a thread, one after the other

struct Weights {
  double w[4];
  __device__ __forceinline__ Weights(const double* __restrict__ weights, i64 length, i64 position) {
#pragma unroll
    for (int k = 0; k < 4; k++) w[k] = weights[k * length + position];
  }
  __device__ __forceinline__ double sum(double a, double b, double c, double d) const {
    return ((a * w[0] + b * w[1]) + c * w[2]) + d * w[3];
  }
};

template <class T>
__global__ void __launch_bounds__(THREADS)
    control_rows(const double* __restrict__ in, T* __restrict__ out, const i64* __restrict__ first,
                 const double* __restrict__ weights, i64 outer, i64 points, i64 length) {
  for (i64 x = (i64)blockIdx.x * THREADS + threadIdx.x; x < length; x += (i64)gridDim.x * THREADS) {
    const Weights taps(weights, length, x);
    const double* from = in + first[x];
    for (i64 row = blockIdx.y; row < outer; row += gridDim.y) {
      const double* const c = from + row * points;
      out[row * length + x] = (T)taps.sum(c[0], c[1], c[2], c[3]);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(THREADS)
    control_columns(const double* __restrict__ in, T* __restrict__ out, const i64* __restrict__ first,
                    const double* __restrict__ weights, i64 outer, i64 points, i64 length, i64 inner) {
  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  for (i64 part = blockIdx.z; part < outer; part += gridDim.z)
    for (i64 start = ((i64)blockIdx.y * WARPS + warp) * POSITIONS; start < length;
         start += (i64)gridDim.y * WARPS * POSITIONS) {
      const i64 end = min(start + POSITIONS, length);
      for (i64 x = (i64)blockIdx.x * LANES * COLUMNS + lane; x < inner; x += (i64)gridDim.x * LANES * COLUMNS) {
        const double* next = in + (part * points + first[start]) * inner + x;
        T* to = out + (part * length + start) * inner + x;
        double c[COLUMNS][4] = {};
        const auto read = [&](int k) {
#pragma unroll
          for (int column = 0; column < COLUMNS; column++)
            if (x + column * LANES < inner) c[column][k] = next[column * LANES];
          next += inner;
        };
#pragma unroll
        for (int k = 0; k < 4; k++) read(k);
        i64 at = first[start];
        for (i64 y = start; y < end; y++, to += inner) {
#pragma unroll 1
          for (const i64 cell = first[y]; at < cell; at++) {
#pragma unroll
            for (int column = 0; column < COLUMNS; column++)
#pragma unroll
              for (int k = 0; k < 3; k++) c[column][k] = c[column][k + 1];
            read(3);
          }
          const Weights taps(weights, length, y);
#pragma unroll
          for (int column = 0; column < COLUMNS; column++)
            if (x + column * LANES < inner)
              to[column * LANES] = (T)taps.sum(c[column][0], c[column][1], c[column][2], c[column][3]);
        }
      }
    }
}

// map_coordinates.cu: an image, or its spline coefficients at orders above 1, sampled at coordinates.
//
//   out[i] = image at (coordinates[0, i], coordinates[1, i], ...)
//
// Layout  The image has NDIM axes, the last ones in `axes`, their steps in bytes. `coordinates` holds NDIM components
//         of `points` points each, one after the other; float64 where `wide`, else float32. `bytes`: of a sample of the
//         result.
// Launch  grid (blocks of points), strided over; block 256 threads.
// Types   float32 into float32 computes in float32, all else in float64. Order 0 moves words of 1 to 8 bytes.
// Floor   Order 1 in two dimensions, coordinates in float64: 20 bytes a point of float32 and 17 of uint8, the time of
//         155 and 132 instructions on an H200 (see `warp.cu`), beside the gather: of scattered points each row of taps
//         is 32 bytes from L2 at least. Counted on sm_90, inside of the image: 94 instructions, 117 of uint8.
#include "interpolation.cuh"
#include "samples.cuh"

constexpr int THREADS = 256;

// Blocks a multiprocessor holds at least: 64 registers a thread, 128 for splines and for indices of 64 bits.
template <int ORDER, class Int> constexpr int BLOCKS = ORDER > 1 || sizeof(Int) > 4 ? 2 : 4;

// Order 0.
template <int NDIM, class Int>
__global__ void __launch_bounds__(THREADS)
    map_labels(const void* __restrict__ labels, void* __restrict__ out, int bytes, u64 fill,
               const void* __restrict__ coordinates, int wide, i64 points, Axes axes, int mode) {
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < points; i += (i64)gridDim.x * THREADS) {
    i64 from = 0;
    bool found = true;
#pragma unroll
    for (int axis = 0; axis < NDIM; axis++) {
      const double x = split_at<Int, double>(coordinates, (i + axis * points) * (wide ? 8 : 4), wide).d;
      const int at = MAX_AXES - NDIM + axis;
      Int offset = 0;
      found = found && place_nearest(offset, (Int)0, x, (Int)axes.size[at], (Int)axes.step[at], mode);
      from += offset;
    }
    copy_word(behind<char>(labels, from), found, (char*)out + i * bytes, bytes, fill);
  }
}

// Orders 1 to 5.
template <class In, int NDIM, int ORDER, class Int>
__global__ void __launch_bounds__(THREADS, BLOCKS<ORDER, Int>)
    map_coordinates(const In* __restrict__ image, void* __restrict__ out, int bytes, int type,
                    const void* __restrict__ coordinates, int wide, i64 points, Axes axes, int mode,
                    typename Computed<In>::type cval) {
  typedef typename Computed<In>::type Real;
  const Int step[3] = {(Int)axes.step[1], (Int)axes.step[2], (Int)axes.step[3]};
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < points; i += (i64)gridDim.x * THREADS) {
    Taps<ORDER, Int, Real> taps[3];
    Placed placed = INSIDE;
#pragma unroll
    for (int axis = 0; axis < NDIM; axis++) {
      const Split<Int, Real> x = split_at<Int, Real>(coordinates, (i + axis * points) * (wide ? 8 : 4), wide);
      const int at = MAX_AXES - NDIM + axis;
      place(taps[3 - NDIM + axis], placed, (Int)0, x, (Int)axes.size[at], (Int)axes.step[at], mode);
    }
    store((char*)out + i * bytes, type, value_at<NDIM>(taps, placed, image, step, cval));
  }
}

// map_coordinates.cu: an image, or its spline coefficients at orders above 1, sampled at coordinates.
//
//   out[i] = image at (coordinates[0, i], coordinates[1, i], ...)
//
// Layout  The image has NDIM axes, the last ones of z, y, x, with sizes and steps in `image`. `coordinates` holds NDIM
//         components, `component` numbers apart, of `points` points each; float64 where `wide`, else float32.
// Launch  grid (blocks of points), strided over; block 256 threads.
// Types   float32 into float32 computes in float32, all else in float64. Order 0 moves words of 1 to 8 bytes.
// Floor   Bytes: coordinates and result once, and what the gather costs: each of a warp's 32 points may lie in lines of
//         its own, 32 bytes a row of taps from L2.
#include "interpolation.cuh"
#include "samples.cuh"

constexpr int THREADS = 256;

// Blocks a multiprocessor holds at least: 64 registers a thread, 128 for splines and for indices of 64 bits.
template <int ORDER, class Int> constexpr int BLOCKS = ORDER > 1 || sizeof(Int) > 4 ? 2 : 4;

// Order 0.
template <int NDIM, class Int>
__global__ void __launch_bounds__(THREADS)
    map_labels(const void* __restrict__ labels, void* __restrict__ out, int bytes, u64 fill,
               const void* __restrict__ coordinates, int wide, i64 points, i64 component, Axes image, int mode) {
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < points; i += (i64)gridDim.x * THREADS) {
    i64 from = 0;
    bool found = true;
#pragma unroll
    for (int axis = 0; axis < NDIM; axis++) {
      const double x = split_at<Int, double>(coordinates, i + axis * component, wide).d;
      const int at = MAX_AXES - NDIM + axis;
      Int offset = 0;
      found = found && place_nearest(offset, (Int)0, x, (Int)image.size[at], (Int)image.step[at], mode) == FOUND;
      from += offset;
    }
    copy_word(labels, from, found, out, i, bytes, fill);
  }
}

// Orders 1 to 5.
template <class In, int NDIM, int ORDER, class Int>
__global__ void __launch_bounds__(THREADS, BLOCKS<ORDER, Int>)
    map_coordinates(const In* __restrict__ image, void* __restrict__ out, int type,
                    const void* __restrict__ coordinates, int wide, i64 points, i64 component, Axes axes, int mode,
                    double cval) {
  typedef typename Computed<In>::type Real;
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < points; i += (i64)gridDim.x * THREADS) {
    Taps<ORDER, Int, Real> taps[3];
    Placed placed = FOUND;
#pragma unroll
    for (int axis = 0; axis < NDIM; axis++) {
      const Split<Int, Real> x = split_at<Int, Real>(coordinates, i + axis * component, wide);
      const int at = MAX_AXES - NDIM + axis;
      placed = worse(placed, place<ORDER>(taps[3 - NDIM + axis], (Int)0, x, (Int)axes.size[at], (Int)axes.step[at],
                                          mode));
    }
    store(out, i, type, sum_at<NDIM>(taps, placed, image, (Real)cval));
  }
}

// pad.cu: a copy of slices in another type, with samples around them as a boundary mode has them.
//
// Layout  in (slices, z, y, x), sizes and steps (in elements) in `in_axes`; `bytes`: of a sample of out; out is contiguous, and `padding[axis]` samples longer at
//         each end. Values pass through float64; integers are rounded and clipped.
// Launch  grid (blocks of a row, rows), strided over; block 256 threads. Modes NEAREST and GRID_CONSTANT.
// Floor   the bytes read and written; a row costs each thread three divisions of 64 bits.
#include "boundary.cuh"
#include "samples.cuh"

constexpr int THREADS = 256;

template <class In>
__global__ void __launch_bounds__(THREADS)
    pad(const In* __restrict__ in, void* __restrict__ out, int bytes, int type, Axes in_axes, Axes padding, int mode,
        double cval) {
  const i64 width = in_axes.size[3] + 2 * padding.size[3];
  i64 rows = 1;
  for (int axis = 0; axis < 3; axis++) rows *= in_axes.size[axis] + 2 * padding.size[axis];
  for (i64 row = blockIdx.y; row < rows; row += gridDim.y) {
    i64 rest = row, from = 0;
    bool outside = false;
#pragma unroll
    for (int axis = 2; axis >= 0; axis--) {
      const i64 length = in_axes.size[axis] + 2 * padding.size[axis];
      const i64 sample = fold(rest % length - padding.size[axis], in_axes.size[axis], mode);
      rest /= length;
      outside = outside || sample < 0;
      from += sample * in_axes.step[axis];
    }
    for (i64 x = (i64)blockIdx.x * THREADS + threadIdx.x; x < width; x += (i64)gridDim.x * THREADS) {
      const i64 sample = fold(x - padding.size[3], in_axes.size[3], mode);
      const bool replaced = outside || sample < 0;
      store((char*)out + (row * width + x) * bytes, type, replaced ? cval : (double)__ldg(in + from + sample * in_axes.step[3]));
    }
  }
}

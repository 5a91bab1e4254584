// pad.cu: a copy of slices in another type, with samples around them as a boundary mode has them.
//
// Layout  in (slices, z, y, x), sizes and steps (in elements) in `in_axes`; out is contiguous, and `padding[axis]`
//         samples longer at each end. `bytes`: of a sample of out. Values pass through float64; integers are rounded
//         and clipped.
// Launch  grid (blocks of a row, rows, planes), all strided over; block 256 threads. Modes NEAREST and GRID_CONSTANT,
//         for which the prefilter has no exact boundary.
// Floor   the bytes read and written; 9 of uint8 into float64 are the time of 70 instructions on an H200. A sample
//         takes 39 and a quarter of 150, of volumes somewhat more: a division of 64 bits.
#include "boundary.cuh"
#include "samples.cuh"

constexpr int THREADS = 256;

template <class In>
__global__ void __launch_bounds__(THREADS)
    pad(const In* __restrict__ in, void* __restrict__ out, int bytes, int type, Axes in_axes, Axes padding, int mode,
        double cval) {
  const i64 depth = in_axes.size[1] + 2 * padding.size[1], height = in_axes.size[2] + 2 * padding.size[2];
  const i64 width = in_axes.size[3] + 2 * padding.size[3], planes = in_axes.size[0] * depth;
  for (i64 plane = blockIdx.z; plane < planes; plane += gridDim.z) {
    const i64 slice = depth > 1 ? plane / depth : plane;
    const i64 z = fold(plane - slice * depth - padding.size[1], in_axes.size[1], mode);
    for (i64 row = blockIdx.y; row < height; row += gridDim.y) {
      const i64 y = fold(row - padding.size[2], in_axes.size[2], mode);
      const i64 from = slice * in_axes.step[0] + z * in_axes.step[1] + y * in_axes.step[2];
      for (i64 x = (i64)blockIdx.x * THREADS + threadIdx.x; x < width; x += (i64)gridDim.x * THREADS) {
        const i64 sample = fold(x - padding.size[3], in_axes.size[3], mode);
        const bool replaced = z < 0 || y < 0 || sample < 0;
        store((char*)out + ((plane * height + row) * width + x) * bytes, type,
              replaced ? cval : (double)__ldg(in + from + sample * in_axes.step[3]));
      }
    }
  }
}

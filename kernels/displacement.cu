// displacement.cu: a box of smooth fields, each times its alpha.
//
//   out[s, p of the box] = smooth[s, p] * scales[s]
//
// Layout  out (fields, runs, length); smooth (fields, field_size). A run is a part of the box that is contiguous in the
//         field; it begins at first + offset_of(outer, run).
// Launch  grid (blocks of a run, runs, fields), each axis strided over by the grid; block 256 threads.
// Floor   the bytes read and written. Where the box is the whole field the last pass of the Gaussian scales instead.
#include "common.cuh"

constexpr int THREADS = 256;

template <class T>
__global__ void __launch_bounds__(THREADS)
    scaled_box(const T* __restrict__ smooth, T* __restrict__ out, const T* __restrict__ scales,
               i64 fields, i64 field_size, i64 runs, i64 length, i64 first, Axes outer) {
  for (i64 field = blockIdx.z; field < fields; field += gridDim.z) {
    const T scale = scales[field];
    for (i64 run = blockIdx.y; run < runs; run += gridDim.y) {
      const T* const from = smooth + field * field_size + first + offset_of(outer, run);
      T* const to = out + (field * runs + run) * length;
      for (i64 x = (i64)blockIdx.x * THREADS + threadIdx.x; x < length; x += (i64)gridDim.x * THREADS)
        to[x] = from[x] * scale;
    }
  }
}

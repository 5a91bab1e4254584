// convert.cu: a copy in another type, one value after the other.
//
// Launch  grid (blocks of values), strided over; block 256 threads.
// Floor   the bytes read and written.
#include "common.cuh"

constexpr int THREADS = 256;

template <class From, class To>
__global__ void __launch_bounds__(THREADS) convert(const From* __restrict__ in, To* __restrict__ out, i64 count) {
  for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < count; i += (i64)gridDim.x * THREADS) out[i] = (To)in[i];
}

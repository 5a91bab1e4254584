// jacobian.cu: determinants of the derivative of p + d(p), and the least of them with the number of folds.
//
//   det(I + dd/dp), differences central inside and one-sided at the ends of an axis, 0 along an axis of one voxel
//
// Layout  The axes of a field are (batch..., K that move), four in all, with a step each; components are `component`
//         apart. A box of it is asked for; its differences may read the voxels around it. `out` has the axes of the box.
// Launch  grid (columns / 32, rows / 8, what lies before them) of the box, each axis strided over; block (32, 8).
// Order   As the numpy backend computes it, to the bit. A minimum and a number of voxels are the same in every order:
//         threads, warps, blocks, and in a second launch the blocks. NaN is not less than a number, and no fold.
// Floor   The bytes of the displacement once, as the neighbours of a voxel come from L1 and L2: 6.3 MB of 768 x 1024 in
//         float32, 1.3 us at 4.8 TB/s; `determinants` writes half as much more. A voxel of a plane takes 8 loads and 15
//         instructions of floating point, one of a volume 18 and 41.
#include "common.cuh"

constexpr int COLUMNS = 32, ROWS = 8, THREADS = COLUMNS * ROWS, WARPS = THREADS / 32;

// Where a box lies in a field.
struct Box {
  i64 first[MAX_AXES];
  i64 size[MAX_AXES];
};

__device__ __forceinline__ double infinity() { return __longlong_as_double(0x7ff0000000000000ll); }

template <class T> __device__ __forceinline__ T determinant(const T (&m)[1][1]) { return m[0][0]; }
template <class T> __device__ __forceinline__ T determinant(const T (&m)[2][2]) {
  return m[0][0] * m[1][1] - m[0][1] * m[1][0];
}
template <class T> __device__ __forceinline__ T determinant(const T (&m)[3][3]) {
  return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
         m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

// The determinant at a voxel of the field.
template <class T, int K>
__device__ __forceinline__ T determinant_at(const T* values, i64 component, const Axes& field,
                                            const i64 (&at)[MAX_AXES]) {
  i64 here = 0;
#pragma unroll
  for (int axis = 0; axis < MAX_AXES; axis++) here += at[axis] * field.step[axis];
  T m[K][K];
#pragma unroll
  for (int j = 0; j < K; j++) {
    const int axis = MAX_AXES - K + j;
    const bool has_below = at[axis] > 0, has_above = at[axis] + 1 < field.size[axis];
    const i64 above = here + (has_above ? field.step[axis] : 0), below = here - (has_below ? field.step[axis] : 0);
    const T scale = has_below && has_above ? T(0.5) : T(1);
#pragma unroll
    for (int i = 0; i < K; i++)
      m[i][j] = (values[i * component + above] - values[i * component + below]) * scale + T(i == j);
  }
  return determinant(m);
}

// Calls visit(place in the box, determinant) for the voxels of a box that are this thread's.
template <class T, int K, class Visit>
__device__ __forceinline__ void each_voxel(const T* values, i64 component, const Axes& field, const Box& box,
                                           Visit visit) {
  for (i64 outer = blockIdx.z; outer < box.size[0] * box.size[1]; outer += gridDim.z) {
    const i64 plane = outer / box.size[1], line = outer - plane * box.size[1];
    for (i64 y = (i64)blockIdx.y * ROWS + threadIdx.y; y < box.size[2]; y += (i64)gridDim.y * ROWS)
      for (i64 x = (i64)blockIdx.x * COLUMNS + threadIdx.x; x < box.size[3]; x += (i64)gridDim.x * COLUMNS) {
        const i64 place[MAX_AXES] = {plane, line, y, x};
        const i64 at[MAX_AXES] = {box.first[0] + plane, box.first[1] + line, box.first[2] + y, box.first[3] + x};
        visit(place, determinant_at<T, K>(values, component, field, at));
      }
  }
}

template <class T, int K>
__global__ void __launch_bounds__(THREADS)
    determinants(const T* __restrict__ values, i64 component, Axes field, Box box, T* __restrict__ out, Axes target) {
  each_voxel<T, K>(values, component, field, box, [&](const i64(&place)[MAX_AXES], T value) {
    i64 to = 0;
#pragma unroll
    for (int axis = 0; axis < MAX_AXES; axis++) to += place[axis] * target.step[axis];
    out[to] = value;
  });
}

// The least and the sum over the threads of a block, in its first thread.
__device__ __forceinline__ void over_block(double& least, i64& count) {
  __shared__ double minima[WARPS];
  __shared__ i64 counts[WARPS];
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const double other = __shfl_xor_sync(0xffffffffu, least, distance);
    least = other < least ? other : least;
  }
  count = warp_sum(count);
  if (thread % 32 == 0) minima[thread / 32] = least, counts[thread / 32] = count;
  __syncthreads();
  if (thread == 0)
    for (int warp = 1; warp < WARPS; warp++) {
      least = minima[warp] < least ? minima[warp] : least;
      count += counts[warp];
    }
}

// The least determinant of a thread block's voxels and how many are 0 or less.
template <class T, int K>
__global__ void __launch_bounds__(THREADS)
    folds_of_blocks(const T* __restrict__ values, i64 component, Axes field, Box box, double* __restrict__ minima,
                    i64* __restrict__ counts) {
  double least = infinity();
  i64 count = 0;
  each_voxel<T, K>(values, component, field, box, [&](const i64(&)[MAX_AXES], T value) {
    least = (double)value < least ? (double)value : least;
    count += value <= T(0);
  });
  over_block(least, count);
  const i64 block = ((i64)blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  if (threadIdx.x == 0 && threadIdx.y == 0) minima[block] = least, counts[block] = count;
}

// The same of all blocks; `out` holds the minimum and the number. One block of THREADS.
__global__ void __launch_bounds__(THREADS)
    folds_of_all(const double* __restrict__ minima, const i64* __restrict__ counts, i64 blocks,
                 double* __restrict__ out) {
  double least = infinity();
  i64 count = 0;
  for (i64 block = threadIdx.x; block < blocks; block += THREADS) {
    least = minima[block] < least ? minima[block] : least;
    count += counts[block];
  }
  over_block(least, count);
  if (threadIdx.x == 0) out[0] = least, out[1] = (double)count;
}

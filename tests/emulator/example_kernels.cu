// example_kernels.cu: correct kernels, one for each thing that the emulator must do.
#include "example_taps.cuh"

// Every way to count threads.  out[rank of the thread in the grid] = rank
__global__ void ranks(long long* __restrict__ out) {
  const long long block = blockIdx.x + (long long)gridDim.x * (blockIdx.y + (long long)gridDim.y * blockIdx.z);
  const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const long long rank = block * (blockDim.x * blockDim.y * blockDim.z) + thread;
  out[rank] = rank;
}

// A tree in static shared memory, whose type depends on a template argument.  sums[block] = sum of THREADS elements
template <class T, class Sum, int THREADS>
__global__ void __launch_bounds__(THREADS) block_sum(const T* __restrict__ in, Sum* __restrict__ sums) {
  __shared__ Sum part[THREADS];
  const int t = threadIdx.x;
  part[t] = in[blockIdx.x * THREADS + t];
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) part[t] += part[t + half];
  }
  if (t == 0) sums[blockIdx.x] = part[0];
}

// A shared variable for each instantiation of a function.  out[t] = in[63 - t], again[t] = in[t]; block 64
template <class T>
__device__ T from_other_end(T value) {
  __shared__ T kept[64];
  kept[threadIdx.x] = value;
  __syncthreads();
  return kept[63 - threadIdx.x];
}
__global__ void reversed_twice(const float* __restrict__ in, float* __restrict__ out, double* __restrict__ again) {
  out[threadIdx.x] = from_other_end(in[threadIdx.x]);
  again[threadIdx.x] = from_other_end((double)out[threadIdx.x]);
}

// Dynamic shared memory.  out = in, each block's part reversed
template <class T>
__global__ void reversed(const T* __restrict__ in, T* __restrict__ out) {
  extern __shared__ __align__(16) unsigned char memory[];
  T* const part = (T*)memory;
  const int t = threadIdx.x, first = blockIdx.x * blockDim.x;
  part[t] = in[first + t];
  __syncthreads();
  out[first + t] = part[blockDim.x - 1 - t];
}

// Shuffles.  sums = sum of a warp, prefix = sum up to a lane, halves = sum of the half warp, seen[lane] = lane 5 of 8
// lanes
__global__ void shuffles(const int* __restrict__ in, int* __restrict__ out) {
  const int lane = threadIdx.x & 31, n = blockDim.x;
  int sum = in[threadIdx.x], prefix = sum, half = sum;
  for (int by = 16; by > 0; by /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, by);
  for (int by = 1; by < 32; by *= 2) {
    const int before = __shfl_up_sync(0xffffffffu, prefix, by);
    if (lane >= by) prefix += before;
  }
  for (int by = 8; by > 0; by /= 2) half += __shfl_down_sync(0xffffffffu, half, by, 16);
  out[threadIdx.x] = sum;
  out[n + threadIdx.x] = prefix;
  out[2 * n + threadIdx.x] = __shfl_sync(0xffffffffu, half, 0, 16);
  out[3 * n + threadIdx.x] = __shfl_sync(0xffffffffu, in[threadIdx.x], 5, 8);
}

// Lanes of a warp change places through shared memory, with no more than the warp's own barrier.
__global__ void neighbours(const float* __restrict__ in, float* __restrict__ out) {
  __shared__ float kept[64];
  kept[threadIdx.x] = in[threadIdx.x];
  __syncwarp();
  const float other = kept[threadIdx.x ^ 1];
  __syncwarp();
  kept[threadIdx.x] = other + in[threadIdx.x];
  __syncwarp();
  out[threadIdx.x] = kept[threadIdx.x ^ 1];
}

// Votes and reductions of a warp and of a block of 64, of what is odd.
__global__ void votes(const unsigned* __restrict__ in, unsigned* __restrict__ out) {
  const unsigned value = in[threadIdx.x], odd = value & 1;
  const unsigned of_warp[6] = {__ballot_sync(0xffffffffu, odd),        (unsigned)__any_sync(0xffffffffu, odd),
                               (unsigned)__all_sync(0xffffffffu, odd), __reduce_add_sync(0xffffffffu, value),
                               __reduce_max_sync(0xffffffffu, value),  __reduce_min_sync(0xffffffffu, value)};
  const unsigned of_block[3] = {(unsigned)__syncthreads_count(odd), (unsigned)__syncthreads_and(odd),
                                (unsigned)__syncthreads_or(odd)};
  for (int i = 0; i < 6; i++) out[threadIdx.x * 9 + i] = of_warp[i];
  for (int i = 0; i < 3; i++) out[threadIdx.x * 9 + 6 + i] = of_block[i];
}

// Part of a warp meets under a mask of its own, and lanes that have ended are not waited for.
__global__ void part_of_a_warp(const int* __restrict__ in, int* __restrict__ out) {
  const int lane = threadIdx.x;
  if (lane >= 24) return;
  int value = in[lane];
  if (lane < 8)
    for (int by = 4; by > 0; by /= 2) value += __shfl_xor_sync(0x000000ffu, value, by);
  out[lane] = value;
}

// Atomics in shared and global memory: integers only, whose sum has no order.
__global__ void histogram(const unsigned char* __restrict__ in, unsigned* __restrict__ counts, int n) {
  __shared__ unsigned own[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) own[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&own[in[i]], 1u);
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&counts[i], own[i]);
}

// The block that comes last, by an atomic counter, adds what all have written.
__global__ void last_block_adds(const int* __restrict__ in, int* __restrict__ parts, unsigned* __restrict__ arrived,
                                int* __restrict__ sum) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = in[blockIdx.x];
    __threadfence();
    last = atomicInc(arrived, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    __threadfence();
    int total = 0;
    for (unsigned i = 0; i < gridDim.x; i++) total += parts[i];
    *sum = total;
  }
}

// Vectors of 16 bytes, and a structure by value.  out[i] = sum over k of weights[|k|] in[i + k], 0 outside
template <int RADIUS>
__global__ void filtered(const float* __restrict__ in, float* __restrict__ out, const Taps<RADIUS> weights, int n) {
  const int first = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
  if (first >= n) return;
  float sum[4] = {0, 0, 0, 0};
#pragma unroll
  for (int j = 0; j < 4; j++)
    for (int k = -RADIUS; k <= RADIUS; k++)
      if (first + j + k >= 0 && first + j + k < n) sum[j] = fmaf(weights[k], in[first + j + k], sum[j]);
  if (first + 4 <= n)
    *(float4*)(out + first) = make_float4(sum[0], sum[1], sum[2], sum[3]);
  else
    for (int j = 0; first + j < n; j++) out[first + j] = sum[j];
}

// Device functions on integers, one pair (a, b) a thread.
__global__ void integers(const unsigned* __restrict__ a, const unsigned* __restrict__ b, long long* __restrict__ out) {
  const unsigned x = a[threadIdx.x], y = b[threadIdx.x];
  const int p = (int)x, q = (int)y;
  const unsigned long long wide = (unsigned long long)x << 32 | y;
  long long* const row = out + 14 * threadIdx.x;
  row[0] = __dp4a(x, y, 7u);
  row[1] = __dp4a(p, q, -7);
  row[2] = __dp2a_lo(x, y, 7u);
  row[3] = __dp2a_hi(x, y, 7u);
  row[4] = __dp2a_lo(p, q, -7);
  row[5] = __dp2a_hi(p, q, -7);
  row[6] = __byte_perm(x, y, 0x3175);
  row[7] = __umulhi(x, y);
  row[8] = __mulhi(p, q);
  row[9] = (long long)__umul64hi(wide, wide);
  row[10] = __popc(x);
  row[11] = __clz(p);
  row[12] = __funnelshift_l(y, x, 5);
  row[13] = min(p, 0) + max(x, y);
}

// Device functions on floating point numbers.
__global__ void reals(const double* __restrict__ in, double* __restrict__ out) {
  const double x = __ldcs(in + threadIdx.x);
  const float f = __ldg(in + threadIdx.x);
  double* const row = out + 13 * threadIdx.x;
  row[0] = __float2int_rd(f);
  row[1] = __double2int_rn(x);
  row[2] = (double)__double2ll_rd(x);
  row[3] = __float2uint_rz(f);
  row[4] = __int2float_rn(__float2int_rz(f));
  row[5] = __hiloint2double(__double2hiint(x), __double2loint(x));
  row[6] = __int_as_float(__float_as_int(f));
  row[7] = rint(f);
  row[8] = floor(x);
  row[9] = fma(x, x, 1.0);
  row[10] = rsqrt(fabs(x) + 1);
  row[12] = (isnan(f / 0.0f) ? 1 : 0) + (isinf(x / 0.0) ? 2 : 0) + (signbit(f) ? 4 : 0) + (isfinite(x) ? 8 : 0);
  __stcs(row + 11, max(x, __longlong_as_double(0x7ff8000000000000ll)));
}

// Constant memory.
__constant__ float table[4] = {1, 10, 100, 1000};
__global__ void constants(const int* __restrict__ in, float* __restrict__ out) {
  out[threadIdx.x] = table[in[threadIdx.x]];
}

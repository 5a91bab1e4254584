// planted_bugs.cu: kernels that are wrong on purpose, each in one thing. `planted_bugs.py` says what each should do,
// and what shows that it does not.

// ---- beyond the end ----

__global__ void reads_beyond_array(float* out, const float* in, int n) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t < n) out[t] = in[t] + in[t + 1] * (t + 1 < n);
}
__global__ void reads_beyond_array_unused(float* out, const float* in, int n) {  // fmaxf drops the NaN behind the array
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t < n) out[t] = fmaxf(in[t], in[t + 1] - 1000.0f);
}
__global__ void reads_before_array(float* out, const float* in, int n) {
  const int t = threadIdx.x;
  if (t < n) out[t] = fmaxf(in[t], in[t - 1] - 1000.0f);
}
__global__ void writes_beyond_array(float* out, const float* in, int n) {
  const int t = threadIdx.x;
  if (t < n) out[t] = in[t];
  if (t == 0) out[n] = 0;
}
__global__ void reads_beyond_shared(float* out, const float* in, int) {
  __shared__ float kept[64];
  kept[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = fmaxf(in[threadIdx.x], kept[threadIdx.x + 1] - 1000.0f);
}
__global__ void reads_beyond_dynamic_shared(float* out, const float* in, int) {
  extern __shared__ float dynamic[];
  dynamic[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = fmaxf(in[threadIdx.x], dynamic[threadIdx.x + 1] - 1000.0f);
}
__global__ void writes_beyond_dynamic_shared(float* out, const float* in, int n) {
  extern __shared__ float dynamic[];
  dynamic[threadIdx.x + 1] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = dynamic[threadIdx.x + 1];
}
__global__ void leaves_its_row(float* out, const float* in, int) {
  __shared__ float kept[2][32];
  kept[threadIdx.x / 32][threadIdx.x % 32] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = kept[0][threadIdx.x];
}
__global__ void reads_beyond_local(float* out, const float* in, int n) {
  const float v[4] = {1, 2, 3, 4};
  out[threadIdx.x] = in[threadIdx.x] + 0 * v[(n & 7) + 4];
}
__global__ void null_pointer(float* out, const float* in, int) {
  const float* nothing = threadIdx.x < 64 ? nullptr : in;
  out[threadIdx.x] = in[threadIdx.x] + 0 * nothing[0];
}

__global__ void wild_pointer(float* out, const float* in, int) {
  out[threadIdx.x] = in[threadIdx.x] + 0 * in[1ll << 40];
}

// ---- read before it is written ----

__global__ void uninitialised_shared(float* out, const float* in, int) {
  __shared__ float kept[64];
  if (threadIdx.x < 32) kept[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = kept[threadIdx.x];
}
__global__ void uninitialised_local(float* out, const float* in, int n) {
  float sum[2];
  if (n < 64) sum[n & 1] = 0;
  out[threadIdx.x] = sum[n & 1] + in[threadIdx.x];
}
__global__ void shared_of_the_last_block(float* out, const float* in, int) {  // what one block leaves, the next has not
  __shared__ float kept[32];
  const int t = threadIdx.x;
  if (blockIdx.x == 0) kept[t] = 0;
  __syncthreads();
  out[blockIdx.x * 32 + t] = in[blockIdx.x * 32 + t] + kept[t];
}
__global__ void lost_element(float* out, const float* in, int n) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t < n - 1) out[t] = in[t];
}

// ---- races ----

__global__ void no_barrier(float* out, const float* in, int) {  // right as long as threads run in their order
  __shared__ float kept[64];
  kept[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = in[threadIdx.x] + 0 * kept[threadIdx.x & 32];
}
__global__ void no_warp_barrier(float* out, const float* in, int) {
  __shared__ float kept[64];
  kept[threadIdx.x] = in[threadIdx.x ^ 1];
  out[threadIdx.x] = kept[threadIdx.x ^ 1];
}
__global__ void shuffle_as_barrier(float* out, const float* in, int) {  // a shuffle orders no memory
  __shared__ float kept[64];
  kept[threadIdx.x] = in[threadIdx.x ^ 1];
  const float other = __shfl_xor_sync(0xffffffffu, in[threadIdx.x], 1);
  out[threadIdx.x] = kept[threadIdx.x ^ 1] + 0 * other;
}
__global__ void no_barrier_before_reuse(float* out, const float* in, int) {
  __shared__ float kept[64];
  kept[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  const float other = kept[63 - threadIdx.x];
  kept[(63 - threadIdx.x) ^ 1] = other;
  __syncthreads();
  out[threadIdx.x] = kept[threadIdx.x ^ 1];
}
__global__ void race_of_blocks(float* out, const float* in, int n) {
  for (int t = threadIdx.x; t < n; t += blockDim.x) out[t] = in[t];  // every block writes the same, as it happens
}
__global__ void order_of_tickets(float* out, const float* in, int) {  // as the tickets are drawn
  __shared__ int next;
  if (threadIdx.x == 0) next = 0;
  __syncthreads();
  out[atomicAdd(&next, 1)] = in[threadIdx.x];
}

// ---- barriers and collectives ----

__global__ void two_barriers(float* out, const float* in, int) {
  out[threadIdx.x] = in[threadIdx.x];
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void barrier_of_some(float* out, const float* in, int) {
  out[threadIdx.x] = in[threadIdx.x];
  if (threadIdx.x >= 40) return;
  __syncthreads();
}
__global__ void half_a_warp_shuffles(float* out, const float* in, int) {
  float value = in[threadIdx.x];
  if (threadIdx.x % 32 < 16) value += 0 * __shfl_down_sync(0xffffffffu, value, 8);
  __syncthreads();
  out[threadIdx.x] = value;
}
__global__ void shuffle_from_absent_lane(float* out, const float* in, int) {
  float value = in[threadIdx.x];
  if (threadIdx.x % 32 < 16) value += 0 * __shfl_down_sync(0x0000ffffu, value, 8);
  out[threadIdx.x] = value;
}
__global__ void lane_outside_its_mask(float* out, const float* in, int) {
  out[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, in[threadIdx.x], 0);
}

// ---- values and addresses ----

__global__ void misaligned_vector(float* out, const float* in, int n) {
  const int at = 4 * threadIdx.x + 1;
  out[threadIdx.x] = in[threadIdx.x];
  if (at + 4 <= n) out[threadIdx.x] += 0 * ((const float4*)(in + at))->x;
}
__global__ void misaligned_shared(float* out, const float* in,
                                  int) {  // nothing says that the variable starts on 16 bytes
  __shared__ float kept[64];
  kept[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  const float4 four = *(const float4*)(kept + threadIdx.x / 4 * 4);
  const float v[4] = {four.x, four.y, four.z, four.w};
  out[threadIdx.x] = v[threadIdx.x % 4];
}
__global__ void integer_overflow(float* out, const float* in, int n) {
  const int size = (n << 20) * 64;
  out[threadIdx.x] = in[threadIdx.x] + 0 * (float)size;
}
__global__ void negative_to_unsigned(float* out, const float* in, int) {
  out[threadIdx.x] = in[threadIdx.x] + 0 * (float)(unsigned char)(-1.5f - in[threadIdx.x]);
}
__global__ void shift_of_all_bits(float* out, const float* in, int n) {
  out[threadIdx.x] = in[threadIdx.x] + 0 * (float)(1u << (n / 2));
}

// experiments.cu: what a GPU can do at most of what the kernels ask of it. Not a part of the package.
//
// gather: every lane of a warp loads a float from one of LINES lines of 128 bytes, from L1 or from shared memory.
// draw: Philox alone, 4x64-10 as NumPy's or 4x32-10; nothing is written but where a word is zero, which the compiler
// cannot know. Dynamic shared memory that is asked for and not used holds fewer blocks on a multiprocessor.
// read: the sum of an array, `times` over.
//
// All: blocks of 256 threads.
#include "../../kernels/philox.cuh"

constexpr int THREADS = 256;
constexpr int FLOATS = 2048;  // of a table: 8 KiB

// Loads by `rounds` warps' worth of addresses: lane l takes line (l * LINES / 32 + round) of the table.
template <int LINES, bool IN_SHARED>
__global__ void __launch_bounds__(THREADS) gather(const float* __restrict__ table, float* __restrict__ out, int rounds) {
  __shared__ float copy[FLOATS];
  for (int k = threadIdx.x; k < FLOATS; k += THREADS) copy[k] = table[k];
  __syncthreads();
  const float* from = IN_SHARED ? copy : table;
  const int lane = threadIdx.x % 32;
  int at = lane * LINES / 32 * 32 + lane;
  float sum = 0;
#pragma unroll 8
  for (int round = 0; round < rounds; round++) {
    sum += from[at % FLOATS];
    at += 32;
  }
  out[blockIdx.x * THREADS + threadIdx.x] = sum;
}

// Four words of 32 bits: the 4x32 of the same authors.
__device__ __forceinline__ void philox_small(u32 (&word)[4], u32 block, u32 seed, u32 stream) {
  u32 k0 = seed, k1 = stream;
  word[0] = block;
  word[1] = word[2] = word[3] = 0;
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const u64 a = (u64)0xD2511F53u * word[0], b = (u64)0xCD9E8D57u * word[2];
    word[0] = (u32)(b >> 32) ^ word[1] ^ k0;
    word[1] = (u32)b;
    word[2] = (u32)(a >> 32) ^ word[3] ^ k1;
    word[3] = (u32)a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// `rounds` blocks of eight halves of a word (WIDE), or of four words, by every thread.
template <bool WIDE> __global__ void __launch_bounds__(THREADS) draw(u32* __restrict__ out, int rounds) {
  const u32 thread = blockIdx.x * THREADS + threadIdx.x;
  u64 sum = 0;
  for (int round = 0; round < rounds; round++) {
    if (WIDE) {
      u64 word[4];
      philox_block(word, (u64)thread * rounds + round, 1, 2);
      sum += word[0] ^ word[1] ^ word[2] ^ word[3];
    } else {
      u32 word[4];
      philox_small(word, thread * rounds + round, 1, 2);
      sum += word[0] ^ word[1] ^ word[2] ^ word[3];
    }
  }
  if (sum == 0) out[0] = thread;
}

// The sum of `words` vectors, which the grid reads `times` over.
__global__ void __launch_bounds__(THREADS) read(const uint4* __restrict__ data, u32* __restrict__ out, i64 words, int times) {
  u32 sum = 0;
  for (int time = 0; time < times; time++) {
#pragma unroll 4
    for (i64 k = (i64)blockIdx.x * THREADS + threadIdx.x; k < words; k += (i64)gridDim.x * THREADS) {
      const uint4 word = data[k];
      sum += word.x ^ word.y ^ word.z ^ word.w ^ (u32)time;
    }
  }
  if (sum == 1) out[0] = sum;
}

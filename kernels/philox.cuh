// philox.cuh: Philox4x64-10, bit for bit as numpy.random.Philox(key=[seed, stream]).
//
//   J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
//   One round:  (c0, c1, c2, c3) -> (hi(M1 c2) ^ c1 ^ k0,  lo(M1 c2),  hi(M0 c0) ^ c3 ^ k1,  lo(M0 c0));  key += W
//
// NumPy raises its counter before it draws: the words 4b .. 4b+3 of a stream come from the counter (b + 1, 0, 0, 0).
// A float64 is (word >> 11) * 2^-53. A word gives two float32, low half first: (half >> 8) * 2^-24.
#pragma once
#include "common.cuh"

// The four 64-bit words of block `block` of a stream.
__device__ __forceinline__ void philox_block(u64 (&word)[4], u64 block, u64 seed, u64 stream) {
  const u64 M0 = 0xD2E7470EE14C6C93ull, M1 = 0xCA5A826395121157ull;
  u64 k0 = seed, k1 = stream;
  word[0] = block + 1;
  word[1] = word[2] = word[3] = 0;
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const u64 high0 = __umul64hi(M0, word[0]), low0 = M0 * word[0];
    const u64 high1 = __umul64hi(M1, word[2]), low1 = M1 * word[2];
    word[0] = high1 ^ word[1] ^ k0;
    word[1] = low1;
    word[2] = high0 ^ word[3] ^ k1;
    word[3] = low0;
    k0 += 0x9E3779B97F4A7C15ull;
    k1 += 0xBB67AE8584CAA73Bull;
  }
}

// 2 u - 1 of the float32 number u that a half of a word gives; exact.
__device__ __forceinline__ float centred(u32 half) {
  return (float)((int)(half ^ 0x80000000u) >> 8) * (1.0f / 8388608.0f);
}

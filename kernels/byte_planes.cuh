// byte_planes.cuh: loads of bytes from anywhere, and pixels of one and two bytes as planes of bytes for dp4a.
#pragma once
#include "common.cuh"

constexpr int WORD = 16;  // bytes of a load

// Bytes below position n of a word of four.
__device__ __forceinline__ u32 bytes_below(int n) { return n <= 0 ? 0 : n >= 4 ? 0xffffffffu : (1u << 8 * n) - 1; }

// Bytes first..last - 1 of a word that reaches beyond the array, one by one.
__device__ __noinline__ uint4 load_border(const u8* word, int first, int last) {
  u32 part[4] = {0, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < WORD; i++)
    if (i >= first && i < last) part[i / 4] |= (u32)word[i] << 8 * (i % 4);
  return make_uint4(part[0], part[1], part[2], part[3]);
}

// COUNT words of four bytes from anywhere; what is read lies in 4-byte words that hold at least one of these bytes.
template <int COUNT> __device__ __forceinline__ void load_unaligned(u32 (&bytes)[COUNT], const u8* from) {
  const int shift = (int)((u64)from & 3);
  const u32* const word = (const u32*)(from - shift);
  u32 low = __ldg(word);
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    const u32 high = i + 1 < COUNT || shift ? __ldg(word + i + 1) : 0;
    bytes[i] = __funnelshift_r(low, high, 8 * shift);
    low = high;
  }
}

__device__ __forceinline__ void load_aligned(u32 (&bytes)[4], const u8* from) {
  const uint4 word = __ldg((const uint4*)from);
  bytes[0] = word.x, bytes[1] = word.y, bytes[2] = word.z, bytes[3] = word.w;
}
__device__ __forceinline__ void load_aligned(u32 (&bytes)[2], const u8* from) {
  const uint2 word = __ldg((const uint2*)from);
  bytes[0] = word.x, bytes[1] = word.y;
}

// 16 bytes of pixels as planes of bytes: pixels of one byte have one, pixels of two have the low bytes and the high
// ones.
__device__ __forceinline__ void split(u32 (&plane)[1][4], const uint4& word) {
  plane[0][0] = word.x, plane[0][1] = word.y, plane[0][2] = word.z, plane[0][3] = word.w;
}
__device__ __forceinline__ void split(u32 (&plane)[2][2], const uint4& word) {
  plane[0][0] = __byte_perm(word.x, word.y, 0x6420), plane[0][1] = __byte_perm(word.z, word.w, 0x6420);
  plane[1][0] = __byte_perm(word.x, word.y, 0x7531), plane[1][1] = __byte_perm(word.z, word.w, 0x7531);
}

template <int COUNT> __device__ __forceinline__ u32 dot(const u32 (&a)[COUNT], const u32 (&b)[COUNT], u32 sum) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) sum = __dp4a(a[i], b[i], sum);
  return sum;
}

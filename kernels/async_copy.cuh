// async_copy.cuh: copies from global to shared memory that a thread begins now and waits for later.
//
// From compute capability 8.0 on they pass no register, and a thread may begin any number before the first has come.
// Elsewhere, and on the emulator, each is a load and a store, and there is nothing to wait for.
//
//   copy_async  begins one;  end_group  what was begun since the last call is a group;  wait_copies<N>  until all but
//   the last N groups of this thread have come: other threads need a barrier after it
#pragma once
#include "common.cuh"

#if !defined(CUDA_EMULATOR) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800

typedef u32 Shared;  // an address in shared memory, to which bytes are added

__device__ __forceinline__ Shared shared_address(void* to) { return (u32)__cvta_generic_to_shared(to); }

// 4, 8 or 16 bytes, of which both addresses are multiples.
template <int BYTES> __device__ __forceinline__ void copy_async(Shared to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(from), "n"(BYTES) : "memory");
}

// 16 bytes that are read once, past L1; or 0 in their place, where nothing is read.
__device__ __forceinline__ void copy_or_clear(uint4* to, const uint4* from, bool is_read) {
  const int bytes = is_read ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}

// An address as it is: else it is made anew from its parts for each of several copies.
__device__ __forceinline__ const char* settled(const void* address) {
  const char* same = (const char*)address;
  asm("" : "+l"(same));
  return same;
}

// A number as it is: else what follows from it is made before a loop, and kept in registers that the loop needs.
__device__ __forceinline__ int settled(int number) {
  asm volatile("" : "+r"(number));
  return number;
}

__device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int GROUPS> __device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
}

#else

typedef char* Shared;

__device__ __forceinline__ Shared shared_address(void* to) { return (char*)to; }

template <int BYTES> struct __align__(BYTES) Bytes { u32 word[BYTES / 4]; };

template <int BYTES> __device__ __forceinline__ void copy_async(Shared to, const void* from) {
  *(Bytes<BYTES>*)to = *(const Bytes<BYTES>*)from;
}
__device__ __forceinline__ void copy_or_clear(uint4* to, const uint4* from, bool is_read) {
  *to = is_read ? __ldcs(from) : make_uint4(0, 0, 0, 0);
}
__device__ __forceinline__ const char* settled(const void* address) { return (const char*)address; }
__device__ __forceinline__ int settled(int number) { return number; }
__device__ __forceinline__ void end_group() {}
template <int GROUPS> __device__ __forceinline__ void wait_copies() {}

#endif

// load_tap.cuh: a load of a sample whose neighbours are wanted as well.
//
// A miss in L2 brings a sector of 32 bytes from memory; this load asks for the whole line of 128. Elsewhere, and on the
// emulator, it is a load like others.
#pragma once
#include "common.cuh"

template <class T> __device__ __forceinline__ T load_tap(const T* from) {
#if defined(CUDA_EMULATOR) || __CUDA_ARCH__ < 750
  return __ldg(from);
#else
  constexpr bool FLOAT = (T)0.5 != 0;
  u64 eight;
  u32 four;
  if constexpr (sizeof(T) == 8) {
    asm("ld.global.nc.L2::128B.u64 %0, [%1];" : "=l"(eight) : "l"(from));
    if constexpr (FLOAT) return __longlong_as_double((i64)eight);
    else return (T)eight;
  } else {
    if constexpr (sizeof(T) == 4) asm("ld.global.nc.L2::128B.u32 %0, [%1];" : "=r"(four) : "l"(from));
    else if constexpr (sizeof(T) == 2) asm("ld.global.nc.L2::128B.u16 %0, [%1];" : "=r"(four) : "l"(from));
    else asm("ld.global.nc.L2::128B.u8 %0, [%1];" : "=r"(four) : "l"(from));
    if constexpr (FLOAT) return __uint_as_float(four);
    else return (T)four;
  }
#endif
}

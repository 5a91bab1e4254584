// samples.cuh: the types of samples: in which one is computed, and how values become samples of any type.
//
// Integers are rounded, half away from zero, and clipped, as SciPy's interpolation does; a NaN becomes 0.
#pragma once
#include "common.cuh"

enum Type { BOOL, UINT8, INT8, UINT16, INT16, UINT32, INT32, UINT64, INT64, FLOAT32, FLOAT64 };

template <class In> struct Computed { typedef double type; };
template <> struct Computed<float> { typedef float type; };

// The integer nearest to a value, half away from zero, as far as T goes; NaN gives 0.
template <class T> __device__ __forceinline__ T rounded(double value) {
  constexpr bool IS_SIGNED = (T)-1 < 0;
  value += value < 0 ? -0.5 : 0.5;
  if ((IS_SIGNED || sizeof(T) > 2) && !(value == value)) return 0;  // else a NaN is below 0 or 0 already
  if constexpr (sizeof(T) == 8) {  // the conversions saturate
    return IS_SIGNED ? (T)__double2ll_rz(value) : (T)__double2ull_rz(value);
  } else if constexpr (sizeof(T) == 4) {
    return IS_SIGNED ? (T)__double2int_rz(value) : (T)__double2uint_rz(value);
  } else {
    constexpr int MOST = (1 << (8 * sizeof(T) - IS_SIGNED)) - 1;
    return (T)min(max(__double2int_rz(value), IS_SIGNED ? -MOST - 1 : 0), MOST);
  }
}

// Stores a value as `type`, past the cache of what is read.
__device__ __forceinline__ void store(void* to, int type, double value) {
  switch (type) {
    case BOOL: return __stcs((u8*)to, (u8)(value >= 0.5));
    case UINT8: return __stcs((u8*)to, rounded<u8>(value));
    case INT8: return __stcs((signed char*)to, rounded<signed char>(value));
    case UINT16: return __stcs((u16*)to, rounded<u16>(value));
    case INT16: return __stcs((short*)to, rounded<short>(value));
    case UINT32: return __stcs((u32*)to, rounded<u32>(value));
    case INT32: return __stcs((int*)to, rounded<int>(value));
    case UINT64: return __stcs((u64*)to, rounded<u64>(value));
    case INT64: return __stcs((i64*)to, rounded<i64>(value));
    case FLOAT32: return __stcs((float*)to, (float)value);
    default: return __stcs((double*)to, value);
  }
}
__device__ __forceinline__ void store(void* to, int, float value) { __stcs((float*)to, value); }

// Copies a word of 1, 2, 4 or 8 bytes, whatever it means, or writes `fill` where none was found.
__device__ __forceinline__ void copy_word(const void* from, bool found, void* to, int bytes, u64 fill) {
  switch (bytes) {
    case 1: return __stcs((u8*)to, found ? __ldg((const u8*)from) : (u8)fill);
    case 2: return __stcs((u16*)to, found ? __ldg((const u16*)from) : (u16)fill);
    case 4: return __stcs((u32*)to, found ? __ldg((const u32*)from) : (u32)fill);
    default: return __stcs((u64*)to, found ? __ldg((const u64*)from) : fill);
  }
}

// integer_sums.cuh: sums of integers of one and two bytes, by dp4a over planes of bytes.
#pragma once
#include "byte_planes.cuh"

// Sums over a block of bytes fit into 32 bits: 255^2 * 32768 < 2^31. Those of 16-bit pixels do not.
template <int PLANES> struct BlockSum {
  typedef u64 type;
};
template <> struct BlockSum<1> {
  typedef u32 type;
};

template <int PY, int PX> struct Product {  // sum x y, by the power of 256
  u32 sum[PY + PX - 1];

  __device__ __forceinline__ void add(const u32 (&y)[PY][4 / PY], const u32 (&x)[PX][4 / PY]) {
#pragma unroll
    for (int i = 0; i < PY * PX; i++) sum[i / PX + i % PX] = dot(y[i / PX], x[i % PX], sum[i / PX + i % PX]);
  }
  template <class Sum> __device__ __forceinline__ Sum total() const {
    Sum value = 0;
#pragma unroll
    for (int i = 0; i < PY + PX - 1; i++) value += (Sum)sum[i] << 8 * i;
    return value;
  }
};

template <int P> struct Power {  // sum y and sum y^2
  u32 plane_sum[P], plane_square[P], mixed;

  __device__ __forceinline__ void add(const u32 (&y)[P][4 / P]) {
#pragma unroll
    for (int i = 0; i < P; i++) {
#pragma unroll
      for (int j = 0; j < 4 / P; j++) plane_sum[i] = __dp4a(y[i][j], 0x01010101u, plane_sum[i]);
      plane_square[i] = dot(y[i], y[i], plane_square[i]);
    }
    if (P == 2) mixed = dot(y[0], y[P - 1], mixed);
  }
  template <class Sum> __device__ __forceinline__ Sum sum() const {
    return P == 1 ? (Sum)plane_sum[0] : (Sum)plane_sum[0] + ((Sum)plane_sum[P - 1] << 8);
  }
  template <class Sum> __device__ __forceinline__ Sum square() const {
    return P == 1 ? (Sum)plane_square[0]
                  : (Sum)plane_square[0] + ((Sum)mixed << 9) + ((Sum)plane_square[P - 1] << 16);
  }
};

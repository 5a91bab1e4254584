// example_taps.cuh: a structure that a kernel takes by value.
#pragma once

template <int RADIUS>
struct Taps {
  float v[RADIUS + 1];
  __device__ __forceinline__ float operator[](int k) const { return v[k < 0 ? -k : k]; }
};

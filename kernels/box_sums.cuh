// box_sums.cuh: sums of the boxes of a tile of deformed pixels in shared memory, a box a warp. For warp_moments.cu.
#pragma once
#include "async_copy.cuh"
#include "block_sums.cuh"
#include "deformed_pixels.cuh"

constexpr int LANES = 32;
constexpr int TILE_COLUMNS = 64;  // of the tile, at most
constexpr int BOX_ROWS = 8;       // at most

// Sums of deformed pixels of a type with references as `int` are exact, those with references as `double` centred. Of
// bytes a lane has at most 8 in a box: 8 * 255 * 65535 < 2^31.
template <class X> struct Summed { typedef double type; };
template <> struct Summed<int> { typedef i64 type; };
template <class X> using Sum = typename Summed<X>::type;
template <class T, class X> struct OfLane { typedef Sum<X> type; };
template <> struct OfLane<bool, int> { typedef int type; };
template <> struct OfLane<u8, int> { typedef int type; };
template <> struct OfLane<signed char, int> { typedef int type; };

// The sum over the lanes of integers; their order is free. One instruction from compute capability 8.0 on.
__device__ __forceinline__ int warp_total(int value) {
#if !defined(CUDA_EMULATOR) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  return __reduce_add_sync(ALL, value);
#else
  return warp_sum(value);
#endif
}

// A box of a tile: where it lies in an image, its number, and where it lies in the tile.
struct __align__(16) Box {
  i64 corner, block;
  int place, down, across;
};

// A box of a tile by its number there, not inlined as few warps come here more than once a tile.
__device__ __noinline__ Box find_box(int number, const int* __restrict__ tile_rows,
                                     const int* __restrict__ tile_columns, const int* __restrict__ block_rows,
                                     const int* __restrict__ block_columns, int blocks_x, int width) {
  const int4 down = *(const int4*)tile_rows, across = *(const int4*)tile_columns;
  const int boxes_x = across.y - across.x, above = (int)((u32)number / (u32)boxes_x);
  const int row = down.x + above, column = across.x + number - above * boxes_x;
  const int top = block_rows[row], left = block_columns[column];
  return {(i64)top * width + left, (i64)row * blocks_x + column, (top - down.z) * TILE_COLUMNS + left - across.z,
          block_rows[row + 1] - top, block_columns[column + 1] - left};
}

// Sums of a full box of bytes with one reference: a pixel a lane and row, from `pixel` and `reference` on. `alone` and
// `product_to` are those of the box.
template <class T>
__device__ __forceinline__ void sum_full_box(const T* pixel, const int* __restrict__ reference, int width, int lane,
                                             Alone<i64>* __restrict__ alone, i64* __restrict__ product_to) {
  const char* from = settled(reference);
  int u[BOX_ROWS], sum = 0, square = 0, product = 0;
#pragma unroll
  for (int row = 0; row < BOX_ROWS; row++, from = settled(from + (i64)width * 4)) u[row] = __ldg((const int*)from);
#pragma unroll
  for (int row = 0; row < BOX_ROWS; row++) {
    const int v = (int)pixel[row * TILE_COLUMNS];
    sum += v, square += v * v, product += v * u[row];
  }
  const int own_sum = warp_total(sum), own_square = warp_total(square);
  const i64 own_product = (i64)warp_total(product >> 16) * 65536 + warp_total(product & 0xffff);
  if (lane == 0) alone->sum = own_sum, alone->square = own_square, *product_to = own_product;
}

// Sums of one box, `down` x `across` pixels of the deformed slice from `tile` on, with all references: a warp's. All
// pointers to images are at the first pixel of the box; `alone_x` has the shifts of the references' blocks.
//
// Shift  of v: the mean of the first pixel that counts of every lane, at least one in 16 of the box. See
//        moments_floats.cu.
template <class T, class X, int K, bool MASKED>
__device__ __forceinline__ void sum_box(const T* tile, int lane, int down, int across, const X* __restrict__ references,
                                        const bool* __restrict__ masks, i64 mask_step, int reference_count, int width,
                                        i64 pixels, const Alone<Sum<X>>* __restrict__ alone_x, i64 slice,
                                        i64 slice_count, i64 block, i64 blocks, Alone<Sum<X>>* __restrict__ alone,
                                        Sum<X>* __restrict__ products) {
  typedef typename OfLane<T, X>::type Part;
  constexpr bool EXACT = sizeof(X) == 4;
  constexpr int COUNT = power_of_two(2 + K);
  const int units = max(1, across), step = units > LANES / 2 ? 1 : LANES / units;
  const int own = units > LANES / 2 ? (lane >= units) : lane / units, column = lane - own * units;
  const int start = across && own < step ? own : down;
  const i64 at = (i64)start * width + column, further = (i64)step * width;
  const int end = K == 1 && !MASKED ? 1 : reference_count;  // alone there is one
  for (int k = 0; k < end; k += K) {
    const bool* mask = MASKED ? masks + k * mask_step + at : nullptr;
    Sum<X> shift_y = 0, shift_x[K] = {};
    if (!EXACT) {
      int found = -1;
      for (int row = start; row < down && found < 0; row += step)
        if (!MASKED || mask[(i64)(row - start) * width]) found = row;
      shift_y = mean_of_found(found, [&](int row) { return (double)number_of(tile[row * TILE_COLUMNS + column]); });
#pragma unroll
      for (int j = 0; j < K; j++) shift_x[j] = alone_x[min(k + j, reference_count - 1) * blocks].shift;
    }
    Part sum = 0, square = 0, product[K] = {};
    const auto add_pixel = [&](int row, bool counts) {
      const T pixel = tile[row * TILE_COLUMNS + column];
      const Part v = !counts ? Part(0) : EXACT ? (Part)pixel : (Part)number_of(pixel) - (Part)shift_y;
      sum += v;
      square = multiply_add(v, v, square);
      return v;
    };
    if constexpr (K == 1 && !MASKED) {  // the references of several rows first: they come from L2
      constexpr int AHEAD = sizeof(Part) == 4 ? BOX_ROWS : BOX_ROWS / 2;
      const char* from = settled(references + at);
#pragma unroll 1
      for (int row = start; row < down; row += AHEAD * step) {
        X u[AHEAD] = {};
#pragma unroll
        for (int i = 0; i < AHEAD; i++, from = settled(from + further * (i64)sizeof(X)))
          if (row + i * step < down) u[i] = __ldg((const X*)from);
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
          if (row + i * step < down)
            product[0] = multiply_add((Part)u[i] - (Part)shift_x[0], add_pixel(row + i * step, true), product[0]);
      }
    } else {
      const X* from[K];
#pragma unroll
      for (int j = 0; j < K; j++) from[j] = references + (K == 1 ? k : min(k + j, reference_count - 1)) * pixels + at;
#pragma unroll 1
      for (int row = start; row < down; row += step) {
        const bool counts = MASKED ? *mask : true;
        const Part v = add_pixel(row, counts);
#pragma unroll
        for (int j = 0; j < K; j++) {
          const Part u = counts ? (Part)*from[j] - (Part)shift_x[j] : Part(0);
          product[j] = multiply_add(u, v, product[j]);
          from[j] += further;
        }
        if (MASKED) mask += further;
      }
    }
    Alone<Sum<X>>* const to = MASKED ? alone + k * slice_count * blocks : alone;
    if constexpr (sizeof(Part) < sizeof(Sum<X>)) {
      const int own_sum = warp_total(sum), own_square = warp_total(square);
      i64 own_product[K];
#pragma unroll
      for (int j = 0; j < K; j++)
        own_product[j] = (i64)warp_total(product[j] >> 16) * 65536 + warp_total(product[j] & 0xffff);
      if (lane == 0) {
        to[slice * blocks + block].sum = own_sum, to[slice * blocks + block].square = own_square;
#pragma unroll
        for (int j = 0; j < K; j++)
          if (k + j < end) products[((k + j) * slice_count + slice) * blocks + block] = own_product[j];
      }
    } else {
      Sum<X> value[COUNT] = {};
      value[0] = sum, value[1] = square;
#pragma unroll
      for (int j = 0; j < K; j++) value[2 + j] = product[j];
      const Sum<X> total = warp_sums<COUNT>(value);
      write_sums<K, 1>(total, lane * COUNT, slice, slice_count, reference_count - k, block, blocks, to,
                       products + k * slice_count * blocks);
    }
    if (!EXACT && lane == 0) to[slice * blocks + block].shift = shift_y;
  }
}

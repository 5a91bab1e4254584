// tile_copy.cuh: a tile of a slice and what lies around it in shared memory, the slice's borders folded.
#pragma once
#include "async_copy.cuh"
#include "boundary.cuh"
#include "byte_planes.cuh"

constexpr int AT_ONCE = 4;  // rows whose loads a thread has in flight

// Copies pixels of one column, in rows `first`, `first` + step, ... `from` is where it begins in the slice.
template <class T>
__device__ __forceinline__ void copy_column(T* column, const char* from, const i64* row_start, int first, int rows,
                                            int step, int pitch) {
#pragma unroll 1
  for (int row = first; row < rows; row += AT_ONCE * step) {
    i64 start[AT_ONCE];
    T pixel[AT_ONCE];
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++)
      if (row + k * step < rows) start[k] = row_start[row + k * step];
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++)
      if (row + k * step < rows) pixel[k] = *(const T*)(from + start[k]);
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++)
      if (row + k * step < rows) column[(row + k * step) * pitch] = pixel[k];
  }
}

// Begins to copy a box of a slice by a block of THREADS threads, 8 bytes each; row r holds row top + r of the slice,
// which after folding begins at byte row_start[r], column c pixel left + c, folded into it. `left` is a multiple of 8
// bytes, a row has `packs` of them, at most THREADS pixels, and a thread keeps its column. What stands for the constant
// may hold anything.
template <int THREADS, class T>
__device__ __forceinline__ void copy_box(T* copy, const T* __restrict__ image, const i64* row_start, int thread,
                                         int top, int left, int rows, int packs, int height, int width, int mode,
                                         u64 begin, u64 end) {
  constexpr int N = 8 / sizeof(T);
  const int pitch = packs * N;
  {
    const int step = (int)(THREADS / (u32)packs), own = (int)((u32)thread / (u32)packs);
    const int column = (thread - own * packs) * N, x = left + column;
    const int first = own < step && x >= 0 && x + N <= width ? own : rows;
    const char* const from = (const char*)(image + x);
    if (width % N == 0 && begin % 8 == 0) {
      Shared to = shared_address(copy + column) + first * packs * 8;
      if (top >= 0 && top + rows <= height) {
        const i64 further = (i64)step * width * (i64)sizeof(T);
        const char* pack = from + (i64)(top + first) * width * (i64)sizeof(T);
#pragma unroll 4
        for (int row = first; row < rows; row += step, pack += further, to += step * packs * 8) copy_async<8>(to, pack);
      } else {
        for (int row = first; row < rows; row += step, to += step * packs * 8) copy_async<8>(to, from + row_start[row]);
      }
    } else {
      for (int row = first; row < rows; row += step) {
        const T* const pack = (const T*)(from + row_start[row]);
        T* const to = copy + row * pitch + column;
        if (((u64)pack & ~3ull) >= begin && (((u64)pack + 11) & ~3ull) <= end) {  // words with a byte of these
          u32 word[2];
          load_unaligned(word, (const u8*)pack);
          *(uint2*)to = make_uint2(word[0], word[1]);
        } else {
          for (int i = 0; i < N; i++) to[i] = pack[i];
        }
      }
    }
  }
  // Columns before the image, and those from the end of its last whole pack on: neighbouring threads take neighbours.
  const int before = max(0, -left), behind = min(pitch, (width - left) & ~(N - 1)), border = before + pitch - behind;
  if (border > 0) {
    const int step = (int)(THREADS / (u32)border), own = (int)((u32)thread / (u32)border);
    const int place = thread - own * border;
    const int column = place < before ? place : place - before + behind;
    const T* const from = image + max(0, fold(left + column, width, mode));
    copy_column(copy + column, (const char*)from, row_start, own < step ? own : rows, rows, step, pitch);
  }
}

// The same, to its end. Not inlined: it is for devices where the phases use the same memory in turn.
template <int THREADS, class T>
__device__ __noinline__ void copy_box_now(T* copy, const T* __restrict__ image, const i64* row_start, int top,
                                          int left, int rows, int packs, int height, int width, int mode, u64 begin,
                                          u64 end) {
  copy_box<THREADS>(copy, image, row_start, (int)threadIdx.x, top, left, rows, packs, height, width, mode, begin, end);
  end_group();
  wait_copies<0>();
}

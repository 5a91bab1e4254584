// tile_copy.cuh: a tile of a slice and what lies around it in shared memory, the slice's borders folded.
#pragma once
#include "async_copy.cuh"
#include "boundary.cuh"
#include "byte_planes.cuh"

constexpr int AT_ONCE = 5;  // rows whose loads a thread has in flight

// A box of a slice that a block copies, once made for all slices. Row r of the copy holds row top + r of the slice, and
// column c pixel left + c, both folded into it.
struct CopyBox {
  int top, left, rows;
  int unit, packs;  // a row has `packs` of `unit` bytes, 8 or 16; `left` is a multiple of them
  int step;         // a thread keeps its pack, in rows `step` apart
  int own;          // the first of these rows times 2^16, and the first pixel of the pack
};

// Which packs a thread takes of pixels first..end - 1 of rows top..bottom - 1; a row has at most THREADS.
template <int THREADS, class T>
__device__ __forceinline__ CopyBox copy_box_of(int thread, int top, int bottom, int first, int end, int width,
                                               u64 begin) {
  const int unit = width * (i64)sizeof(T) % 16 == 0 && begin % 16 == 0 ? 16 : 8, pixels = unit / (int)sizeof(T);
  const int left = first & -pixels, packs = (end - left + pixels - 1) / pixels;
  const int step = (int)(THREADS / (u32)packs), row = (int)((u32)thread / (u32)packs);
  const int column = (thread - row * packs) * pixels, x = left + column;
  const bool copies = row < step && x >= 0 && x + pixels <= width;
  return {top, left, bottom - top, unit, packs, step, (copies ? row : bottom - top) << 16 | column};
}

// Copies pixels of one column, in rows `first`, `first` + step, ... `from` is where it begins in the slice.
template <class T>
__device__ __forceinline__ void copy_column(T* column, const char* from, const i64* row_start, int first, int rows,
                                            int step, int pitch) {
#pragma unroll 1
  for (int row = first; row < rows; row += AT_ONCE * step) {
    T pixel[AT_ONCE] = {};
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++)
      if (row + k * step < rows) pixel[k] = *(const T*)(from + row_start[row + k * step]);
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++)
      if (row + k * step < rows) column[(row + k * step) * pitch] = pixel[k];
  }
}

// Begins to copy packs of UNIT bytes. From one row to the next it is `further` bytes in the slice; where that is 0 rows
// begin at row_start.
template <int UNIT>
__device__ __forceinline__ void copy_packs(Shared to, const char* from, i64 further, const i64* row_start, int first,
                                           int rows, int step, int to_further) {
#pragma unroll 1
  for (int row = first; row < rows; row += AT_ONCE * step) {
    if (further) {
#pragma unroll
      for (int k = 0; k < AT_ONCE; k++, from = settled(from + further), to += to_further)
        if (row + k * step < rows) copy_async<UNIT>(to, from);
    } else {
#pragma unroll
      for (int k = 0; k < AT_ONCE; k++, to += to_further)
        if (row + k * step < rows) copy_async<UNIT>(to, from + row_start[row + k * step]);
    }
  }
}

// Begins to copy a box of a slice by a block of THREADS threads; row r begins at byte row_start[r] of the slice. What
// stands for the constant may hold anything. Slices are at addresses begin..end - 1.
template <int THREADS, class T>
__device__ __forceinline__ void copy_box(T* copy, const T* __restrict__ image, const i64* row_start, int thread,
                                         const CopyBox& box, int height, int width, int mode, u64 begin, u64 end) {
  constexpr int N = 8 / sizeof(T);
  const int top = box.top, left = box.left, rows = box.rows, step = settled(box.step);
  const int line = box.packs * box.unit, pitch = line / (int)sizeof(T);  // bytes and pixels of a row
  {
    const int own = settled((int)box.own), first = own >> 16, column = own & 0xffff;
    const char* const from = (const char*)(image + left + column);
    if (width % N == 0 && begin % 8 == 0) {
      const Shared to = shared_address(copy + column) + first * line;
      const bool is_inside = top >= 0 && top + rows <= height;
      const i64 stride = (i64)width * (i64)sizeof(T), further = is_inside ? step * stride : 0;
      const char* const pack = is_inside ? from + (top + first) * stride : from;
      if (box.unit == 16) copy_packs<16>(to, pack, further, row_start, first, rows, step, step * line);
      else copy_packs<8>(to, pack, further, row_start, first, rows, step, step * line);
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
  const int before = max(0, -left), behind = min(pitch, (width - left) & -(box.unit / (int)sizeof(T)));
  const int border = before + pitch - behind;
  if (border > 0) {
    const int columns_step = (int)(THREADS / (u32)border), own = (int)((u32)thread / (u32)border);
    const int place = thread - own * border;
    const int column = place < before ? place : place - before + behind;
    const T* const from = image + max(0, fold(left + column, width, mode));
    copy_column(copy + column, (const char*)from, row_start, own < columns_step ? own : rows, rows, columns_step,
                pitch);
  }
}

// The same, to its end. Not inlined: it is for devices where the phases use the same memory in turn.
template <int THREADS, class T>
__device__ __noinline__ void copy_box_now(T* copy, const T* __restrict__ image, const i64* row_start, CopyBox box,
                                          int height, int width, int mode, u64 begin, u64 end) {
  copy_box<THREADS>(copy, image, row_start, (int)threadIdx.x, box, height, width, mode, begin, end);
  end_group();
  wait_copies<0>();
}

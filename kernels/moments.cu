// moments.cu: exact sums of K references x with N slices y, integers of 8 and 16 bits, in one read of the slices.
//
//   per block of pixels:  sum y, sum y^2 and sum x_k y by dp4a, of 16 bits as two planes of bytes
//
// Here rows begin on 16 bytes; moments_shifted.cu has rows that begin anywhere.
//
// Layout  Images are C-contiguous, (height, width). Cells are cut into blocks, each a box of pixels: block row i begins
//         at rows[i], block column j at columns[j]; its number is i * block_columns + j.
// Stages  `sum_units` here, `sum_shifted`, and `sum_centred` and `sum_pairs` of moments_floats.cu write the sums of
//         blocks; `total_cells` of moments_total.cu makes cells of them. Both in a fixed order that depends on sizes
//         and edges alone: the bits of a pair know neither the other slices nor the other references. No atomics.
// Item    what a warp takes at once: neighbouring blocks of a block row that fill its lanes, so that what it loads is
//         512 bytes of a row wherever a row is that long. A lane owns a unit of 16 bytes of a block, so that sums of
//         different blocks stay apart until the last row; where two blocks share a unit, a lane of each loads it.
// Launch  grid (items / (WARPS / slice_warps), N / (slice_warps * S)), strided over; block 32 * WARPS. slice_warps
//         warps of a thread block take the same item of further slices, so that references come from L1; with few
//         slices fewer do, and the others take the next items: the work is spread the same for 4 slices as for 1000.
//         No barriers: a lane reads from shared memory what it copied there itself.
// Floor   Bytes: those of the slices, once; the sums of blocks are 24 + 8 K bytes in 3 KiB. On an H200 (132
//         multiprocessors, 1.98 GHz, 4.25 TB/s copied) 2 GB of uint8 are 0.48 ms. dp4a has half the rate of others and
//         takes 38 % of its own at that speed at uint8, K = 4, and 67 % at uint16.
// Took    0.49 ms there of 2 GB in 2600 slices with cells of 48 x 64: memory 89 % busy, L2 94 %, issue slots 52 %. K =
//         4 0.54, memory 82 % busy, L2 92 %: each reference is read from L2 once a thread block, an eighth of the
//         slices' bytes. 4 slices of 16384 x 16384 0.26 ms, K = 4 0.29.
// Lost    Words that wait in registers, whole lines of memory but not 512 bytes at once: 0.54 ms, K = 4 0.80. One slice
//         a warp 0.58 with the second stage, where two take 0.53. Longer ways, 48 KiB of a block instead of 32: 0.57,
//         as references then find less room in L1. K = 4 with two slices a warp 0.70, and with 24 warps a
//         multiprocessor in place of 16, whose sums spill, 0.66, where this takes 0.62.
#include "async_copy.cuh"
#include "block_sums.cuh"
#include "integer_sums.cuh"

// What a lane owns of an item: of every step'th row from `row` on the unit'th 16 bytes, where they are of that block
// column. The lanes of a block follow each other up to `stop`. A lane that owns nothing has a row beyond every image.
struct Lane {
  int block_column, unit, row, stop;
};

// A row of an item and the first of the S slices that a warp takes it of.
struct Turn {
  i64 first;
  int row;
};

// A multiprocessor holds 24 warps, or 16 of those with many sums, and a block 32 or 48 KiB of words on their way.
template <int PY, int PX, int K, int S> struct Room {
  static constexpr bool LIGHT = PY * PX * K * S <= 8;
  static constexpr int BLOCKS = LIGHT ? 3 : 2, STAGES = (LIGHT ? 8 : 12) / S;
};

// Of COUNT values, the sum over the lanes from a lane to `stop`, in turns whose number the longest block decides.
template <int COUNT, class T> __device__ __forceinline__ void add_up_to(T (&value)[COUNT], int lane, int stop) {
  for (int distance = 1; __any_sync(ALL, lane + distance < stop); distance *= 2)
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      const T other = __shfl_down_sync(ALL, value[i], distance);
      if (lane + distance < stop) value[i] += other;
    }
}

// Sums over blocks of integers of PY bytes, less than nothing being none: signed pixels come with their highest bit
// turned by `flip`, which adds 2^(8 PY - 1) to them; `total_cells` takes that back.
//
// Layout  references (K, PX, plane) bytes, the planes of a reference apart, prepared by `split_bytes` with the same
//         turn, each row of a plane on 16 / PY bytes; lanes (items of a row, 32); alone (N, blocks), products
//         (references, N, blocks).
// Thread  A turn is the lane's unit of a row of S slices. Those of the STAGES - 1 next turns, of these slices or of the
//         warp's next ones, are on their way to its own places of shared memory while one is added up: no registers
//         wait for them. Bytes of a unit that belong to other cells are masked.
template <int PY, int PX, int K, int S>
__global__ void __launch_bounds__(32 * WARPS, Room<PY, PX, K, S>::BLOCKS)
    sum_units(const u8* __restrict__ slices, const u8* __restrict__ references, i64 plane, int reference_count,
              const int* __restrict__ rows, const int* __restrict__ columns, int block_columns, i64 blocks, int height,
              int width, i64 slice_count, int slice_warps, const Lane* __restrict__ lanes, int row_items, int step,
              u32 flip, Alone<i64>* __restrict__ alone, i64* __restrict__ products) {
  constexpr int STAGES = Room<PY, PX, K, S>::STAGES, COUNT = 2 + K;
  typedef typename BlockSum<PY * PX>::type Sum;
  __shared__ uint4 words[STAGES * S][32 * WARPS];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, spread = WARPS / slice_warps;
  const i64 row_bytes = (i64)width * PY, slice_bytes = height * row_bytes;
  const i64 own_slices = ((i64)blockIdx.y * slice_warps + warp % slice_warps) * S;
  const i64 stride = (i64)gridDim.y * slice_warps * S;
  const i64 items = blocks / max(1, block_columns) * row_items;
  for (i64 item = (i64)blockIdx.x * spread + warp / slice_warps; item < items; item += (i64)gridDim.x * spread) {
    const int block_row = (int)(item / row_items), top = rows[block_row], bottom = rows[block_row + 1];
    const Lane own = lanes[item % row_items * 32 + lane];
    const int left = columns[own.block_column] * PY - own.unit * WORD;
    const int right = columns[own.block_column + 1] * PY - own.unit * WORD;
    u32 mask[4];
#pragma unroll
    for (int i = 0; i < 4; i++) mask[i] = bytes_below(right - 4 * i) & ~bytes_below(left - 4 * i);

    Turn added = {own_slices, top}, loaded = added;
    const auto proceed = [&](Turn& turn) {
      turn.row += step;
      if (turn.row < bottom) return false;
      turn = {turn.first + stride, top};
      return true;
    };
    const auto load = [&](int stage) {
      const int y = loaded.row + own.row;
      const u8* const from = slices + loaded.first * slice_bytes + y * row_bytes + own.unit * WORD;
#pragma unroll
      for (int s = 0; s < S; s++)
        copy_or_clear(&words[stage * S + s][threadIdx.x], (const uint4*)(from + s * slice_bytes),
                      y < bottom && loaded.first + s < slice_count);
      end_group();
      proceed(loaded);
    };

    Power<PY> power[S] = {};
    Product<PY, PX> product[S][K] = {};
    // The lane's words of references. A row that is not read stands at the first pixel, where there is something of x
    // to be multiplied by 0.
    const auto look_up = [&](u32(&x)[K][PX][4 / PY]) {
      const int y = added.row + own.row;
      const u8* const from = references + (y < bottom ? (i64)y * width + own.unit * (WORD / PY) : 0);
#pragma unroll
      for (int k = 0; k < K; k++)
#pragma unroll
        for (int p = 0; p < PX; p++)
          load_aligned(x[k][p], from + (min(k, reference_count - 1) * PX + p) * plane);
    };
    const auto add = [&](int stage, const u32(&x)[K][PX][4 / PY]) {
      const u32 turned = added.row + own.row < bottom ? flip : 0;  // what is not read is 0
#pragma unroll
      for (int s = 0; s < S; s++) {
        const uint4 word = words[stage * S + s][threadIdx.x];
        u32 bytes[PY][4 / PY];
        split(bytes, make_uint4((word.x ^ turned) & mask[0], (word.y ^ turned) & mask[1],
                                (word.z ^ turned) & mask[2], (word.w ^ turned) & mask[3]));
        power[s].add(bytes);
#pragma unroll
        for (int k = 0; k < K; k++) product[s][k].add(bytes, x[k]);
      }
    };

    // What the lanes have of these slices, written by the first of each block; and from nothing again.
    const bool is_first = own.row == 0 && left >= 0;
    const i64 block = (i64)block_row * block_columns + own.block_column;
    const auto finish = [&](i64 first) {
#pragma unroll
      for (int s = 0; s < S; s++) {
        Sum value[COUNT] = {power[s].template sum<Sum>(), power[s].template square<Sum>()};
#pragma unroll
        for (int k = 0; k < K; k++) value[2 + k] = product[s][k].template total<Sum>(), product[s][k] = {};
        power[s] = {};
        add_up_to(value, lane, own.stop);
        if (!is_first || first + s >= slice_count) continue;
        const i64 at = (first + s) * blocks + block;
        alone[at].sum = value[0], alone[at].square = value[1];
#pragma unroll
        for (int k = 0; k < K; k++)
          if (k < reference_count) products[k * slice_count * blocks + at] = value[2 + k];
      }
    };

    for (int stage = 0; stage < STAGES - 1; stage++) load(stage);
    for (int stage = 0; added.first < slice_count; stage = stage + 1 < STAGES ? stage + 1 : 0) {
      u32 x[K][PX][4 / PY];
      look_up(x);
      load(stage > 0 ? stage - 1 : STAGES - 1);
      wait_copies<STAGES - 1>();
      add(stage, x);
      const i64 first = added.first;
      if (proceed(added)) finish(first);
    }
    wait_copies<0>();  // of what lies beyond the last slice
  }
}

// The planes of bytes of references (count, pixels), the highest bit of every pixel turned where `flip` says so.
// Launch  grid (pixels / 256, count), strided over.
template <class T>
__global__ void split_bytes(const T* __restrict__ images, u8* __restrict__ planes, i64 count, i64 plane, i64 pixels,
                            u32 flip) {
  for (i64 k = blockIdx.y; k < count; k += gridDim.y) {
    const T* const image = images + k * pixels;
    u8* const own = planes + k * sizeof(T) * plane;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < pixels; i += (i64)gridDim.x * blockDim.x) {
      const u32 value = image[i] ^ flip;
      own[i] = (u8)value;
      if (sizeof(T) == 2) own[plane + i] = (u8)(value >> 8);
    }
  }
}

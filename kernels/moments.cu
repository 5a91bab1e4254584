// moments.cu: exact sums of K references x with N slices y, integers of 8 and 16 bits, in one read of the slices.
//
//   per block of pixels:  sum y, sum y^2 and sum x_k y by dp4a, of 16 bits as two planes of bytes
//
// Layout  Images are C-contiguous, (height, width). Cells are cut into blocks, each a box of pixels that one warp sums:
//         block row i begins at rows[i], block column j at columns[j]; its number is i * block_columns + j. A row of a
//         block has at most 32 units of 16 bytes.
// Stages  `sum_integers` here, `sum_centred` and `sum_pairs` of moments_floats.cu write the sums of blocks;
//         `total_cells` of moments_total.cu makes cells of them. Both in a fixed order that depends on sizes and edges
//         alone: the bits of a pair know neither the other slices nor the other references. No atomics.
// Launch  grid (blocks / (WARPS / slice_warps), N / (slice_warps * S)), strided over; block 32 * WARPS. slice_warps
//         warps of a thread block take the same block of further slices, so that references come from L1; with few
//         slices fewer do, and the others take the next blocks: the work is spread the same for 4 slices as for 1000.
//         No shared memory, no barriers.
// Floor   Bytes: those of the slices, once; the sums of blocks are 24 + 8 K bytes in 8 KiB. On an H200 (132
//         multiprocessors, 1.98 GHz, 4.2 TB/s copied) 2 GB of uint8 are 0.48 ms. dp4a has half the rate of others and
//         takes 38 % of its own at that speed at uint8, K = 4, and 67 % at uint16.
// Took    0.54 ms there of 2 GB in 2600 slices with cells of 48 x 64: memory 80 % busy, L2 91 %, issue slots 52 %. With
//         half lines of memory a load, and a copy between the sets of registers, which waits for what is on its way,
//         0.67; with a warp that takes one pair of slices and ends 0.78. K = 4 took 0.80 with one row a turn. With two,
//         as it is now, it has not been measured; nor has what loads no turn ahead, as K = 4 of 16 bits.
#include "block_sums.cuh"
#include "byte_planes.cuh"

// Sums over a block of bytes fit into 32 bits, also two of them: 2 * 255^2 * 16384 < 2^32. Those of 16-bit pixels do
// not.
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

// Rows that a lane takes at once: DEPTH of S slices from `first` on. `begin` is where the first of them begin.
template <int S> struct Turn {
  i64 first;
  int number, row;
  u64 begin[S];
};

// Sums over blocks of integers of PY bytes, less than nothing being none: signed pixels come with their highest bit
// turned by `flip`, which adds 2^(8 PY - 1) to them; `total_cells` takes that back.
//
// Layout  references (K, PX, plane) bytes, the planes of a reference apart, prepared by `split_bytes` with the same
//         turn; alone (N, blocks), products (references, N, blocks). ALIGNED: every row of y begins on 16 bytes and
//         every row of x on 16 / PY. Otherwise a unit of y is cut where its row begins, x is shifted to it, and both
//         may begin anywhere; 16 bytes before and behind all references may then be read.
// Item    what a warp takes at once: a block, or two that lie side by side where `together` is 2, so that what it loads
//         of a row is a whole line of 128 bytes: half lines cost as many look-ups in L2. Their edges are then on units.
// Thread  lane l takes unit l % units of rows l / units, l / units + 32 / units, ...: DEPTH of them of S slices are a
//         turn, and the words of the next turn, of these slices or of the warp's next ones, are on their way while one
//         is added up. Bytes of a unit that belong to other cells are set to 0.
template <int PY, int PX, int K, int S, bool ALIGNED>
__global__ void __launch_bounds__(32 * WARPS, 2)
    sum_integers(const u8* __restrict__ slices, const u8* __restrict__ references, i64 plane, int reference_count,
                 const int* __restrict__ rows, const int* __restrict__ columns, int block_columns, i64 blocks,
                 int height, int width, i64 slice_count, int slice_warps, int together, u32 flip,
                 Alone<i64>* __restrict__ alone, i64* __restrict__ products) {
  constexpr bool AHEAD = K * PX * PY <= 4;  // the next turn is loaded before this one is added up, if registers do
  constexpr int DEPTH = !ALIGNED && AHEAD ? 1 : 2, COUNT = power_of_two(S * (2 + K));
  typedef typename BlockSum<PY * PX>::type Sum;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, spread = WARPS / slice_warps;
  const u64 begin = (u64)slices, end = begin + (u64)slice_count * height * width * PY;
  const i64 stride = (i64)gridDim.y * slice_warps * S;
  const int row_items = (block_columns + together - 1) / together;
  const i64 items = blocks / max(1, block_columns) * row_items;
  for (i64 item = (i64)blockIdx.x * spread + warp / slice_warps; item < items; item += (i64)gridDim.x * spread) {
    const int block_row = (int)(item / row_items), block_column = (int)(item % row_items) * together;
    const int top = rows[block_row], bottom = rows[block_row + 1];
    const int left = columns[block_column], middle = columns[block_column + 1];
    const int right = columns[min(block_column + together, block_columns)];
    // Units of a row; where rows begin anywhere, as many as a row of that length can touch.
    const int first_unit = ALIGNED ? left * PY / WORD : 0;
    const int touched = ALIGNED ? (right * PY + WORD - 1) / WORD - first_unit
                                : ((right - left) * PY + 2 * WORD - 1 - PY) / WORD;
    const int units = max(1, touched), step = 32 / units, unit = lane % units;
    const bool has_rows = lane / units < step;
    const int own = has_rows ? lane / units : 0;  // the first of the lane's rows, from a turn's first
    const bool is_second = together > 1 && (first_unit + unit) * WORD >= middle * PY;

    const int turns = max(1, (bottom - top + step * DEPTH - 1) / (step * DEPTH));
    const i64 row_bytes = (i64)width * PY, step_bytes = step * row_bytes;

    // Where the lane's first row of a turn begins, at the item's left; beyond the last slice in that one again.
    const auto slices_from = [&](Turn<S>& turn, i64 first) {
      turn.first = first, turn.number = 0, turn.row = top + own;
#pragma unroll
      for (int s = 0; s < S; s++)
        turn.begin[s] =
            begin + (u64)((min(first + s, slice_count - 1) * height + turn.row) * row_bytes + (i64)left * PY);
    };
    // Bytes of a lane's unit that lie before a row of the item, and those before its end.
    const auto bytes_before = [&](u64 row_begin) {
      return ALIGNED ? left * PY % WORD - unit * WORD : (int)(row_begin % WORD) - unit * WORD;
    };
    const auto bytes_until = [&](int before) { return min(WORD, before + (right - left) * PY); };
    const auto load = [&](uint4(&word)[DEPTH][S], const Turn<S>& turn) {
#pragma unroll
      for (int a = 0; a < DEPTH; a++)
#pragma unroll
        for (int s = 0; s < S; s++) {
          const u64 row_begin = turn.begin[s] + a * step_bytes;
          const int before = bytes_before(row_begin), low = max(0, before), high = bytes_until(before);
          const u64 at = row_begin - (i64)before;
          word[a][s] = make_uint4(0, 0, 0, 0);
          if (has_rows && turn.row + a * step < bottom && low < high && turn.first < slice_count) {
            const bool inside = ALIGNED || (at >= begin && at + WORD <= end);
            word[a][s] = inside ? __ldcs((const uint4*)at) : load_border((const u8*)at, low, high);
          }
        }
    };

    Power<PY> power[S] = {};
    Product<PY, PX> product[S][K] = {};
    const auto add = [&](const uint4(&word)[DEPTH][S], const Turn<S>& turn) {
#pragma unroll
      for (int a = 0; a < DEPTH; a++) {
        const int y = turn.row + a * step;
        u32 bytes[S][PY][4 / PY];
        i64 from[ALIGNED ? 1 : S];  // of x, at the first pixel of the unit
#pragma unroll
        for (int s = 0; s < S; s++) {
          const int before = bytes_before(turn.begin[s] + a * step_bytes), low = max(0, before);
          const int high = bytes_until(before);
          const bool is_read = has_rows && y < bottom && low < high;
          uint4 own_bytes = word[a][s];
          own_bytes.x = (own_bytes.x ^ flip) & bytes_below(high) & ~bytes_below(low);
          own_bytes.y = (own_bytes.y ^ flip) & bytes_below(high - 4) & ~bytes_below(low - 4);
          own_bytes.z = (own_bytes.z ^ flip) & bytes_below(high - 8) & ~bytes_below(low - 8);
          own_bytes.w = (own_bytes.w ^ flip) & bytes_below(high - 12) & ~bytes_below(low - 12);
          if (!is_read) own_bytes = make_uint4(0, 0, 0, 0);
          split(bytes[s], own_bytes);
          power[s].add(bytes[s]);
          // A unit that is not read stands at the first pixel, where there is something of x to be multiplied by 0.
          if (!ALIGNED || s == 0)
            from[ALIGNED ? 0 : s] = is_read ? (i64)y * width + left - before / PY
                                            : ALIGNED ? 0 : (i64)top * width + left;
        }
#pragma unroll
        for (int k = 0; k < K; k++) {
          const u8* const reference = references + min(k, reference_count - 1) * PX * plane;
          u32 x[PX][4 / PY];
#pragma unroll
          for (int s = 0; s < S; s++) {
#pragma unroll
            for (int p = 0; p < PX; p++) {
              if (ALIGNED && s == 0) load_aligned(x[p], reference + p * plane + from[0]);
              if (!ALIGNED) load_unaligned(x[p], reference + p * plane + from[ALIGNED ? 0 : s]);
            }
            product[s][k].add(bytes[s], x);
          }
        }
      }
    };

    // What the lanes have of the slices of a turn, written; and from nothing again.
    const auto finish = [&](const Turn<S>& turn) {
      Sum total[COUNT] = {};
#pragma unroll
      for (int s = 0; s < S; s++) {
        total[s * (2 + K)] = power[s].template sum<Sum>();
        total[s * (2 + K) + 1] = power[s].template square<Sum>();
        power[s] = {};
#pragma unroll
        for (int k = 0; k < K; k++) {
          total[s * (2 + K) + 2 + k] = product[s][k].template total<Sum>();
          product[s][k] = {};
        }
      }
#pragma unroll 1
      for (int second = 0; second < together && block_column + second < block_columns; second++) {
        Sum value[COUNT];
#pragma unroll
        for (int i = 0; i < COUNT; i++) value[i] = is_second == (second > 0) ? total[i] : Sum(0);
        const i64 sum = (i64)warp_sums<COUNT>(value), block = (i64)block_row * block_columns + block_column + second;
        write_sums<K, S>(sum, lane * COUNT, turn.first, slice_count, reference_count, block, blocks, alone, products);
      }
    };

    // Two sets of registers in turn: a copy from one to the other would wait for what is on its way.
    uint4 word[AHEAD ? 2 : 1][DEPTH][S];
    Turn<S> turn;
    slices_from(turn, ((i64)blockIdx.y * slice_warps + warp % slice_warps) * S);
    if (AHEAD) load(word[0], turn);
#pragma unroll 1
    while (turn.first < slice_count) {
#pragma unroll
      for (int half = 0; half < (AHEAD ? 2 : 1); half++) {
        if (turn.first >= slice_count) break;
        Turn<S> next = turn;
        const bool is_last = turn.number == turns - 1;
        if (is_last) {
          slices_from(next, turn.first + stride);
        } else {
          next.number++, next.row += step * DEPTH;
#pragma unroll
          for (int s = 0; s < S; s++) next.begin[s] += DEPTH * step_bytes;
        }
        load(word[AHEAD ? 1 - half : 0], AHEAD ? next : turn);
        add(word[half], turn);
        if (is_last) finish(turn);
        turn = next;
      }
    }
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

// moments_shifted.cu: exact sums as in moments.cu, of images whose rows begin anywhere.
//
// Layout  As in moments.cu; a row of a block has at most 32 units of 16 bytes.
// Launch  grid (blocks / (WARPS / slice_warps), N / (slice_warps * S)), strided over; block 32 * WARPS. slice_warps as
//         in moments.cu. No shared memory, no barriers.
// Floor   As in moments.cu; x and y are shifted against each other from row to row, and loads of x take twice as many
//         words.
#include "block_sums.cuh"
#include "integer_sums.cuh"

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
//         turn; alone (N, blocks), products (references, N, blocks). A unit of y is cut where its row begins, and x is
//         shifted to it; 16 bytes before and behind all references may be read.
// Thread  lane l takes unit l % units of rows l / units, l / units + 32 / units, ...: DEPTH of them of S slices are a
//         turn, and the words of the next turn, of these slices or of the warp's next ones, are on their way while one
//         is added up. Bytes of a unit that belong to other cells are set to 0.
template <int PY, int PX, int K, int S>
__global__ void __launch_bounds__(32 * WARPS, 2)
    sum_shifted(const u8* __restrict__ slices, const u8* __restrict__ references, i64 plane, int reference_count,
                const int* __restrict__ rows, const int* __restrict__ columns, int block_columns, i64 blocks,
                int height, int width, i64 slice_count, int slice_warps, u32 flip, Alone<i64>* __restrict__ alone,
                i64* __restrict__ products) {
  constexpr bool AHEAD = K * PX * PY <= 4;  // the next turn is loaded before this one is added up, if registers do
  constexpr int DEPTH = AHEAD ? 1 : 2, COUNT = power_of_two(S * (2 + K));
  typedef typename BlockSum<PY * PX>::type Sum;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, spread = WARPS / slice_warps;
  const u64 begin = (u64)slices, end = begin + (u64)slice_count * height * width * PY;
  const i64 stride = (i64)gridDim.y * slice_warps * S;
  for (i64 block = (i64)blockIdx.x * spread + warp / slice_warps; block < blocks; block += (i64)gridDim.x * spread) {
    const int block_row = (int)(block / block_columns), block_column = (int)(block % block_columns);
    const int top = rows[block_row], bottom = rows[block_row + 1];
    const int left = columns[block_column], right = columns[block_column + 1];
    const int units = max(1, ((right - left) * PY + 2 * WORD - 1 - PY) / WORD);  // that a row of that length can touch
    const int step = 32 / units, unit = lane % units;
    const bool has_rows = lane / units < step;
    const int own = has_rows ? lane / units : 0;  // the first of the lane's rows, from a turn's first

    const int turns = max(1, (bottom - top + step * DEPTH - 1) / (step * DEPTH));
    const i64 row_bytes = (i64)width * PY, step_bytes = step * row_bytes;

    // Where the lane's first row of a turn begins, at the block's left; beyond the last slice in that one again.
    const auto slices_from = [&](Turn<S>& turn, i64 first) {
      turn.first = first, turn.number = 0, turn.row = top + own;
#pragma unroll
      for (int s = 0; s < S; s++)
        turn.begin[s] =
            begin + (u64)((min(first + s, slice_count - 1) * height + turn.row) * row_bytes + (i64)left * PY);
    };
    // Bytes of a lane's unit that lie before a row of the block, and those before its end.
    const auto bytes_before = [&](u64 row_begin) { return (int)(row_begin % WORD) - unit * WORD; };
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
            const bool inside = at >= begin && at + WORD <= end;
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
        i64 from[S];  // of x, at the first pixel of the unit
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
          from[s] = is_read ? (i64)y * width + left - before / PY : (i64)top * width + left;
        }
#pragma unroll
        for (int k = 0; k < K; k++) {
          const u8* const reference = references + min(k, reference_count - 1) * PX * plane;
          u32 x[PX][4 / PY];
#pragma unroll
          for (int s = 0; s < S; s++) {
#pragma unroll
            for (int p = 0; p < PX; p++) load_unaligned(x[p], reference + p * plane + from[s]);
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
      const i64 sum = (i64)warp_sums<COUNT>(total);
      write_sums<K, S>(sum, lane * COUNT, turn.first, slice_count, reference_count, block, blocks, alone, products);
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


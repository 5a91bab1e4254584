// warp_moments.cu: moments of references with elastically deformed slices; no deformed slice is ever in memory.
//
//   d[a, y, x] = scale[a] sum over t of w[|t|] columns[a, y, x + t],   columns what noise_columns.cu makes
//   v(y, x) = slice(y + d[0], x + d[1]), bilinear, rounded to the slice's type as SciPy does
//   per box of pixels: sum v, sum v^2 and sum x_k v, or of deviations from a shift, for moments_total.cu
//
// The same bits as `displacement`, `warp` of integers and exact moments one after the other: taps are added by
// fir.cuh as in gaussian.cu, along y first; pixels are those of deformed_pixels.cuh; sums are centred as in
// moments_floats.cu.
//
// Launch  grid (tile columns, tile rows, slices or fewer), strided over, block 256; a tile has at most 32 x 64 pixels.
//         A block takes slices one after the other; what is the same for all of them it makes once.
// Tile    1  Each warp smooths four rows in shared memory of its own, eight neighbouring outputs a thread, and takes
//            the results back side by side: both components of eight pixels a thread stay in registers.
//         2  The block copies the slice with `reach` pixels around the tile, its borders folded, and gathers from
//            there; on a field of alpha 250 and sigma 5 a warp's load touches 15 lines of global memory, and of
//            shared memory it takes 2.5 turns. What lies further, or where the mode has a rule of its own, comes from
//            `sample_far`.
//         3  Deformed pixels go to shared memory, and each warp sums boxes of at most 8 x 32 of them with all
//            references: one gather for any number of them. Cells are cut into boxes, and boxes side by side fill a
//            tile, so that small cells leave no thread idle, and a full tile no warp.
// Shared  Where a multiprocessor holds as many blocks as registers allow with both components' rows, the tile and the
//         copy side by side, rows of the next slice come while pixels are gathered, its copy while boxes are summed and
//         rows smoothed, with two barriers a slice: 56 KiB of uint8 at radius 20 and reach 41. Else (copy_at = 0) the
//         three phases use the same memory in turn.
// Order   of the sums: lane by lane down the rows of a box, then the lanes; boxes in `total_cells`. No atomics: the
//         bits of a pair depend on sizes and edges alone.
// Limits  46 KiB less 256 bytes of shared memory in turn: the windows of a radius of 128, a copy of the slice; sides of
//         fewer than 2^30 pixels, so that what is around a tile has 32-bit indices.
// Floor   of uint8, K = 1, radius 20 and reach 41, both kernels. Bytes a pixel: 17, 8 written and 8 read between the
//         kernels, and the slice; the references come from L2: 0.51 ms for 165 x 768 x 1024 pixels at 4.3 TB/s, an
//         H200's copy. Instructions a pixel on sm_90, inside of an image whose rows are whole words, by the blocks of
//         the machine code and how often each runs: 208 in noise_columns, 132 to smooth rows and 17 to load them, 13
//         for the copy, 47 to gather, 16 for boxes: 433, which take 1.68 ms at the full rate of issue. Tiles at borders
//         and what is made once a tile add 12.
// Took    1.53 ms there, beside 1.06 of noise_columns: issue slots 63 % busy, L1 70 %. With a block a slice, copies by
//         8 bytes and a branch a row of a box 1.60, 72 % of the slots busy; without copies on their way, with four
//         boxes for eight warps and bytes in float64 2.41. Of float32 2.03 ms, with two blocks a multiprocessor.
// Lost    Counted, not measured. Rows before columns, as the prototype had it: other bits than `displacement`. Tiles
//         of 64 x 64: half the copy, but twice the displacements in registers, and floats from 22 pixels around
//         instead of 29. A tile that is one cell with sums in the registers of the gather: a cell of 16 x 16 pixels
//         would copy 37 times its own.
//         References in types of their own: 3 bytes of L2 less, and five times the instantiations. The radius as a
//         template: 45 instructions less, and a compilation a radius. Windows whose samples are
//         copied and read by fours: 3 instructions a pixel more, as vectors need moves and addresses.
#include "async_copy.cuh"
#include "box_sums.cuh"
#include "deformed_pixels.cuh"
#include "fir.cuh"
#include "tile_copy.cuh"

constexpr int THREADS = LANES * WARPS;
constexpr int LINES = 4;  // rows of a tile that a warp smooths, eight outputs a thread
constexpr int TILE_ROWS = LINES * WARPS;  // at most
constexpr int HALVES = TILE_COLUMNS / LANES, PIXELS = LINES * HALVES;
constexpr int MOST_ROWS = 256;  // of the copy of a tile
constexpr int ROW_THREADS = TILE_COLUMNS / OUT, PIECES = 4;

// Begins to copy four rows of COUNT components to a warp's windows, `span` samples from column `first` on: of `rows`
// that the image still has, the last one again, and 0 outside of it. `columns` is noise smoothed along y; from one
// component to the next it is `further` samples there, and `second` in shared memory.
template <int COUNT>
__device__ __forceinline__ void load_rows(float* window, int lane, int second, int pitch,
                                          const float* __restrict__ columns, i64 further, int rows, int first, int span,
                                          int width) {
  const bool is_inside = first >= 0 && first + span <= width && rows >= LINES;
#pragma unroll 1
  for (int c = lane; c < span; c += PIECES * LANES) {
    const float* from = columns + first + c;
    float* const to = window + padded(c - lane) + padded(lane);
    if (is_inside) {
#pragma unroll
      for (int axis = 0; axis < COUNT; axis++) {
        const char* row = settled(from + axis * further);
        Shared there = shared_address(to + axis * second);
#pragma unroll
        for (int r = 0; r < LINES; r++, row = settled(row + (i64)width * 4), there += pitch * 4)
#pragma unroll
          for (int k = 0; k < PIECES; k++)
            if (c + k * LANES < span) copy_async<4>(there + padded(k * LANES) * 4, row + k * LANES * 4);
      }
    } else {
#pragma unroll 1
      for (int r = 0; r < LINES; r++, from += r < rows ? width : 0)
#pragma unroll
        for (int axis = 0; axis < COUNT; axis++)
#pragma unroll
          for (int k = 0; k < PIECES; k++) {
            const bool exists = (u32)(first + c + k * LANES) < (u32)width;
            const float sample = exists ? from[axis * further + k * LANES] : 0.0f;
            if (c + k * LANES < span) to[axis * second + r * pitch + padded(k * LANES)] = sample;
          }
    }
  }
}

// One component, to its end. Not inlined: it is for devices where the phases use the same memory in turn.
__device__ __noinline__ void load_rows_now(float* window, int pitch, const float* __restrict__ columns, int rows,
                                           int first, int span, int width) {
  load_rows<1>(window, threadIdx.x % LANES, 0, pitch, columns, 0, rows, first, span, width);
  end_group();
  wait_copies<0>();
}

// A displacement along one axis of the pixels of a thread: pixel p has row warp * LINES + p / HALVES of the tile and
// column p % HALVES * LANES + lane.
__device__ __forceinline__ void smooth_rows(float (&d)[PIXELS], float* window, int lane, int pitch, int edge,
                                            const float* __restrict__ weights, float centre, int radius, float scale) {
  float* const own = window + lane / ROW_THREADS * pitch + lane % ROW_THREADS * (OUT + 1);
  __syncwarp();
  float sum[OUT];
#pragma unroll
  for (int j = 0; j < OUT; j++) sum[j] = own[padded(edge) + j] * centre;
  add_pairs<1, OUT + 1>(sum, (const float*)own, (const float*)own + padded(edge), weights, radius, 0);
  __syncwarp();
#pragma unroll
  for (int j = 0; j < OUT; j++) own[j] = sum[j] * scale;
  __syncwarp();
#pragma unroll
  for (int p = 0; p < PIXELS; p++) d[p] = window[p / HALVES * pitch + padded(p % HALVES * LANES) + padded(lane)];
  // No barrier: where a lane read, it alone writes samples of what comes next.
}

// Which pixels of a thread are in a tile that ends `rows` and `columns` behind its first: a bit each.
__device__ __forceinline__ u32 pixels_inside(int rows, int columns) {
  u32 inside = columns > LANES ? 3 : columns > 0;
  static_assert(HALVES == 2 && LINES == 4, "a byte");
  inside |= inside << 2, inside |= inside << 4;
  return rows >= LINES ? inside : inside & ((1u << HALVES * max(0, rows)) - 1);
}

// The displacement of one of the pixels of a thread: registers have no index.
__device__ __forceinline__ void take_pixel(int number, const float (&d)[2][PIXELS], float& dy, float& dx) {
  dy = dx = 0;
#pragma unroll
  for (int p = 0; p < PIXELS; p++)
    if (p == number) dy = d[0][p], dx = d[1][p];
}

// Layout  slices (count, height, width); `columns` (2, count, height, width) and scales (2, count), y first; references
//         (K, height, width); masks null, (height, width) or (K, height, width) with a step of 0 or of pixels; alone_x
//         (K, blocks) of the references; alone (count, blocks), under masks (K, count, blocks); products (K, count,
//         blocks). Block row i begins at row block_rows[i]; tile_rows has of each tile row its first block row and that
//         of the next, and the rows where these begin; likewise columns. `window` words lie from a row of a warp's
//         window to the next, `second` to that of the second component; the copy begins at byte copy_at.
template <class T, class X, int K, bool MASKED>
__global__ void __launch_bounds__(THREADS, K == 1 && !MASKED && sizeof(X) == 4 ? 3 : 2)
    warp_moments(const T* __restrict__ slices, const float* __restrict__ columns, const float* __restrict__ scales,
                 const float* __restrict__ weights, float centre, int radius, const X* __restrict__ references,
                 const bool* __restrict__ masks, i64 mask_step, int reference_count,
                 const Alone<Sum<X>>* __restrict__ alone_x, const int* __restrict__ tile_rows,
                 const int* __restrict__ tile_columns, int tiles_y, int tiles_x, const int* __restrict__ block_rows,
                 const int* __restrict__ block_columns, int blocks_x, i64 blocks, int height, int width, int count,
                 int reach, int window, int second, int copy_at, int mode, double cval,
                 Alone<Sum<X>>* __restrict__ alone, Sum<X>* __restrict__ products) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ i64 row_start[MOST_ROWS];  // of the copy: where they begin in the slice, in bytes
  __shared__ Box first_box[WARPS];      // of each warp
  constexpr bool BYTES = K == 1 && !MASKED && sizeof(typename OfLane<T, X>::type) == 4;
  const i64 pixels = (i64)height * width, further = count * pixels;  // to the second component
  const u64 begin = (u64)slices, end = (u64)(slices + further);
  const int edge = up(radius, OUT);
  T* const copy = (T*)(memory + copy_at);
  T* const tile = copy_at ? copy - TILE_ROWS * TILE_COLUMNS : copy;
  const bool all_fold = mode != CONSTANT && mode != WRAP && mode != GRID_CONSTANT;

  const auto take = [&](int tile_y, int tile_x) {
    const int4 down = *(const int4*)(tile_rows + 4 * tile_y), across = *(const int4*)(tile_columns + 4 * tile_x);
    const int top = down.z, bottom = down.w, left = across.z, right = across.w;
    const int first = left - edge, span = right - left + 2 * edge;
    const int boxes = (down.y - down.x) * (across.y - across.x);
    const auto box_of = [&](int number) {
      return find_box(number, tile_rows + 4 * tile_y, tile_columns + 4 * tile_x, block_rows, block_columns, blocks_x,
                      width);
    };
    __syncthreads();  // after the tile before
    if (threadIdx.x < WARPS && (int)threadIdx.x < boxes) first_box[threadIdx.x] = box_of((int)threadIdx.x);
#pragma unroll 1
    for (int r = (int)threadIdx.x; r < bottom - top + 2 * reach; r += THREADS)
      row_start[r] = (i64)max(0, fold(top - reach + r, height, mode)) * width * (i64)sizeof(T);
    const CopyBox around = copy_box_of<THREADS, T>((int)threadIdx.x, top - reach, bottom + reach, left - reach,
                                                   right + reach, width, begin);
    const int pitch = around.packs * around.unit / (int)sizeof(T);
    const bool is_within = top >= reach && bottom + reach < height && left >= reach && right + reach < width;
    __syncthreads();

    float d[2][PIXELS] = {};
    // While pixels of one slice are gathered and summed, what the next one needs is on its way.
    for (int slice = -1, next = blockIdx.z;; slice = next, next += gridDim.z) {
      const u32 thread = (u32)settled((int)threadIdx.x);
      const int lane = (int)(thread % LANES), warp = (int)(thread / LANES);
      const int y = top + warp * LINES, x = left + lane;  // of this thread's first pixel
      float* const own_rows = (float*)memory + warp * LINES * window;
      const auto rows_of = [&](int slice) { return columns + slice * pixels + (i64)y * width; };  // of component 0
      const bool has_next = next < count;

      if (copy_at && has_next && y < bottom)
        load_rows<2>(own_rows, lane, second, window, rows_of(next), further, height - y, first, span, width);
      end_group();

      if (slice >= 0) {
        const T* const image = slices + slice * pixels;
        if (!copy_at) {
          __syncthreads();
          copy_box_now<THREADS>(copy, image, row_start, around, height, width, mode, begin, end);
        }
        wait_copies<1>();
        __syncthreads();

        T deformed[PIXELS];
        u32 most = 0, near = (1u << PIXELS) - 1;  // bit p: pixel p
#pragma unroll
        for (int p = 0; p < PIXELS; p++) most = max(most, max(size_bits(d[0][p]), size_bits(d[1][p])));
        if (most >= size_bits((float)reach))
#pragma unroll
          for (int p = 0; p < PIXELS; p++)
            if (max(size_bits(d[0][p]), size_bits(d[1][p])) >= size_bits((float)reach)) near &= ~(1u << p);
        const u32 own = pixels_inside(bottom - y, right - x);
        if (!all_fold && !is_within)
#pragma unroll
          for (int p = 0; p < PIXELS; p++)
            if (!has_taps(y + p / HALVES, x + p % HALVES * LANES, d[0][p], d[1][p], height, width)) near &= ~(1u << p);
        near &= own;
        const int place = (y - top + reach) * pitch + x - around.left;
        const auto place_of = [&](int p) { return p / HALVES * pitch + p % HALVES * LANES; };
        if constexpr (sizeof(T) == 1) {
          const int last = (around.rows - 1) * pitch - 2;
          u32 unsure = bytes_near(deformed, copy, pitch, place, last, d[0], d[1], place_of);
          for (unsure &= near; unsure; unsure &= unsure - 1) {
            const int number = __ffs(unsure) - 1;
            float dy, dx;
            take_pixel(number, d, dy, dx);
            const T pixel = sample_near(copy + place + place_of(number), pitch, dy, dx);
#pragma unroll
            for (int p = 0; p < PIXELS; p++)
              if (p == number) deformed[p] = pixel;
          }
        } else {
#pragma unroll
          for (int p = 0; p < PIXELS; p++)
            deformed[p] = near >> p & 1 ? sample_near(copy + place + place_of(p), pitch, d[0][p], d[1][p]) : T(0);
        }
        if (!copy_at) {  // the tile goes where the copy is
          __syncthreads();
        }

        T* const to = tile + warp * LINES * TILE_COLUMNS + lane;
#pragma unroll
        for (int p = 0; p < PIXELS; p++) to[p / HALVES * TILE_COLUMNS + p % HALVES * LANES] = deformed[p];
        for (u32 distant = own & ~near; distant; distant &= distant - 1) {
          const int number = __ffs(distant) - 1, r = number / HALVES, c = number % HALVES * LANES;
          float dy, dx;
          take_pixel(number, d, dy, dx);
          to[r * TILE_COLUMNS + c] =
              sample_far(image, (i64)(y + r), (i64)(x + c), dy, dx, (i64)height, (i64)width, mode, cval);
        }
        __syncthreads();
      }

      if (copy_at && has_next)
        copy_box<THREADS>(copy, slices + next * pixels, row_start, (int)thread, around, height, width, mode, begin,
                          end);
      end_group();

      if (slice >= 0) {
        for (int number = warp; number < boxes; number += WARPS) {
          const Box box = number == warp ? first_box[warp] : box_of(number);
          if constexpr (BYTES) {
            if (box.down == BOX_ROWS && box.across == LANES) {
              const i64 at = slice * blocks + box.block;
              sum_full_box(tile + box.place + lane, references + box.corner + lane, width, lane, alone + at,
                           products + at);
              continue;
            }
          }
          sum_box<T, X, K, MASKED>(tile + box.place, lane, box.down, box.across, references + box.corner,
                                   MASKED ? masks + box.corner : nullptr, mask_step, reference_count, width, pixels,
                                   alone_x + box.block, slice, count, box.block, blocks, alone, products);
        }
        if (!copy_at) {
          __syncthreads();
        }
      }
      if (!has_next) break;

      if (y < bottom) {
        if (copy_at) wait_copies<1>();
        else load_rows_now(own_rows, window, rows_of(settled(next)), height - y, first, span, width);
        smooth_rows(d[0], own_rows, lane, window, edge, weights, centre, radius, scales[next]);
        if (!copy_at) load_rows_now(own_rows, window, rows_of(settled(next)) + further, height - y, first, span, width);
        smooth_rows(d[1], own_rows + second, lane, window, edge, weights, centre, radius, scales[count + next]);
      }
    }
  };
  for (int tile_y = blockIdx.y; tile_y < tiles_y; tile_y += gridDim.y)
    for (int tile_x = blockIdx.x; tile_x < tiles_x; tile_x += gridDim.x) take(tile_y, tile_x);
}

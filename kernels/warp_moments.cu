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
// Launch  grid (tile columns, tile rows, slices), strided over, block 256; a tile has at most 32 x 64 pixels.
// Tile    1  Each warp smooths four rows in shared memory of its own, eight neighbouring outputs a thread, and takes
//            the results back side by side: both components of eight pixels a thread stay in registers.
//         2  The block copies the slice with `reach` pixels around the tile, its borders folded, and gathers from
//            there; on a field of alpha 250 and sigma 5 a warp's load touches 15 lines of global memory, and of
//            shared memory it takes 2.5 turns. What lies further, or where the mode has a rule of its own, comes from
//            `sample_far`.
//         3  Deformed pixels go to shared memory, and each warp sums boxes of at most 8 x 32 of them with all
//            references: one gather for any number of them. Cells are cut into boxes, and boxes side by side fill a
//            tile, so that small cells leave no thread idle, and a full tile no warp.
// Shared  Where a multiprocessor holds as many blocks as registers allow with both components' rows and the copy side
//         by side, all copies begin at once, and the copy comes while rows are smoothed: 52 KiB of uint8 at radius 20
//         and reach 41. Else (copy_at = 0) the three phases use the same memory in turn.
// Order   of the sums: lane by lane down the rows of a box, then the lanes; boxes in `total_cells`. No atomics: the
//         bits of a pair depend on sizes and edges alone.
// Limits  46 KiB of shared memory in turn: the windows of a radius of 128, a copy of the slice; sides of fewer than
//         2^30 pixels, so that what is around a tile has 32-bit indices.
// Floor   of uint8, K = 1, radius 20 and reach 41, both kernels. Bytes a pixel: 17, 8 written and 8 read between the
//         kernels, and the slice; the references come from L2: 0.51 ms for 165 x 768 x 1024 pixels at 4.3 TB/s, an
//         H200's copy. Instructions a pixel on sm_90, inside of an image whose rows are whole words, by the blocks of
//         the machine code and how often each runs: 208 in noise_columns, 131 to smooth rows and 17 to load them, 29
//         for the copy, 45 to gather, 27 for boxes, 17 for all else: 474, which take 1.84 ms at the full rate of issue.
// Before  The form before this one, in turn, with boxes of 16 x 32, all pixels in float64, borders copied byte by byte:
//         355 instructions a pixel where 297 were counted, and 0.613 ms for 42 slices on an H200, of whose issue slots
//         58 % were busy: a third of all waits was for global memory, an eighth at barriers. This one is not measured.
// Lost    Counted, not measured. Rows before columns, as the prototype had it: other bits than `displacement`. Tiles
//         of 64 x 64: half the copy, but twice the displacements in registers, and floats from 22 pixels around
//         instead of 30. A tile that is one cell with sums in the registers of the gather: a cell of 16 x 16 pixels
//         would copy 37 times its own.
//         References in types of their own: 3 bytes of L2 less, and five times the instantiations. The radius as a
//         template: 45 instructions less, and a compilation a radius.
#include "async_copy.cuh"
#include "block_sums.cuh"
#include "deformed_pixels.cuh"
#include "fir.cuh"
#include "tile_copy.cuh"

constexpr int LANES = 32, THREADS = LANES * WARPS;
constexpr int LINES = 4;  // rows of a tile that a warp smooths, eight outputs a thread
constexpr int TILE_ROWS = LINES * WARPS, TILE_COLUMNS = 64;  // at most
constexpr int HALVES = TILE_COLUMNS / LANES, PIXELS = LINES * HALVES;
constexpr int BOX_ROWS = 8;     // at most
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
        for (int r = 0; r < LINES; r++, row += (i64)width * 4, there += pitch * 4)
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
  // No barrier: where a lane read, it alone writes samples of the next component.
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
  constexpr int N = 8 / sizeof(T);
  const i64 pixels = (i64)height * width;
  const auto take = [&](int slice, int tile_y, int tile_x) {
    const int thread = settled((int)threadIdx.x), lane = thread % LANES, warp = thread / LANES;
    const int edge = up(radius, OUT);
    float* const own_rows = (float*)memory + warp * LINES * window;
    const int4 down = *(const int4*)(tile_rows + 4 * tile_y), across = *(const int4*)(tile_columns + 4 * tile_x);
    const int top = down.z, bottom = down.w, left = across.z, right = across.w;
    const int y = top + warp * LINES, x = left + lane;  // of this thread's first pixel
    const T* const image = slices + slice * pixels;
    const float* const rows = columns + slice * pixels + (i64)y * width;  // of the first component
    const i64 further = count * pixels;  // to the second
    const int first = left - edge, span = right - left + 2 * edge;

    if (copy_at && y < bottom)
      load_rows<2>(own_rows, lane, second, window, rows, further, height - y, first, span, width);
    end_group();
#pragma unroll 1
    for (int r = thread; r < bottom - top + 2 * reach; r += THREADS)
      row_start[r] = (i64)max(0, fold(top - reach + r, height, mode)) * width * (i64)sizeof(T);
    __syncthreads();

    T* const copy = (T*)(memory + copy_at);
    const int copy_left = (left - reach) & ~(N - 1);
    const int packs = (right + reach - copy_left + N - 1) / N, pitch = packs * N;
    const u64 begin = (u64)slices, end = (u64)(slices + further);
    if (copy_at)
      copy_box<THREADS>(copy, image, row_start, thread, top - reach, copy_left, bottom - top + 2 * reach, packs, height,
                        width, mode, begin, end);
    end_group();

    float d[2][PIXELS];
    if (y < bottom) {
      if (copy_at) wait_copies<1>();
      else load_rows_now(own_rows, window, rows, height - y, first, span, width);
      smooth_rows(d[0], own_rows, lane, window, edge, weights, centre, radius, scales[slice]);
      if (!copy_at) load_rows_now(own_rows, window, rows + further, height - y, first, span, width);
      smooth_rows(d[1], own_rows + second, lane, window, edge, weights, centre, radius, scales[count + slice]);
    }
    if (!copy_at) {
      __syncthreads();
      copy_box_now<THREADS>(copy, image, row_start, top - reach, copy_left, bottom - top + 2 * reach, packs, height,
                            width, mode, begin, end);
    }
    wait_copies<0>();
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
    const bool all_fold = mode != CONSTANT && mode != WRAP && mode != GRID_CONSTANT;
    if (!all_fold && (top < reach || bottom + reach >= height || left < reach || right + reach >= width))
#pragma unroll
      for (int p = 0; p < PIXELS; p++)
        if (!has_taps(y + p / HALVES, x + p % HALVES * LANES, d[0][p], d[1][p], height, width)) near &= ~(1u << p);
    near &= own;
    const int place = (y - top + reach) * pitch + x - copy_left;
    const auto place_of = [&](int p) { return p / HALVES * pitch + p % HALVES * LANES; };
    if constexpr (sizeof(T) == 1) {
      const int last = (bottom - top + 2 * reach - 1) * pitch - 2;
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

    T* const tile = (T*)memory;
    T* const to = tile + warp * LINES * TILE_COLUMNS + lane;
#pragma unroll
    for (int p = 0; p < PIXELS; p++) to[p / HALVES * TILE_COLUMNS + p % HALVES * LANES] = deformed[p];
    for (u32 distant = own & ~near; distant; distant &= distant - 1) {
      const int number = __ffs(distant) - 1, r = number / HALVES, c = number % HALVES * LANES;
      float dy, dx;
      take_pixel(number, d, dy, dx);
      to[r * TILE_COLUMNS + c] = sample_far(image, (i64)(y + r), (i64)(x + c), dy, dx, (i64)height, (i64)width, mode,
                                            cval);
    }
    __syncthreads();

    const int boxes_x = across.y - across.x, boxes = (down.y - down.x) * boxes_x;
    for (int box = warp; box < boxes; box += WARPS) {
      const int above = (int)((u32)box / (u32)boxes_x), row = down.x + above, column = across.x + box - above * boxes_x;
      const int box_top = block_rows[row], box_left = block_columns[column];
      const i64 block = (i64)row * blocks_x + column, corner = (i64)box_top * width + box_left;
      sum_box<T, X, K, MASKED>(tile + (box_top - top) * TILE_COLUMNS + box_left - left, lane,
                               block_rows[row + 1] - box_top, block_columns[column + 1] - box_left, references + corner,
                               MASKED ? masks + corner : nullptr, mask_step, reference_count, width, pixels,
                               alone_x + block, slice, count, block, blocks, alone, products);
    }
    __syncthreads();
  };
  for (int slice = blockIdx.z; slice < count; slice += gridDim.z)
    for (int tile_y = blockIdx.y; tile_y < tiles_y; tile_y += gridDim.y)
      for (int tile_x = blockIdx.x; tile_x < tiles_x; tile_x += gridDim.x) take(slice, tile_y, tile_x);
}

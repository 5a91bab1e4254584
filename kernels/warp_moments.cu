// warp_moments.cu: moments of references with elastically deformed slices; no deformed slice is ever in memory.
//
//   d[a, y, x] = scale[a] sum over t of w[|t|] columns[a, y, x + t],   columns what noise_columns.cu makes
//   v(y, x) = slice(y + d[0], x + d[1]), bilinear, rounded to the slice's type as SciPy does
//   per box of pixels: sum v, sum v^2 and sum x_k v, or of deviations from a shift, for moments_total.cu
//
// The same bits as `displacement`, `warp` of integers and exact moments one after the other: taps are added by
// fir.cuh as in gaussian.cu, along y first; integers are interpolated in float64 in SciPy's order. float32 is
// interpolated in float32, so that alike taps give their own value; sums are centred as in moments_floats.cu.
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
//            tile, so that small cells leave no thread idle.
//         The three use the same shared memory in turn.
// Order   of the sums: lane by lane down the rows of a box, then the lanes; boxes in `total_cells`. No atomics: the
//         bits of a pair depend on sizes and edges alone.
// Limits  what is below 48 KiB of shared memory: the windows of a radius of 128, a copy of the slice of 47 KiB; sides
//         of fewer than 2^30 pixels, so that what is around a tile has 32-bit indices.
// Floor   of uint8, K = 1, radius 20 and reach 41, both kernels. Bytes a pixel: 17, 8 written and 8 read between the
//         kernels, and the slice; the references come from L2: 0.51 ms for 165 x 768 x 1024 pixels at 4.3 TB/s, an
//         H200's copy. Instructions a pixel on sm_90, inside of an image whose rows are whole words, by the blocks of
//         the machine code and how often each runs: 214 in noise_columns, 159 for rows, 27 for the copy, 68 to
//         gather, 31 for boxes, 12 for all else: 511, which take 1.98 ms at the full rate of issue. 22 of them are
//         float64 at half rate, 0.17 ms of its units; where that is 1/64 (sm_75, sm_86, sm_89, sm_120) they bound
//         all. Not measured.
// Lost    Counted, not measured. Rows before columns, as the prototype had it: other bits than `displacement`. Tiles
//         of 64 x 64: half the copy, but twice the displacements in registers, and floats from 22 pixels around
//         instead of 31. A tile that is one cell with sums in the registers of the gather: a cell of 16 x 16 pixels
//         would copy 37 times its own.
//         References in types of their own: 3 bytes of L2 less, and five times the instantiations. The radius as a
//         template: 45 instructions less, and a compilation a radius.
#include "block_sums.cuh"
#include "byte_planes.cuh"
#include "fir.cuh"
#include "interpolation.cuh"
#include "samples.cuh"

constexpr int LANES = 32, THREADS = LANES * WARPS;
constexpr int LINES = 4;  // rows of a tile that a warp smooths, eight outputs a thread
constexpr int TILE_ROWS = LINES * WARPS, TILE_COLUMNS = 64;  // at most
constexpr int HALVES = TILE_COLUMNS / LANES, PIXELS = LINES * HALVES;
constexpr int MOST_ROWS = 256;  // of the copy of a tile
constexpr int ROW_THREADS = TILE_COLUMNS / OUT, PIECES = 4;

// Words from a row of a warp's window to the next: the four rows are as one of 32 threads, on different banks.
__host__ __device__ constexpr int window_pitch(int edge) { return up(padded(2 * edge), 32) + padded(TILE_COLUMNS); }

// A displacement along one axis of the pixels of a thread: pixel p has row warp * LINES + p / HALVES of the tile and
// column p % HALVES * LANES + lane. `columns` is the component smoothed along y.
__device__ __forceinline__ void smooth_rows(float (&d)[PIXELS], float* window, const float* __restrict__ columns,
                                            int rows, int left, int across, int width,
                                            const float* __restrict__ weights, float centre, int radius, float scale) {
  const int lane = threadIdx.x % LANES, edge = up(radius, OUT), pitch = window_pitch(edge);
  float* const own = window + lane / ROW_THREADS * pitch + lane % ROW_THREADS * (OUT + 1);
  // Four pieces of 32 samples of two rows at once; the last row again where the tile ends.
#pragma unroll 1
  for (int first = 0; first < across + 2 * edge; first += PIECES * LANES) {
    const int c = first + lane, x = left - edge + c;
#pragma unroll 2
    for (int r = 0; r < LINES; r++) {
      const float* const from = columns + (i64)min(r, rows - 1) * width + x;
      float* const to = window + r * pitch + padded(first) + padded(lane);
      float sample[PIECES];
#pragma unroll
      for (int k = 0; k < PIECES; k++)
        sample[k] = (u32)(x + k * LANES) < (u32)width ? from[k * LANES] : 0.0f;
#pragma unroll
      for (int k = 0; k < PIECES; k++)
        if (c + k * LANES < across + 2 * edge) to[padded(k * LANES)] = sample[k];
    }
  }
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

template <class T> using Real = typename Computed<T>::type;  // what pixels are interpolated in

// A pixel as a number: an addition instead of a conversion, which has a quarter of its rate or less. The bits of 2^52 +
// n are those of 2^52 and n side by side, for n from 0 to 2^32 - 1.
template <class T> __device__ __forceinline__ double number_of(T pixel) {
  if (T(-1) < T(0)) return __hiloint2double(0x43300000, (int)((u32)(int)pixel ^ 0x80000000u)) - 4503601774854144.0;
  return __hiloint2double(0x43300000, (int)pixel) - 4503599627370496.0;
}
__device__ __forceinline__ float number_of(float pixel) { return pixel; }

// What is left of a displacement above its whole part: from float32, but in the type of the interpolation.
__device__ __forceinline__ void take_fraction(double& f, float d, int whole) { f = (double)d - number_of(whole); }
__device__ __forceinline__ void take_fraction(float& f, float d, int whole) { f = d - (float)whole; }

// a, b above c, d: in SciPy's order for integers. In float32 so that alike taps give their own value.
__device__ __forceinline__ double bilinear(double a, double b, double c, double d, double y, double x) {
  const double above = 1.0 - y, before = 1.0 - x;
  return a * above * before + b * above * x + c * y * before + d * y * x;
}
__device__ __forceinline__ float bilinear(float a, float b, float c, float d, float y, float x) {
  const float upper = fmaf(x, b - a, a), lower = fmaf(x, d - c, c);
  return fmaf(y, lower - upper, upper);
}

// A value that lies within the range of the type, and one that may not; half away from zero.
template <class T> __device__ __forceinline__ T rounded_inside(double v) {
  return (T)__double2int_rz(v + (T(-1) < T(0) && v < 0.0 ? -0.5 : 0.5));
}
template <> __device__ __forceinline__ bool rounded_inside<bool>(double v) { return v >= 0.5; }
template <class T> __device__ __forceinline__ T rounded_inside(float v) { return v; }
template <class T> __device__ __forceinline__ T sample_of(double v) { return rounded<T>(v); }
template <> __device__ __forceinline__ bool sample_of<bool>(double v) { return v >= 0.5; }
template <class T> __device__ __forceinline__ T sample_of(float v) { return v; }

// The value at (y + dy, x + dx) wherever that is. Not inlined: hardly any pixel comes here.
template <class T>
__device__ __noinline__ T sample_far(const T* __restrict__ image, i64 y, i64 x, float dy, float dx, i64 height,
                                     i64 width, int mode, double cval) {
  double fy, fx;
  if (!find(y, dy, height, mode, y, fy) || !find(x, dx, width, mode, x, fx)) return sample_of<T>((Real<T>)cval);
  const i64 rows[2] = {fold(y, height, mode), fold(y + 1, height, mode)};
  const i64 columns[2] = {fold(x, width, mode), fold(x + 1, width, mode)};
  Real<T> tap[2][2];
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int j = 0; j < 2; j++)
      tap[i][j] = rows[i] < 0 || columns[j] < 0 ? (Real<T>)cval : number_of(image[rows[i] * width + columns[j]]);
  return sample_of<T>(bilinear(tap[0][0], tap[0][1], tap[1][0], tap[1][1], (Real<T>)fy, (Real<T>)fx));
}

// Whether what is pulled to (y, x) lies in the copy. Modes with rules of their own leave alone what has all its taps
// inside. The carry of `find` moves others only.
__device__ __forceinline__ bool is_near(int y, int x, float dy, float dx, int height, int width, int reach, int mode) {
  const int whole_y = __float2int_rd(dy), whole_x = __float2int_rd(dx);
  const bool near = fabsf(dy) < (float)reach && fabsf(dx) < (float)reach;
  if (mode != CONSTANT && mode != WRAP && mode != GRID_CONSTANT) return near;
  return near && whole_y >= -y && whole_y < height - 1 - y && whole_x >= -x && whole_x < width - 1 - x;
}

// The value that is pulled to a pixel, which lies at `own` in the copy.
template <class T> __device__ __forceinline__ T sample_near(const T* own, int pitch, float dy, float dx) {
  const int whole_y = __float2int_rd(dy), whole_x = __float2int_rd(dx);
  const T* const tap = own + whole_y * pitch + whole_x;
  Real<T> fy, fx;
  take_fraction(fy, dy, whole_y), take_fraction(fx, dx, whole_x);
  const Real<T> a = number_of(tap[0]), b = number_of(tap[1]);
  return rounded_inside<T>(bilinear(a, b, number_of(tap[pitch]), number_of(tap[pitch + 1]), fy, fx));
}

// A box of a slice in shared memory, 8 bytes a load; row r holds row row_of[r] of the slice, column c pixel left + c,
// folded into it. `left` is a multiple of 8 bytes, a row has `packs` of them, and a thread keeps its column. What
// stands for the constant may hold anything.
template <class T>
__device__ __forceinline__ void copy_box(T* copy, const T* __restrict__ image, const int* row_of, int left, int rows,
                                         int packs, int width, int mode, u64 begin, u64 end) {
  constexpr int N = 8 / sizeof(T);
  const int step = THREADS / packs, x = left + (int)threadIdx.x % packs * N;
  const int first = (int)threadIdx.x < step * packs ? (int)threadIdx.x / packs : rows;
  T* const to = copy + (int)threadIdx.x * N - first * packs * N;
  if (x < 0 || x + N > width) {
#pragma unroll 1
    for (int i = 0; i < N; i++) {
      const int column = max(0, fold(x + i, width, mode));
      for (int r = first; r < rows; r += step) to[r * packs * N + i] = image[(i64)row_of[r] * width + column];
    }
  } else if (width % N == 0 && begin % 8 == 0) {
#pragma unroll 4
    for (int r = first; r < rows; r += step)
      *(uint2*)(to + r * packs * N) = __ldg((const uint2*)(image + (i64)row_of[r] * width + x));
  } else {
    for (int r = first; r < rows; r += step) {
      const T* const from = image + (i64)row_of[r] * width + x;
      if (((u64)from & ~3ull) >= begin && (((u64)from + 11) & ~3ull) <= end) {  // words with a byte of these
        u32 word[2];
        load_unaligned(word, (const u8*)from);
        *(uint2*)(to + r * packs * N) = make_uint2(word[0], word[1]);
      } else {
        for (int i = 0; i < N; i++) to[r * packs * N + i] = from[i];
      }
    }
  }
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

// Sums of one box, `down` x `across` pixels of the deformed slice from `tile` on, with all references: a warp's. All
// pointers to images are at the first pixel of the box; `alone_x` has the shifts of the references' blocks.
//
// Shift  of v: the mean of the first pixel that counts of every lane, at least one in 16 of the box. See
//        moments_floats.cu.
template <class T, class X, int K, bool MASKED>
__device__ __forceinline__ void sum_box(const T* tile, int down, int across, const X* __restrict__ references,
                                        const bool* __restrict__ masks, i64 mask_step, int reference_count, int width,
                                        i64 pixels, const Alone<Sum<X>>* __restrict__ alone_x, i64 slice,
                                        i64 slice_count, i64 block, i64 blocks, Alone<Sum<X>>* __restrict__ alone,
                                        Sum<X>* __restrict__ products) {
  typedef typename OfLane<T, X>::type Part;
  constexpr bool EXACT = sizeof(X) == 4;
  constexpr int COUNT = power_of_two(2 + K);
  const int lane = threadIdx.x % LANES, units = max(1, across), step = units > LANES / 2 ? 1 : LANES / units;
  const int own = units > LANES / 2 ? (lane >= units) : lane / units, column = lane - own * units;
  const int start = across && own < step ? own : down;
  const i64 at = (i64)start * width + column, further = (i64)step * width;
  for (int k = 0; k < reference_count; k += K) {
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
    const X* from[K];
#pragma unroll
    for (int j = 0; j < K; j++) from[j] = references + (K == 1 ? k : min(k + j, reference_count - 1)) * pixels + at;
    Part sum = 0, square = 0, product[K] = {};
#pragma unroll(K == 1 && !MASKED ? 2 : 1)
    for (int row = start; row < down; row += step) {
      const bool counts = MASKED ? *mask : true;
      const T pixel = tile[row * TILE_COLUMNS + column];
      const Part v = !counts ? Part(0) : EXACT ? (Part)pixel : (Part)number_of(pixel) - (Part)shift_y;
      sum += v;
      square = multiply_add(v, v, square);
#pragma unroll
      for (int j = 0; j < K; j++) {
        const Part u = counts ? (Part)*from[j] - (Part)shift_x[j] : Part(0);
        product[j] = multiply_add(u, v, product[j]);
        from[j] += further;
      }
      if (MASKED) mask += further;
    }
    Sum<X> value[COUNT] = {};
    value[0] = sum, value[1] = square;
#pragma unroll
    for (int j = 0; j < K; j++) value[2 + j] = product[j];
    const Sum<X> total = warp_sums<COUNT>(value);
    Alone<Sum<X>>* const to = MASKED ? alone + k * slice_count * blocks : alone;
    write_sums<K, 1>(total, lane * COUNT, slice, slice_count, reference_count - k, block, blocks, to,
                     products + k * slice_count * blocks);
    if (!EXACT && lane == 0) to[slice * blocks + block].shift = shift_y;
  }
}

// Layout  slices (count, height, width); `columns` (2, count, height, width) and scales (2, count), y first; references
//         (K, height, width); masks null, (height, width) or (K, height, width) with a step of 0 or of pixels; alone_x
//         (K, blocks) of the references; alone (count, blocks), under masks (K, count, blocks); products (K, count,
//         blocks). Block row i begins at row rows[i], tile row i at block row tile_rows[i]; likewise columns.
template <class T, class X, int K, bool MASKED>
__global__ void __launch_bounds__(THREADS, K == 1 && !MASKED && sizeof(X) == 4 ? 3 : 2)
    warp_moments(const T* __restrict__ slices, const float* __restrict__ columns, const float* __restrict__ scales,
                 const float* __restrict__ weights, float centre, int radius, const X* __restrict__ references,
                 const bool* __restrict__ masks, i64 mask_step, int reference_count,
                 const Alone<Sum<X>>* __restrict__ alone_x, const int* __restrict__ tile_rows,
                 const int* __restrict__ tile_columns, int tiles_y, int tiles_x, const int* __restrict__ block_rows,
                 const int* __restrict__ block_columns, int blocks_x, i64 blocks, int height, int width, i64 count,
                 int reach, int mode, double cval, Alone<Sum<X>>* __restrict__ alone, Sum<X>* __restrict__ products) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ int row_of[MOST_ROWS];
  constexpr int N = 8 / sizeof(T);
  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  const i64 pixels = (i64)height * width;
  const auto take = [&](i64 slice, int tile_y, int tile_x) {
    const int first_row = tile_rows[tile_y], end_row = tile_rows[tile_y + 1];
    const int first_column = tile_columns[tile_x], end_column = tile_columns[tile_x + 1];
    const int top = block_rows[first_row], bottom = block_rows[end_row];
    const int left = block_columns[first_column], right = block_columns[end_column];
    const int y = top + warp * LINES, x = left + lane;  // of this thread's first pixel
    const T* const image = slices + slice * pixels;

#pragma unroll 1
    for (int r = threadIdx.x; r < bottom - top + 2 * reach; r += THREADS)
      row_of[r] = max(0, fold(top - reach + r, height, mode));

    float d[2][PIXELS];
    if (y < bottom)
#pragma unroll
      for (int axis = 0; axis < 2; axis++)
        smooth_rows(d[axis], (float*)memory + warp * LINES * window_pitch(up(radius, OUT)),
                    columns + (axis * count + slice) * pixels + (i64)y * width, bottom - y, left, right - left, width,
                    weights, centre, radius, scales[axis * count + slice]);
    __syncthreads();

    T* const copy = (T*)memory;
    const int copy_left = (left - reach) & ~(N - 1);
    const int packs = (right + reach - copy_left + N - 1) / N, pitch = packs * N;
    copy_box(copy, image, row_of, copy_left, bottom - top + 2 * reach, packs, width, mode, (u64)slices,
             (u64)(slices + count * pixels));
    __syncthreads();

    T deformed[PIXELS];
    u32 distant = 0;  // bit p: pixel p
    const T* const own = copy + (y - top + reach) * pitch + x - copy_left;
#pragma unroll
    for (int p = 0; p < PIXELS; p++) {
      const int r = p / HALVES, c = p % HALVES * LANES;
      deformed[p] = T(0);
      if (y + r < bottom && x + c < right) {
        if (is_near(y + r, x + c, d[0][p], d[1][p], height, width, reach, mode))
          deformed[p] = sample_near(own + r * pitch + c, pitch, d[0][p], d[1][p]);
        else distant |= 1u << p;
      }
    }
    __syncthreads();

    T* const tile = (T*)memory;
    T* const to = tile + warp * LINES * TILE_COLUMNS + lane;
#pragma unroll
    for (int p = 0; p < PIXELS; p++) to[p / HALVES * TILE_COLUMNS + p % HALVES * LANES] = deformed[p];
    for (; distant; distant &= distant - 1) {
      const int number = __ffs(distant) - 1, r = number / HALVES, c = number % HALVES * LANES;
      float dy = 0, dx = 0;
#pragma unroll
      for (int p = 0; p < PIXELS; p++)
        if (p == number) dy = d[0][p], dx = d[1][p];
      to[r * TILE_COLUMNS + c] = sample_far(image, (i64)(y + r), (i64)(x + c), dy, dx, (i64)height, (i64)width, mode,
                                            cval);
    }
    __syncthreads();

    const int boxes_x = end_column - first_column, boxes = (end_row - first_row) * boxes_x;
    for (int box = warp; box < boxes; box += WARPS) {
      const int row = first_row + box / boxes_x, column = first_column + box % boxes_x;
      const int box_top = block_rows[row], down = block_rows[row + 1] - box_top;
      const int box_left = block_columns[column], across = block_columns[column + 1] - box_left;
      const i64 block = (i64)row * blocks_x + column, corner = (i64)box_top * width + box_left;
      sum_box<T, X, K, MASKED>(tile + (box_top - top) * TILE_COLUMNS + box_left - left, down, across,
                               references + corner, MASKED ? masks + corner : nullptr, mask_step, reference_count,
                               width, pixels, alone_x + block, slice, count, block, blocks, alone, products);
    }
    __syncthreads();
  };
  for (i64 slice = blockIdx.z; slice < count; slice += gridDim.z)
    for (int tile_y = blockIdx.y; tile_y < tiles_y; tile_y += gridDim.y)
      for (int tile_x = blockIdx.x; tile_x < tiles_x; tile_x += gridDim.x) take(slice, tile_y, tile_x);
}

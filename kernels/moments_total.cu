// moments_total.cu: second stage of `moments`: from the sums of blocks to the moments of cells.
//
//   integers  sums over the blocks of a cell, the turned bit of signed pixels taken back:
//             sum x y = sum (x + a)(y + b) - b sum x - a sum (y + b)
//   floats    moments of each block about its own means, merged by the formulas of T. F. Chan, G. H. Golub and
//             R. J. LeVeque, "Algorithms for computing the sample variance", The American Statistician 37 (1983).
//             Means are taken from the shift of the cell's first block: of images with mean / std = 10^8 the
//             differences of rounded means would leave eight digits.
//
// Layout  alone_x, alone_y and counts have a step from a reference to the next and from a slice to the next, 0 where
//         they do not depend on it; products (K, N, blocks). Cell (i, j) has the block rows row_cells[i]..
//         row_cells[i + 1] - 1, likewise columns. Results of integers are sums, and of float64 their moments:
//             of_x (3, K, x_slices, cells) i64          count, x, xx     moments_of_x (2, ...) double   mean, ss
//             of_y (2, y_references, N, cells) i64      y, yy            moments_of_y (2, ...) double   mean, ss
//             of_xy (K, N, cells) i64                   xy               moments_of_xy (...) double     ss_xy
//         of floats alone the moments, in of_x (3, ...), of_y (2, ...) and of_xy. x_slices is 1 where what x has does
//         not depend on the slice, else N; y_references is 1 where what y has does not depend on x, else K.
// Launch  `total_slices`, for integers in at most 256 cells of few blocks: grid (1, N, K), strided over, block 256, a
//         thread a cell; the block adds up what it has of a slice.
//         `total_cells`, for all else: grid (cells, N, K), strided over; one thread block a cell and pair, of one warp
//         or of WARPS. SMALL, for cells of few blocks: grid (cells / 256, N), block 256, a thread a cell.
//         `add_cells`, after it for the whole of integers: grid (N, K), block 256.
// Order   Thread t takes blocks t, t + threads, ...; then the lanes of a warp, then the warps. The number of threads
//         depends on the number of blocks of a cell alone.
// Floor   The sums of stage 1, once a reference, and the results: about 2 % of the bytes of slices of uint8 in cells of
//         48 x 64. On an H200 `total_slices` takes 0.022 ms of 2600 slices, K = 4 0.072; `total_cells` and `add_cells`
//         took 0.036, and one kernel that divided and found what x has for each pair anew 0.033, K = 4 0.086.
#include "block_sums.cuh"

template <class T> struct Cell;

template <> struct Cell<i64> {  // count, sum x, sum y, sum x^2, sum y^2, sum x y
  i64 v[6];

  static __device__ __forceinline__ Cell of(i64 count, const Alone<i64>& x, const Alone<i64>& y, i64 product, i64,
                                            i64) {
    return {{count, x.sum, y.sum, x.square, y.square, product}};
  }
  __device__ __forceinline__ void add(const Cell& other) {
#pragma unroll
    for (int i = 0; i < 6; i++) v[i] += other.v[i];
  }
  // Back from x + a and y + b to x and y, where the sums of x alone are those of x. What wraps around on the way comes
  // out right, since the result fits.
  __device__ __forceinline__ void move(i64 offset_x, i64 offset_y) {
    if (!offset_x && !offset_y) return;
    const u64 n = v[0], a = offset_x, b = offset_y, x = v[1], y = v[2];
    v[2] = (i64)(y - n * b);
    v[4] = (i64)((u64)v[4] - 2 * b * y + n * b * b);
    v[5] = (i64)((u64)v[5] - b * x - a * y);
  }
};

template <> struct Cell<double> {  // count, means less an origin, and centred sums
  double v[6];

  static __device__ __forceinline__ Cell of(i64 count, const Alone<double>& x, const Alone<double>& y, double product,
                                            double origin_x, double origin_y) {
    const double n = (double)count, safe = count ? n : 1.0;
    const double mean_x = x.sum / safe, mean_y = y.sum / safe;
    // Infinity makes its mean NaN as well: infinity - infinity.
    return {{n, x.shift - origin_x + mean_x + (x.sum - x.sum), y.shift - origin_y + mean_y + (y.sum - y.sum),
             square(x.square - x.sum * mean_x), square(y.square - y.sum * mean_y), product - x.sum * mean_y}};
  }
  static __device__ __forceinline__ double square(double value) { return value < 0.0 ? 0.0 : value; }
  __device__ __forceinline__ void add(const Cell& other) {
    const double n = v[0] + other.v[0];
    const double share = other.v[0] / (n > 0.0 ? n : 1.0), weight = v[0] * share;
    const double delta_x = other.v[1] - v[1], delta_y = other.v[2] - v[2];
    v[0] = n;
    v[1] += delta_x * share;
    v[2] += delta_y * share;
    v[3] += other.v[3] + delta_x * delta_x * weight;
    v[4] += other.v[4] + delta_y * delta_y * weight;
    v[5] += other.v[5] + delta_x * delta_y * weight;
  }
  __device__ __forceinline__ void move(double origin_x, double origin_y) {
    if (v[0] > 0.0) v[1] += origin_x, v[2] += origin_y;
  }
};

// The sum over the lanes of a warp, in lane 0: neighbours first.
__device__ __forceinline__ void add_lanes(Cell<double>& cell) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    Cell<double> other;
#pragma unroll
    for (int i = 0; i < 6; i++) other.v[i] = __shfl_down_sync(0xffffffffu, cell.v[i], distance);
    cell.add(other);
  }
}

// Where results go: arrays of (values, K, N, cells), of one reference or slice where the values do not depend on it.
template <class T> struct Results {
  T *of_x, *of_y, *of_xy;
  double *moments_of_x, *moments_of_y, *moments_of_xy;
  i64 x_slices, y_references, references, slices, cells;

  // The places of a cell of pair (k, n) in arrays of x, y and both, and the steps from a value to the next.
  __device__ __forceinline__ bool has_x(i64 n) const { return n < x_slices; }
  __device__ __forceinline__ bool has_y(i64 k) const { return k < y_references; }
  __device__ __forceinline__ i64 x_at(i64 k, i64 n, i64 cell) const { return (k * x_slices + n) * cells + cell; }
  __device__ __forceinline__ i64 y_at(i64 k, i64 n, i64 cell) const { return (k * slices + n) * cells + cell; }
  __device__ __forceinline__ i64 x_step() const { return references * x_slices * cells; }
  __device__ __forceinline__ i64 y_step() const { return y_references * slices * cells; }
};

__device__ __forceinline__ void write(const Cell<double>& cell, const Results<double>& to, i64 k, i64 n, i64 at) {
  const i64 x = to.x_at(k, n, at), y = to.y_at(k, n, at);
  if (to.has_x(n))
    to.of_x[x] = cell.v[0], to.of_x[x + to.x_step()] = cell.v[1], to.of_x[x + 2 * to.x_step()] = cell.v[3];
  if (to.has_y(k)) to.of_y[y] = cell.v[2], to.of_y[y + to.y_step()] = cell.v[4];
  to.of_xy[y] = cell.v[5];
}

// A count of pixels, fewer than 2^31, and what divides by it.
struct Count {
  int number, safe;
  double pixels, share;

  __device__ __forceinline__ explicit Count(i64 count)
      : number((int)count), safe(max(number, 1)), pixels(safe), share(1.0 / pixels) {}
  // a / pixels, rounded once: two of Newton's steps, as the first quotient may be two units off.
  __device__ __forceinline__ double divide(double a) const {
    double quotient = a * share;
#pragma unroll
    for (int i = 0; i < 2; i++) quotient = fma(fma(-quotient, pixels, a), share, quotient);
    return quotient;
  }
};

// A sum of pixels of 16 bits, and what is left of it about the integer nearest to their mean, half upwards.
struct About {
  i64 sum, rest;
  int near;
  double mean;  // of what is left

  __device__ __forceinline__ About(i64 sum, const Count& count) : sum(sum) {
    // A product of floating point is one off at most, and put right: integers of 64 bits are divided by a hundred
    // instructions.
    near = __double2int_rd((double)sum * count.share + 0.5);
    const i64 twice = 2 * (sum - (i64)near * count.safe) + count.safe;
    near += (twice >= 2 * (i64)count.safe) - (twice < 0);
    rest = sum - (i64)near * count.number;
    mean = count.divide((double)rest);
  }
};

// Integers with moments as `Moments.from_sums` has them: about a and b, the integers nearest to their means,
//   sum (y - b)^2 = sum y^2 - b (sum y + rest),  sum (x - a)(y - b) = sum x y - b sum x - a rest,  rest = sum (y - b).
__device__ __forceinline__ double centred_square(const About& of, i64 square) {
  return (double)(square - of.near * (of.sum + of.rest)) - (double)of.rest * of.mean;
}
__device__ __forceinline__ double centred_product(const About& x, const About& y, i64 product) {
  return (double)(product - y.near * x.sum - x.near * y.rest) - (double)x.rest * y.mean;
}
__device__ __forceinline__ void write_x(const Results<i64>& to, i64 at, const Count& count, const About& x,
                                        i64 square) {
  to.of_x[at] = count.number, to.of_x[at + to.x_step()] = x.sum, to.of_x[at + 2 * to.x_step()] = square;
  to.moments_of_x[at] = x.near + x.mean, to.moments_of_x[at + to.x_step()] = centred_square(x, square);
}
__device__ __forceinline__ void write_y(const Results<i64>& to, i64 at, const About& y, i64 square) {
  to.of_y[at] = y.sum, to.of_y[at + to.y_step()] = square;
  to.moments_of_y[at] = y.near + y.mean, to.moments_of_y[at + to.y_step()] = centred_square(y, square);
}
__device__ __forceinline__ void write(const Cell<i64>& cell, const Results<i64>& to, i64 k, i64 n, i64 at) {
  const Count count(cell.v[0]);
  const About x(cell.v[1], count), y(cell.v[2], count);
  const i64 place = to.y_at(k, n, at);
  if (to.has_x(n)) write_x(to, to.x_at(k, n, at), count, x, cell.v[3]);
  if (to.has_y(k)) write_y(to, place, y, cell.v[4]);
  to.of_xy[place] = cell.v[5], to.moments_of_xy[place] = centred_product(x, y, cell.v[5]);
}

// The blocks of one cell.
struct Blocks {
  int top, left, across, pitch, area;

  __device__ __forceinline__ Blocks(const int* row_cells, const int* column_cells, int cell, int cells_x, int pitch)
      : top(row_cells[cell / cells_x]), left(column_cells[cell % cells_x]),
        across(column_cells[cell % cells_x + 1] - left), pitch(pitch),
        area((row_cells[cell / cells_x + 1] - top) * across) {}
  __device__ __forceinline__ i64 at(int i) const { return (i64)(top + i / across) * pitch + left + i % across; }
  template <class Take> __device__ __forceinline__ void for_each(const Take& take) const {
    i64 row = (i64)top * pitch + left;
#pragma unroll 1
    for (int i = 0; i < area; i += across, row += pitch)
#pragma unroll 1
      for (i64 b = row, end = b + across; b < end; b++) take(b);
  }
};

// What stage 1 wrote of a pair, by blocks.
template <class T> struct Pair {
  const Alone<T>*x, *y;
  const T* products;
  const i64* counts;

  // The shifts of the first block that has pixels.
  __device__ __forceinline__ void take_shifts(const Blocks& blocks, T& shift_x, T& shift_y) const {
    int first = 0;
    while (first + 1 < blocks.area && !counts[blocks.at(first)]) first++;
    shift_x = blocks.area ? x[blocks.at(first)].shift : T(0);
    shift_y = blocks.area ? y[blocks.at(first)].shift : T(0);
  }
  // The sum of blocks `first`, `first` + `step`, ...
  __device__ __forceinline__ Cell<T> sum(const Blocks& blocks, int first, int step, T from_x, T from_y) const {
    Cell<T> total = {{0, 0, 0, 0, 0, 0}};
    for (int i = first; i < blocks.area; i += step) {
      const i64 b = blocks.at(i);
      total.add(Cell<T>::of(counts[b], x[b], y[b], products[b], from_x, from_y));
    }
    return total;
  }
  // What x has in all blocks; and what y, and both, have there, added.
  __device__ __forceinline__ Cell<T> sum_x(const Blocks& blocks) const {
    Cell<T> total = {{0, 0, 0, 0, 0, 0}};
    blocks.for_each([&](i64 b) { total.add({{counts[b], x[b].sum, 0, x[b].square, 0, 0}}); });
    return total;
  }
  __device__ __forceinline__ void add_y(Cell<T>& total, const Blocks& blocks) const {
    blocks.for_each([&](i64 b) { total.add({{0, 0, y[b].sum, 0, y[b].square, products[b]}}); });
  }
};

// The sum over the lanes of a warp, kept for the thread block; and that over its warps, in every lane of one.
__device__ __forceinline__ void keep_sum(const Cell<i64>& sum, i64 (&kept)[WARPS][6]) {
  const int lane = threadIdx.x % 32;
  i64 value[8] = {sum.v[0], sum.v[1], sum.v[2], sum.v[3], sum.v[4], sum.v[5], 0, 0};
  const i64 own = warp_sums<8>(value);
  if (lane % 4 == 0 && lane < 24) kept[threadIdx.x / 32][lane / 4] = own;
}
__device__ __forceinline__ Cell<i64> kept_sum(const i64 (&kept)[WARPS][6]) {
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  i64 all = 0;
#pragma unroll 1
  for (int warp = 0; warp < warps; warp++) all += lane < 6 ? kept[warp][lane] : 0;
  Cell<i64> sum;
#pragma unroll
  for (int i = 0; i < 6; i++) sum.v[i] = __shfl_sync(ALL, all, i);
  return sum;
}

// The sum over all threads of a block, in thread 0.
__device__ __forceinline__ void add_warps(Cell<i64>& sum, i64 (&kept)[WARPS][6]) {
  __syncthreads();  // of the cell before, `kept` has been read
  keep_sum(sum, kept);
  __syncthreads();
  if (threadIdx.x < 32) sum = kept_sum(kept);
}
__device__ __forceinline__ void add_warps(Cell<double>& sum, double (&kept)[WARPS][6]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  add_lanes(sum);
  __syncthreads();  // of the cell before, `kept` has been read
  if (lane == 0)
#pragma unroll
    for (int i = 0; i < 6; i++) kept[warp][i] = sum.v[i];
  __syncthreads();
  if (warp == 0) {
#pragma unroll
    for (int i = 0; i < 6; i++) sum.v[i] = lane < warps ? kept[lane][i] : 0.0;
    add_lanes(sum);
  }
}

template <class T, bool SMALL>
__global__ void __launch_bounds__(32 * WARPS, 2)
    total_cells(const Alone<T>* __restrict__ alone_x, i64 x_reference_step, i64 x_slice_step,
                const Alone<T>* __restrict__ alone_y, i64 y_reference_step, i64 y_slice_step,
                const T* __restrict__ products, const i64* __restrict__ counts, i64 count_reference_step,
                i64 count_slice_step, const int* __restrict__ row_cells, const int* __restrict__ column_cells,
                int cells_y, int cells_x, int block_columns, i64 blocks, i64 references, i64 slices, T offset_x,
                T offset_y, i64 x_slices, i64 y_references, T* __restrict__ of_x, T* __restrict__ of_y,
                T* __restrict__ of_xy, double* __restrict__ moments_of_x, double* __restrict__ moments_of_y,
                double* __restrict__ moments_of_xy) {
  constexpr bool IS_FLOAT = T(1) / T(2) > T(0);
  __shared__ T kept[WARPS][6];
  const int cells = cells_y * cells_x, own = SMALL ? threadIdx.x : 0, step = SMALL ? blockDim.x : 1;
  const Results<T> out = {of_x, of_y, of_xy, moments_of_x, moments_of_y, moments_of_xy,
                          x_slices, y_references, references, slices, cells};
  for (i64 n = blockIdx.y; n < slices; n += gridDim.y)
    for (int cell = blockIdx.x * step + own; cell < cells; cell += gridDim.x * step) {
      const Blocks of_cell(row_cells, column_cells, cell, cells_x, block_columns);
      for (i64 k = blockIdx.z; k < references; k += gridDim.z) {
        const Pair<T> pair = {alone_x + k * x_reference_step + n * x_slice_step,
                              alone_y + k * y_reference_step + n * y_slice_step, products + (k * slices + n) * blocks,
                              counts + k * count_reference_step + n * count_slice_step};
        T from_x = offset_x, from_y = offset_y;
        if (IS_FLOAT) pair.take_shifts(of_cell, from_x, from_y);
        Cell<T> sum = pair.sum(of_cell, SMALL ? 0 : threadIdx.x, SMALL ? 1 : blockDim.x, from_x, from_y);
        if constexpr (!SMALL) add_warps(sum, kept);
        sum.move(from_x, from_y);
        if (SMALL || threadIdx.x == 0) write(sum, out, k, n, cell);
      }
    }
}

// Integers, of whose cells each has a thread of the block: what they have, and the whole, in one launch. What x has is
// found once where it does not depend on the slice.
__global__ void __launch_bounds__(32 * WARPS, 3)
    total_slices(const Alone<i64>* __restrict__ alone_x, i64 x_reference_step, i64 x_slice_step,
                 const Alone<i64>* __restrict__ alone_y, i64 y_reference_step, i64 y_slice_step,
                 const i64* __restrict__ products, const i64* __restrict__ counts, i64 count_reference_step,
                 i64 count_slice_step, const int* __restrict__ row_cells, const int* __restrict__ column_cells,
                 int cells_y, int cells_x, int block_columns, i64 blocks, i64 references, i64 slices, i64 offset_x,
                 i64 offset_y, i64 x_slices, i64 y_references, i64* __restrict__ of_x, i64* __restrict__ of_y,
                 i64* __restrict__ of_xy, double* __restrict__ moments_of_x, double* __restrict__ moments_of_y,
                 double* __restrict__ moments_of_xy, i64* __restrict__ whole_x, i64* __restrict__ whole_y,
                 i64* __restrict__ whole_xy, double* __restrict__ moments_of_whole_x,
                 double* __restrict__ moments_of_whole_y, double* __restrict__ moments_of_whole_xy) {
  __shared__ i64 kept[2][WARPS][6];
  const int cells = cells_y * cells_x, cell = threadIdx.x;
  const Results<i64> out = {of_x, of_y, of_xy, moments_of_x, moments_of_y, moments_of_xy,
                            x_slices, y_references, references, slices, cells};
  const Results<i64> whole = {whole_x, whole_y, whole_xy, moments_of_whole_x, moments_of_whole_y, moments_of_whole_xy,
                              x_slices, y_references, references, slices, 1};
  Blocks of_cell(row_cells, column_cells, min(cell, cells - 1), cells_x, block_columns);
  if (cell >= cells) of_cell.area = 0;
  const bool x_varies = x_slice_step || count_slice_step;
  int turn = 0;
  for (i64 k = blockIdx.z; k < references; k += gridDim.z) {
    Cell<i64> of_reference = {{0, 0, 0, 0, 0, 0}};
    Count count(0);
    About x(0, count);
    for (i64 n = blockIdx.y; n < slices; n += gridDim.y, turn++) {
      const Pair<i64> pair = {alone_x + k * x_reference_step + n * x_slice_step,
                              alone_y + k * y_reference_step + n * y_slice_step, products + (k * slices + n) * blocks,
                              counts + k * count_reference_step + n * count_slice_step};
      if (n == blockIdx.y || x_varies) {
        of_reference = pair.sum_x(of_cell);
        count = Count(of_reference.v[0]);
        x = About(of_reference.v[1], count);
      }
      Cell<i64> sum = of_reference;
      pair.add_y(sum, of_cell);
      sum.move(offset_x, offset_y);
      if (cell < cells) {
        const About y(sum.v[2], count);
        const i64 place = out.y_at(k, n, cell);
        if (out.has_x(n)) write_x(out, out.x_at(k, n, cell), count, x, sum.v[3]);
        if (out.has_y(k)) write_y(out, place, y, sum.v[4]);
        out.of_xy[place] = sum.v[5], out.moments_of_xy[place] = centred_product(x, y, sum.v[5]);
      }
      keep_sum(sum, kept[turn % 2]);
      __syncthreads();  // whoever read what was kept two turns ago is here as well
      if ((int)threadIdx.x / 32 != turn % WARPS) continue;  // warps take turns, while the others go on
      sum = kept_sum(kept[turn % 2]);
      if (threadIdx.x % 32 == 0) write(sum, whole, k, n, 0);
    }
  }
}

// The sums of the whole of integers, from those of cells: written as those of a single cell.
__global__ void __launch_bounds__(32 * WARPS)
    add_cells(const i64* __restrict__ of_x, const i64* __restrict__ of_y, const i64* __restrict__ of_xy, i64 references,
              i64 slices, i64 cells, i64 x_slices, i64 y_references, i64* __restrict__ whole_x,
              i64* __restrict__ whole_y, i64* __restrict__ whole_xy, double* __restrict__ moments_of_x,
              double* __restrict__ moments_of_y, double* __restrict__ moments_of_xy) {
  __shared__ i64 kept[WARPS][6];
  const Results<i64> out = {whole_x, whole_y, whole_xy, moments_of_x, moments_of_y, moments_of_xy,
                            x_slices, y_references, references, slices, 1};
  for (i64 k = blockIdx.y; k < references; k += gridDim.y)
    for (i64 n = blockIdx.x; n < slices; n += gridDim.x) {
      const i64* const x = of_x + (k * x_slices + min(n, x_slices - 1)) * cells;
      const i64* const y = of_y + (min(k, y_references - 1) * slices + n) * cells;
      const i64 x_step = references * x_slices * cells, y_step = y_references * slices * cells;
      Cell<i64> sum = {{0, 0, 0, 0, 0, 0}};
      for (i64 i = threadIdx.x; i < cells; i += blockDim.x)
        sum.add({{x[i], x[x_step + i], y[i], x[2 * x_step + i], y[y_step + i], of_xy[(k * slices + n) * cells + i]}});
      add_warps(sum, kept);
      if (threadIdx.x == 0) write(sum, out, k, n, 0);
    }
}

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
//         they do not depend on it; products (K, N, blocks). out (6, K, N, cells): count, x, y, xx, yy, xy, as sums or
//         as means and centred sums. Cell (i, j) has the block rows row_cells[i]..row_cells[i + 1] - 1, likewise
//         columns.
// Launch  grid (cells, N, K), strided over; one thread block a cell and pair, of one warp or of WARPS.
// Order   Thread t takes blocks t, t + threads, ...; then the lanes of a warp, then the warps. The number of threads
//         depends on the number of blocks of a cell alone.
// Floor   The sums of stage 1, once a reference: about 1 % of the bytes of the slices.
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
template <class T> __device__ __forceinline__ void add_lanes(Cell<T>& cell) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    Cell<T> other;
#pragma unroll
    for (int i = 0; i < 6; i++) other.v[i] = __shfl_down_sync(0xffffffffu, cell.v[i], distance);
    cell.add(other);
  }
}

template <class T>
__global__ void __launch_bounds__(32 * WARPS)
    total_cells(const Alone<T>* __restrict__ alone_x, i64 x_reference_step, i64 x_slice_step,
                const Alone<T>* __restrict__ alone_y, i64 y_reference_step, i64 y_slice_step,
                const T* __restrict__ products, const i64* __restrict__ counts, i64 count_reference_step,
                i64 count_slice_step, const int* __restrict__ row_cells, const int* __restrict__ column_cells,
                int cells_y, int cells_x, int block_columns, i64 blocks, i64 references, i64 slices, T offset_x,
                T offset_y, T* __restrict__ out) {
  constexpr bool IS_FLOAT = T(1) / T(2) > T(0);
  __shared__ T kept[WARPS][6];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const i64 cells = (i64)cells_y * cells_x;
  for (i64 k = blockIdx.z; k < references; k += gridDim.z)
    for (i64 n = blockIdx.y; n < slices; n += gridDim.y)
      for (i64 cell = blockIdx.x; cell < cells; cell += gridDim.x) {
        const int top = row_cells[cell / cells_x], left = column_cells[cell % cells_x];
        const int across = column_cells[cell % cells_x + 1] - left;
        const i64 area = (i64)(row_cells[cell / cells_x + 1] - top) * across;
        const Alone<T>* const x = alone_x + k * x_reference_step + n * x_slice_step;
        const Alone<T>* const y = alone_y + k * y_reference_step + n * y_slice_step;
        const i64* const count = counts + k * count_reference_step + n * count_slice_step;
        const auto block = [&](i64 i) { return (top + i / across) * block_columns + left + i % across; };
        T from_x = offset_x, from_y = offset_y;
        if (IS_FLOAT) {
          i64 first = 0;
          while (first + 1 < area && !count[block(first)]) first++;
          from_x = area ? x[block(first)].shift : T(0), from_y = area ? y[block(first)].shift : T(0);
        }
        Cell<T> sum = {{0, 0, 0, 0, 0, 0}};
        for (i64 i = threadIdx.x; i < area; i += blockDim.x)
          sum.add(Cell<T>::of(count[block(i)], x[block(i)], y[block(i)], products[(k * slices + n) * blocks + block(i)],
                              from_x, from_y));
        add_lanes(sum);
        __syncthreads();  // of the cell before, `kept` has been read
        if (lane == 0)
#pragma unroll
          for (int i = 0; i < 6; i++) kept[warp][i] = sum.v[i];
        __syncthreads();
        if (warp == 0) {
#pragma unroll
          for (int i = 0; i < 6; i++) sum.v[i] = lane < warps ? kept[lane][i] : T(0);
          add_lanes(sum);
          sum.move(from_x, from_y);
#pragma unroll
          for (int i = 0; i < 6; i++)
            if (lane == 0) out[((i * references + k) * slices + n) * cells + cell] = sum.v[i];
        }
      }
}

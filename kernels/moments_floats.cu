// moments_floats.cu: centred sums of references x with slices y in float64, and sums of any pair under masks.
//
//   per block of pixels:  sum d, sum d^2 and sum e d of d = y - shift_y and e = x - shift_x
//
// Layout  Blocks, stages, order and launch are those of moments.cu; a unit is one pixel, or four.
// Shift   The mean of the first pixel that counts of every lane's stripe (lane, lane + 32, ...): k pixels of n. However
//         the values lie, that misses their mean by at most sqrt(n / k) standard deviations. With n / k <= 64, moving
//         the sums to the mean costs two digits of sixteen at worst. A constant block has deviations of 0.
// Floor   Bytes: those of the slices, once; the sums of blocks are 24 + 8 K bytes in 2048 pixels. Instructions a pixel
//         of `sum_centred` on sm_90, in the loop and after it for cells of 48 x 64, and what they take of the issue
//         slots of an H200 at the speed of a copy:
//             float32  K = 1   9.9 + 1.9   38 %        float64  K = 1   8.2 + 1.9   16 %
//             float32  K = 4  16.6 + 2.3   61 %        float64  K = 4  14.7 + 2.3   27 %
//         4.5 + 1.5 K of them are float64, which has half the rate; where it has 1/64 (sm_75, sm_120) that bounds all.
//         Rows that do not begin on four pixels take 13 instead of 9.9. `sum_pairs` takes about 45 instructions a pixel
//         and pair.
#include "block_sums.cuh"

template <bool VALUE> struct Flag {
  static constexpr bool value = VALUE;
};

// UNIT pixels in one load, or two of float64.
template <int UNIT, class T> struct alignas(UNIT * sizeof(T) < 16 ? UNIT * sizeof(T) : 16) Unit {
  T pixel[UNIT];
};

// Sums over blocks of images of which one at least is not of exact integers; the references as float64.
//
// Layout  references (K, height, width); alone (N, blocks), products (references, N, blocks). A unit has UNIT pixels: 4
//         where every row of y begins on 4 pixels, else 1.
// Thread  lane l takes unit l % units of rows l / units, l / units + 32 / units, ..., and of a unit the pixels of its
//         block.
template <class Y, int K, int S, int UNIT>
__global__ void __launch_bounds__(32 * WARPS, 2)
    sum_centred(const Y* __restrict__ slices, const double* __restrict__ references, int reference_count,
                const int* __restrict__ rows, const int* __restrict__ columns, int block_columns, i64 blocks,
                int height, int width, i64 slice_count, int slice_warps, Alone<double>* __restrict__ alone,
                double* __restrict__ products) {
  constexpr int AHEAD = (UNIT == 1 ? 8 : 4) / (K > 4 ? 2 : S), COUNT = power_of_two(S * (2 + K));
  typedef Unit<UNIT, Y> Pixels;
  typedef Unit<UNIT, double> Reference;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, spread = WARPS / slice_warps;
  const i64 pixels = (i64)height * width;
  for (i64 block = (i64)blockIdx.x * spread + warp / slice_warps; block < blocks; block += (i64)gridDim.x * spread) {
    const int top = rows[block / block_columns], bottom = rows[block / block_columns + 1];
    const int left = columns[block % block_columns], right = columns[block % block_columns + 1], across = right - left;
    const int first_unit = left / UNIT, units = max(1, (right + UNIT - 1) / UNIT - first_unit), step = 32 / units;
    const int start = lane / units < step && across ? top + lane / units : bottom;
    const int column = (first_unit + lane % units) * UNIT;
    const int found = lane < (bottom - top) * across ? lane : -1;
    const i64 sample = found < 0 ? 0 : (i64)(top + lane / across) * width + left + lane % across;
    double shift_x[K];
#pragma unroll
    for (int k = 0; k < K; k++)
      shift_x[k] = mean_of_found(found, [&](int) { return references[min(k, reference_count - 1) * pixels + sample]; });
    for (i64 first = ((i64)blockIdx.y * slice_warps + warp % slice_warps) * S; first < slice_count;
         first += (i64)gridDim.y * slice_warps * S) {
      const Y* slice[S];
      double shift_y[S], sum[S] = {}, square[S] = {}, product[S][K] = {};
#pragma unroll
      for (int s = 0; s < S; s++) {
        slice[s] = slices + min(first + s, slice_count - 1) * pixels;  // beyond the end the last one again, not written
        shift_y[s] = mean_of_found(found, [&](int) { return (double)slice[s][sample]; });
        if (lane == 0 && first + s < slice_count) alone[(first + s) * blocks + block].shift = shift_y[s];
      }
      const auto add = [&](auto whole, const Pixels (&y)[S], i64 at) {
        double deviation[S][UNIT];
#pragma unroll
        for (int s = 0; s < S; s++)
#pragma unroll
          for (int i = 0; i < UNIT; i++) {
            deviation[s][i] = (double)y[s].pixel[i] - shift_y[s];
            if (!whole.value && (column + i < left || column + i >= right)) deviation[s][i] = 0.0;
            sum[s] += deviation[s][i];
            square[s] = fma(deviation[s][i], deviation[s][i], square[s]);
          }
#pragma unroll
        for (int k = 0; k < K; k++) {
          Reference x = *(const Reference*)(references + min(k, reference_count - 1) * pixels + at);
#pragma unroll
          for (int i = 0; i < UNIT; i++) {
            if (!whole.value && (column + i < left || column + i >= right)) x.pixel[i] = shift_x[k];
            const double of_x = x.pixel[i] - shift_x[k];
#pragma unroll
            for (int s = 0; s < S; s++) product[s][k] = fma(of_x, deviation[s][i], product[s][k]);
          }
        }
      };
      const auto add_rows = [&](auto whole) {
        int row = start;
#pragma unroll 1
        for (; row + (AHEAD - 1) * step < bottom; row += AHEAD * step) {
          Pixels y[AHEAD][S];
#pragma unroll
          for (int a = 0; a < AHEAD; a++)
#pragma unroll
            for (int s = 0; s < S; s++) y[a][s] = *(const Pixels*)(slice[s] + (i64)(row + a * step) * width + column);
#pragma unroll
          for (int a = 0; a < AHEAD; a++) add(whole, y[a], (i64)(row + a * step) * width + column);
        }
#pragma unroll 1
        for (; row < bottom; row += step) {
          Pixels y[S];
#pragma unroll
          for (int s = 0; s < S; s++) y[s] = *(const Pixels*)(slice[s] + (i64)row * width + column);
          add(whole, y, (i64)row * width + column);
        }
      };
      if (left % UNIT || right % UNIT)
        add_rows(Flag<false>());
      else
        add_rows(Flag<true>());
      double value[COUNT] = {};
#pragma unroll
      for (int s = 0; s < S; s++) {
        value[s * (2 + K)] = sum[s], value[s * (2 + K) + 1] = square[s];
#pragma unroll
        for (int k = 0; k < K; k++) value[s * (2 + K) + 2 + k] = product[s][k];
      }
      const double total = warp_sums<COUNT>(value);
      write_sums<K, S>(total, lane * COUNT, first, slice_count, reference_count, block, blocks, alone, products);
    }
  }
}

// Sums over the pixels of blocks that count for a pair, of images of any dtypes: those of integers up to 16 bits are
// exact. A pixel counts where both masks are true; a mask may be null, and be one for all by a step of 0.
//
// Layout  references (K, height, width); alone_x, alone_y, products and counts (K, N, blocks).
// Thread  as in `sum_centred` with units of a pixel; of rows of more than 32 pixels a lane takes every 32nd. y is read
//         again for each reference, from the cache.
template <class Y, class X>
__global__ void __launch_bounds__(32 * WARPS, 2)
    sum_pairs(const Y* __restrict__ slices, const X* __restrict__ references, const bool* __restrict__ slice_masks,
              i64 slice_mask_step, const bool* __restrict__ reference_masks, i64 reference_mask_step,
              i64 reference_count, const int* __restrict__ rows, const int* __restrict__ columns, int block_columns,
              i64 blocks, int height, int width, i64 slice_count, int slice_warps,
              Alone<SumOf<Y, X>>* __restrict__ alone_x, Alone<SumOf<Y, X>>* __restrict__ alone_y,
              SumOf<Y, X>* __restrict__ products, i64* __restrict__ counts) {
  typedef SumOf<Y, X> T;
  constexpr bool EXACT = sizeof(Y) <= 2 && sizeof(X) <= 2;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, spread = WARPS / slice_warps;
  const i64 pixels = (i64)height * width;
  for (i64 block = (i64)blockIdx.x * spread + warp / slice_warps; block < blocks; block += (i64)gridDim.x * spread) {
    const int top = rows[block / block_columns], bottom = rows[block / block_columns + 1];
    const int left = columns[block % block_columns], units = columns[block % block_columns + 1] - left;
    const int step = units && units < 32 ? 32 / units : 1, area = (bottom - top) * units;
    const int start = units && lane / units < step ? top + lane / units : bottom;
    const i64 corner = (i64)top * width + left;
    for (i64 n = (i64)blockIdx.y * slice_warps + warp % slice_warps; n < slice_count; n += (i64)gridDim.y * slice_warps)
      for (i64 k = 0; k < reference_count; k++) {
        const Y* const y = slices + n * pixels;
        const X* const x = references + k * pixels;
        const bool* const y_mask = slice_masks ? slice_masks + n * slice_mask_step : nullptr;
        const bool* const x_mask = reference_masks ? reference_masks + k * reference_mask_step : nullptr;
        // No short cut: what does not count is read all the same, and all loads of several rows are under way at once.
        const auto counted = [&](i64 at) { return (y_mask ? y_mask[at] : true) & (x_mask ? x_mask[at] : true); };
        const auto pixel = [&](int i) { return corner + (i64)(i / units) * width + i % units; };
        Alone<T> of_x = {0, 0, 0}, of_y = {0, 0, 0};
        if (!EXACT) {
          int found = -1;
          for (int i = lane; i - lane < area; i += 32) {
            if (found < 0 && i < area && counted(pixel(i))) found = i;
            if (__all_sync(ALL, found >= 0)) break;
          }
          of_x.shift = (T)mean_of_found(found, [&](int i) { return (double)x[pixel(i)]; });
          of_y.shift = (T)mean_of_found(found, [&](int i) { return (double)y[pixel(i)]; });
        }
        T product = 0;
        i64 count = 0;
        for (int unit = lane % max(1, units); unit < units; unit += 32)
#pragma unroll 4
          for (int row = start; row < bottom; row += step) {
            const i64 at = (i64)row * width + left + unit;
            const bool real = counted(at);
            const X of_pixel_x = x[at];
            const Y of_pixel_y = y[at];
            const T u = real ? (T)of_pixel_x - of_x.shift : T(0), v = real ? (T)of_pixel_y - of_y.shift : T(0);
            count += real;
            of_x.sum += u, of_y.sum += v;
            of_x.square = multiply_add(u, u, of_x.square);
            of_y.square = multiply_add(v, v, of_y.square);
            product = multiply_add(u, v, product);
          }
        of_x.sum = warp_sum(of_x.sum), of_x.square = warp_sum(of_x.square);
        of_y.sum = warp_sum(of_y.sum), of_y.square = warp_sum(of_y.square);
        product = warp_sum(product), count = warp_sum(count);
        if (lane == 0) {
          const i64 place = (k * slice_count + n) * blocks + block;
          alone_x[place] = of_x, alone_y[place] = of_y, products[place] = product, counts[place] = count;
        }
      }
  }
}

// noise_columns.cu: the noise of displacements, drawn and smoothed along y at once; it is never in memory itself.
//
//   noise[f, y, x] = 2 u - 1 of the float32 numbers u of stream f, 0 outside;  out[f, y, x] = sum over t of
//   w[|t|] noise[f, y + t, x]
//
// The same bits as the centred numbers of random_field.cu and a pass of gaussian.cu, as fir.cuh adds the taps
// of both.
// The first of the two kernels of `warp_moments`.
//
// Layout  out (fields, height, width) float32; `weights` as in gaussian.cu.
// Launch  grid (strips of 32 columns and segments of rows, fields), strided over, block 256.
// Block   marches down its strip in steps of 64 rows: each thread draws one Philox block, eight neighbours in a row,
//         and makes eight outputs of one column. The last rows move up in shared memory, so that noise is drawn once;
//         a segment that begins inside draws its halo again, and there is more than one where there are few fields.
//         Rows that do not begin on a Philox block draw five of them for 32 columns instead of four.
// Shared  64 rows and the halo, 128 bytes a row.
// Floor   4 bytes a pixel written. Instructions a pixel on sm_90, radius 20 and rows of whole Philox blocks, by the
//         blocks of the machine code and how often each runs: 35 for noise, of which 26 are Philox, 52 for pairs of
//         taps, 20 for all else: 107. That is 0.42 ms for 129.8 million pixels at the issue rate of an H200 (132
//         multiprocessors, 1.98 GHz), twice that for both components; what is written takes 0.24 ms at 4.3 TB/s. Not
//         measured.
#include "fir.cuh"
#include "philox.cuh"

constexpr int LANES = 32, WARPS = 8, THREADS = LANES * WARPS;
constexpr int SPAN = OUT * WARPS;  // rows of a step of `noise_columns`
constexpr int DRAWN = 8;           // numbers of a Philox block

// Noise of `count` rows from row `first` of the field on, 32 columns from `left` on; 0 outside. Philox blocks of a row
// that does not begin on one reach over both ends of the strip.
__device__ __forceinline__ void draw_rows(float* window, i64 first, int count, int left, int height, int width,
                                          u64 seed, u64 stream) {
  const bool aligned = width % DRAWN == 0;
  const int blocks = LANES / DRAWN + (aligned ? 0 : 1);
  for (int i = threadIdx.x; i < count * blocks; i += THREADS) {
    const int row = aligned ? i / (LANES / DRAWN) : i / (LANES / DRAWN + 1);
    const i64 y = first + row, start = y * width + left;
    const int column = (i - row * blocks) * DRAWN - (int)(start & (DRAWN - 1));  // of the strip
    float number[DRAWN] = {};
    if (y >= 0 && y < height && column < min(LANES, width - left)) {
      u64 word[4];
      philox_block(word, (u64)(start + column) / DRAWN, seed, stream);
#pragma unroll
      for (int j = 0; j < DRAWN; j++) number[j] = centred((u32)(word[j / 2] >> (j % 2 ? 32 : 0)));
    }
    if (aligned) {  // one after the other
      float4* const to = (float4*)window + i * 2;
      to[0] = make_float4(number[0], number[1], number[2], number[3]);
      to[1] = make_float4(number[4], number[5], number[6], number[7]);
    } else {
#pragma unroll
      for (int j = 0; j < DRAWN; j++)
        if (column + j >= 0 && column + j < LANES) window[row * LANES + column + j] = number[j];
    }
  }
}

__global__ void __launch_bounds__(THREADS, 4)
    noise_columns(float* __restrict__ out, const u64* __restrict__ streams, i64 fields, int height, int width,
                  int segment, const float* __restrict__ weights, float centre, int radius, u64 seed) {
  extern __shared__ __align__(16) unsigned char memory[];
  float* const window = (float*)memory;
  const int lane = threadIdx.x % LANES, band = threadIdx.x / LANES, edge = up(radius, OUT);
  const float* const own = window + band * OUT * LANES + lane;
  const i64 strips = (width - 1) / LANES + 1, segments = (height - 1) / segment + 1;
  for (i64 field = blockIdx.y; field < fields; field += gridDim.y)
    for (i64 part = blockIdx.x; part < strips * segments; part += gridDim.x) {
      const u64 stream = streams[field];
      const int left = (int)(part % strips) * LANES;
      const i64 top = part / strips * segment, bottom = min(top + segment, (i64)height);
      draw_rows(window, top - edge, 2 * edge, left, height, width, seed, stream);
      for (i64 y = top; y < bottom; y += SPAN) {
        draw_rows(window + 2 * edge * LANES, y + edge, SPAN, left, height, width, seed, stream);
        __syncthreads();
        const i64 first = y + band * OUT;
        if (first < bottom && left + lane < width) {
          float sum[OUT];
#pragma unroll
          for (int j = 0; j < OUT; j++) sum[j] = own[(edge + j) * LANES] * centre;
          add_pairs<LANES, OUT * LANES>(sum, own, own + edge * LANES, weights, radius, 0);
          float* to = out + (field * height + first) * width + left + lane;
          if (first + OUT <= bottom) {
#pragma unroll
            for (int j = 0; j < OUT; j++, to += width) *to = sum[j];
          } else {
#pragma unroll
            for (int j = 0; j < OUT; j++, to += width)
              if (first + j < bottom) *to = sum[j];
          }
        }
        __syncthreads();
        // SPAN rows up, SPAN rows at a time: these are where the next ones go.
        for (int row = 0; row < 2 * edge; row += SPAN) {
          const int pieces = min(SPAN, 2 * edge - row) * LANES / 4;
          float4* const to = (float4*)(window + row * LANES);
          for (int i = threadIdx.x; i < pieces; i += THREADS) to[i] = to[SPAN * LANES / 4 + i];
          __syncthreads();
        }
      }
    }
}

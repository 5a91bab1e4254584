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
// Launch  grid (strips of 32 columns and segments of rows, fields), strided over, block 128.
// Block   marches down its strip in steps of 128 rows: each thread draws two Philox blocks, eight neighbours in a row,
//         side by side and twice, and makes eight outputs of one column four times. The last rows move up in shared
//         memory, so that noise is drawn once; a segment that begins inside draws its halo again, and there is more
//         than one where there are few fields. Rows that do not begin on a Philox block draw five of them for 32
//         columns instead of four.
// Shared  128 rows and the halo, 144 bytes a row, so that eight threads write 16 bytes each to all banks.
// Floor   4 bytes a pixel written. Instructions a pixel on sm_90, radius 20 and rows of whole Philox blocks, by the
//         blocks of the machine code and how often each runs: 31 for noise, of which 26 are Philox, 67 for taps and
//         outputs, 6 for all else: 104. That is 0.40 ms for 129.8 million pixels at the issue rate of an H200 (132
//         multiprocessors, 1.98 GHz), twice that for both components; what is written takes 0.24 ms at 4.3 TB/s.
// Took    1.06 ms there for both components of 165 slices, 74 % of the issue slots busy: what waits, waits for its
//         turn. With eight warps a block 1.10, with three bands of four warps 1.10, with 40 warps of blocks of eight a
//         multiprocessor 1.14. In steps of 64 rows, one Philox block and eight outputs a thread, without a gap between
//         rows, 0.314 ms for 42 slices, 110 instructions a pixel, 70 % busy.
#include "fir.cuh"
#include "philox.cuh"

constexpr int LANES = 32, WARPS = 4, THREADS = LANES * WARPS;
constexpr int BANDS = 4;                   // of OUT rows that a warp makes in a step
constexpr int SPAN = OUT * WARPS * BANDS;  // rows of a step
constexpr int DRAWN = 8;                   // numbers of a Philox block
constexpr int PITCH = LANES + 4;           // a quarter of a warp writes 16 bytes each to all banks

// The numbers of a Philox block.
__device__ __forceinline__ void draw_block(float (&number)[DRAWN], u64 block, u64 seed, u64 stream) {
  u64 word[4];
  philox_block(word, block, seed, stream);
#pragma unroll
  for (int j = 0; j < DRAWN; j++) number[j] = centred((u32)(word[j / 2] >> (j % 2 ? 32 : 0)));
}

__device__ __forceinline__ void put_block(float* to, const float (&number)[DRAWN]) {
  *(float4*)to = make_float4(number[0], number[1], number[2], number[3]);
  *((float4*)to + 1) = make_float4(number[4], number[5], number[6], number[7]);
}

// Noise of rows `begin` to `end` of the window, whose row 0 is row `first` of the field, 32 columns from `left` on; 0
// outside. Philox blocks of a row that does not begin on one reach over both ends of the strip.
__device__ __forceinline__ void draw_rows(float* window, int begin, int end, i64 first, int left, int height, int width,
                                          u64 seed, u64 stream) {
  constexpr int BLOCKS = LANES / DRAWN, AT_ONCE = THREADS / BLOCKS;
  if (width % DRAWN == 0) {
    const int column = threadIdx.x % BLOCKS * DRAWN;
    const bool exists = column < width - left;
#pragma unroll 1
    for (int row = begin + threadIdx.x / BLOCKS; row < end; row += 2 * AT_ONCE) {
      const i64 y = first + row;
      float* const to = window + row * PITCH + column;
      const i64 block = y * (width / DRAWN) + (left + column) / DRAWN, further = (i64)AT_ONCE * (width / DRAWN);
      if (exists && y >= 0 && y + AT_ONCE < height && row + AT_ONCE < end) {  // side by side
        float one[DRAWN], two[DRAWN];
        draw_block(one, (u64)block, seed, stream);
        draw_block(two, (u64)(block + further), seed, stream);
        put_block(to, one);
        put_block(to + AT_ONCE * PITCH, two);
      } else {
#pragma unroll 1
        for (int i = 0; i < 2 && row + i * AT_ONCE < end; i++) {
          float number[DRAWN] = {};
          if (exists && y + i * AT_ONCE >= 0 && y + i * AT_ONCE < height)
            draw_block(number, (u64)(block + i * further), seed, stream);
          put_block(to + i * AT_ONCE * PITCH, number);
        }
      }
    }
  } else {
#pragma unroll 1
    for (int i = threadIdx.x; i < (end - begin) * (BLOCKS + 1); i += THREADS) {
      const int row = begin + i / (BLOCKS + 1);
      const i64 y = first + row, start = y * width + left;
      const int column = i % (BLOCKS + 1) * DRAWN - (int)(start & (DRAWN - 1));  // of the strip
      float number[DRAWN] = {};
      if (y >= 0 && y < height && column < min(LANES, width - left))
        draw_block(number, (u64)(start + column) / DRAWN, seed, stream);
#pragma unroll
      for (int j = 0; j < DRAWN; j++)
        if (column + j >= 0 && column + j < LANES) window[row * PITCH + column + j] = number[j];
    }
  }
}

__global__ void __launch_bounds__(THREADS, 8)
    noise_columns(float* __restrict__ out, const u64* __restrict__ streams, i64 fields, int height, int width,
                  int segment, const float* __restrict__ weights, float centre, int radius, u64 seed) {
  extern __shared__ __align__(16) unsigned char memory[];
  float* const window = (float*)memory;
  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, edge = up(radius, OUT);
  const i64 strips = (width - 1) / LANES + 1, segments = (height - 1) / segment + 1;
  for (i64 field = blockIdx.y; field < fields; field += gridDim.y)
    for (i64 part = blockIdx.x; part < strips * segments; part += gridDim.x) {
      const u64 stream = streams[field];
      const int left = (int)(part % strips) * LANES;
      const i64 top = part / strips * segment, bottom = min(top + segment, (i64)height);
      for (i64 y = top; y < bottom; y += SPAN) {
        draw_rows(window, y > top ? 2 * edge : 0, 2 * edge + SPAN, y - edge, left, height, width, seed, stream);
        __syncthreads();
#pragma unroll 1
        for (int band = warp; band < WARPS * BANDS; band += WARPS) {
          const i64 first = y + band * OUT;
          if (first >= bottom || left + lane >= width) break;
          const float* const own = window + band * OUT * PITCH + lane;
          float sum[OUT];
#pragma unroll
          for (int j = 0; j < OUT; j++) sum[j] = own[(edge + j) * PITCH] * centre;
          add_pairs<PITCH, OUT * PITCH>(sum, own, own + edge * PITCH, weights, radius, 0);
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
        if (y + SPAN >= bottom) break;  // what follows draws all its rows
        // SPAN rows up, SPAN rows at a time: these are where the next ones go.
        for (int row = 0; row < 2 * edge; row += SPAN) {
          const int pieces = min(SPAN, 2 * edge - row) * PITCH / 4;
          float4* const to = (float4*)(window + row * PITCH);
          for (int i = threadIdx.x; i < pieces; i += THREADS) to[i] = to[SPAN * PITCH / 4 + i];
          __syncthreads();
        }
      }
    }
}

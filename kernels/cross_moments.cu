// cross_moments.cu: sums of products of all pairs of N images x with M images y over the same pixels.
//
//   integers  sum x y, exactly, of bytes by dp4a and of 16 bits as two planes of bytes
//   floats    sum (x - mean x)(y - mean y) in float64; the means come from a first pass, by `moments`
//
// Layout  images (N, pixels) and others (M, pixels), C-contiguous; mask (pixels) or null. parts (gridDim.z, N, M),
//         which `add_parts` adds up. Of images with themselves (`symmetric`) tiles below the diagonal are not written.
// Launch  grid (ceil(M / TILE), ceil(N / TILE), parts), block THREADS.
// Block   TILE x TILE pairs. Chunks of pixels z, z + gridDim.z, ...; of a chunk, DEPTH pixels of all images of the tile
//         at a time in shared memory, words of an image apart, so that four images are one load of 16 bytes.
// Thread  4 x 4 pairs: 2 loads from shared memory for 16 products of four bytes, 4 for 16 of float64.
// Order   The pixels of a chunk, the chunks of a part, the parts. Chunks depend on the type, parts on sizes alone.
// Floor   N M / 2 pairs times pixels: dp4a and float64 FMA have 64 lanes a multiprocessor and cycle. 165 images of 768
//         x 1024 on an H200: 10.7e9 products, 2.7e9 dp4a of 1.5e13 a second, 0.2 ms of uint8, 0.7 ms of uint16 and of
//         floats; tiles that stick out add a half. The images are read N / TILE times, from L2: a tenth of that.
#include "byte_planes.cuh"

constexpr int THREADS = 256, TILE = 64, SIDE = 4;
constexpr int ROW = TILE + 4;  // of shared memory: four words longer against bank conflicts
constexpr int QUADS = 16, INTEGER_DEPTH = 4 * QUADS, CENTRED_DEPTH = 16;
constexpr int INTEGER_CHUNK = 1 << 15;  // pixels whose products fit into 32 bits: 2 * 255^2 * 2^15 < 2^32
constexpr int CENTRED_CHUNK = 1 << 12;

// ---- integers ----

template <int P> struct PixelOf {
  typedef u8 type;
};
template <> struct PixelOf<2> {
  typedef u16 type;
};

// 16 pixels from `first` on as planes of bytes, four pixels a word; 0 where they do not count or are beyond `end`.
template <int P>
__device__ __forceinline__ void load_pixels(u32 (&plane)[P][4], const u8* image, const bool* mask, i64 first, i64 end,
                                            u32 flip) {
  const typename PixelOf<P>::type* const pixel = (const typename PixelOf<P>::type*)image;
  if (!mask && first + 16 <= end && (u64)(pixel + first) % WORD == 0) {
#pragma unroll
    for (int i = 0; i < P; i++) {
      uint4 word = __ldg((const uint4*)(pixel + first) + i);
      word.x ^= flip, word.y ^= flip, word.z ^= flip, word.w ^= flip;
      u32 part[P][4 / P];
      split(part, word);
#pragma unroll
      for (int j = 0; j < 4; j++) plane[j / (4 / P)][i * (4 / P) + j % (4 / P)] = part[j / (4 / P)][j % (4 / P)];
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 16; i++) {
    const bool counts = first + i < end && (!mask || mask[first + i]);
    const u32 value = counts ? (u32)(pixel[first + i] ^ (typename PixelOf<P>::type)flip) : 0;
#pragma unroll
    for (int j = 0; j < P; j++)
      plane[j][i / 4] = (i % 4 ? plane[j][i / 4] : 0) | (value >> 8 * j & 255) << 8 * (i % 4);
  }
}

template <int P>
__device__ __forceinline__ void stage_pixels(u32 (&kept)[P][QUADS][ROW], const u8* images, i64 first_image, i64 count,
                                             i64 pixels, const bool* mask, i64 first, i64 end, u32 flip) {
  const int image = threadIdx.x / 4, quad = threadIdx.x % 4 * 4;
  u32 plane[P][4] = {};
  if (first_image + image < count)
    load_pixels<P>(plane, images + (first_image + image) * pixels * P, mask, first + 4 * quad, end, flip);
#pragma unroll
  for (int i = 0; i < 4 * P; i++) kept[i / 4][quad + i % 4][image] = plane[i / 4][i % 4];
}

template <int P>
__global__ void __launch_bounds__(THREADS)
    integer_products(const u8* __restrict__ images, const u8* __restrict__ others, const bool* __restrict__ mask,
                     i64 count, i64 other_count, i64 pixels, u32 flip, bool symmetric, i64* __restrict__ parts) {
  __shared__ __align__(16) u32 x_kept[P][QUADS][ROW];
  __shared__ __align__(16) u32 y_kept[P][QUADS][ROW];
  const i64 first_x = (i64)blockIdx.y * TILE, first_y = (i64)blockIdx.x * TILE;
  const int row = threadIdx.x / 16 * SIDE, column = threadIdx.x % 16 * SIDE;
  i64* const out = parts + (i64)blockIdx.z * count * other_count;
  const i64 chunks = symmetric && first_y < first_x ? 0 : (pixels + INTEGER_CHUNK - 1) / INTEGER_CHUNK;
  for (i64 chunk = blockIdx.z; chunk < chunks; chunk += gridDim.z) {
    const i64 end = min(pixels, (chunk + 1) * INTEGER_CHUNK);
    u32 sum[SIDE][SIDE][2 * P - 1] = {};  // by the power of 256
    for (i64 first = chunk * INTEGER_CHUNK; first < end; first += INTEGER_DEPTH) {
      __syncthreads();  // what is kept has been used
      stage_pixels<P>(x_kept, images, first_x, count, pixels, mask, first, end, flip);
      stage_pixels<P>(y_kept, others, first_y, other_count, pixels, nullptr, first, end, flip);
      __syncthreads();
#pragma unroll 4
      for (int quad = 0; quad < QUADS; quad++) {
        uint4 x[P], y[P];
#pragma unroll
        for (int p = 0; p < P; p++) {
          x[p] = *(const uint4*)&x_kept[p][quad][row];
          y[p] = *(const uint4*)&y_kept[p][quad][column];
        }
#pragma unroll
        for (int p = 0; p < P * P; p++) {
          const uint4 a = x[p / P], b = y[p % P];
          const u32 of_x[SIDE] = {a.x, a.y, a.z, a.w}, of_y[SIDE] = {b.x, b.y, b.z, b.w};
#pragma unroll
          for (int i = 0; i < SIDE * SIDE; i++) {
            u32& total = sum[i / SIDE][i % SIDE][p / P + p % P];
            total = __dp4a(of_x[i / SIDE], of_y[i % SIDE], total);
          }
        }
      }
    }
#pragma unroll
    for (int i = 0; i < SIDE * SIDE; i++) {
      const i64 n = first_x + row + i / SIDE, m = first_y + column + i % SIDE;
      u64 total = 0;
#pragma unroll
      for (int p = 0; p < 2 * P - 1; p++) total += (u64)sum[i / SIDE][i % SIDE][p] << 8 * p;
      if (n < count && m < other_count)
        out[n * other_count + m] = (chunk == blockIdx.z ? 0 : out[n * other_count + m]) + (i64)total;
    }
  }
}

// ---- floats ----

template <class T>
__device__ __forceinline__ void stage_deviations(double (&kept)[CENTRED_DEPTH][ROW], const T* images,
                                                 const double* means, i64 first_image, i64 count, i64 pixels,
                                                 const bool* mask, i64 first, i64 end) {
  const i64 at = first + threadIdx.x % CENTRED_DEPTH;
  const bool counts = at < end && (!mask || mask[at]);
#pragma unroll
  for (int i = 0; i < TILE * CENTRED_DEPTH / THREADS; i++) {
    const int image = threadIdx.x / CENTRED_DEPTH + i * (THREADS / CENTRED_DEPTH);
    const i64 n = first_image + image;
    kept[threadIdx.x % CENTRED_DEPTH][image] = counts && n < count ? (double)images[n * pixels + at] - means[n] : 0.0;
  }
}

template <class T>
__global__ void __launch_bounds__(THREADS)
    centred_products(const T* __restrict__ images, const T* __restrict__ others, const double* __restrict__ means,
                     const double* __restrict__ other_means, const bool* __restrict__ mask, i64 count, i64 other_count,
                     i64 pixels, bool symmetric, double* __restrict__ parts) {
  __shared__ __align__(16) double x_kept[CENTRED_DEPTH][ROW];
  __shared__ __align__(16) double y_kept[CENTRED_DEPTH][ROW];
  const i64 first_x = (i64)blockIdx.y * TILE, first_y = (i64)blockIdx.x * TILE;
  const int row = threadIdx.x / 16 * SIDE, column = threadIdx.x % 16 * SIDE;
  double* const out = parts + (i64)blockIdx.z * count * other_count;
  const i64 chunks = symmetric && first_y < first_x ? 0 : (pixels + CENTRED_CHUNK - 1) / CENTRED_CHUNK;
  for (i64 chunk = blockIdx.z; chunk < chunks; chunk += gridDim.z) {
    const i64 end = min(pixels, (chunk + 1) * CENTRED_CHUNK);
    double sum[SIDE][SIDE] = {};
    for (i64 first = chunk * CENTRED_CHUNK; first < end; first += CENTRED_DEPTH) {
      __syncthreads();  // what is kept has been used
      stage_deviations(x_kept, images, means, first_x, count, pixels, mask, first, end);
      stage_deviations(y_kept, others, other_means, first_y, other_count, pixels, mask, first, end);
      __syncthreads();
#pragma unroll 4
      for (int pixel = 0; pixel < CENTRED_DEPTH; pixel++) {
        double x[SIDE], y[SIDE];
#pragma unroll
        for (int i = 0; i < SIDE; i += 2) {
          const double2 of_x = *(const double2*)&x_kept[pixel][row + i];
          const double2 of_y = *(const double2*)&y_kept[pixel][column + i];
          x[i] = of_x.x, x[i + 1] = of_x.y;
          y[i] = of_y.x, y[i + 1] = of_y.y;
        }
#pragma unroll
        for (int i = 0; i < SIDE * SIDE; i++)
          sum[i / SIDE][i % SIDE] = fma(x[i / SIDE], y[i % SIDE], sum[i / SIDE][i % SIDE]);
      }
    }
#pragma unroll
    for (int i = 0; i < SIDE * SIDE; i++) {
      const i64 n = first_x + row + i / SIDE, m = first_y + column + i % SIDE;
      if (n < count && m < other_count)
        out[n * other_count + m] = (chunk == blockIdx.z ? 0.0 : out[n * other_count + m]) + sum[i / SIDE][i % SIDE];
    }
  }
}

// sums[i] = parts[0][i] + parts[1][i] + ... Grid-stride.
template <class T> __global__ void add_parts(const T* __restrict__ parts, T* __restrict__ sums, i64 pairs, i64 count) {
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < pairs; i += (i64)gridDim.x * blockDim.x) {
    T sum = 0;
    for (i64 part = 0; part < count; part++) sum += parts[part * pairs + i];
    sums[i] = sum;
  }
}

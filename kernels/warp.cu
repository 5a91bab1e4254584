// warp.cu: pull an image through a displacement, without an array of coordinates in memory.
//
//   out[f, c, p] = image[f, c] at p + d[f, p],   orders 0 to 5
//
// Layout  The image, or its spline coefficients at orders above 1, has moving axes z, y, x, of which the last NDIM are
//         used; `fields`, slices with a displacement of their own; `channels`, slices that share one: a thread splits
//         and weighs once for all its channels, and for the labels if there are any. Axes may lie in any order.
// Launch  grid (x, rows, planes), planes strided over; a block of 32 by 8 threads, 256 by 1 where there is one row.
//         Rows are y, of lines the fields; a block takes rows_a_block. Planes are fields times z times groups of
//         channels. Neighbours in y are in one block and find each other's lines in L1.
// Rows    `warp_rows` is for what is asked most: order 1 of float32 displacements, a field a slice. A thread takes four
//         pixels at once, or two of volumes and of what is computed in float64: all displacements are loaded, then all
//         taps, then all are summed and stored. What is not inside of the image is left for the end, where the lanes
//         of a warp share it. It asks for a grid of all planes; `warp` is for all else.
// Tiles   A warp of `warp_rows` takes 32 columns, four rows one below the other, and a block two warps. Of bytes in two
//         dimensions, where all rows begin with a word, a warp takes 128 by 1, and a block four: four side by side are
//         one load of 16 bytes of each component and a store of a word; two taps side by side come from one word, and
//         from the next as well where a lane needs it, every fourth. Blocks are small as they hold their registers
//         until the last warp ends.
// Types   float32 is computed in float32, all else in float64; integers are rounded half away from zero and clipped.
//         `warp_rows` interpolates bytes in float32, and takes float64 where that falls within 2e-4 of a half, as one
//         in 2500 does. The type of the result is read once a channel; order 0, and labels, are words of 1 to 8 bytes.
// Floor   Order 1 in two dimensions: the bytes of the displacement, streamed past the image in the cache, and of image
//         and result, once: 16 a pixel of float32 and 10 of uint8, 0.48 ms and 0.30 for 165 x 768 x 1024 at the
//         4.3 TB/s that an H200 copies (132 multiprocessors, 1.98 GHz). Instructions, 54 a pixel of float32 and 58 of
//         uint8, take 0.21 and 0.23 ms.
//         Measured there: 0.68 and 0.57 ms with the field of alpha 250 and sigma 5, 0.57 of float32 with zeros; under
//         ncu L1 is busy for 81 % of float32's time, L2 for 88 %, memory for 66 %, and 63, 74 and 48 % of uint8's.
//         Pixel by pixel it took 1.56 ms, three waits for memory one after the other; 32 pixels of bytes in a row 0.97.
//         float32 in blocks of 8 warps side by side took 0.75, of 8 in two columns 0.73, of 16 warps 0.77 and more;
//         with taps that bring sectors of 32 bytes to L2 0.70.
//         `warp` in two dimensions takes 124 instructions of float32 as profiled, and 27 for borders.
//         Orders 2 to 5 of float32 in two dimensions: 131, 168, 237, 296. 8 of the 54 keep taps that are alike as
//         they are (`between`).
// Lost    Offsets of all taps, folded or not, in one sum: at order 1 a row costs 15 instructions more, at order 5 100.
//         A row a thread: 43 more. Offsets in elements: 11 more. Taps outside folded and summed in line: 8 to 16
//         registers, and above 128 at order 5. `warp_rows` with stores by row: 6 more, as each has its address made in
//         a branch; with pixels outside done each by its own lane: the profile had 8 lanes of 32 at work there, four
//         rows in turn; with displacements loaded a turn ahead, or tiles of 8 by 4 and 16 by 2 pixels, whose taps lie
//         in fewer lines but whose displacements and results lie in more: slower; with two or three pixels a lane and
//         more warps: slower. Bytes with displacements a turn ahead and 28 warps a multiprocessor: 2 % faster.
#include "interpolation.cuh"
#include "load_tap.cuh"
#include "samples.cuh"

constexpr int THREADS = 256, LANES = 32;
constexpr float WHOLE = 12582912.0f;  // 1.5 * 2^23: the last bits of a sum with it are the nearest integer
constexpr float NEAR_HALF = 2e-4f;    // of bytes in float32, twice the error at most

// Blocks a multiprocessor holds at least: 64 registers a thread, 128 for splines and for indices of 64 bits.
template <int ORDER, class Int> constexpr int BLOCKS = ORDER > 1 || sizeof(Int) > 4 ? 2 : 4;

// In bytes.
template <class Int> struct Steps {
  Int field, channel, axis[3];
};

template <class Int> struct Pull {
  i64 component;  // from one component of the displacement to the next, in bytes
  Steps<Int> image, labels, displacement, out, labels_out;
  Int fields, channels, groups, channels_a_group, rows_a_block;
  Int size[3], count[3];  // of the image, with its padding, and of the result
  Int origin[3];          // of the result in the padded image
  Int padding;            // on each side
};

// Where channel `channel` of field `field` begins, behind an array.
template <class Int> __device__ __forceinline__ i64 slice_at(const Steps<Int>& steps, Int field, Int channel) {
  return (i64)field * steps.field + (i64)channel * steps.channel;
}

template <class Int> __device__ __forceinline__ Int offset_in_slice(const Steps<Int>& steps, const Int (&p)[3]) {
  return p[0] * steps.axis[0] + p[1] * steps.axis[1] + p[2] * steps.axis[2];
}

// Calls `sample(p, field, first channel, last)` for what this thread computes.
template <int NDIM, class Int, class Sample>
__device__ __forceinline__ void for_samples(const Pull<Int>& pull, const Sample& sample) {
  const Int x = (Int)blockIdx.x * (Int)blockDim.x + (Int)threadIdx.x;
  if (x >= pull.count[2]) return;
  const Int rows = NDIM > 1 ? pull.count[1] : pull.fields;
  const Int first_row = (Int)blockIdx.y * pull.rows_a_block, end = min(first_row + pull.rows_a_block, rows);
  const Int planes = pull.groups * (NDIM > 1 ? pull.fields * pull.count[0] : 1);
  for (Int plane = (Int)blockIdx.z; plane < planes; plane += (Int)gridDim.z) {
    Int group = 0, rest = plane;
    if (pull.groups > 1) rest = plane / pull.groups, group = plane - rest * pull.groups;
    const Int field = NDIM > 2 ? rest / pull.count[0] : rest, z = NDIM > 2 ? rest - field * pull.count[0] : 0;
    const Int first = group * pull.channels_a_group, last = min(first + pull.channels_a_group, pull.channels);
    for (Int row = first_row + (Int)threadIdx.y; row < end; row += (Int)blockDim.y) {
      const Int p[3] = {z, NDIM > 1 ? row : 0, x};
      sample(p, NDIM > 1 ? field : row, first, last);
    }
  }
}

// The labels of channels `first` to `last` - 1, `fill` where there is none.
template <int NDIM, class Int>
__device__ __forceinline__ void copy_labels(const void* labels, void* out, int bytes, u64 fill,
                                            const void* displacement, int wide, const Pull<Int>& pull,
                                            const Int (&p)[3], Int field, Int first, Int last, int mode) {
  const char* numbers = (const char*)displacement + slice_at(pull.displacement, field, (Int)0);
  const char* from = (const char*)labels + slice_at(pull.labels, field, first);
  const Int at = offset_in_slice(pull.displacement, p);
  bool found = true;
#pragma unroll
  for (int axis = 3 - NDIM; axis < 3; axis++, numbers += pull.component) {
    const double d = split_at<Int, double>(numbers, at, wide).d;
    Int offset = 0;
    found = found && place_nearest(offset, p[axis] + pull.origin[axis] - pull.padding, d,
                                   pull.size[axis] - 2 * pull.padding, pull.labels.axis[axis], mode);
    from += offset;
  }
  char* to = (char*)out + slice_at(pull.labels_out, field, first) + offset_in_slice(pull.labels_out, p);
#pragma unroll 1
  for (Int c = first; c < last; c++, from += pull.labels.channel, to += pull.labels_out.channel)
    copy_word(from, found, to, bytes, fill);
}

// Order 0.
template <int NDIM, class Int>
__global__ void __launch_bounds__(THREADS)
    warp_labels(const void* __restrict__ labels, void* __restrict__ out, int bytes, u64 fill,
                const void* __restrict__ displacement, int wide, Pull<Int> pull, int mode) {
  for_samples<NDIM>(pull, [&](const Int(&p)[3], Int field, Int first, Int last) {
    copy_labels<NDIM>(labels, out, bytes, fill, displacement, wide, pull, p, field, first, last, mode);
  });
}

// The channels `first` to `last` - 1 at p.
template <int NDIM, int ORDER, class In, class Int, class Real>
__device__ __forceinline__ void pull_channels(const In* image, void* out, int type, const void* displacement, int wide,
                                              const Pull<Int>& pull, const Int (&p)[3], Int field, Int first, Int last,
                                              int mode, Real cval) {
  constexpr bool AHEAD = NDIM < 3 || sizeof(Real) == 4;  // all loads before what waits for one, if registers do
  Taps<ORDER, Int, Real> taps[3];
  Placed placed = INSIDE;
  const char* numbers = (const char*)displacement + slice_at(pull.displacement, field, (Int)0);
  const Int at = offset_in_slice(pull.displacement, p);
  const auto place_axis = [&](int axis, const Split<Int, Real>& d) {
    place(taps[axis], placed, p[axis] + pull.origin[axis], d, pull.size[axis], pull.image.axis[axis], mode);
  };
  if constexpr (AHEAD) {
    Split<Int, Real> d[3];
#pragma unroll
    for (int axis = 3 - NDIM; axis < 3; axis++, numbers += pull.component)
      d[axis] = split_at<Int, Real>(numbers, at, wide);
#pragma unroll
    for (int axis = 3 - NDIM; axis < 3; axis++) place_axis(axis, d[axis]);
  } else {
#pragma unroll
    for (int axis = 3 - NDIM; axis < 3; axis++, numbers += pull.component)
      place_axis(axis, split_at<Int, Real>(numbers, at, wide));
  }
  const char* from = (const char*)image + slice_at(pull.image, field, first);
  char* to = (char*)out + slice_at(pull.out, field, first) + offset_in_slice(pull.out, p);
#pragma unroll 1
  for (Int c = first;; from += pull.image.channel, to += pull.out.channel) {
    store(to, type, value_at<NDIM>(taps, placed, (const In*)from, pull.image.axis, cval));
    if (++c >= last) break;
  }
}

// Orders 1 to 5; with labels at order 0 where label_bytes > 0.
template <class In, int NDIM, int ORDER, class Int>
__global__ void __launch_bounds__(THREADS, BLOCKS<ORDER, Int>)
    warp(const In* __restrict__ image, void* __restrict__ out, int type, const void* __restrict__ labels,
         void* __restrict__ labels_out, int label_bytes, u64 label_fill, const void* __restrict__ displacement,
         int wide, Pull<Int> pull, int mode, typename Computed<In>::type cval) {
  for_samples<NDIM>(pull, [&](const Int(&p)[3], Int field, Int first, Int last) {
    pull_channels<NDIM, ORDER>(image, out, type, displacement, wide, pull, p, field, first, last, mode, cval);
    if (label_bytes > 0)
      copy_labels<NDIM>(labels, labels_out, label_bytes, label_fill, displacement, wide, pull, p, field, first, last,
                        mode);
  });
}

// What `warp_rows` leaves. Not inlined: registers are counted for what is common.
template <int NDIM, class In, class Real>
__device__ __noinline__ void pull_one(const In* image, void* out, int type, const float* displacement,
                                      const Pull<int>& pull, int y, int x, int mode, Real cval) {
  const int plane = (int)blockIdx.z, field = NDIM > 2 ? plane / pull.count[0] : plane;
  const int p[3] = {NDIM > 2 ? plane - field * pull.count[0] : 0, y, x};
  pull_channels<NDIM, 1>(image, out, type, displacement, 0, pull, p, field, 0, 1, mode, cval);
}

// In what `warp_rows` computes: bytes in float32, as far as that tells what they are rounded to.
template <class In> struct Quick { typedef typename Computed<In>::type type; };
template <> struct Quick<u8> { typedef float type; };
template <> struct Quick<signed char> { typedef float type; };

// As what a sample waits in a register: a byte as a word, or it would be masked before it is converted.
template <class In, bool BYTE = sizeof(In) == 1> struct Held { typedef In type; };
template <class In> struct Held<In, true> { typedef int type; };

// a, b and the number t between them, for bytes: off by less than 4e-5 in two dimensions, 7e-5 in three.
__device__ __forceinline__ float line(float a, float b, float t) { return fmaf(t, b - a, a); }

// The byte that a sum of bytes is rounded to, as the last of a word. false where the sum does not tell: it is next to a
// half.
__device__ __forceinline__ bool byte_of(int& sample, float value) {
  const float shifted = value + WHOLE;
  sample = __float_as_int(shifted);
  return fabsf(value - (shifted - WHOLE)) < 0.5f - NEAR_HALF;
}

// The sample that a weighted sum of samples is rounded to, and whether it tells.
template <int NDIM, class In, class Real, class Load>
__device__ __forceinline__ bool sample_between(typename Held<In>::type& sample, const Taps<1, int, Real> (&taps)[3],
                                               const Load& load) {
  if constexpr (sizeof(In) == 1) {
    const auto row = [&](int k, int j) { return line(load(k, j, 0), load(k, j, 1), taps[2].weight[1]); };
    const auto plane = [&](int k) { return line(row(k, 0), row(k, 1), taps[1].weight[1]); };
    return byte_of(sample, NDIM > 2 ? line(plane(0), plane(1), taps[0].weight[1]) : plane(0));
  } else {
    const Real value = weighted_sum<NDIM>(taps, load);
    if constexpr (sizeof(Real) == sizeof(In) && (In)0.5 != 0) sample = value;
    else sample = rounded<In>(value);
    return true;
  }
}

// Two bytes side by side, of which only the second may be in the word after that of the first: `low` and `high` are
// these words, `at` the address of the first byte.
__device__ __forceinline__ u32 neighbours_in(u32 low, u32 high, u32 at) { return __funnelshift_r(low, high, 8 * at); }

// The number t between the first two bytes of a word. 2^23 + byte is a byte behind the head of a float; it, and what
// makes signed bytes unsigned, is taken away exactly.
template <class In> __device__ __forceinline__ float between_bytes(u32 pair, float t) {
  constexpr bool SIGNED = (In)-1 < 0;
  if (SIGNED) pair ^= 0x80808080u;
  const float a = __uint_as_float(__byte_perm(pair, 0x4b000000u, 0x7440));
  const float b = __uint_as_float(__byte_perm(pair, 0x4b000000u, 0x7441));
  return fmaf(t, b - a, a - (SIGNED ? 8388736.0f : 8388608.0f));
}

// Where row 0 of a column begins in a slice, and its row y.
template <class T>
__device__ __forceinline__ u64 slice_from(const T* array, const Steps<int>& steps, int field, int z, int x) {
  return (u64)array + (u64)slice_at(steps, field, 0) + (u32)(z * steps.axis[0] + x * steps.axis[2]);
}
__device__ __forceinline__ u64 row_of(u64 column, const Steps<int>& steps, int y) {
  return column + (u64)(u32)y * (u32)steps.axis[1];
}

// The place of the bit of a mask before which there are n.
__device__ __forceinline__ int nth_bit(u32 mask, int n) {
  int place = 0;
#pragma unroll
  for (int width = 16; width > 0; width /= 2) {
    const int below = __popc(mask >> place & ((1u << width) - 1));
    if (n >= below) n -= below, place += width;
  }
  return place;
}

// What `warp_rows` takes at once: a lane COUNT pixels side by side, as words, or one below the other; a warp WIDTH by
// ROWS; a block as much for each of its WARPS, one below the other. pulling.PIXELS and pulling.WORDS follow from it.
template <class In, int NDIM, bool WORDS> struct Batch {
  static constexpr bool FLOAT64 = sizeof(typename Quick<In>::type) > 4;
  static constexpr int COUNT = NDIM > 2 || FLOAT64 ? 2 : 4, WIDTH = WORDS ? COUNT * LANES : LANES;
  static constexpr int ROWS = WORDS ? 1 : COUNT, WARPS = WORDS ? 4 : 2, HEIGHT = ROWS * WARPS;
  static constexpr int X = WORDS, Y = !WORDS;  // from a pixel of a lane to the next
  static constexpr int BLOCKS = (NDIM < 3 ? 32 : FLOAT64 ? 16 : 28) / WARPS;  // a multiprocessor holds at least
};

// Order 1 in two or three dimensions, where all is as it mostly is: displacements of float32, one channel a field, a
// result of the image's type, offsets of 32 bits, neighbours along x side by side, two samples or more along each axis.
// The same bits as `warp`. WORDS: of bytes in two dimensions, where four side by side that begin on a multiple of four
// are a word, and displacements on one of 16 bytes.
template <class In, int NDIM, bool WORDS>
__global__ void __launch_bounds__(LANES * Batch<In, NDIM, WORDS>::WARPS, Batch<In, NDIM, WORDS>::BLOCKS)
    warp_rows(const In* __restrict__ image, void* __restrict__ out, int type, const float* __restrict__ displacement,
              const __grid_constant__ Pull<int> pull, int mode, typename Computed<In>::type cval) {
  typedef typename Quick<In>::type Real;
  typedef Batch<In, NDIM, WORDS> Here;
  constexpr int COUNT = Here::COUNT, PLANES = NDIM > 2 ? 2 : 1, WIDE = WORDS ? COUNT : 1;
  const int plane = (int)blockIdx.z, lane = (int)threadIdx.x, left = (int)blockIdx.x * Here::WIDTH;
  const int field = NDIM > 2 ? plane / pull.count[0] : plane, z = NDIM > 2 ? plane - field * pull.count[0] : 0;
  const int wanted = left + lane * WIDE, x = min(wanted, pull.count[2] - WIDE);
  // A lane beside the image is never inside, and nothing of it is left over.
  const int limit[3] = {pull.size[0] - 1, pull.size[1] - 1, wanted == x ? pull.size[2] - 1 : 0};
  const u64 numbers = slice_from(displacement, pull.displacement, field, z, x);
  const u64 from = (u64)image + (u64)slice_at(pull.image, field, 0), to = slice_from(out, pull.out, field, z, x);
  const int first_row = (int)blockIdx.y * pull.rows_a_block, end = min(first_row + pull.rows_a_block, pull.count[1]);
  const auto row_at = [&](int row, int r) { return min(row + r * Here::Y, end - 1); };  // instead of a question
#pragma unroll 1
  for (int row = first_row + (int)threadIdx.y * Here::ROWS; row < end; row += Here::HEIGHT) {
    float moved[3][COUNT];
#pragma unroll
    for (int r = 0; r < COUNT; r += WIDE) {
      u64 number = row_of(numbers, pull.displacement, row_at(row, r));
#pragma unroll
      for (int axis = 3 - NDIM; axis < 3; axis++, number += (u64)pull.component)
        if constexpr (WORDS) {
          const float4 four = __ldcs((const float4*)number);
          moved[axis][0] = four.x, moved[axis][1] = four.y, moved[axis][2] = four.z, moved[axis][3] = four.w;
        } else moved[axis][r] = __ldg((const float*)number);
    }
    Taps<1, int, Real> taps[COUNT][3];
    typename Held<In>::type near[COUNT][PLANES][2][2];  // or words
    u32 place[COUNT];
    bool done[COUNT];
#pragma unroll
    for (int r = 0; r < COUNT; r++) {
      bool inside = true;
      u32 at = 0;
#pragma unroll
      for (int axis = 3 - NDIM; axis < 3; axis++) {
        const Split<int, Real> parts = split<int, Real>((Real)moved[axis][r]);
        const int p = axis == 0 ? z : axis == 1 ? row_at(row, r) : x + r * Here::X;
        const int first = wrapped_sum(parts.whole, p + pull.origin[axis]);
        inside = inside && is_among(first, limit[axis]);
        if (sizeof(In) > 1) inside = inside && parts.t < 1;  // of bytes 1 is as good, and NaN is not told from a half
        at += (u32)first * (u32)(axis == 2 ? (int)sizeof(In) : pull.image.axis[axis]);
        taps[r][axis].weight[0] = 1 - parts.t, taps[r][axis].weight[1] = parts.t;
      }
      done[r] = inside;
      place[r] = inside ? at : 0;
    }
#pragma unroll
    for (int r = 0; r < COUNT; r++) {
      const u32 at = place[r];
#pragma unroll
      for (int k = 0; k < PLANES; k++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
          const u64 tap = from + (u32)(k * pull.image.axis[0] + j * pull.image.axis[1]) + (WORDS ? at & ~3u : at);
          if constexpr (WORDS) {
            near[r][k][j][0] = load_tap((const int*)tap), near[r][k][j][1] = 0;
            if ((at & 3) == 3) near[r][k][j][1] = load_tap((const int*)tap + 1);
          } else near[r][k][j][0] = load_tap((const In*)tap), near[r][k][j][1] = load_tap((const In*)tap + 1);
        }
    }
    typename Held<In>::type sample[COUNT];  // of pixels that are not done, too: no branch is taken for a few
    bool all = WORDS || row + Here::ROWS <= end;  // one lane stores a pixel
#pragma unroll
    for (int r = 0; r < COUNT; r++) {
      if constexpr (WORDS) {
        const auto line_of = [&](int j) {
          const u32 pair = neighbours_in((u32)near[r][0][j][0], (u32)near[r][0][j][1], place[r]);
          return between_bytes<In>(pair, taps[r][2].weight[1]);
        };
        done[r] &= byte_of(sample[r], line(line_of(0), line_of(1), taps[r][1].weight[1]));
      } else {
        const auto load = [&](int k, int j, int i) { return (Real)near[r][k][j][i]; };
        done[r] &= sample_between<NDIM, In>(sample[r], taps[r], load);
      }
      all = all && done[r];
    }
    const auto target = [&](int r) { return (In*)row_of(to, pull.out, row_at(row, r)) + r * Here::X; };
    if (__all_sync(0xffffffffu, all)) {
      if constexpr (WORDS) {
        const u32 two = __byte_perm((u32)sample[0], (u32)sample[1], 0x0040);
        __stcs((u32*)target(0), __byte_perm(two, __byte_perm((u32)sample[2], (u32)sample[3], 0x0040), 0x5410));
      } else {
#pragma unroll
        for (int r = 0; r < COUNT; r++) __stcs(target(r), (In)sample[r]);
      }
      continue;
    }
    u32 missing[COUNT];  // bit i: of lane i
    int count = 0;
#pragma unroll
    for (int r = 0; r < COUNT; r++) {
      const bool is_own = wanted == x && row + r * Here::Y < end;
      if (is_own && done[r]) __stcs(target(r), (In)sample[r]);
      missing[r] = __ballot_sync(0xffffffffu, is_own && !done[r]);
      count += __popc(missing[r]);
    }
#pragma unroll 1
    for (int item = lane; item < count; item += LANES) {  // all lanes share them
      int rest = item, r = 0;
      u32 mask = missing[0];
#pragma unroll
      for (int next = 1; next < COUNT; next++)
        if (r == next - 1 && rest >= __popc(mask)) rest -= __popc(mask), r = next, mask = missing[next];
      pull_one<NDIM>(image, out, type, displacement, pull, row + r * Here::Y,
                     left + nth_bit(mask, rest) * WIDE + r * Here::X, mode, cval);
    }
  }
}

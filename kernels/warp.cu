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
// Types   float32 is computed in float32, all else in float64; integers are rounded half away from zero and clipped.
//         The type of the result is read once a channel; order 0, and labels, are words of 1 to 8 bytes.
// Floor   Order 1 in two dimensions: the bytes of the displacement, streamed past the image in the cache, and of image
//         and result, once each. On an H200 (132 multiprocessors, 1.98 GHz, 4.3 TB/s copied) a byte a pixel is the time
//         of 7.8 instructions. Counted in the machine code of sm_90, inside of the image, with 8 rows a thread:
//             float32  16 bytes, 125 instructions' time:   94 instructions     uint8  10 bytes, 78:   111
//         and in three dimensions 20 bytes, 155: 141, and 14 bytes, 109: 162. So float32 is bound by bytes, and uint8
//         by instructions: if all slots are used, at 70 % of the bandwidth, in volumes at 67 %. A quarter are of
//         float64, for SciPy's bits; where float64 runs at 1/64 (sm_75, sm_86, sm_89, sm_120) they are what it takes.
//         Orders 2 to 5 of float32 in two dimensions: 131, 168, 237, 296. What a gather costs that spreads a warp's
//         load over 15 lines of 128 bytes, as the field of alpha 250 and sigma 5 does, only a GPU can tell.
//         8 of the 94, and 21 of the 141, keep taps that are alike as they are (`between`).
// Lost    Offsets of all taps, folded or not, in one sum: at order 1 a row costs 15 instructions more, at order 5 100.
//         A row a thread: 43 more. Offsets in elements: 11 more. Taps outside folded and summed in line: 8 to 16
//         registers, and above 128 at order 5.
#include "interpolation.cuh"
#include "samples.cuh"

constexpr int THREADS = 256;

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

// Orders 1 to 5; with labels at order 0 where label_bytes > 0.
template <class In, int NDIM, int ORDER, class Int>
__global__ void __launch_bounds__(THREADS, BLOCKS<ORDER, Int>)
    warp(const In* __restrict__ image, void* __restrict__ out, int type, const void* __restrict__ labels,
         void* __restrict__ labels_out, int label_bytes, u64 label_fill, const void* __restrict__ displacement,
         int wide, Pull<Int> pull, int mode, typename Computed<In>::type cval) {
  typedef typename Computed<In>::type Real;
  for_samples<NDIM>(pull, [&](const Int(&p)[3], Int field, Int first, Int last) {
    Taps<ORDER, Int, Real> taps[3];
    Placed placed = INSIDE;
    const char* numbers = (const char*)displacement + slice_at(pull.displacement, field, (Int)0);
    const Int at = offset_in_slice(pull.displacement, p);
#pragma unroll
    for (int axis = 3 - NDIM; axis < 3; axis++, numbers += pull.component) {
      const Split<Int, Real> d = split_at<Int, Real>(numbers, at, wide);
      place(taps[axis], placed, p[axis] + pull.origin[axis], d, pull.size[axis], pull.image.axis[axis], mode);
    }
    const char* from = (const char*)image + slice_at(pull.image, field, first);
    char* to = (char*)out + slice_at(pull.out, field, first) + offset_in_slice(pull.out, p);
#pragma unroll 1
    for (Int c = first;; from += pull.image.channel, to += pull.out.channel) {
      store(to, type, value_at<NDIM>(taps, placed, (const In*)from, pull.image.axis, cval));
      if (++c >= last) break;
    }
    if (label_bytes > 0)
      copy_labels<NDIM>(labels, labels_out, label_bytes, label_fill, displacement, wide, pull, p, field, first, last,
                        mode);
  });
}

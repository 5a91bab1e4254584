// warp.cu: pull an image through a displacement, without an array of coordinates in memory.
//
//   out[f, c, p] = image[f, c] at p + d[f, p]
//
// Layout  The image, or its spline coefficients at orders above 1, has moving axes z, y, x, of which the last NDIM are
//         used; `fields`, slices with a displacement of their own; `channels`, slices that share it. Axes may lie in any
//         order. A thread splits and weighs once for all its channels, and for the labels if there are any.
// Launch  grid (x, rows, planes), the latter two strided over; a block of 32 by 8 threads, 256 by 1 where there are few
//         rows. Rows are y, of lines the fields; planes are fields times z times groups of channels.
#include "interpolation.cuh"
#include "samples.cuh"

constexpr int THREADS = 256;

// Blocks a multiprocessor holds at least: 64 registers a thread, 128 for splines and for indices of 64 bits.
template <int ORDER, class Int> constexpr int BLOCKS = ORDER > 1 || sizeof(Int) > 4 ? 2 : 4;

// Steps in elements.
template <class Int> struct Steps {
  Int axis[3], field, channel;
};

template <class Int> struct Pull {
  i64 component;  // from one component of the displacement to the next
  Int size[3], count[3];  // of the image, with its padding, and of the result
  Int fields, channels, groups, channels_a_group;
  Int padding, start;
  Steps<Int> image, labels, displacement, out;
};

template <class Int> __device__ __forceinline__ i64 offset_in(const Steps<Int>& steps, const Int (&p)[3], Int field) {
  return (i64)field * steps.field + (i64)p[0] * steps.axis[0] + (i64)p[1] * steps.axis[1] + (i64)p[2] * steps.axis[2];
}

// Calls `sample(p, field, first channel, last)` for what this thread computes.
template <int NDIM, class Int, class Sample>
__device__ __forceinline__ void for_samples(const Pull<Int>& pull, const Sample& sample) {
  const Int x = (Int)blockIdx.x * (Int)blockDim.x + (Int)threadIdx.x;
  if (x >= pull.count[2]) return;
  const Int groups = pull.groups;
  const Int rows = NDIM > 1 ? pull.count[1] : pull.fields;
  const Int planes = groups * (NDIM > 1 ? pull.fields * pull.count[0] : 1);
  for (Int plane = (Int)blockIdx.z; plane < planes; plane += (Int)gridDim.z) {
    const Int group = groups > 1 ? plane % groups : 0, rest = groups > 1 ? plane / groups : plane;
    const Int z = NDIM > 2 ? rest % pull.count[0] : 0;
    const Int first = group * pull.channels_a_group, last = min(first + pull.channels_a_group, pull.channels);
    for (Int row = (Int)blockIdx.y * (Int)blockDim.y + (Int)threadIdx.y; row < rows;
         row += (Int)gridDim.y * (Int)blockDim.y) {
      const Int p[3] = {z, NDIM > 1 ? row : 0, x};
      sample(p, NDIM > 2 ? rest / pull.count[0] : NDIM > 1 ? rest : row, first, last);
    }
  }
}

// Where the displacement along an axis counts from.
template <int NDIM, class Int>
__device__ __forceinline__ Int origin(const Pull<Int>& pull, const Int (&p)[3], int axis) {
  return axis == 3 - NDIM ? p[axis] + pull.start : p[axis];
}

// The labels of channels `first` to `last` - 1, `fill` where there is none.
template <int NDIM, class Int>
__device__ __forceinline__ void copy_labels(const void* labels, void* out, int bytes, u64 fill,
                                            const void* displacement, int wide, const Pull<Int>& pull,
                                            const Int (&p)[3], Int field, Int first, Int last, int mode) {
  i64 from = (i64)field * pull.labels.field, at = offset_in(pull.displacement, p, field);
  bool found = true;
#pragma unroll
  for (int axis = 3 - NDIM; axis < 3; axis++, at += pull.component) {
    const double d = split_at<Int, double>(displacement, at, wide).d;
    Int offset = 0;
    found = found && place_nearest(offset, origin<NDIM>(pull, p, axis), d, pull.size[axis] - 2 * pull.padding,
                                   pull.labels.axis[axis], mode) == FOUND;
    from += offset;
  }
  const i64 to = offset_in(pull.out, p, field);
  for (Int c = first; c < last; c++)
    copy_word(labels, from + (i64)c * pull.labels.channel, found, out, to + (i64)c * pull.out.channel, bytes, fill);
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
         int wide, Pull<Int> pull, int mode, double cval) {
  typedef typename Computed<In>::type Real;
  for_samples<NDIM>(pull, [&](const Int(&p)[3], Int field, Int first, Int last) {
    Taps<ORDER, Int, Real> taps[3];
    Placed placed = FOUND;
    i64 at = offset_in(pull.displacement, p, field);
#pragma unroll
    for (int axis = 3 - NDIM; axis < 3; axis++, at += pull.component) {
      const Split<Int, Real> d = split_at<Int, Real>(displacement, at, wide);
      const Int from = origin<NDIM>(pull, p, axis) + pull.padding;
      placed = worse(placed, place<ORDER>(taps[axis], from, d, pull.size[axis], pull.image.axis[axis], mode));
    }
    const In* from = image + (i64)field * pull.image.field + (i64)first * pull.image.channel;
    i64 to = offset_in(pull.out, p, field) + (i64)first * pull.out.channel;
    for (Int c = first; c < last; c++, from += pull.image.channel, to += pull.out.channel)
      store(out, to, type, sum_at<NDIM>(taps, placed, from, (Real)cval));
    if (label_bytes > 0)
      copy_labels<NDIM>(labels, labels_out, label_bytes, label_fill, displacement, wide, pull, p, field, first, last,
                        mode);
  });
}

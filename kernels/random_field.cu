// random_field.cu: a box of a positional random field, for many streams at once.
//
//   uniform  float32: two of a word, (half >> 8) * 2^-24, low half first; float64: (word >> 11) * 2^-53
//   centred  2 u - 1 of the float32 uniform numbers, exact in both types: the noise of a displacement
//   normal   sqrt(-2 log1p(-u0)) cos(2 pi u1) on the float64 uniform numbers 2i and 2i + 1 of the stream
//
// Layout  out (streams, runs, length). A run is a part of the box that is contiguous in the whole field; it begins at flat
//         index first + offset_of(outer, run).
// Launch  grid (blocks of a run / THREADS, runs, streams), each axis strided over by the grid; block THREADS.
// Thread  one Philox block: four words, which are 8 float32, 4 float64 or 2 normal numbers. What of them lies outside of
//         the run is dropped: at most two blocks a run are drawn in part.
// Floor   211 instructions a block of four words: 26 a float32, which outweighs its 4 bytes of memory. Stored one by one
//         they kept L2 busy: 80 % on an H200, 0.26 ms for 66.8 million numbers; by 16 bytes 0.22, 69 % of issue slots.
#include "philox.cuh"

constexpr int THREADS = 256;

enum Distribution { UNIFORM, CENTRED, NORMAL };

template <class T, int DISTRIBUTION> struct Numbers;  // what a Philox block gives

template <int DISTRIBUTION> struct Numbers<float, DISTRIBUTION> {
  static constexpr int COUNT = 8;
  static __device__ __forceinline__ float number(const u64 (&word)[4], int i) {
    const u32 half = (u32)(word[i / 2] >> (i % 2 ? 32 : 0)) >> 8;
    const float u = (float)half * (1.0f / 16777216.0f);
    return DISTRIBUTION == CENTRED ? 2.0f * u - 1.0f : u;
  }
};

template <> struct Numbers<double, UNIFORM> {
  static constexpr int COUNT = 4;
  static __device__ __forceinline__ double number(const u64 (&word)[4], int i) {
    return (double)(word[i] >> 11) * (1.0 / 9007199254740992.0);
  }
};

template <> struct Numbers<double, CENTRED> {  // drawn as float32, so that the type of an image never changes its noise
  static constexpr int COUNT = 8;
  static __device__ __forceinline__ double number(const u64 (&word)[4], int i) {
    return (double)Numbers<float, CENTRED>::number(word, i);
  }
};

template <class T> struct NormalNumbers {
  static constexpr int COUNT = 2;
  static __device__ __forceinline__ T number(const u64 (&word)[4], int i) {
    const double u0 = Numbers<double, UNIFORM>::number(word, 2 * i);
    const double u1 = Numbers<double, UNIFORM>::number(word, 2 * i + 1);
    return (T)(sqrt(-2.0 * log1p(-u0)) * cos(2.0 * 3.14159265358979323846 * u1));
  }
};
template <> struct Numbers<float, NORMAL> : NormalNumbers<float> {};
template <> struct Numbers<double, NORMAL> : NormalNumbers<double> {};

template <class T, int N> struct alignas(sizeof(T) * N) Stored { T value[N]; };  // numbers that are stored at once

template <class T, int DISTRIBUTION>
__global__ void __launch_bounds__(THREADS) random_field(T* __restrict__ out, const u64* __restrict__ streams,
                                                        i64 stream_count, i64 runs, i64 length, i64 first, Axes outer,
                                                        u64 seed) {
  typedef Numbers<T, DISTRIBUTION> Drawn;
  constexpr int N = Drawn::COUNT * sizeof(T) < 16 ? Drawn::COUNT : 16 / sizeof(T);
  typedef Stored<T, N> Word;
  for (i64 stream = blockIdx.z; stream < stream_count; stream += gridDim.z)
    for (i64 run = blockIdx.y; run < runs; run += gridDim.y) {
      const i64 start = first + offset_of(outer, run), end = start + length;
      T* const row = out + (stream * runs + run) * length - start;
      for (i64 block = start / Drawn::COUNT + (i64)blockIdx.x * THREADS + threadIdx.x; block * Drawn::COUNT < end;
           block += (i64)gridDim.x * THREADS) {
        u64 word[4];
        philox_block(word, (u64)block, seed, streams[stream]);
        Word number[Drawn::COUNT / N];
#pragma unroll
        for (int i = 0; i < Drawn::COUNT; i++) number[i / N].value[i % N] = Drawn::number(word, i);
        const i64 index = block * Drawn::COUNT;
        if (index >= start && index + Drawn::COUNT <= end && (u64)(row + index) % sizeof(Word) == 0) {
#pragma unroll
          for (int i = 0; i < Drawn::COUNT / N; i++) ((Word*)(row + index))[i] = number[i];
        } else {
#pragma unroll
          for (int i = 0; i < Drawn::COUNT; i++)
            if (index + i >= start && index + i < end) row[index + i] = number[i / N].value[i % N];
        }
      }
    }
}

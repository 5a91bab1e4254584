// warp.h: shuffles, votes and reductions of a warp. Like a GPU's they order no memory; __syncwarp does.
#pragma once

namespace emulator {

enum class Shuffle { index, up, down, exclusive_or };

// CUDA has shuffles of four and eight bytes; smaller types are promoted to int.
template <Shuffle kind, class T>
auto shuffle(Place place, unsigned mask, T small, unsigned by, int width = 32) {
  auto value = +small;
  static_assert(sizeof value == 4 || sizeof value == 8, "a shuffle moves four or eight bytes");
  const unsigned lane = current->rank & 31, first = lane & ~(width - 1u), last = lane | (width - 1u);
  unsigned source = lane;
  if (kind == Shuffle::index) source = first | (by & (width - 1u));
  if (kind == Shuffle::up && lane >= first + by) source = lane - by;
  if (kind == Shuffle::down && lane + by <= last) source = lane + by;
  if (kind == Shuffle::exclusive_or && (lane ^ by) <= last) source = lane ^ by;
  Bits bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = exchange(place, mask, bits, source);
  memcpy(&value, &bits, sizeof value);
  return value;
}

struct Ballot {
  unsigned yes, came;
};
inline Ballot ballot(Place place, unsigned mask, bool predicate) {
  Bits all[32];
  Ballot result = {0, gather(place, mask, predicate, all)};
  for (int lane = 0; lane < 32; lane++) result.yes |= (unsigned)all[lane] << lane;
  return result;
}
inline int all_agree(Place place, unsigned mask, bool predicate) {
  const Ballot result = ballot(place, mask, predicate);
  return result.yes == result.came;
}

template <class T, class Combine>
T reduce(Place place, unsigned mask, T value, Combine combine) {
  static_assert(sizeof(T) == 4 && std::is_integral<T>::value, "a warp reduces int and unsigned");
  Bits all[32];
  const unsigned came = gather(place, mask, (Bits)value, all);
  bool first = true;
  for (int lane = 0; lane < 32; lane++) {
    if (!(came >> lane & 1)) continue;
    value = first ? (T)all[lane] : combine(value, (T)all[lane]);
    first = false;
  }
  return value;
}
template <class T>
T wrapping_sum(T a, T b) {
  return (T)((unsigned)a + (unsigned)b);
}

inline void sync_warp(Place place, unsigned mask = 0xffffffffu) { warp_barrier(place, mask); }

}  // namespace emulator

#define __shfl_sync(...) emulator::shuffle<emulator::Shuffle::index>(EMULATOR_HERE, __VA_ARGS__)
#define __shfl_up_sync(...) emulator::shuffle<emulator::Shuffle::up>(EMULATOR_HERE, __VA_ARGS__)
#define __shfl_down_sync(...) emulator::shuffle<emulator::Shuffle::down>(EMULATOR_HERE, __VA_ARGS__)
#define __shfl_xor_sync(...) emulator::shuffle<emulator::Shuffle::exclusive_or>(EMULATOR_HERE, __VA_ARGS__)
#define __ballot_sync(mask, p) emulator::ballot(EMULATOR_HERE, mask, (p) != 0).yes
#define __any_sync(mask, p) ((int)(emulator::ballot(EMULATOR_HERE, mask, (p) != 0).yes != 0))
#define __all_sync(mask, p) emulator::all_agree(EMULATOR_HERE, mask, (p) != 0)
#define __reduce_add_sync(mask, v) \
  emulator::reduce(EMULATOR_HERE, mask, v, [](auto a, auto b) { return emulator::wrapping_sum(a, b); })
#define __reduce_max_sync(mask, v) \
  emulator::reduce(EMULATOR_HERE, mask, v, [](auto a, auto b) { return a > b ? a : b; })
#define __reduce_min_sync(mask, v) \
  emulator::reduce(EMULATOR_HERE, mask, v, [](auto a, auto b) { return a < b ? a : b; })
#define __reduce_or_sync(mask, v) emulator::reduce(EMULATOR_HERE, mask, v, [](auto a, auto b) { return a | b; })
#define __reduce_and_sync(mask, v) emulator::reduce(EMULATOR_HERE, mask, v, [](auto a, auto b) { return a & b; })
#define __syncwarp(...) emulator::sync_warp(EMULATOR_HERE __VA_OPT__(, ) __VA_ARGS__)
#define __activemask() emulator::live_lanes()

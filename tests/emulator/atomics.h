// atomics.h: CUDA's atomic functions as real atomics, so that ThreadSanitizer tells them from races.
#pragma once

namespace emulator {

template <class T>
struct Same {  // keeps the other arguments out of the deduction of T: atomicAdd(&count64, 1)
  typedef T type;
};
template <class T>
using same = typename Same<T>::type;

template <class T, class Update>
T atomic_update(T* target, Update update) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "an atomic has four or eight bytes");
  typedef typename std::conditional<sizeof(T) == 4, unsigned, Bits>::type Word;
  Word old_word = __atomic_load_n((Word*)target, __ATOMIC_RELAXED), new_word;
  T old_value;
  do {
    memcpy(&old_value, &old_word, sizeof old_value);
    const T new_value = update(old_value);
    memcpy(&new_word, &new_value, sizeof new_word);
  } while (!__atomic_compare_exchange_n((Word*)target, &old_word, new_word, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old_value;
}
inline int wrapping_add(int a, int b) { return (int)((unsigned)a + (unsigned)b); }
template <class T>
T wrapping_add(T a, T b) {
  return a + b;
}

}  // namespace emulator

// clang-format off
#define EMULATOR_ATOMIC(name, expression)                                        \
  template <class T> T name(T* target, emulator::same<T> value) {                \
    return emulator::atomic_update(target, [=](T old) -> T { return expression; }); \
  }
EMULATOR_ATOMIC(atomicAdd, emulator::wrapping_add(old, value))
EMULATOR_ATOMIC(atomicSub, emulator::wrapping_add(old, (T)(0 - value)))
EMULATOR_ATOMIC(atomicMax, old > value ? old : value)
EMULATOR_ATOMIC(atomicMin, old < value ? old : value)
EMULATOR_ATOMIC(atomicExch, ((void)old, value))
EMULATOR_ATOMIC(atomicOr, old | value)
EMULATOR_ATOMIC(atomicAnd, old & value)
EMULATOR_ATOMIC(atomicXor, old ^ value)
EMULATOR_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
// clang-format on
template <class T>
T atomicCAS(T* target, emulator::same<T> expected, emulator::same<T> value) {
  return emulator::atomic_update(target, [=](T old) { return old == expected ? value : old; });
}

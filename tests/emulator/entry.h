// entry.h: how Python calls a kernel: like cuLaunchKernel, with an array of pointers to the arguments, and with a table
// of the parameters' types, against which the arguments are checked. A GPU checks nothing there.
#pragma once

namespace emulator {

enum Kind { signed_integer, unsigned_integer, floating, boolean, structure, pointer };  // `arguments.py` has the same

struct Parameter {
  int kind, size;
  int target_kind, target_size, target_is_const;  // of what a pointer points to
};

template <class T>
constexpr int kind_of() {
  if (std::is_same<T, bool>::value) return boolean;
  if (std::is_pointer<T>::value) return pointer;
  if (std::is_floating_point<T>::value) return floating;
  if (std::is_integral<T>::value) return std::is_signed<T>::value ? signed_integer : unsigned_integer;
  return structure;
}

template <class T>
constexpr Parameter parameter_of() {
  typedef typename std::remove_pointer<T>::type Target;
  typedef typename std::remove_cv<Target>::type Plain;
  typedef typename std::conditional<std::is_void<Plain>::value, char, Plain>::type Sized;
  const int target_kind = std::is_void<Plain>::value ? (int)structure : kind_of<Plain>();
  return {kind_of<typename std::remove_cv<T>::type>(), sizeof(T), target_kind, sizeof(Sized),
          std::is_const<Target>::value};
}

template <class... Arguments>
struct Signature {
  static constexpr int count = sizeof...(Arguments);
  static const Parameter* parameters() {
    static const Parameter table[count + 1] = {parameter_of<Arguments>()..., Parameter{}};
    return table;
  }
  template <size_t... I>
  static void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<Arguments*>(arguments[I])...);
  }
  static void call(void (*kernel)(Arguments...), void** arguments) {
    call(kernel, arguments, std::make_index_sequence<count>());
  }
};
template <class... Arguments>
Signature<Arguments...> signature_of(void (*)(Arguments...));

struct Entry {
  void (*call)(void** arguments);
  int count;
  const Parameter* parameters;
};
template <auto kernel>
const Entry* entry() {
  typedef decltype(signature_of(kernel)) Its;
  static const Entry result = {[](void** arguments) { Its::call(kernel, arguments); }, Its::count, Its::parameters()};
  return &result;
}

}  // namespace emulator

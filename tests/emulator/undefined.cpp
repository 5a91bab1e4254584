// undefined.cpp: what -fsanitize=undefined calls, as an error of the launch instead of the end of the process.
//
// The kernels are compiled with UndefinedBehaviorSanitizer in every build and not linked with its library. Every record
// begins with the place in the source; the names are those that GCC and Clang emit with -fno-sanitize-recover.
#include <stdint.h>

#include <string>

#include "engine.h"

namespace {

struct Place {
  const char* file;
  uint32_t line, column;
};
struct Type {
  uint16_t kind, info;
  char name[1];
};
struct Access {
  Place place;
  const Type* type;
  unsigned char log_alignment, kind;
};
struct Conversion {
  Place place;
  const Type *from, *to;
};

[[noreturn]] void report(const void* record, const std::string& what) {
  const Place* const place = (const Place*)record;
  static std::string kept;  // `fail` never returns: nothing on this stack is destroyed
  kept = what;
  emulator::fail(kept.c_str(), {place->file, (int)place->line});
}

}  // namespace

extern "C" {

void __ubsan_handle_type_mismatch_v1_abort(const Access* access, uintptr_t address) {
  const uintptr_t alignment = (uintptr_t)1 << access->log_alignment;
  const std::string type = access->type->name;
  if (address == 0) report(access, "null pointer used as " + type);
  if (address % alignment)
    report(access, "misaligned address for " + type + ", which needs " + std::to_string(alignment) + " bytes");
  report(access, "too little memory for " + type);
}

void __ubsan_handle_float_cast_overflow_abort(const Conversion* conversion, uintptr_t) {
  report(conversion, std::string("a value of type ") + conversion->from->name + " is outside " + conversion->to->name);
}

void __ubsan_handle_out_of_bounds_abort(const void* at, uintptr_t index) {
  report(at, "index " + std::to_string((intptr_t)index) + " is out of bounds");
}

// Handlers that need no more of their arguments than the place.
#define EMULATOR_HANDLER(name, what) \
  void __ubsan_handle_##name(const void* at) { report(at, what); }
EMULATOR_HANDLER(add_overflow_abort, "overflow of a signed sum")
EMULATOR_HANDLER(sub_overflow_abort, "overflow of a signed difference")
EMULATOR_HANDLER(mul_overflow_abort, "overflow of a signed product")
EMULATOR_HANDLER(negate_overflow_abort, "overflow of a negation")
EMULATOR_HANDLER(divrem_overflow_abort, "division by zero, or overflow of a division")
EMULATOR_HANDLER(shift_out_of_bounds_abort, "shift by a negative number or too many bits")
EMULATOR_HANDLER(pointer_overflow_abort, "overflow of a pointer")
EMULATOR_HANDLER(load_invalid_value_abort, "a bool or an enum holds another value")
EMULATOR_HANDLER(vla_bound_not_positive_abort, "an array's length is not positive")
EMULATOR_HANDLER(invalid_builtin_abort, "0 given to a count of leading or trailing zeros")
EMULATOR_HANDLER(nonnull_arg_abort, "null pointer given where none may be")
EMULATOR_HANDLER(builtin_unreachable, "code reached that cannot be")
EMULATOR_HANDLER(missing_return, "a function ends without its return")
}

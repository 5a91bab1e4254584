// engine.h: what a compiled kernel asks of the engine. The engine is one shared library, loaded before any kernel.
#pragma once
#include <stddef.h>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

#pragma GCC visibility push(default)
namespace emulator {

typedef unsigned long long Bits;  // a value of up to eight bytes on its way between lanes

struct Place {  // of a call in a kernel's source
  const char* file;
  int line;
};

struct Thread {
  uint3 index;
  unsigned rank;  // in its block, x fastest
};

extern Thread* current;
extern uint3 block_index;
extern dim3 block_size, grid_size;

enum class Vote { none, count, all, any };
int block_barrier(Place place, Vote vote, bool predicate);

// All live lanes of `mask` meet. Each brings a value and gets that of its source lane; what was not brought is all
// ones.
Bits exchange(Place place, unsigned mask, Bits value, unsigned source);
// The same, but each gets all values, 0 where a lane brought none. Returns the lanes that came.
unsigned gather(Place place, unsigned mask, Bits value, Bits (&all)[32]);
void warp_barrier(Place place, unsigned mask);
void fence();
unsigned live_lanes();

// Shared memory of the running block, filled with ones, and aligned to `alignment` bytes and no more.
void* static_shared(const void* variable, size_t bytes, size_t alignment);
void* dynamic_shared(size_t alignment);

// Ends the launch with an error.
[[noreturn]] void fail(const char* what, Place place);

}  // namespace emulator
#pragma GCC visibility pop

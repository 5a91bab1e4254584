// memory.h: device memory and shared memory between guards that show who writes beyond an array.
#pragma once
#include <stddef.h>

#include <string>

namespace emulator {

// The first array or shared variable that was written beyond one of its ends, in words; empty if none was.
std::string broken_array_guard();
std::string broken_shared_guard();

// Shared memory of the running block. It is forgotten at the end of the block and given back at the end of the launch:
// under ThreadSanitizer blocks must not share addresses, or a race between two of them is seen where there is none.
void* find_static(const void* variable, size_t bytes, size_t alignment);
void* find_dynamic(size_t bytes, size_t alignment);
size_t static_bytes();
void forget_shared();
void release_shared();

}  // namespace emulator

// memory.cpp: memory of its own length between guards. AddressSanitizer is told of the guards; without it they are
// compared after every launch. All bytes start as ones: NaN as a float, -1 as an integer, so that a read before any
// write shows.
#include "memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <vector>

#include "fibers.h"

namespace emulator {
namespace {

constexpr int FILL = 0xFF;
constexpr size_t ARRAY_GUARD = 4096, ARRAY_ALIGNMENT = 256, SHARED_GUARD = 512, SHARED_ALIGNMENT = 128;

struct Guarded {
  char* memory;  // of malloc
  char* begin;
  size_t bytes, guard, mapped;
};

// `offset` beyond a multiple of `alignment`: memory that is no better aligned than was asked for.
Guarded allocate(size_t bytes, size_t guard, size_t alignment, size_t offset) {
  Unwatched unwatched;
  const size_t size = bytes + offset + 2 * guard;
  void* memory = nullptr;
  size_t mapped = 0;
#ifdef EMULATOR_THREAD  // a page that comes from mmap is new to ThreadSanitizer, one from malloc may not be
  (void)alignment;
  mapped = size;
  memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) abort();
#else
  if (posix_memalign(&memory, alignment, size)) abort();
#endif
  memset(memory, FILL, size);
  Guarded block = {(char*)memory, (char*)memory + guard + offset, bytes, guard, mapped};
#ifdef EMULATOR_ADDRESS
  __asan_poison_memory_region(memory, size);
  __asan_unpoison_memory_region(block.begin, bytes);
#endif
  return block;
}

void release(const Guarded& block) {
  Unwatched unwatched;
#ifdef EMULATOR_ADDRESS
  __asan_unpoison_memory_region(block.memory, block.begin + block.bytes + block.guard - block.memory);
#endif
  if (block.mapped)
    munmap(block.memory, block.mapped);
  else
    free(block.memory);
}

// What is wrong with the guards, which are then made good, so that the next launch is not blamed.
std::string damage(const Guarded& block, const std::string& name) {
#ifdef EMULATOR_ADDRESS
  (void)block, (void)name;
  return "";
#else
  static const std::string intact(ARRAY_GUARD, (char)FILL);
  char *const before = block.begin - block.guard, *const behind = block.begin + block.bytes;
  const char* end = nullptr;
  if (memcmp(before, intact.data(), block.guard)) end = "before the beginning";
  if (memcmp(behind, intact.data(), block.guard)) end = "beyond the end";
  if (!end) return "";
  memset(before, FILL, block.guard);
  memset(behind, FILL, block.guard);
  return std::string("written ") + end + " of " + name + " of " + std::to_string(block.bytes) + " bytes";
#endif
}

std::map<const char*, Guarded> arrays;  // of device memory, by their beginning
std::map<const void*, Guarded> variables;
std::vector<Guarded> dynamic, finished;

}  // namespace

std::string broken_array_guard() {
  Unwatched unwatched;
  std::string found;
  for (auto& array : arrays)
    if (found.empty()) found = damage(array.second, "an array");
  return found;
}

std::string broken_shared_guard() {
  Unwatched unwatched;
  std::string found;
  for (auto& variable : variables)
    if (found.empty()) found = damage(variable.second, "a __shared__ variable");
  for (auto& block : dynamic)
    if (found.empty()) found = damage(block, "dynamic shared memory");
  return found;
}

void* find_static(const void* variable, size_t bytes, size_t alignment) {
  Unwatched unwatched;
  auto found = variables.find(variable);
  if (found == variables.end())
    found = variables.emplace(variable, allocate(bytes, SHARED_GUARD, SHARED_ALIGNMENT, alignment % SHARED_ALIGNMENT))
                .first;
  return found->second.begin;
}

void* find_dynamic(size_t bytes, size_t alignment) {
  Unwatched unwatched;
  if (dynamic.empty()) dynamic.push_back(allocate(bytes, SHARED_GUARD, SHARED_ALIGNMENT, alignment % SHARED_ALIGNMENT));
  return dynamic.front().begin;
}

size_t static_bytes() {
  size_t sum = 0;
  for (auto& variable : variables) sum += variable.second.bytes;
  return sum;
}

void forget_shared() {
  Unwatched unwatched;
  for (auto& variable : variables) finished.push_back(variable.second);
  for (auto& block : dynamic) finished.push_back(block);
  variables.clear();
  dynamic.clear();
#ifndef EMULATOR_THREAD
  release_shared();
#endif
}

void release_shared() {
  for (auto& block : finished) release(block);
  finished.clear();
}

}  // namespace emulator

extern "C" {
void* emulator_allocate(size_t bytes) {
  using namespace emulator;
  const Guarded block = allocate(bytes, ARRAY_GUARD, ARRAY_ALIGNMENT, 0);
  arrays.emplace(block.begin, block);
  return block.begin;
}

void emulator_free(void* begin) {
  using namespace emulator;
  const auto found = arrays.find((char*)begin);
  if (found == arrays.end()) return;
  release(found->second);
  arrays.erase(found);
}

int emulator_is_device_memory(const void* begin, size_t bytes) {
  using namespace emulator;
  auto after = arrays.upper_bound((const char*)begin);
  if (after == arrays.begin()) return 0;
  const Guarded& block = (--after)->second;
  return (const char*)begin + bytes <= block.begin + block.bytes;
}
}

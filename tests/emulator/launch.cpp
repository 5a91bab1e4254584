// launch.cpp: runs a grid one block at a time, with a fiber for every thread that has begun and not ended.
#include <stdio.h>
#include <string.h>

#include "block.h"
#include "faults.h"
#include "memory.h"

namespace emulator {

Thread* current;
uint3 block_index;
dim3 block_size, grid_size;
Block block;

namespace {

constexpr unsigned MAX_THREADS = 1024, MAX_BLOCKS = 1u << 24;
constexpr size_t MAX_STATIC_BYTES = 48 << 10, MAX_SHARED_BYTES = 227 << 10;  // of compute capability 9.0

char launch_token, end_token;
std::vector<Fiber*> all_fibers, idle_fibers;
Fiber launcher;
bool from_launcher;
void (*kernel)(void**);
void** kernel_arguments;
size_t dynamic_bytes;
std::string error;

// Returns the fiber to go on with, or null: this one, with the thread that is now `current`.
Fiber* after(Running& ended) {
  Unwatched unwatched;
  Fiber* const fiber = ended.fiber;
  ended.state = State::done;
  block.live_threads--;
  if (block.barrier.waiting)
    abandon(words(ended) + " ends while " + std::to_string(block.barrier.waiting) +
            " others wait in __syncthreads at " + words(block.barrier.place));
  leave_collectives(ended);
  Running* const next = pick();
  if (!next) {
    if (block.live_threads) deadlock();
    return &launcher;
  }
  current = next;
  if (next->state == State::fresh && !next->fiber) {  // it needs no stack of its own before it waits for another
    next->state = State::ready;
    next->fiber = fiber;
    return nullptr;
  }
  if (next->state == State::fresh) begin(*next);
#ifndef EMULATOR_THREAD
  idle_fibers.push_back(fiber);
#endif
  return next->fiber;
}

void thread_body() {
  entered(from_launcher ? &launcher : nullptr);
  from_launcher = false;
  for (;;) {
    acquire(&launch_token);
    kernel(kernel_arguments);
    release(&end_token);
    Fiber* const self = me().fiber;
    if (Fiber* const next = after(me())) switch_fibers(*self, *next, true);
  }
}

uint3 position(size_t rank, dim3 size) {
  return {(unsigned)(rank % size.x), (unsigned)(rank / size.x % size.y), (unsigned)(rank / size.x / size.y)};
}

const char* refusal() {  // what a GPU of compute capability 9.0 does not launch
  const size_t threads_a_block = (size_t)block_size.x * block_size.y * block_size.z;
  if (threads_a_block == 0 || threads_a_block > MAX_THREADS || block_size.z > 64) return "invalid block size";
  if (grid_size.x == 0 || grid_size.y == 0 || grid_size.z == 0) return "empty grid";
  if (grid_size.x > 0x7fffffffu || grid_size.y > 65535 || grid_size.z > 65535) return "invalid grid size";
  if (dynamic_bytes > MAX_SHARED_BYTES) return "more than 227 KiB of dynamic shared memory";
  if ((double)grid_size.x * grid_size.y * grid_size.z > MAX_BLOCKS) return "too many blocks for the emulator";
  return nullptr;
}

std::vector<unsigned> block_order() {
  const unsigned count = grid_size.x * grid_size.y * grid_size.z;
  std::vector<unsigned> order(count);
  for (unsigned i = 0; i < count; i++) order[i] = schedule == Schedule::reversed ? count - 1 - i : i;
  shuffle_at_random(order);
  return order;
}

void set_up_block(size_t turn) {
  const size_t count = (size_t)block_size.x * block_size.y * block_size.z;
  block.threads.assign(count, Running());
  block.warps.assign((count + WARP - 1) / WARP, Warp());
  for (size_t rank = 0; rank < count; rank++) {
    block.threads[rank].rank = (unsigned)rank;
    block.threads[rank].index = position(rank, block_size);
    block.warps[rank / WARP].ready.push_back((unsigned)rank);
  }
  block.preference.resize(block.warps.size());
  for (unsigned w = 0; w < block.warps.size(); w++)
    block.preference[w] = schedule == Schedule::reversed ? (unsigned)block.warps.size() - 1 - w : w;
  shuffle_at_random(block.preference);
  block.barrier = Barrier();
  block.live_threads = (unsigned)count;
  (void)turn;
#ifdef EMULATOR_THREAD
  // Logical threads live on from block to block, as to make one takes 100 us. All are made here: a thread is ordered
  // after its maker. Each block turns them by one, so that a race of the same thread of two blocks is one of two
  // logical threads.
  while (all_fibers.size() < count) all_fibers.push_back(make_fiber());
  for (size_t i = 0; i < count; i++) block.threads[i].fiber = all_fibers[(i + turn) % all_fibers.size()];
#endif
}

void run_block(size_t turn) {
  set_up_block(turn);
  Running* const first = pick();
  begin(*first);
  current = first;
  from_launcher = true;
  switch_fibers(launcher, *first->fiber);
  if (error.empty()) error = broken_shared_guard();
  forget_shared();
#ifndef EMULATOR_THREAD
  idle_fibers = all_fibers;
#else
  if (!error.empty()) all_fibers.clear();  // they hang in the middle of the kernel, as ThreadSanitizer sees it
#endif
}

}  // namespace

std::string words(const Running& thread) {
  char text[160];
  const uint3 b = block_index, t = thread.index;
  snprintf(text, sizeof text, "block (%u,%u,%u) thread (%u,%u,%u)", b.x, b.y, b.z, t.x, t.y, t.z);
  return text;
}

std::string words(Place place) {
  const char* const slash = strrchr(place.file, '/');
  return std::string(slash ? slash + 1 : place.file) + ":" + std::to_string(place.line);
}

void abandon(const std::string& what) {
  if (error.empty()) error = what;
  switch_fibers(*me().fiber, launcher);
  abort();
}

void begin(Running& thread) {
  thread.state = State::ready;
  if (!thread.fiber && !idle_fibers.empty()) {
    thread.fiber = idle_fibers.back();
    idle_fibers.pop_back();
  } else if (!thread.fiber) {
    all_fibers.push_back(thread.fiber = make_fiber());
  }
  prepare(*thread.fiber, thread_body);
}

void* static_shared(const void* variable, size_t bytes, size_t alignment) {
  Unwatched unwatched;
  void* const memory = find_static(variable, bytes, alignment);
  if (static_bytes() > MAX_STATIC_BYTES) abandon("more than 48 KiB of static shared memory");
  return memory;
}

void* dynamic_shared(size_t alignment) {
  Unwatched unwatched;
  return find_dynamic(dynamic_bytes, alignment);
}

void fail(const char* what, Place place) { abandon(words(me()) + ": " + what + " at " + words(place)); }

void crash(uintptr_t address) {
  char text[80];
  snprintf(text, sizeof text, ": access to address 0x%llx, where no memory is", (unsigned long long)address);
  abandon(words(me()) + text);
}

}  // namespace emulator

// Returns 0, or 1 with the reason in `message`.
extern "C" int emulator_launch(void (*call)(void**), const unsigned* grid, const unsigned* block, size_t shared_bytes,
                               void** arguments, int order, uint64_t seed, char* message, size_t message_bytes) {
  using namespace emulator;
  Unwatched unwatched;  // memory of the engine's is not written in any thread's time
  kernel = call;
  kernel_arguments = arguments;
  grid_size = {grid[0], grid[1], grid[2]};
  block_size = {block[0], block[1], block[2]};
  dynamic_bytes = shared_bytes;
  schedule = (Schedule)order;
  seed_random(seed);
  const char* const refused = refusal();
  error = refused ? refused : "";
#ifdef EMULATOR_THREAD
  launcher.logical_thread = __tsan_get_current_fiber();
#endif
  release(&launch_token);
  if (!refused) {
    FaultsCaught faults_caught;
    size_t turn = 0;
    for (const unsigned rank : block_order()) {
      block_index = position(rank, grid_size);
      run_block(turn++);
      if (!error.empty()) break;
    }
  }
  acquire(&end_token);
  release_shared();
  if (error.empty()) error = broken_array_guard();
  snprintf(message, message_bytes, "%s", error.c_str());
  return !error.empty();
}

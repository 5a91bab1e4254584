// schedule.cpp: who runs next: threads in their order, reversed, or at random.
//
// Of several warps that could go on, one goes as far ahead of the others as barriers let it: that shows a missing
// barrier far more often than a fair choice does.
#include "block.h"

namespace emulator {

Schedule schedule;

namespace {

uint64_t random_state;

unsigned random_below(size_t n) {  // Marsaglia's xorshift
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (unsigned)((random_state >> 11) % n);
}

size_t choice(size_t n) {
  if (schedule == Schedule::random) return random_below(n);
  return schedule == Schedule::reversed ? n - 1 : 0;
}

}  // namespace

void seed_random(uint64_t seed) { random_state = 0x9E3779B97F4A7C15ull * (seed + 1) | 1; }

void shuffle_at_random(std::vector<unsigned>& items) {
  if (schedule != Schedule::random) return;
  for (size_t i = items.size(); i > 1; i--) std::swap(items[i - 1], items[random_below(i)]);
}

void make_ready(Running& thread) {
  thread.state = State::ready;
  block.warps[thread.rank / WARP].ready.push_back(thread.rank);
}

Running* pick() {
  for (const unsigned w : block.preference) {
    std::vector<unsigned>& ready = block.warps[w].ready;
    if (ready.empty()) continue;
    const size_t at = choice(ready.size());
    Running* const thread = &block.threads[ready[at]];
    ready.erase(ready.begin() + (ptrdiff_t)at);
    return thread;
  }
  return nullptr;
}

}  // namespace emulator

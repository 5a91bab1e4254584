// waiting.cpp: where threads wait: barriers of a block, and collectives of a warp, which are its barriers too.
#include <stdio.h>
#include <string.h>

#include "block.h"

namespace emulator {

namespace {

int vote_results[4];
Token barrier_token;

bool same(Place a, Place b) { return a.line == b.line && strcmp(a.file, b.file) == 0; }

void open_barrier() {
  vote_results[(int)Vote::count] = (int)block.barrier.count;
  vote_results[(int)Vote::all] = block.barrier.all;
  vote_results[(int)Vote::any] = block.barrier.any;
  block.barrier = Barrier();
  barrier_token.generation++;
  for (Running& thread : block.threads)
    if (thread.state == State::at_barrier) make_ready(thread);
  shuffle_at_random(block.preference);
}

unsigned live_lanes_of(unsigned w) {
  unsigned lanes = 0;
  for (unsigned lane = 0; lane < WARP && w * WARP + lane < block.threads.size(); lane++)
    if (block.threads[w * WARP + lane].state != State::done) lanes |= 1u << lane;
  return lanes;
}

// Hands out the results once all live lanes of the mask are there.
bool complete(Collective& meeting, unsigned w) {
  const unsigned live = live_lanes_of(w);
  if (!meeting.arrived || (meeting.arrived & live) != (meeting.mask & live)) return false;
  for (unsigned lane = 0; lane < WARP; lane++) {
    const unsigned source = meeting.source[lane] & (WARP - 1);
    const bool came = meeting.arrived >> lane & 1;
    meeting.all[lane] = came ? meeting.value[lane] : 0;
    meeting.received[lane] = meeting.arrived >> source & 1 ? meeting.value[source] : ~(Bits)0;
    if (came && block.threads[w * WARP + lane].state == State::at_collective)
      make_ready(block.threads[w * WARP + lane]);
  }
  meeting.came = meeting.arrived;
  meeting.arrived = 0;
  meeting.token.generation++;
  return true;
}

Collective& meeting_of(Warp& warp, unsigned mask) {
  for (Collective& meeting : warp.collectives)
    if (meeting.mask == mask) return meeting;
  warp.collectives.emplace_back();
  warp.collectives.back().mask = mask;
  return warp.collectives.back();
}

Collective& meet(Place place, unsigned mask, Bits value, unsigned source, bool orders_memory) {
  Running& self = me();
  const unsigned lane = self.rank % WARP, w = self.rank / WARP;
  if (!(mask >> lane & 1)) abandon(words(self) + " is not in the mask of its own collective at " + words(place));
  Collective& meeting = meeting_of(block.warps[w], mask);
  if (meeting.arrived) {
    const Running& other = block.threads[w * WARP + (unsigned)__builtin_ctz(meeting.arrived)];
    if (!same(other.place, place))
      abandon(words(self) + " is in a warp collective at " + words(place) + ", and " + words(other) +
              " in the one at " + words(other.place));
  }
  meeting.value[lane] = value;
  meeting.source[lane] = source;
  meeting.arrived |= 1u << lane;
  self.place = place;
  self.mask = mask;
  char* const token = meeting.token.side();
  if (orders_memory) release(token);
  if (!complete(meeting, w)) {
    self.state = State::at_collective;
    run_others();
  }
  if (orders_memory) acquire(token);
  return meeting;
}

}  // namespace

void deadlock() {
  std::string what = "deadlock:";
  for (const Running& thread : block.threads) {
    if (thread.state != State::at_barrier && thread.state != State::at_collective) continue;
    char text[80] = "__syncthreads";
    if (thread.state == State::at_collective)
      snprintf(text, sizeof text, "a warp collective of mask 0x%08x", thread.mask);
    what += " " + words(thread) + " waits in " + text + " at " + words(thread.place) + ";";
    if (what.size() > 500) break;
  }
  abandon(what);
}

void run_others() {
  Running& self = me();
  Running* const next = pick();
  if (!next) deadlock();
  if (next == &self) return;
  if (next->state == State::fresh) begin(*next);
  current = next;
  switch_fibers(*self.fiber, *next->fiber);
}

void leave_collectives(const Running& ended) {
  for (Collective& meeting : block.warps[ended.rank / WARP].collectives) complete(meeting, ended.rank / WARP);
}

int block_barrier(Place place, Vote vote, bool predicate) {
  Unwatched unwatched;
  Running& self = me();
  if (block.barrier.waiting && !same(block.barrier.place, place))
    abandon(words(self) + " is in __syncthreads at " + words(place) + " while others wait at " +
            words(block.barrier.place));
  if (block.live_threads != block.threads.size())
    abandon(words(self) + " is in __syncthreads at " + words(place) + " after other threads of the block have ended");
  block.barrier.place = self.place = place;
  block.barrier.count += predicate;
  block.barrier.all = block.barrier.all && predicate;
  block.barrier.any = block.barrier.any || predicate;
  char* const token = barrier_token.side();
  release(token);
  self.state = State::at_barrier;
  if (++block.barrier.waiting == block.live_threads) open_barrier();
  run_others();
  acquire(token);
  return vote_results[(int)vote];
}

Bits exchange(Place place, unsigned mask, Bits value, unsigned source) {
  Unwatched unwatched;
  return meet(place, mask, value, source, false).received[current->rank % WARP];
}

unsigned gather(Place place, unsigned mask, Bits value, Bits (&all)[32]) {
  Unwatched unwatched;
  const Collective& meeting = meet(place, mask, value, 0, false);
  memcpy(all, meeting.all, sizeof all);
  return meeting.came;
}

void warp_barrier(Place place, unsigned mask) {
  Unwatched unwatched;
  meet(place, mask, 0, 0, true);
}

// ThreadSanitizer does not know fences. All of them on one token is more order than CUDA gives, and enough that the
// block that comes last, by an atomic counter, may read what the others wrote.
void fence() {
  static char token;
  acquire(&token);
  release(&token);
}

unsigned live_lanes() { return live_lanes_of(current->rank / WARP); }

}  // namespace emulator

// block.h: the block that runs: its threads, who of them can go on, and what they wait for.
#pragma once
#include <stdint.h>

#include <deque>
#include <string>
#include <vector>

#include "engine.h"
#include "fibers.h"

namespace emulator {

constexpr unsigned WARP = 32;

enum class Schedule { in_order, reversed, random };  // `device.py` has the same
enum class State { fresh, ready, at_barrier, at_collective, done };

struct Running : Thread {
  State state = State::fresh;
  Fiber* fiber = nullptr;
  Place place = {"", 0};  // of the barrier or collective it waits in
  unsigned mask = 0;
};

// What orders the threads before a barrier and those after it, for ThreadSanitizer. Two take turns, for some threads
// may already meet the next barrier while others have not left this one.
struct Token {
  char sides[2];
  unsigned generation = 0;
  char* side() { return &sides[generation & 1]; }
};

struct Barrier {
  unsigned waiting = 0, count = 0;
  bool all = true, any = false;
  Place place = {nullptr, 0};
};

struct Collective {  // one for each mask that a warp has used
  unsigned mask = 0, arrived = 0, came = 0;
  Bits value[WARP], received[WARP], all[WARP];
  unsigned source[WARP];
  Token token;
};

struct Warp {
  std::vector<unsigned> ready;  // threads that can run, by rank
  std::deque<Collective> collectives;
};

struct Block {
  std::vector<Running> threads;
  std::vector<Warp> warps;
  std::vector<unsigned> preference;  // warps, the one to run first in front
  Barrier barrier;
  unsigned live_threads = 0;
};

extern Block block;
extern Schedule schedule;

inline Running& me() { return *static_cast<Running*>(current); }
std::string words(const Running& thread);
std::string words(Place place);

// schedule.cpp
void seed_random(uint64_t seed);
void shuffle_at_random(std::vector<unsigned>& items);  // if the schedule is random
void make_ready(Running& thread);
Running* pick();  // takes the thread to go on with out of those that can; null if none can

// waiting.cpp
void run_others();  // the current thread waits
void leave_collectives(const Running& ended);
[[noreturn]] void deadlock();

// launch.cpp
void begin(Running& thread);
[[noreturn]] void abandon(const std::string& what);  // leaves all threads where they are and ends the launch

}  // namespace emulator

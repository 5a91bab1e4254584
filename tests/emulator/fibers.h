// fibers.h: stacks that take turns on one processor, and what the sanitizers must be told of them.
//
// The engine itself is compiled without any sanitizer, for its own state would look like races. -DEMULATOR_ADDRESS and
// -DEMULATOR_THREAD say which sanitizer watches the kernels.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

extern "C" {
void __sanitizer_start_switch_fiber(void**, const void*, size_t);
void __sanitizer_finish_switch_fiber(void*, const void**, size_t*);
void __asan_poison_memory_region(const volatile void*, size_t);
void __asan_unpoison_memory_region(const volatile void*, size_t);
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned);
void __tsan_switch_to_fiber(void*, unsigned);
void __tsan_acquire(void*);
void __tsan_release(void*);
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
}

namespace emulator {

#ifdef EMULATOR_THREAD
struct Unwatched {  // memset and the like are watched by ThreadSanitizer whoever calls them; reads and writes both
  Unwatched() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~Unwatched() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};
// What comes before `release` of a token in one thread is ordered before what follows `acquire` in another.
inline void acquire(void* token) { __tsan_acquire(token); }
inline void release(void* token) { __tsan_release(token); }
constexpr size_t STACK_BYTES = 64 << 10;
#else
struct Unwatched {
  Unwatched() {}
};
inline void acquire(void*) {}
inline void release(void*) {}
constexpr size_t STACK_BYTES = 256 << 10;
#endif

struct Fiber {
  char* stack = nullptr;
  size_t size = 0;
  void* stack_pointer = nullptr;
  ucontext_t context;
  void *fake_stack = nullptr, *logical_thread = nullptr;  // AddressSanitizer's, ThreadSanitizer's
};

// Forty instructions against a system call in swapcontext: a barrier of 256 threads costs 5 us instead of 100.
#if defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)
#define EMULATOR_OWN_SWITCH 1
extern "C" void emulator_switch(void** save, void* to);
asm(R"(
.text
.hidden emulator_switch
.type emulator_switch,@function
emulator_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp,(%rdi)
  mov %rsi,%rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
)");
#endif

inline Fiber* make_fiber() {
  constexpr size_t GUARD = 4096;  // a kernel that runs off its stack must not run into the next one
  Fiber* const fiber = new Fiber;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* const memory = mmap(nullptr, STACK_BYTES + GUARD, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED) {
    perror("emulator: no memory for a thread's stack");
    abort();
  }
  mprotect(memory, GUARD, PROT_NONE);
  fiber->stack = (char*)memory + GUARD;
  fiber->size = STACK_BYTES;
#ifdef EMULATOR_THREAD
  fiber->logical_thread = __tsan_create_fiber(0);
#endif
  return fiber;
}

// The next switch to the fiber begins `body`, which never returns.
inline void prepare(Fiber& fiber, void (*body)()) {
#ifdef EMULATOR_ADDRESS
  __asan_unpoison_memory_region(fiber.stack, fiber.size);  // a launch that failed leaves its frames behind
#endif
#ifdef EMULATOR_OWN_SWITCH
  void** const top = (void**)(fiber.stack + fiber.size - 64);
  top[6] = (void*)body;  // above six registers
  fiber.stack_pointer = top;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = fiber.size;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, body, 0);
#endif
}

inline void switch_fibers(Fiber& from, Fiber& to, bool for_ever = false) {
  (void)for_ever;
#ifdef EMULATOR_ADDRESS
  __sanitizer_start_switch_fiber(for_ever ? nullptr : &from.fake_stack, to.stack, to.size);
#endif
#ifdef EMULATOR_THREAD
  __tsan_switch_to_fiber(to.logical_thread, 1);  // 1: the switch itself orders nothing
#endif
#ifdef EMULATOR_OWN_SWITCH
  emulator_switch(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#ifdef EMULATOR_ADDRESS
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

// To be called first in a fiber's body. `launcher` is given where its stack is not known yet.
inline void entered(Fiber* launcher) {
  (void)launcher;
#ifdef EMULATOR_ADDRESS
  __sanitizer_finish_switch_fiber(nullptr, launcher ? (const void**)&launcher->stack : nullptr,
                                  launcher ? &launcher->size : nullptr);
#endif
}

}  // namespace emulator

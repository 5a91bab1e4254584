// faults.h: an access to memory that is not there ends the launch with an error, not the process. AddressSanitizer,
// which says where in the source it was, does this better and is left to do it.
#pragma once
#include <signal.h>
#include <stdint.h>

namespace emulator {

[[noreturn]] void crash(uintptr_t address);

class FaultsCaught {  // while it lives
 public:
#if defined(EMULATOR_ADDRESS) || defined(EMULATOR_THREAD)
  FaultsCaught() {}
#else
  FaultsCaught() {
    static char memory[64 << 10];  // the fault may be that a kernel's own stack is full
    const stack_t stack = {memory, 0, sizeof memory};
    sigaltstack(&stack, &old_stack);
    struct sigaction action = {};
    action.sa_sigaction = [](int, siginfo_t* info, void*) { crash((uintptr_t)info->si_addr); };
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;  // not deferred: the handler never returns
    sigaction(SIGSEGV, &action, &old_segv);
    sigaction(SIGBUS, &action, &old_bus);
  }
  ~FaultsCaught() {
    sigaction(SIGSEGV, &old_segv, nullptr);
    sigaction(SIGBUS, &old_bus, nullptr);
    sigaltstack(&old_stack, nullptr);
  }

 private:
  struct sigaction old_segv, old_bus;
  stack_t old_stack;
#endif
};

}  // namespace emulator

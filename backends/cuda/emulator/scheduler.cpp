// The fibers of optc_emulation.h.
#include "optc_emulation.h"

#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace optc_emulation {

thread_local Thread* current = nullptr;
thread_local optc_dim3 block_index, block_size, grid_size;

namespace {

constexpr std::size_t kStack = 64 * 1024;

enum class State { kReady, kBlock, kWarp, kDone };

#if defined(__x86_64__)
// Saves the registers that a call keeps on the stack, and goes on where the other stack left off.
extern "C" void optc_switch(void** from, void* to);
asm(R"(
.text
.type optc_switch, @function
optc_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size optc_switch, . - optc_switch
)");
using Context = void*;
#else
using Context = ucontext_t;
#endif

struct Fiber {
  Thread thread;
  State state = State::kDone;
  Context context{};
  unsigned char* stack = nullptr;
  void* fake_stack = nullptr;
};

struct Machine {
  std::vector<Fiber> fibers;
  std::vector<unsigned char> warp_slots;
  std::vector<unsigned char> shared;
  Context scheduler{};
  void* scheduler_fake = nullptr;
  const void* scheduler_bottom = nullptr;
  std::size_t scheduler_size = 0;
  void (*body)(void*) = nullptr;
  void* argument = nullptr;
  Fiber* running = nullptr;
  bool failed = false;
  bool reversed = false;

  ~Machine() {
    for (Fiber& fiber : fibers) std::free(fiber.stack);
  }
};

thread_local Machine* machine = nullptr;

void enter_fiber(Fiber* fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&machine->scheduler_fake, fiber->stack, kStack);
#endif
#if defined(__x86_64__)
  optc_switch(&machine->scheduler, fiber->context);
#else
  swapcontext(&machine->scheduler, &fiber->context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(machine->scheduler_fake, nullptr, nullptr);
#endif
}

void leave_fiber(Fiber* fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fiber->state == State::kDone ? nullptr : &fiber->fake_stack,
                                 machine->scheduler_bottom, machine->scheduler_size);
#endif
#if defined(__x86_64__)
  optc_switch(&fiber->context, machine->scheduler);
#else
  swapcontext(&fiber->context, &machine->scheduler);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber->fake_stack, nullptr, nullptr);
#endif
}

void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &machine->scheduler_bottom, &machine->scheduler_size);
#endif
  machine->body(machine->argument);
  machine->running->state = State::kDone;
  leave_fiber(machine->running);
}

void prepare(Fiber* fiber) {
  if (!fiber->stack) fiber->stack = static_cast<unsigned char*>(std::aligned_alloc(64, kStack));
#if defined(__x86_64__)
  // A return address to the entry, where the stack is as after a call, under six saved registers.
  void** top = reinterpret_cast<void**>(fiber->stack + kStack) - 3;
  *--top = reinterpret_cast<void*>(&fiber_main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fiber->context = top;
#else
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack;
  fiber->context.uc_stack.ss_size = kStack;
  fiber->context.uc_link = nullptr;
  makecontext(&fiber->context, fiber_main, 0);
#endif
  fiber->state = State::kReady;
}

void wait_as(State state) {
  machine->running->state = state;
  leave_fiber(machine->running);
  current = &machine->running->thread;
}

// Lets the threads go on that all of their warp, or of the block, wait for. Returns whether there are any.
bool release(std::size_t count) {
  bool any = false;
  for (std::size_t start = 0; start < count; start += kWarp) {
    const std::size_t end = start + kWarp < count ? start + kWarp : count;
    bool all = true, some = false;
    for (std::size_t i = start; i < end; ++i) {
      all = all && machine->fibers[i].state == State::kWarp;
      some = some || machine->fibers[i].state == State::kWarp;
    }
    if (!all || !some) continue;
    for (std::size_t i = start; i < end; ++i) machine->fibers[i].state = State::kReady;
    any = true;
  }
  if (any) return true;
  std::size_t waiting = 0;
  for (std::size_t i = 0; i < count; ++i) waiting += machine->fibers[i].state == State::kBlock;
  if (waiting != count) return false;
  for (std::size_t i = 0; i < count; ++i) machine->fibers[i].state = State::kReady;
  return true;
}

void run_block(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) prepare(&machine->fibers[i]);
  std::size_t done = 0;
  while (done < count) {
    for (std::size_t turn = 0; turn < count; ++turn) {
      Fiber* fiber = &machine->fibers[machine->reversed ? count - 1 - turn : turn];
      if (fiber->state != State::kReady) continue;
      machine->running = fiber;
      current = &fiber->thread;
      enter_fiber(fiber);
      done += fiber->state == State::kDone;
    }
    if (done < count && !release(count)) {
      fail("a barrier is not reached by all threads");
      return;
    }
  }
}

}  // namespace

unsigned char* dynamic_shared() { return machine->shared.data(); }

void block_barrier() { wait_as(State::kBlock); }

void warp_barrier(unsigned mask) {
  if (mask != 0xffffffffu) fail("a warp collective without all lanes");
  wait_as(State::kWarp);
}

unsigned char* exchange() { return machine->warp_slots.data() + current->number / kWarp * kWarp * kSlot; }

void fail(const char* what) {
  if (!machine->failed) {
    std::fprintf(stderr, "CUDA emulation: %s (block %u,%u,%u thread %d)\n", what, block_index.x, block_index.y,
                 block_index.z, current ? current->number : -1);
  }
  machine->failed = true;
}

int run(const unsigned grid[3], const unsigned block[3], std::size_t shared, void (*body)(void*), void* argument) {
  Machine local;
  machine = &local;
  const std::size_t count = std::size_t(block[0]) * block[1] * block[2];
  local.fibers.resize(count);
  local.warp_slots.resize((count + kWarp - 1) / kWarp * kWarp * kSlot);
  local.shared.resize(shared);
  local.body = body;
  local.argument = argument;
  local.reversed = std::getenv("OPTC_EMULATION_REVERSED") != nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    local.fibers[i].thread = {{unsigned(i % block[0]), unsigned(i / block[0] % block[1]),
                               unsigned(i / block[0] / block[1])}, int(i)};
  }
  grid_size = {grid[0], grid[1], grid[2]};
  block_size = {block[0], block[1], block[2]};
  for (unsigned z = 0; z < grid[2] && !local.failed; ++z)
    for (unsigned y = 0; y < grid[1] && !local.failed; ++y)
      for (unsigned x = 0; x < grid[0] && !local.failed; ++x) {
        block_index = {x, y, z};
        run_block(count);
      }
  machine = nullptr;
  current = nullptr;
  return local.failed ? 1 : 0;
}

}  // namespace optc_emulation

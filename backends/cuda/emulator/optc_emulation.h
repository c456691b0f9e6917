// Runs CUDA kernels on a CPU: blocks one after another, the threads of a block as fibers that switch at barriers.
//
// The generated source is compiled as C++ with this header in place of CUDA's. A thread runs until it reaches a barrier
// or a warp collective; the scheduler then runs the next thread, in the order of their numbers. A barrier that not all
// threads reach is reported. Shared memory lies in static or heap objects, so that AddressSanitizer sees its ends.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#define OPTC_GLOBAL extern "C"
#define OPTC_EMULATED extern "C" __attribute__((visibility("default")))
#define OPTC_DEVICE inline
#define OPTC_SHARED static
#define OPTC_DYNAMIC_SHARED(name) unsigned char* const name = optc_emulation::dynamic_shared()
#define OPTC_UNROLL
#define OPTC_UNROLL_BY(count)
#define __launch_bounds__(...)

struct optc_dim3 {
  unsigned x, y, z;
};

namespace optc_emulation {

constexpr int kWarp = 32;

// What one thread of the running block sees.
struct Thread {
  optc_dim3 index;
  int number;
};

extern thread_local Thread* current;
extern thread_local optc_dim3 block_index, block_size, grid_size;

unsigned char* dynamic_shared();
void block_barrier();
void warp_barrier(unsigned mask);
constexpr int kSlot = 32;
// A place of kSlot bytes for each lane of this thread's warp.
unsigned char* exchange();
void fail(const char* what);

// Runs `body(argument)` once for each thread of each block. Returns 0, or 1 after a failure.
int run(const unsigned grid[3], const unsigned block[3], std::size_t shared, void (*body)(void*), void* argument);

inline int lane() { return current->number % kWarp; }

// Every lane of the mask gives `value`; returns that of `source`.
template <class T>
T shuffle(unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= kSlot, "too wide");
  std::memcpy(exchange() + kSlot * lane(), &value, sizeof(T));
  warp_barrier(mask);
  T result;
  std::memcpy(&result, exchange() + kSlot * source, sizeof(T));
  warp_barrier(mask);
  return result;
}

template <class... Arguments, std::size_t... numbers>
int call(void (*kernel)(Arguments...), const unsigned grid[3], const unsigned block[3], std::size_t shared,
         void** parameters, std::index_sequence<numbers...>) {
  struct Call {
    void (*kernel)(Arguments...);
    void** parameters;
  } bound{kernel, parameters};
  auto body = [](void* argument) {
    Call* each = static_cast<Call*>(argument);
    each->kernel(*static_cast<Arguments*>(each->parameters[numbers])...);
  };
  return run(grid, block, shared, body, &bound);
}

// Launches a kernel with its parameters as cuLaunchKernel takes them: addresses of their values.
template <class... Arguments>
int launch(void (*kernel)(Arguments...), const unsigned grid[3], const unsigned block[3], std::size_t shared,
           void** parameters) {
  return call(kernel, grid, block, shared, parameters, std::index_sequence_for<Arguments...>());
}

}  // namespace optc_emulation

#define threadIdx (optc_emulation::current->index)
#define blockIdx (optc_emulation::block_index)
#define blockDim (optc_emulation::block_size)
#define gridDim (optc_emulation::grid_size)

inline void __syncthreads() { optc_emulation::block_barrier(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { optc_emulation::warp_barrier(mask); }

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32) {
  const int lane = optc_emulation::lane(), target = lane ^ by;
  return optc_emulation::shuffle(mask, value, target / width <= lane / width ? target : lane);
}

inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
  return by % 32 ? low >> by % 32 | high << (32 - by % 32) : low;
}

#include "scratch.h"

#include <stdint.h>
#include <stdlib.h>

enum { ALIGNMENT = 64 };

/* A buffer that did not fit the reserve: this header, then the buffer. */
struct optc_overflow {
  _Alignas(ALIGNMENT) optc_overflow* below;
  size_t bytes;
};

static size_t round_up(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

bool optc_scratch_init(optc_scratch* scratch, size_t bytes) {
  *scratch = (optc_scratch){0};
  scratch->base = aligned_alloc(ALIGNMENT, round_up(bytes));
  if (!scratch->base) return false;
  scratch->capacity = round_up(bytes);
  return true;
}

static void pop_overflow(optc_scratch* scratch) {
  optc_overflow* top = scratch->overflow;
  scratch->overflow = top->below;
  scratch->overflow_bytes -= top->bytes;
  free(top);
}

void optc_scratch_destroy(optc_scratch* scratch) {
  while (scratch->overflow) pop_overflow(scratch);
  free(scratch->base);
  *scratch = (optc_scratch){0};
}

void optc_scratch_reset(optc_scratch* scratch) {
  while (scratch->overflow) pop_overflow(scratch);
  scratch->used = 0;
  if (scratch->needed <= scratch->capacity) return;
  char* larger = aligned_alloc(ALIGNMENT, scratch->needed);
  if (!larger) return;
  free(scratch->base);
  scratch->base = larger;
  scratch->capacity = scratch->needed;
}

void* optc_scratch_take(optc_scratch* scratch, size_t bytes) {
  if (bytes > SIZE_MAX - 2 * ALIGNMENT) return NULL;
  bytes = bytes ? round_up(bytes) : ALIGNMENT;
  void* result;
  if (!scratch->overflow && bytes <= scratch->capacity - scratch->used) {
    result = scratch->base + scratch->used;
    scratch->used += bytes;
  } else {
    optc_overflow* block = aligned_alloc(ALIGNMENT, sizeof(optc_overflow) + bytes);
    if (!block) return NULL;
    block->below = scratch->overflow;
    block->bytes = bytes;
    scratch->overflow = block;
    scratch->overflow_bytes += bytes;
    result = block + 1;
  }
  if (scratch->used + scratch->overflow_bytes > scratch->needed)
    scratch->needed = scratch->used + scratch->overflow_bytes;
  return result;
}

void optc_scratch_release(optc_scratch* scratch, void* pointer) {
  const uintptr_t address = (uintptr_t)pointer, base = (uintptr_t)scratch->base;
  if (address >= base && address < base + scratch->capacity)
    scratch->used = address - base;
  else if (scratch->overflow && pointer == scratch->overflow + 1)
    pop_overflow(scratch);
}

/* A stack allocator for the temporary buffers of one thread's kernels. */
#ifndef OPTC_SCRATCH_H
#define OPTC_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

typedef struct optc_overflow optc_overflow;

typedef struct {
  char* base;
  size_t capacity;
  size_t used;
  size_t needed; /* the most that was ever live at once */
  optc_overflow* overflow;
  size_t overflow_bytes;
} optc_scratch;

/* Reserves `bytes`; false when there is no memory. */
bool optc_scratch_init(optc_scratch* scratch, size_t bytes);
void optc_scratch_destroy(optc_scratch* scratch);

/* Drops what a failed kernel left behind, and grows the reserve to the most that was ever needed. */
void optc_scratch_reset(optc_scratch* scratch);

/* 64-byte aligned memory, NULL when there is none. Buffers are released in the reverse order. */
void* optc_scratch_take(optc_scratch* scratch, size_t bytes);
void optc_scratch_release(optc_scratch* scratch, void* pointer);

#endif

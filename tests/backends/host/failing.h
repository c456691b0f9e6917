/* What tests of faults share: checks, and calls of the runtime that fail when it is their turn. */
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                            \
  do {                                                                              \
    if (!(condition)) {                                                             \
      fprintf(stderr, "line %d does not hold: %s\n", __LINE__, #condition);         \
      abort();                                                                      \
    }                                                                               \
  } while (0)

/* The linker sends the runtime's calls here (--wrap); the n-th from now on fails, none where n is 0. */
static _Thread_local int failing;
static int fails(void) { return failing > 0 && --failing == 0; }

void* __real_calloc(size_t, size_t);
void* __real_aligned_alloc(size_t, size_t);
void* __wrap_calloc(size_t count, size_t bytes) { return fails() ? NULL : __real_calloc(count, bytes); }
void* __wrap_aligned_alloc(size_t unit, size_t bytes) { return fails() ? NULL : __real_aligned_alloc(unit, bytes); }

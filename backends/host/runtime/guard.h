/* Weights that change after they were written are noticed: all of them when a model is opened, and in turn as it runs. */
#ifndef OPTC_GUARD_H
#define OPTC_GUARD_H

#include <stddef.h>
#include <stdint.h>

/* Sums of blocks of the weights; the last block may be shorter. Extents are multiples of 64 bytes. */
typedef struct {
  size_t bytes;
  size_t block_bytes;
  size_t blocks_a_run;
  const uint64_t (*sums)[2]; /* of each block: its 64-bit words added, and their exclusive or */
} optc_guard;

/* The number of blocks. */
size_t optc_guard_blocks(const optc_guard* guard);

/* The first of `count` blocks from `first` on that is not as it was, or -1; the first block follows the last. */
ptrdiff_t optc_guard_check(const optc_guard* guard, const char* weights, size_t first, size_t count);

#endif

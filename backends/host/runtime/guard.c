#include "guard.h"

#include <stdbool.h>
#include <string.h>

typedef uint64_t lanes __attribute__((vector_size(64)));

enum { WORDS = sizeof(lanes) / sizeof(uint64_t) };

size_t optc_guard_blocks(const optc_guard* guard) {
  return (guard->bytes + guard->block_bytes - 1) / guard->block_bytes;
}

static bool is_intact(const char* block, size_t bytes, const uint64_t expected[2]) {
  lanes sum = {0}, odd = {0};
  for (size_t at = 0; at < bytes; at += sizeof(lanes)) {
    lanes words;
    memcpy(&words, block + at, sizeof words);
    sum += words;
    odd ^= words;
  }
  uint64_t folded[2] = {0, 0};
  for (int lane = 0; lane < WORDS; ++lane) {
    folded[0] += sum[lane];
    folded[1] ^= odd[lane];
  }
  return folded[0] == expected[0] && folded[1] == expected[1];
}

ptrdiff_t optc_guard_check(const optc_guard* guard, const char* weights, size_t first, size_t count) {
  const size_t blocks = optc_guard_blocks(guard);
  for (size_t index = first; count > 0; --count, ++index) {
    if (index >= blocks) index = 0;
    const size_t start = index * guard->block_bytes;
    const size_t bytes = guard->bytes - start < guard->block_bytes ? guard->bytes - start : guard->block_bytes;
    if (!is_intact(weights + start, bytes, guard->sums[index])) return (ptrdiff_t)index;
  }
  return -1;
}

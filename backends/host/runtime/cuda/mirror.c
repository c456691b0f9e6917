#include "mirror.h"

#include <stdlib.h>

enum { ALIGNMENT = 64 };

static size_t extent(const optc_tensor_info* info, const void* place) {
  return place ? ((size_t)info->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT : 0;
}

static bool grow(optc_mirror* mirror, size_t bytes, size_t pointers) {
  if (bytes > mirror->bytes) {
    free(mirror->memory);
    mirror->memory = aligned_alloc(ALIGNMENT, bytes);
    mirror->bytes = mirror->memory ? bytes : 0;
    if (!mirror->memory) return false;
  }
  if (pointers > mirror->pointers) {
    void** larger = realloc(mirror->inputs, pointers * sizeof *larger);
    if (!larger) return false;
    mirror->inputs = larger;
    mirror->pointers = pointers;
  }
  return true;
}

bool optc_mirror_reserve(optc_mirror* mirror, const optc_fallback_info* region, const void* const* inputs,
                         void* const* outputs) {
  size_t bytes = ALIGNMENT;
  for (int32_t i = 0; i < region->input_count; ++i) bytes += extent(&region->inputs[i], inputs[i]);
  for (int32_t i = 0; i < region->output_count; ++i) bytes += extent(&region->outputs[i], outputs[i]);
  if (!grow(mirror, bytes, (size_t)region->input_count + (size_t)region->output_count + 1)) return false;
  mirror->outputs = mirror->inputs + region->input_count;
  char* next = mirror->memory;
  for (int32_t i = 0; i < region->input_count; ++i) {
    mirror->inputs[i] = inputs[i] ? next : NULL;
    next += extent(&region->inputs[i], inputs[i]);
  }
  for (int32_t i = 0; i < region->output_count; ++i) {
    mirror->outputs[i] = outputs[i] ? next : NULL;
    next += extent(&region->outputs[i], outputs[i]);
  }
  return true;
}

void optc_mirror_free(optc_mirror* mirror) {
  free(mirror->inputs);
  free(mirror->memory);
}

/* Copies, in this machine's memory, of the operands of a region that the GPU does not compute. */
#ifndef OPTC_CUDA_MIRROR_H
#define OPTC_CUDA_MIRROR_H

#include <stdbool.h>
#include <stddef.h>

#include "optc_model.h"

typedef struct {
  void** inputs;
  void** outputs;
  char* memory;
  size_t bytes;
  size_t pointers;
} optc_mirror;

/* Gives every operand that has a place on the device one here, null to the others; false when there is no memory. */
bool optc_mirror_reserve(optc_mirror* mirror, const optc_fallback_info* region, const void* const* inputs,
                         void* const* outputs);
void optc_mirror_free(optc_mirror* mirror);

#endif

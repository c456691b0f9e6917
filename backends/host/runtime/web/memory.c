/* WebAssembly has one linear memory and no files. */
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "optc_model.h"

enum { ALIGNMENT = 64 };

char* optc_reserve(size_t bytes, size_t hot) {
  (void)hot;
  char* memory = aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
  if (memory) memset(memory, 0, bytes);
  return memory;
}

void optc_unreserve(char* memory, size_t bytes) {
  (void)bytes;
  free(memory);
}

int optc_map_weights(const char* folder, size_t expected, char** weights, char error[OPTC_ERROR_BYTES]) {
  (void)folder;
  *weights = NULL;
  if (expected == 0) return OPTC_OK;
  snprintf(error, OPTC_ERROR_BYTES, "there are no files here: use optc_model_init_weights");
  return OPTC_IO;
}

int optc_unpack_weights(const char* folder, size_t stored, size_t expected, int threads, char** weights,
                        char error[OPTC_ERROR_BYTES]) {
  (void)stored, (void)threads;
  return optc_map_weights(folder, expected, weights, error);
}

void optc_unmap_weights(char* weights, size_t bytes) { (void)weights, (void)bytes; }

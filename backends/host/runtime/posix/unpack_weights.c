#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "files.h"
#include "optc_model.h"
#include "unpack.h"

enum { MOST_THREADS = 64 };

typedef struct {
  optc_packed packed;
  uint8_t* weights;
  atomic_size_t next;
  atomic_size_t damaged; /* 1 + a block that could not be decoded */
  atomic_bool no_memory;
} work;

static int fail(char error[OPTC_ERROR_BYTES], int code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error, OPTC_ERROR_BYTES, format, arguments);
  va_end(arguments);
  return code;
}

static void* decode_blocks(void* argument) {
  work* all = argument;
  uint8_t* scratch = malloc(all->packed.block_bytes);
  if (!scratch) {
    atomic_store(&all->no_memory, true);
    return NULL;
  }
  size_t block;
  while ((block = atomic_fetch_add(&all->next, 1)) < all->packed.blocks && !atomic_load(&all->damaged))
    if (optc_packed_block(&all->packed, block, all->weights, scratch) != 0) atomic_store(&all->damaged, block + 1);
  free(scratch);
  return NULL;
}

/* Signals stay with the application's own threads. */
static void decode(work* all, int threads) {
  pthread_t others[MOST_THREADS];
  int started = 0;
  sigset_t every, before;
  sigfillset(&every);
  pthread_sigmask(SIG_SETMASK, &every, &before);
  while (started + 1 < threads && started < MOST_THREADS && (size_t)started + 1 < all->packed.blocks &&
         pthread_create(&others[started], NULL, decode_blocks, all) == 0)
    ++started;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  decode_blocks(all);
  for (int index = 0; index < started; ++index) pthread_join(others[index], NULL);
}

int optc_unpack_weights(const char* folder, size_t stored, size_t expected, int threads, char** weights,
                        char error[OPTC_ERROR_BYTES]) {
  *weights = NULL;
  char* file;
  int code = optc_map_weights(folder, stored, &file, error);
  if (code != OPTC_OK) return code;
  work all = {.weights = NULL};
  atomic_init(&all.next, 0);
  atomic_init(&all.damaged, 0);
  atomic_init(&all.no_memory, false);
  if (optc_packed_open(&all.packed, (const uint8_t*)file, stored, expected) != 0) {
    code = fail(error, OPTC_DAMAGED, "%s/weights.bin holds no weights of %zu bytes", folder, expected);
  } else if (!(all.weights = (uint8_t*)optc_reserve(expected, expected))) {
    code = fail(error, OPTC_NO_MEMORY, "no memory for %zu bytes of weights", expected);
  } else {
    decode(&all, threads);
    if (atomic_load(&all.no_memory))
      code = fail(error, OPTC_NO_MEMORY, "no memory for decoding weights");
    else if (atomic_load(&all.damaged))
      code = fail(error, OPTC_DAMAGED, "%s/weights.bin is damaged: its block %zu cannot be decoded", folder,
                  atomic_load(&all.damaged) - 1);
    if (code != OPTC_OK) optc_unreserve((char*)all.weights, expected);
  }
  optc_unmap_weights(file, stored);
  if (code == OPTC_OK) *weights = (char*)all.weights;
  return code;
}

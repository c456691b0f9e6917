/* Weights that do not stay in memory: a thread reads them from the weights file ahead of the steps that need them. */
#ifndef OPTC_STREAM_H
#define OPTC_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "memory.h"

/* A piece of weights.bin, and its place in the memory for weights. */
typedef struct {
  size_t source, place, bytes;
  int32_t after;   /* the step whose end makes room for it; of no meaning for locked pieces */
  int32_t earlier; /* that step is one of the run before */
} optc_load;

typedef struct {
  size_t bytes;  /* of the memory */
  size_t locked; /* the first loads: made once */
  size_t count;  /* of all loads; those of a run follow the locked ones, by the first step that needs them */
  const optc_load* loads;
} optc_stream_table;

typedef struct optc_stream optc_stream;

/* Opens weights.bin of an artifact folder, which must have `expected` bytes, reads what stays and starts reading for
 * the first run. Runs have `steps` steps. Returns an optc_model code and leaves a message in `error`. */
int optc_stream_open(optc_stream** out, const optc_stream_table* table, int32_t steps, const char* folder,
                     size_t expected, char error[OPTC_ERROR_BYTES]);
void optc_stream_close(optc_stream* stream);

/* The memory for weights. */
char* optc_stream_memory(optc_stream* stream);

/* Starts a run; what the run before left undone, as after a failure, is done again. */
int optc_stream_begin(optc_stream* stream, char error[OPTC_ERROR_BYTES]);

/* Waits until `loads` loads of this run are done, or one fails: then `reason` says why. */
int optc_stream_await(optc_stream* stream, size_t loads, char* reason, size_t reason_bytes);

/* A step of this run and those before it are done. */
void optc_stream_ended(optc_stream* stream, int32_t step);

#endif

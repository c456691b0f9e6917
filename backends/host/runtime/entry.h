/* What the generated model.c and the runtime know of each other. */
#ifndef OPTC_ENTRY_H
#define OPTC_ENTRY_H

#include <stdbool.h>
#include <string.h>

#include "guard.h"
#include "optc_model.h"
#include "stream.h"

typedef struct {
  const char* label;
  const char* symbol;
} optc_step;

typedef struct optc_device optc_device;

/* The state of one inference; the addresses are those of the device that computes. */
typedef struct {
  char* arena;
  char* weights; /* read-only */
  char** inputs;
  char** outputs;
  optc_model* model;
  optc_device* device;
  optc_stream* stream; /* NULL: the weights lie in memory */
  bool profiling;
  uint64_t lap; /* nanoseconds: the end of the step before */
} optc_frame;

typedef struct {
  const char* name;
  int32_t threads;    /* that the kernels were chosen for; 0: any */
  int32_t is_straight; /* every run makes the same calls: there are no branches, and no fallbacks */
  size_t arena_bytes;
  size_t weights_bytes;
  size_t weights_stored; /* bytes of weights.bin, where it holds them packed; 0: it holds them as they are */
  int32_t input_count, output_count, step_count, fallback_count;
  const optc_tensor_info* inputs;
  const optc_tensor_info* outputs;
  const optc_step* steps;
  const optc_fallback_info* fallbacks;
  const optc_guard* guard; /* NULL: weights are not checked */
  const optc_stream_table* stream; /* NULL: all weights lie in memory */
  int (*run)(optc_frame* frame);
} optc_program;

/* Defined by the generated file. */
extern const optc_program optc_entry;

int optc_kernel_failed(optc_frame* frame, int32_t step, int32_t code);
int optc_call_fallback(optc_frame* frame, int32_t step, int32_t region, const void* const* inputs,
                       void* const* outputs);
int optc_await(optc_frame* frame, int32_t step, size_t loads);
void optc_lap(optc_frame* frame, int32_t step);
void optc_add_time(optc_frame* frame, int32_t step, uint64_t nanoseconds);

#include "steps.h"

/* The generated steps. */
#define OPTC_IN(index, offset) (frame->inputs[index] + (offset))
#define OPTC_OUT(index, offset) (frame->outputs[index] + (offset))
#define OPTC_ARENA(offset) (frame->arena + (offset))
#define OPTC_WEIGHTS(offset) (frame->weights + (offset))
#define OPTC_KERNEL(step, call)                                                          \
  do {                                                                                   \
    const int32_t code = (call);                                                         \
    if (__builtin_expect(code != 0, 0)) return optc_kernel_failed(frame, step, code);    \
    OPTC_LAP(step);                                                                      \
  } while (0)
/* Before a step: that many loads of the run must be done. After one: its weights are not needed any more. */
#define OPTC_AWAIT(step, loads)                           \
  do {                                                    \
    const int code = optc_await(frame, step, loads);      \
    if (__builtin_expect(code != 0, 0)) return code;      \
  } while (0)
#define OPTC_ENDED(step) optc_stream_ended(frame->stream, step)
#define OPTC_FALLBACK_REGION(step, region, inputs, outputs)                            \
  do {                                                                                 \
    const int code = OPTC_CALL_FALLBACK(step, region, inputs, outputs);                \
    if (code != OPTC_OK) return code;                                                  \
    OPTC_LAP(step);                                                                    \
  } while (0)

#endif

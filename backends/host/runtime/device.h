/* The memory that a run works in: this machine's (cpu/), or that of a device (cuda/). */
#ifndef OPTC_DEVICE_H
#define OPTC_DEVICE_H

#include <stddef.h>

#include "entry.h"
#include "memory.h"

/* Makes the arena of `program` and what a run needs beside it. `weights` stay the caller's and live longer than the
 * device. Returns an optc_model code and leaves a message in `error`. */
int optc_device_open(optc_device** out, const optc_program* program, const char* weights,
                     char error[OPTC_ERROR_BYTES]);
void optc_device_close(optc_device* device);

/* Bytes that it holds beside the weights that it was given. */
size_t optc_device_bytes(const optc_device* device);

/* One run of the program over buffers of the caller, none of which is null where the tensor has bytes. On failure
 * `error` holds a message, unless a step left one already. */
int optc_device_run(optc_device* device, optc_frame* frame, const void* const* inputs, void* const* outputs,
                    char error[OPTC_ERROR_BYTES]);

/* What is to be said about the step that failed last; "" when there is nothing. */
const char* optc_device_message(const optc_device* device);

/* Memory for an input or output that a run uses in place where it can; NULL when there is none. */
void* optc_device_allocate(optc_device* device, size_t bytes);
void optc_device_release(optc_device* device, void* memory);

#endif

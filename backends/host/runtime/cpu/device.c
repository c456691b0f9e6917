/* The arena in this machine's memory: a run uses aligned buffers of the caller in place. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 }; /* what kernels need of every buffer */

struct optc_device {
  const optc_program* program;
  char* weights;
  char* workspace; /* the arena, then a staging slot for each input and output */
  size_t workspace_bytes;
  char** staging; /* the slots: inputs first */
  char** inputs;
  char** outputs;
};

static size_t round_up(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }
static bool is_aligned(const void* pointer) { return (uintptr_t)pointer % ALIGNMENT == 0; }

static const optc_tensor_info* tensor_info(const optc_program* program, int32_t slot) {
  return slot < program->input_count ? &program->inputs[slot] : &program->outputs[slot - program->input_count];
}

/* One reservation; pages that are never touched cost nothing. */
static bool reserve(optc_device* device) {
  const optc_program* program = device->program;
  const int32_t slots = program->input_count + program->output_count;
  size_t bytes = round_up(program->arena_bytes);
  device->staging = calloc((size_t)slots + 1, sizeof *device->staging);
  device->inputs = calloc((size_t)program->input_count + 1, sizeof(char*));
  device->outputs = calloc((size_t)program->output_count + 1, sizeof(char*));
  if (!device->staging || !device->inputs || !device->outputs) return false;
  for (int32_t slot = 0; slot < slots; ++slot) {
    const int64_t size = tensor_info(program, slot)->bytes;
    if (size > 0) bytes += round_up((size_t)size);
  }
  if (bytes == 0) bytes = ALIGNMENT;
  device->workspace = optc_reserve(bytes, program->arena_bytes);
  if (!device->workspace) return false;
  device->workspace_bytes = bytes;
  char* next = device->workspace + round_up(program->arena_bytes);
  for (int32_t slot = 0; slot < slots; ++slot) {
    const int64_t size = tensor_info(program, slot)->bytes;
    if (size <= 0) continue;
    device->staging[slot] = next;
    next += round_up((size_t)size);
  }
  return true;
}

int optc_device_open(optc_device** out, const optc_program* program, const char* weights,
                     char error[OPTC_ERROR_BYTES]) {
  optc_device* device = calloc(1, sizeof *device);
  if (device) {
    device->program = program;
    device->weights = (char*)weights;
    if (reserve(device)) {
      *out = device;
      return OPTC_OK;
    }
  }
  optc_device_close(device);
  snprintf(error, OPTC_ERROR_BYTES, "no memory for the workspace (arena of %zu bytes)", program->arena_bytes);
  return OPTC_NO_MEMORY;
}

void optc_device_close(optc_device* device) {
  if (!device) return;
  if (device->workspace) optc_unreserve(device->workspace, device->workspace_bytes);
  free(device->staging);
  free(device->inputs);
  free(device->outputs);
  free(device);
}

size_t optc_device_bytes(const optc_device* device) { return device->workspace_bytes; }

static void bind(optc_device* device, const void* const* inputs, void* const* outputs) {
  const optc_program* program = device->program;
  for (int32_t index = 0; index < program->input_count; ++index) {
    const int64_t bytes = program->inputs[index].bytes;
    /* Inputs are only read: no kernel has an input among the buffers that it writes. */
    device->inputs[index] = (char*)inputs[index];
    if (bytes > 0 && !is_aligned(inputs[index]))
      device->inputs[index] = memcpy(device->staging[index], inputs[index], (size_t)bytes);
  }
  for (int32_t index = 0; index < program->output_count; ++index) {
    const bool staged = program->outputs[index].bytes > 0 && !is_aligned(outputs[index]);
    device->outputs[index] = staged ? device->staging[program->input_count + index] : outputs[index];
  }
}

int optc_device_run(optc_device* device, optc_frame* frame, const void* const* inputs, void* const* outputs,
                    char error[OPTC_ERROR_BYTES]) {
  (void)error;
  bind(device, inputs, outputs);
  frame->arena = device->workspace;
  frame->weights = device->weights;
  frame->inputs = device->inputs;
  frame->outputs = device->outputs;
  const int code = device->program->run(frame);
  if (code != OPTC_OK) return code;
  for (int32_t index = 0; index < device->program->output_count; ++index)
    if (device->outputs[index] != outputs[index])
      memcpy(outputs[index], device->outputs[index], (size_t)device->program->outputs[index].bytes);
  return OPTC_OK;
}

const char* optc_device_message(const optc_device* device) {
  (void)device;
  return "";
}

void* optc_device_allocate(optc_device* device, size_t bytes) {
  (void)device;
  return bytes > SIZE_MAX - ALIGNMENT ? NULL : aligned_alloc(ALIGNMENT, bytes ? round_up(bytes) : ALIGNMENT);
}

void optc_device_release(optc_device* device, void* memory) {
  (void)device;
  free(memory);
}

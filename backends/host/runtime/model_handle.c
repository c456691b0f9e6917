#define _GNU_SOURCE
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "device.h"
#include "entry.h"
#include "memory.h"
#include "pool.h"

enum {
  ALIGNMENT = 64, /* what kernels need of every buffer */
  MAX_THREADS = 1024,
};

typedef struct {
  uint64_t calls;
  uint64_t nanoseconds;
} step_time;

struct optc_model {
  const optc_program* program;
  optc_pool* pool;
  optc_frame frame;
  char* weights;
  size_t mapped_bytes; /* of weights; 0 when they are the caller's */
  size_t next_block;   /* of the guard */
  optc_stream* stream; /* whose memory the weights are then */
  optc_device* device;
  step_time* times;
  optc_fallback fallback;
  void* fallback_user;
  atomic_flag running;
  char error[OPTC_ERROR_BYTES];
};

static _Thread_local char init_error[OPTC_ERROR_BYTES];

static int threads_for(const optc_options* options) {
  const int threads = options && options->threads > 0 ? options->threads : optc_entry.threads;
  return threads > 0 ? threads : optc_available_cpus();
}

static bool is_aligned(const void* pointer) { return (uintptr_t)pointer % ALIGNMENT == 0; }

static int fail(char error[OPTC_ERROR_BYTES], int code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error, OPTC_ERROR_BYTES, format, arguments);
  va_end(arguments);
  return code;
}

static int check_weights(optc_model* model, size_t count, char error[OPTC_ERROR_BYTES]) {
  const optc_guard* guard = model->program->guard;
  const ptrdiff_t damaged = optc_guard_check(guard, model->weights, model->next_block, count);
  if (damaged < 0) {
    model->next_block = (model->next_block + count) % optc_guard_blocks(guard);
    return OPTC_OK;
  }
  model->next_block = (size_t)damaged;
  return fail(error, OPTC_DAMAGED, "the weights have changed: bytes %zu and on differ from what was compiled",
              (size_t)damaged * guard->block_bytes);
}

/* Takes over `mapped_bytes` of weights, and the stream, also on failure. */
static int create(optc_model** out, char* weights, size_t mapped_bytes, optc_stream* stream,
                  const optc_options* given) {
  const optc_options defaults = OPTC_OPTIONS;
  const optc_options* options = given ? given : &defaults;
  const int threads = threads_for(options);
  optc_model* model = calloc(1, sizeof *model);
  if (!model) {
    if (mapped_bytes) optc_unmap_weights(weights, mapped_bytes);
    optc_stream_close(stream);
    return fail(init_error, OPTC_NO_MEMORY, "no memory for the model handle");
  }
  atomic_flag_clear(&model->running);
  model->program = &optc_entry;
  model->weights = weights;
  model->mapped_bytes = mapped_bytes;
  model->stream = stream;
  model->times = calloc((size_t)optc_entry.step_count + 1, sizeof *model->times);
  int code = model->times ? optc_device_open(&model->device, &optc_entry, weights, init_error)
                          : fail(init_error, OPTC_NO_MEMORY, "no memory for the times of the steps");
  if (code == OPTC_OK && optc_entry.guard)
    code = check_weights(model, optc_guard_blocks(optc_entry.guard), init_error);
  if (code != OPTC_OK) {
    optc_model_free(model);
    return code;
  }
  model->pool = optc_pool_create(threads, options->pin != 0, options->spin_us);
  if (!model->pool) {
    optc_model_free(model);
    return fail(init_error, OPTC_NO_MEMORY, "cannot start %d threads", threads);
  }
  *out = model;
  return OPTC_OK;
}

static int check_options(optc_model** out, const optc_options* options) {
  init_error[0] = 0;
  if (!out) return fail(init_error, OPTC_BAD_ARGUMENT, "the address for the handle is null");
  *out = NULL;
  if (options && options->size != sizeof *options)
    return fail(init_error, OPTC_BAD_ARGUMENT, "optc_options.size is %u, and this library expects %zu",
                (unsigned)options->size, sizeof *options);
  if (options && (options->threads < 0 || options->threads > MAX_THREADS))
    return fail(init_error, OPTC_BAD_ARGUMENT, "%d threads are out of the range 0 to %d", options->threads, MAX_THREADS);
  return OPTC_OK;
}

int optc_model_init(optc_model** out, const char* folder, const optc_options* options) {
  int code = check_options(out, options);
  if (code != OPTC_OK) return code;
  if (!folder) return fail(init_error, OPTC_BAD_ARGUMENT, "the artifact folder is null");
  if (optc_entry.stream) {
    optc_stream* stream;
    code = optc_stream_open(&stream, optc_entry.stream, optc_entry.step_count, folder, optc_entry.weights_bytes,
                            init_error);
    return code == OPTC_OK ? create(out, optc_stream_memory(stream), 0, stream, options) : code;
  }
  char* weights;
  code = optc_entry.weights_stored
             ? optc_unpack_weights(folder, optc_entry.weights_stored, optc_entry.weights_bytes, threads_for(options),
                                   &weights, init_error)
             : optc_map_weights(folder, optc_entry.weights_bytes, &weights, init_error);
  return code == OPTC_OK ? create(out, weights, optc_entry.weights_bytes, NULL, options) : code;
}

int optc_model_init_weights(optc_model** out, const void* weights, size_t bytes, const optc_options* options) {
  const int code = check_options(out, options);
  if (code != OPTC_OK) return code;
  if (optc_entry.stream)
    return fail(init_error, OPTC_BAD_ARGUMENT,
                "the model reads its weights from weights.bin while it runs: open it with optc_model_init");
  if (bytes != optc_entry.weights_bytes)
    return fail(init_error, OPTC_BAD_ARGUMENT, "%zu bytes of weights were given, and the code expects %zu", bytes,
                optc_entry.weights_bytes);
  if (bytes > 0 && (!weights || !is_aligned(weights)))
    return fail(init_error, OPTC_BAD_ARGUMENT, "the weights are null or not %d-byte aligned", ALIGNMENT);
  return create(out, (char*)weights, 0, NULL, options);
}

void optc_model_free(optc_model* model) {
  if (!model) return;
  optc_pool_destroy(model->pool);
  optc_device_close(model->device);
  if (model->mapped_bytes) optc_unmap_weights(model->weights, model->mapped_bytes);
  optc_stream_close(model->stream);
  free(model->times);
  free(model);
}

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int check_buffers(optc_model* model, const void* const* inputs, void* const* outputs) {
  const optc_program* program = model->program;
  if ((!inputs && program->input_count > 0) || (!outputs && program->output_count > 0))
    return fail(model->error, OPTC_BAD_ARGUMENT, "the list of inputs or outputs is null");
  for (int32_t index = 0; index < program->input_count; ++index)
    if (!inputs[index] && program->inputs[index].bytes > 0)
      return fail(model->error, OPTC_BAD_ARGUMENT, "the buffer of input '%s' is null", program->inputs[index].name);
  for (int32_t index = 0; index < program->output_count; ++index)
    if (!outputs[index] && program->outputs[index].bytes > 0)
      return fail(model->error, OPTC_BAD_ARGUMENT, "the buffer of output '%s' is null", program->outputs[index].name);
  return OPTC_OK;
}

int optc_model_run(optc_model* model, const void* const* inputs, void* const* outputs) {
  if (!model) return OPTC_BAD_ARGUMENT;
  if (atomic_flag_test_and_set_explicit(&model->running, memory_order_acquire)) return OPTC_BUSY;
  optc_worker* previous;
  int code = check_buffers(model, inputs, outputs);
  if (code == OPTC_OK && model->program->guard)
    code = check_weights(model, model->program->guard->blocks_a_run, model->error);
  if (code == OPTC_OK && model->stream) code = optc_stream_begin(model->stream, model->error);
  if (code == OPTC_OK) {
    if (optc_pool_enter(model->pool, &previous)) {
      optc_frame* frame = &model->frame;
      frame->model = model;
      frame->device = model->device;
      frame->stream = model->stream;
      if (frame->profiling) frame->lap = now_ns();
      code = optc_device_run(model->device, frame, inputs, outputs, model->error);
      if (code == OPTC_OK && model->stream) optc_stream_ended(model->stream, model->program->step_count - 1);
      optc_pool_leave(model->pool, previous);
    } else {
      code = fail(model->error, OPTC_NO_MEMORY, "cannot start the threads again after a fork");
    }
  }
  atomic_flag_clear_explicit(&model->running, memory_order_release);
  return code;
}

void optc_add_time(optc_frame* frame, int32_t step, uint64_t nanoseconds) {
  step_time* time = &frame->model->times[step];
  time->calls += 1;
  time->nanoseconds += nanoseconds;
}

void optc_lap(optc_frame* frame, int32_t step) {
  const uint64_t now = now_ns();
  optc_add_time(frame, step, now - frame->lap);
  frame->lap = now;
}

int optc_kernel_failed(optc_frame* frame, int32_t step, int32_t code) {
  const optc_step* failed = &frame->model->program->steps[step];
  const char* message = optc_pool_message(frame->model->pool);
  if (!message[0]) message = optc_device_message(frame->device);
  return fail(frame->model->error, OPTC_KERNEL, "kernel %s (%s) failed with code %d%s%s", failed->symbol,
              failed->label, code, message[0] ? ": " : "", message);
}

int optc_await(optc_frame* frame, int32_t step, size_t loads) {
  char reason[OPTC_ERROR_BYTES / 2];
  const int code = optc_stream_await(frame->stream, loads, reason, sizeof reason);
  if (code == OPTC_OK) return OPTC_OK;
  const optc_step* waiting = &frame->model->program->steps[step];
  return fail(frame->model->error, code, "the weights of %s cannot be loaded: %s", waiting->label, reason);
}

int optc_call_fallback(optc_frame* frame, int32_t step, int32_t region, const void* const* inputs,
                       void* const* outputs) {
  optc_model* model = frame->model;
  const optc_step* failed = &model->program->steps[step];
  if (!model->fallback)
    return fail(model->error, OPTC_FALLBACK, "%s (%s) is not native code, and no fallback callback is set",
                failed->symbol, failed->label);
  const int code = model->fallback(model->fallback_user, region, inputs, outputs);
  if (code == 0) return OPTC_OK;
  return fail(model->error, OPTC_FALLBACK, "%s (%s): the fallback callback returned %d", failed->symbol, failed->label,
              code);
}

uint32_t optc_model_abi(void) { return OPTC_MODEL_ABI; }
const char* optc_model_error(const optc_model* model) { return model ? model->error : init_error; }
int32_t optc_model_threads(const optc_model* model) { return optc_pool_threads(model->pool); }
size_t optc_model_workspace_bytes(const optc_model* model) {
  return optc_device_bytes(model->device) + optc_pool_scratch_bytes(model->pool);
}
void* optc_model_allocate(optc_model* model, size_t bytes) { return optc_device_allocate(model->device, bytes); }
void optc_model_release(optc_model* model, void* memory) { optc_device_release(model->device, memory); }
int32_t optc_model_input_count(const optc_model* model) { return model->program->input_count; }
int32_t optc_model_output_count(const optc_model* model) { return model->program->output_count; }
int32_t optc_model_step_count(const optc_model* model) { return model->program->step_count; }
int32_t optc_model_fallback_count(const optc_model* model) { return model->program->fallback_count; }

static bool in_range(int32_t index, int32_t count) { return index >= 0 && index < count; }

const optc_tensor_info* optc_model_input(const optc_model* model, int32_t index) {
  return in_range(index, model->program->input_count) ? &model->program->inputs[index] : NULL;
}

const optc_tensor_info* optc_model_output(const optc_model* model, int32_t index) {
  return in_range(index, model->program->output_count) ? &model->program->outputs[index] : NULL;
}

const optc_fallback_info* optc_model_fallback(const optc_model* model, int32_t region) {
  return in_range(region, model->program->fallback_count) ? &model->program->fallbacks[region] : NULL;
}

void optc_model_set_fallback(optc_model* model, optc_fallback callback, void* user) {
  model->fallback = callback;
  model->fallback_user = user;
}

void optc_model_profile(optc_model* model, int32_t enable) {
  memset(model->times, 0, (size_t)model->program->step_count * sizeof *model->times);
  model->frame.profiling = enable != 0;
}

int optc_model_step(const optc_model* model, int32_t index, optc_step_info* out) {
  if (!out || !in_range(index, model->program->step_count)) return OPTC_BAD_ARGUMENT;
  const optc_step* step = &model->program->steps[index];
  const step_time* time = &model->times[index];
  *out = (optc_step_info){step->label, step->symbol, time->calls, time->nanoseconds};
  return OPTC_OK;
}

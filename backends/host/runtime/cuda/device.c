/* A model on a GPU: weights and arena in its memory, the steps on one stream, and a graph of them where it can be. */
#include "device.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "kernels.h"
#include "mirror.h"

enum { ALIGNMENT = 64, NAME_BYTES = 128 };

typedef struct {
  char* slot;  /* on the device; where the buffer is copied to or from unless it is used in place */
  char* bound; /* what the steps of the present run use */
} binding;

struct optc_device {
  const optc_cuda_driver* driver;
  const optc_program* program;
  int number;
  int sm;
  bool is_integrated; /* it shares this machine's memory and can map it */
  void* context;
  void* stream;
  void** modules;   /* one for each kernel */
  void** functions; /* of all kernels */
  optc_cuda_address weights;
  optc_cuda_address workspace; /* the arena, then a slot for each input and output */
  size_t workspace_bytes;
  binding* bindings; /* inputs first */
  char** addresses;  /* the same for the frame: inputs first */
  char** captured;   /* the addresses that `graph` was made with */
  void* graph;       /* executable */
  bool has_run;
  bool is_uncapturable;
  void** events; /* the start of a profiled run, then the end of each step */
  int32_t* laps; /* the steps in the order in which the profiled run made them */
  int32_t lap_count;
  optc_mirror mirror;
  char message[OPTC_ERROR_BYTES];
};

/* The device whose steps this thread runs. */
static _Thread_local optc_device* current;

static size_t round_up(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static int fail(char error[OPTC_ERROR_BYTES], int code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error, OPTC_ERROR_BYTES, format, arguments);
  va_end(arguments);
  return code;
}

/* Keeps what the driver says of a failed call; returns an optc_model code. */
static int check(optc_device* device, int code, const char* what) {
  if (code == CUDA_SUCCESS) return OPTC_OK;
  const char *name = NULL, *text = NULL;
  device->driver->error_name(code, &name);
  device->driver->error_string(code, &text);
  fail(device->message, 0, "%s: %s (%s)", what, text ? text : "unknown error", name ? name : "?");
  return code == CUDA_OUT_OF_MEMORY ? OPTC_NO_MEMORY : OPTC_DEVICE;
}

#define TRY(call, what)                                              \
  do {                                                               \
    const int outcome = check(device, device->driver->call, what);   \
    if (outcome != OPTC_OK) return outcome;                          \
  } while (0)

static int32_t slot_count(const optc_program* program) { return program->input_count + program->output_count; }

static const optc_tensor_info* tensor_info(const optc_program* program, int32_t slot) {
  return slot < program->input_count ? &program->inputs[slot] : &program->outputs[slot - program->input_count];
}

/* GPUs of system-on-chips: cubins of and for them are not exchangeable within a major version. */
static bool is_embedded(int sm) {
  static const int embedded[] = {32, 53, 62, 72, 87, 101, 110};
  for (size_t i = 0; i < sizeof embedded / sizeof *embedded; ++i)
    if (embedded[i] == sm) return true;
  return false;
}

static bool fits(const optc_cuda_image* image, int sm) {
  if (image->is_ptx) return image->sm <= sm;
  if (image->sm == sm) return true;
  return image->sm / 10 == sm / 10 && image->sm < sm && !is_embedded(sm) && !is_embedded(image->sm);
}

/* The best code of a kernel for a GPU: a cubin before PTX, a near version before a far one; NULL when none fits. */
static const optc_cuda_image* image_for(const optc_cuda_kernel* kernel, int sm, bool only_ptx) {
  const optc_cuda_image* best = NULL;
  for (int32_t i = 0; i < kernel->image_count; ++i) {
    const optc_cuda_image* image = &kernel->images[i];
    if (!fits(image, sm) || (only_ptx && !image->is_ptx)) continue;
    if (!best || image->is_ptx < best->is_ptx || (image->is_ptx == best->is_ptx && image->sm > best->sm)) best = image;
  }
  return best;
}

static void list_images(char* text, size_t bytes) {
  size_t length = 0;
  text[0] = 0;
  const optc_cuda_kernel* kernel = optc_cuda_kernels;
  for (int32_t i = 0; i < kernel->image_count && length < bytes; ++i) {
    const optc_cuda_image* image = &kernel->images[i];
    length += (size_t)snprintf(text + length, bytes - length, "%s%s%d", i ? ", " : "",
                               image->is_ptx ? "PTX for compute_" : "sm_", (int)image->sm);
  }
}

/* The first GPU that the code fits. */
static int choose(optc_device* device) {
  int count = 0;
  TRY(device_count(&count), "the GPUs cannot be counted");
  if (count == 0) return fail(device->message, OPTC_DEVICE, "this machine has no GPU that CUDA can use");
  char name[NAME_BYTES] = "";
  int first = 0;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    int major = 0, minor = 0, integrated = 0, maps = 0;
    TRY(device_get(&device->number, ordinal), "a GPU cannot be opened");
    TRY(device_attribute(&major, CUDA_ATTRIBUTE_MAJOR, device->number), "a GPU does not tell its version");
    TRY(device_attribute(&minor, CUDA_ATTRIBUTE_MINOR, device->number), "a GPU does not tell its version");
    TRY(device_attribute(&integrated, CUDA_ATTRIBUTE_INTEGRATED, device->number), "a GPU does not tell its kind");
    TRY(device_attribute(&maps, CUDA_ATTRIBUTE_CAN_MAP_HOST_MEMORY, device->number), "a GPU does not tell its kind");
    device->sm = 10 * major + minor;
    device->is_integrated = integrated && maps;
    if (optc_cuda_kernel_count == 0 || image_for(&optc_cuda_kernels[0], device->sm, false)) return OPTC_OK;
    if (ordinal > 0) continue;
    first = device->sm;
    device->driver->device_name(name, sizeof name, device->number);
  }
  char images[256];
  list_images(images, sizeof images);
  return fail(device->message, OPTC_DEVICE, "the GPU '%s' is sm_%d, and the library has code for: %s", name, first,
              images);
}

/* Adds the usual reason to the message about code that a driver refuses: it is older than the compiler. */
static int refused(optc_device* device, int code) {
  int version = 0;
  device->driver->driver_version(&version);
  const size_t length = strlen(device->message);
  if (version / 1000 < optc_cuda_toolkit / 1000)
    snprintf(device->message + length, OPTC_ERROR_BYTES - length,
             "; the code is of CUDA %d.%d, and the driver knows CUDA %d.%d: compile with a CUDA %d, or renew the driver",
             (int)optc_cuda_toolkit / 1000, (int)optc_cuda_toolkit % 1000 / 10, version / 1000, version % 1000 / 10,
             version / 1000);
  return code;
}

/* A driver that is older than the compiler refuses its cubins, but may compile its PTX. */
static int load_module(optc_device* device, int32_t number, bool* only_ptx) {
  const optc_cuda_kernel* kernel = &optc_cuda_kernels[number];
  const char* name = kernel->functions->function;
  const optc_cuda_image* image = image_for(kernel, device->sm, *only_ptx);
  if (!image) return fail(device->message, OPTC_DEVICE, "%s has no code for sm_%d", name, device->sm);
  const int code = device->driver->module_load(&device->modules[number], image->data);
  if (code == CUDA_SUCCESS) return OPTC_OK;
  if (*only_ptx || image->is_ptx || code == CUDA_OUT_OF_MEMORY || !image_for(kernel, device->sm, true))
    return refused(device, check(device, code, name));
  *only_ptx = true;
  return load_module(device, number, only_ptx);
}

static int load_kernels(optc_device* device) {
  bool only_ptx = false;
  for (int32_t k = 0; k < optc_cuda_kernel_count; ++k) {
    const optc_cuda_kernel* kernel = &optc_cuda_kernels[k];
    const int loaded = load_module(device, k, &only_ptx);
    if (loaded != OPTC_OK) return loaded;
    for (int32_t f = 0; f < kernel->function_count; ++f) {
      const optc_cuda_function* each = &kernel->functions[f];
      void** function = &device->functions[kernel->first + f];
      TRY(module_function(function, device->modules[k], each->function), each->function);
      if (each->shared_bytes > 0)
        TRY(function_attribute(*function, CUDA_FUNCTION_MAX_DYNAMIC_SHARED, (int)each->shared_bytes), each->function);
    }
  }
  return OPTC_OK;
}

static int allocate(optc_device* device, const char* weights) {
  const optc_program* program = device->program;
  size_t bytes = round_up(program->arena_bytes);
  for (int32_t slot = 0; slot < slot_count(program); ++slot) {
    const int64_t size = tensor_info(program, slot)->bytes;
    if (size > 0) bytes += round_up((size_t)size);
  }
  if (bytes > 0) TRY(allocate(&device->workspace, bytes), "there is no memory for the arena");
  device->workspace_bytes = bytes;
  char* next = (char*)(uintptr_t)device->workspace + round_up(program->arena_bytes);
  for (int32_t slot = 0; slot < slot_count(program); ++slot) {
    const int64_t size = tensor_info(program, slot)->bytes;
    if (size <= 0) continue;
    device->bindings[slot].slot = next;
    next += round_up((size_t)size);
  }
  if (program->weights_bytes == 0) return OPTC_OK;
  TRY(allocate(&device->weights, program->weights_bytes), "there is no memory for the weights");
  TRY(upload(device->weights, weights, program->weights_bytes, device->stream), "the weights cannot be copied");
  TRY(stream_wait(device->stream), "the weights cannot be copied");
  return OPTC_OK;
}

static int start(optc_device* device, const char* weights) {
  const size_t slots = (size_t)slot_count(device->program) + 1;
  device->bindings = calloc(slots, sizeof *device->bindings);
  device->addresses = calloc(slots, sizeof *device->addresses);
  device->captured = calloc(slots, sizeof *device->captured);
  device->modules = calloc((size_t)optc_cuda_kernel_count + 1, sizeof(void*));
  device->functions = calloc((size_t)optc_cuda_function_count + 1, sizeof(void*));
  if (!device->bindings || !device->addresses || !device->captured || !device->modules || !device->functions)
    return fail(device->message, OPTC_NO_MEMORY, "no memory for the model handle");
  int code = choose(device);
  if (code != OPTC_OK) return code;
  TRY(context_retain(&device->context, device->number), "the GPU's context cannot be made");
  TRY(context_push(device->context), "the GPU's context cannot be used");
  code = check(device, device->driver->stream_create(&device->stream, CUDA_STREAM_NON_BLOCKING), "no stream");
  if (code == OPTC_OK) code = load_kernels(device);
  if (code == OPTC_OK) code = allocate(device, weights);
  void* popped;
  device->driver->context_pop(&popped);
  return code;
}

int optc_device_open(optc_device** out, const optc_program* program, const char* weights,
                     char error[OPTC_ERROR_BYTES]) {
  const optc_cuda_driver* driver = optc_cuda_open_driver(error, OPTC_ERROR_BYTES);
  if (!driver) return OPTC_DEVICE;
  optc_device* device = calloc(1, sizeof *device);
  if (!device) return fail(error, OPTC_NO_MEMORY, "no memory for the model handle");
  device->driver = driver;
  device->program = program;
  const int code = start(device, weights);
  if (code == OPTC_OK) {
    *out = device;
    return OPTC_OK;
  }
  fail(error, code, "%s", device->message);
  optc_device_close(device);
  return code;
}

static void release_all(optc_device* device) {
  const optc_cuda_driver* driver = device->driver;
  if (device->stream) driver->stream_wait(device->stream);
  if (device->graph) driver->graph_release(device->graph);
  for (int32_t i = 0; device->events && i <= device->program->step_count; ++i)
    if (device->events[i]) driver->event_destroy(device->events[i]);
  for (int32_t i = 0; device->modules && i < optc_cuda_kernel_count; ++i)
    if (device->modules[i]) driver->module_unload(device->modules[i]);
  if (device->workspace) driver->release(device->workspace);
  if (device->weights) driver->release(device->weights);
  if (device->stream) driver->stream_destroy(device->stream);
}

void optc_device_close(optc_device* device) {
  if (!device) return;
  if (device->context) {
    void* popped;
    if (device->driver->context_push(device->context) == CUDA_SUCCESS) {
      release_all(device);
      device->driver->context_pop(&popped);
    }
    device->driver->context_release(device->number);
  }
  optc_mirror_free(&device->mirror);
  free(device->bindings);
  free(device->addresses);
  free(device->captured);
  free(device->modules);
  free(device->functions);
  free(device->events);
  free(device->laps);
  free(device);
}

size_t optc_device_bytes(const optc_device* device) { return device->workspace_bytes + device->program->weights_bytes; }

const char* optc_device_message(const optc_device* device) { return device->message; }

/* The address under which the GPU can use the caller's buffer in place; NULL where it is to be copied. */
static char* in_place(const optc_device* device, const void* buffer) {
  const optc_cuda_driver* driver = device->driver;
  const optc_cuda_address given = (uintptr_t)buffer;
  unsigned type = 0, is_managed = 0;
  optc_cuda_address address = 0;
  if (driver->pointer_attribute(&type, CUDA_POINTER_MEMORY_TYPE, given) != CUDA_SUCCESS) return NULL;
  driver->pointer_attribute(&is_managed, CUDA_POINTER_IS_MANAGED, given);
  if (type == CUDA_MEMORY_HOST && !is_managed && !device->is_integrated) return NULL;
  if (driver->pointer_attribute(&address, CUDA_POINTER_DEVICE_ADDRESS, given) != CUDA_SUCCESS) return NULL;
  return address % ALIGNMENT ? NULL : (char*)(uintptr_t)address;
}

/* Whether the caller's buffer is memory of a device; CUDA does not know pageable memory of this machine at all. */
static bool is_remote(const optc_device* device, const void* buffer) {
  unsigned type;
  const int code = device->driver->pointer_attribute(&type, CUDA_POINTER_MEMORY_TYPE, (uintptr_t)buffer);
  return code == CUDA_SUCCESS && type != CUDA_MEMORY_HOST;
}

static int bring(optc_device* device, char* to, const void* from, size_t bytes) {
  if (is_remote(device, from))
    TRY(copy((uintptr_t)to, (uintptr_t)from, bytes, device->stream), "an input cannot be copied");
  else
    TRY(upload((uintptr_t)to, from, bytes, device->stream), "an input cannot be copied");
  return OPTC_OK;
}

static int fetch(optc_device* device, void* to, const char* from, size_t bytes) {
  if (is_remote(device, to))
    TRY(copy((uintptr_t)to, (uintptr_t)from, bytes, device->stream), "an output cannot be copied");
  else
    TRY(download(to, (uintptr_t)from, bytes, device->stream), "an output cannot be copied");
  return OPTC_OK;
}

static int bind(optc_device* device, const void* const* inputs, void* const* outputs) {
  const optc_program* program = device->program;
  for (int32_t slot = 0; slot < slot_count(program); ++slot) {
    const bool is_input = slot < program->input_count;
    const void* buffer = is_input ? inputs[slot] : outputs[slot - program->input_count];
    const int64_t bytes = tensor_info(program, slot)->bytes;
    if (bytes <= 0) continue;
    char* used = in_place(device, buffer);
    device->addresses[slot] = used ? used : device->bindings[slot].slot;
    const int code = is_input && !used ? bring(device, device->addresses[slot], buffer, (size_t)bytes) : OPTC_OK;
    if (code != OPTC_OK) return code;
  }
  return OPTC_OK;
}

static int fetch_outputs(optc_device* device, void* const* outputs) {
  const optc_program* program = device->program;
  for (int32_t index = 0; index < program->output_count; ++index) {
    const int32_t slot = program->input_count + index;
    const int64_t bytes = program->outputs[index].bytes;
    if (bytes <= 0 || device->addresses[slot] != device->bindings[slot].slot) continue;
    const int code = fetch(device, outputs[index], device->addresses[slot], (size_t)bytes);
    if (code != OPTC_OK) return code;
  }
  TRY(stream_wait(device->stream), "the GPU failed while it ran the model");
  return OPTC_OK;
}

static int instantiate(optc_device* device, void* graph, void** executable) {
  if (device->driver->graph_instantiate_flags) return device->driver->graph_instantiate_flags(executable, graph, 0);
  return device->driver->graph_instantiate_log(executable, graph, NULL, NULL, 0);
}

/* Records the steps instead of running them. False where this driver cannot: the steps then run one by one for good. */
static bool capture(optc_device* device, optc_frame* frame) {
  const optc_cuda_driver* driver = device->driver;
  const size_t size = (size_t)slot_count(device->program) * sizeof(char*);
  if (device->graph && memcmp(device->captured, device->addresses, size) == 0) return true;
  if (device->graph) driver->graph_release(device->graph);
  device->graph = NULL;
  if (device->is_uncapturable || (!driver->graph_instantiate_flags && !driver->graph_instantiate_log)) return false;
  void* graph = NULL;
  bool done = driver->capture_begin(device->stream, CUDA_CAPTURE_THREAD_LOCAL) == CUDA_SUCCESS;
  if (done) {
    done = device->program->run(frame) == OPTC_OK;
    done = driver->capture_end(device->stream, &graph) == CUDA_SUCCESS && done;
    done = done && instantiate(device, graph, &device->graph) == CUDA_SUCCESS;
    if (graph) driver->graph_destroy(graph);
  }
  if (!done) device->graph = NULL;
  device->is_uncapturable = !done;
  memcpy(device->captured, device->addresses, size);
  return done;
}

static int start_laps(optc_device* device) {
  const size_t count = (size_t)device->program->step_count + 1;
  if (!device->events) device->events = calloc(count, sizeof(void*));
  if (!device->laps) device->laps = calloc(count, sizeof *device->laps);
  if (!device->events || !device->laps) return fail(device->message, OPTC_NO_MEMORY, "no memory for the profile");
  for (size_t i = 0; i < count; ++i)
    if (!device->events[i]) TRY(event_create(&device->events[i], 0), "an event cannot be made");
  device->lap_count = 0;
  TRY(event_record(device->events[0], device->stream), "an event cannot be recorded");
  return OPTC_OK;
}

void optc_cuda_lap(optc_frame* frame, int32_t step) {
  optc_device* device = frame->device;
  device->laps[device->lap_count++] = step;
  device->driver->event_record(device->events[device->lap_count], device->stream);
}

static void add_laps(optc_device* device, optc_frame* frame) {
  for (int32_t i = 0; i < device->lap_count; ++i) {
    float milliseconds = 0;
    if (device->driver->event_elapsed(&milliseconds, device->events[i], device->events[i + 1]) == CUDA_SUCCESS)
      optc_add_time(frame, device->laps[i], (uint64_t)(1e6f * milliseconds));
  }
}

static int run_steps(optc_device* device, optc_frame* frame) {
  if (frame->profiling) {
    const int code = start_laps(device);
    return code == OPTC_OK ? device->program->run(frame) : code;
  }
  /* The first run loads code and names the kernel that fails; recording does neither. */
  if (!device->program->is_straight || !device->has_run || !capture(device, frame)) return device->program->run(frame);
  TRY(graph_launch(device->graph, device->stream), "the graph cannot be launched");
  return OPTC_OK;
}

static int run_all(optc_device* device, optc_frame* frame, const void* const* inputs, void* const* outputs,
                   char error[OPTC_ERROR_BYTES]) {
  int code = bind(device, inputs, outputs);
  if (code == OPTC_OK) code = run_steps(device, frame);
  if (code == OPTC_OK) code = fetch_outputs(device, outputs);
  if (code == OPTC_OK && frame->profiling) add_laps(device, frame);
  if (code == OPTC_OK) device->has_run = true;
  if (code != OPTC_OK) {
    device->driver->stream_wait(device->stream); /* nothing of the caller's is touched after the return */
    if (code != OPTC_KERNEL && code != OPTC_FALLBACK) fail(error, code, "%s", device->message); /* else a step did */
  }
  return code;
}

int optc_device_run(optc_device* device, optc_frame* frame, const void* const* inputs, void* const* outputs,
                    char error[OPTC_ERROR_BYTES]) {
  int code = check(device, device->driver->context_push(device->context), "the GPU's context cannot be used");
  if (code != OPTC_OK) return fail(error, code, "%s", device->message);
  frame->arena = (char*)(uintptr_t)device->workspace;
  frame->weights = (char*)(uintptr_t)device->weights;
  frame->inputs = device->addresses;
  frame->outputs = device->addresses + device->program->input_count;
  optc_device* previous = current;
  current = device;
  code = run_all(device, frame, inputs, outputs, error);
  current = previous;
  void* popped;
  device->driver->context_pop(&popped);
  return code;
}

int32_t optc_cuda_launch(int32_t kernel, int32_t function, void** arguments) {
  optc_device* device = current;
  const optc_cuda_function* each = &optc_cuda_kernels[kernel].functions[function];
  const int code = device->driver->launch(device->functions[optc_cuda_kernels[kernel].first + function], each->grid[0],
                                          each->grid[1], each->grid[2], each->block[0], each->block[1], each->block[2],
                                          each->shared_bytes, device->stream, arguments, NULL);
  check(device, code, each->function);
  return code;
}

int optc_cuda_copy(optc_frame* frame, int32_t step, void* destination, const void* source, size_t bytes) {
  optc_device* device = frame->device;
  if (destination == source || bytes == 0) return OPTC_OK;
  const int code = device->driver->copy((uintptr_t)destination, (uintptr_t)source, bytes, device->stream);
  check(device, code, "a copy");
  return code == CUDA_SUCCESS ? OPTC_OK : optc_kernel_failed(frame, step, code);
}

int optc_cuda_condition(optc_frame* frame, const void* address, bool* value) {
  optc_device* device = frame->device;
  uint8_t byte = 0;
  TRY(download(&byte, (uintptr_t)address, 1, device->stream), "a condition cannot be read");
  TRY(stream_wait(device->stream), "the GPU failed while it ran the model");
  *value = byte != 0;
  return OPTC_OK;
}

int optc_cuda_fallback(optc_frame* frame, int32_t step, int32_t region, const void* const* inputs,
                       void* const* outputs) {
  optc_device* device = frame->device;
  const optc_fallback_info* info = &device->program->fallbacks[region];
  optc_mirror* mirror = &device->mirror;
  if (!optc_mirror_reserve(mirror, info, inputs, outputs))
    return fail(device->message, OPTC_NO_MEMORY, "no memory for the operands of %s", info->model);
  for (int32_t i = 0; i < info->input_count; ++i)
    if (inputs[i])
      TRY(download(mirror->inputs[i], (uintptr_t)inputs[i], (size_t)info->inputs[i].bytes, device->stream), info->model);
  TRY(stream_wait(device->stream), info->model);
  const int code = optc_call_fallback(frame, step, region, (const void* const*)mirror->inputs, mirror->outputs);
  if (code != OPTC_OK) return code;
  for (int32_t i = 0; i < info->output_count; ++i)
    if (outputs[i])
      TRY(upload((uintptr_t)outputs[i], mirror->outputs[i], (size_t)info->outputs[i].bytes, device->stream), info->model);
  TRY(stream_wait(device->stream), info->model); /* the next region reuses the copies */
  return OPTC_OK;
}

void* optc_device_allocate(optc_device* device, size_t bytes) {
  void *memory = NULL, *popped;
  if (device->driver->context_push(device->context) != CUDA_SUCCESS) return NULL;
  if (device->driver->host_allocate(&memory, bytes ? bytes : 1, CUDA_HOST_PORTABLE | CUDA_HOST_DEVICE_MAP) != CUDA_SUCCESS)
    memory = NULL;
  device->driver->context_pop(&popped);
  return memory;
}

void optc_device_release(optc_device* device, void* memory) {
  void* popped;
  if (!memory || device->driver->context_push(device->context) != CUDA_SUCCESS) return;
  device->driver->host_release(memory);
  device->driver->context_pop(&popped);
}

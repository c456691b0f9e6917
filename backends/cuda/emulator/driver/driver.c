#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "emulated.h"

#define API __attribute__((visibility("default"))) int

typedef unsigned long long address;
typedef int (*kernel_code)(const unsigned grid[3], const unsigned block[3], size_t shared, void** parameters);
typedef enum { LAUNCH, COPY, UPLOAD, DOWNLOAD, RECORD } kind;
enum { MOST_PARAMETERS = 64, MOST_THREADS = 1024, PLAIN_SHARED = 49152, DEPTH = 16, INTEGRATED = 18, CAN_MAP = 19 };

typedef struct {
  emulated_module* module;
  const char* name;
  kernel_code code;
  int parameter_bytes;
  size_t allowed_shared;
} function;

typedef struct {
  double time;
  bool is_recorded;
} event;

typedef struct operation {
  struct operation* next;
  kind kind;
  function* function;
  unsigned grid[3], block[3];
  size_t shared;
  void* parameters[MOST_PARAMETERS];
  char *to, *from;
  size_t bytes;
  bool owns_from;
  event* event;
} operation;

typedef struct {
  operation *first, **last;
} list;

typedef struct {
  list queue;
  list captured;
  bool is_capturing;
} stream;

typedef struct {
  list operations;
} graph;

emulated_counts counts;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool is_initialized;
static int capability, retained, cuda_version = 13000;
static long live_streams, live_events, live_graphs, live_modules;
static void* kernels;
static char context; /* its address is the primary context */
static _Thread_local void* stack[DEPTH];
static _Thread_local int depth;

int complain(int code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("emulated CUDA: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  ++counts.complaints;
  return code;
}

__attribute__((destructor)) static void report(void) {
  const long live = memory_live() + live_streams + live_events + live_graphs + live_modules + retained;
  if (live) complain(0, "%ld objects are alive at the end of the process", live);
  const char* path = getenv("OPTC_EMULATED_REPORT");
  FILE* file = path ? fopen(path, "w") : NULL;
  if (file) {
    fprintf(file,
            "{\"launches\": %ld, \"graph_launches\": %ld, \"graphs\": %ld, \"modules\": %ld, \"copies\": %ld, "
            "\"uploaded\": %zu, \"downloaded\": %zu, \"most_allocated\": %zu, \"live\": %ld, \"complaints\": %ld}\n",
            counts.launches, counts.graph_launches, counts.graphs, counts.modules, counts.copies, counts.uploaded,
            counts.downloaded, counts.most_allocated, live, counts.complaints);
    fclose(file);
  }
  if (counts.complaints) _Exit(70);
}

#define ENTER(needs_context)                                                            \
  pthread_mutex_lock(&lock);                                                            \
  int code = !is_initialized ? complain(NOT_INITIALIZED, "%s before cuInit", __func__)  \
             : (needs_context) && depth == 0                                            \
                 ? complain(INVALID_CONTEXT, "%s without a context", __func__)          \
                 : SUCCESS
#define LEAVE                      \
  pthread_mutex_unlock(&lock);     \
  return code

API cuInit(unsigned flags) {
  (void)flags;
  pthread_mutex_lock(&lock);
  const char* sm = getenv("OPTC_EMULATED_SM");
  capability = sm ? atoi(sm) : 80;
  const char* cuda = getenv("OPTC_EMULATED_CUDA");
  if (cuda) cuda_version = atoi(cuda);
  is_initialized = true;
  pthread_mutex_unlock(&lock);
  return SUCCESS;
}

API cuDriverGetVersion(int* version) {
  *version = cuda_version;
  return SUCCESS;
}

API cuGetErrorName(int error, const char** text) {
  *text = error == INVALID_VALUE       ? "CUDA_ERROR_INVALID_VALUE"
          : error == OUT_OF_MEMORY     ? "CUDA_ERROR_OUT_OF_MEMORY"
          : error == INVALID_IMAGE     ? "CUDA_ERROR_INVALID_IMAGE"
          : error == UNSUPPORTED_PTX   ? "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"
          : error == NO_BINARY_FOR_GPU ? "CUDA_ERROR_NO_BINARY_FOR_GPU"
          : error == LAUNCH_FAILED     ? "CUDA_ERROR_LAUNCH_FAILED"
                                       : "CUDA_ERROR_UNKNOWN";
  return SUCCESS;
}

API cuGetErrorString(int error, const char** text) {
  *text = error == OUT_OF_MEMORY ? "out of memory" : error == LAUNCH_FAILED ? "launch failure" : "invalid use";
  return SUCCESS;
}

API cuDeviceGetCount(int* count) {
  ENTER(false);
  *count = capability > 0;
  LEAVE;
}

API cuDeviceGet(int* device, int ordinal) {
  ENTER(false);
  *device = 0;
  if (ordinal != 0) code = INVALID_DEVICE;
  LEAVE;
}

API cuDeviceGetName(char* name, int length, int device) {
  (void)device;
  snprintf(name, (size_t)length, "Emulated GPU");
  return SUCCESS;
}

static bool is_embedded(void) { return capability == 53 || capability == 62 || capability == 72 || capability == 87; }

API cuDeviceGetAttribute(int* value, int attribute, int device) {
  ENTER(false);
  (void)device;
  if (attribute == 75)
    *value = capability / 10;
  else if (attribute == 76)
    *value = capability % 10;
  else if (attribute == INTEGRATED)
    *value = is_embedded();
  else if (attribute == CAN_MAP)
    *value = 1;
  else
    code = complain(INVALID_VALUE, "the attribute %d is not emulated", attribute);
  LEAVE;
}

API cuDevicePrimaryCtxRetain(void** out, int device) {
  ENTER(false);
  (void)device;
  *out = &context;
  ++retained;
  LEAVE;
}

API cuDevicePrimaryCtxRelease_v2(int device) {
  ENTER(false);
  (void)device;
  if (retained == 0)
    code = complain(INVALID_CONTEXT, "the context is released more often than it was retained");
  else
    --retained;
  LEAVE;
}

API cuCtxPushCurrent_v2(void* given) {
  ENTER(false);
  if (given != &context || retained == 0 || depth == DEPTH)
    code = complain(INVALID_CONTEXT, "a context is pushed that is none");
  else
    stack[depth++] = given;
  LEAVE;
}

API cuCtxPopCurrent_v2(void** out) {
  ENTER(true);
  if (code == SUCCESS) *out = stack[--depth];
  LEAVE;
}

API cuModuleLoadData(void** out, const void* image) {
  ENTER(true);
  emulated_module* module = code == SUCCESS ? image_load(image, capability, cuda_version, &code) : NULL;
  *out = module;
  live_modules += module != NULL;
  counts.modules += module != NULL;
  LEAVE;
}

/* Functions live as long as the process: they are small, and a launch of one that is gone is found by its module. */
static function* functions[1 << 14];
static int function_count;

API cuModuleUnload(void* module) {
  ENTER(true);
  if (code == SUCCESS) {
    for (int i = 0; i < function_count; ++i)
      if (functions[i]->module == module) functions[i]->module = NULL;
    image_free(module);
    --live_modules;
  }
  LEAVE;
}

static kernel_code find_code(const char* name) {
  const char* path = getenv("OPTC_EMULATED_KERNELS");
  char symbol[512];
  if (!kernels && path) kernels = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!kernels) complain(0, "the emulated kernels cannot be loaded: %s", path ? dlerror() : "none are named");
  snprintf(symbol, sizeof symbol, "optc_emulate_%s", name);
  kernel_code found = NULL;
  if (kernels) *(void**)&found = dlsym(kernels, symbol);
  return found;
}

API cuModuleGetFunction(void** out, void* module, const char* name) {
  ENTER(true);
  const int bytes = image_parameters(module, name);
  kernel_code found = find_code(name);
  function* made = calloc(1, sizeof *made);
  if (bytes < 0 || !found || !made || function_count == (int)(sizeof functions / sizeof *functions)) {
    code = complain(NOT_FOUND, "there is no function '%s' in the %s", name, bytes < 0 ? "image" : "emulated kernels");
    free(made);
  } else {
    *made = (function){module, strdup(name), found, bytes, PLAIN_SHARED};
    functions[function_count++] = made;
  }
  *out = code == SUCCESS ? made : NULL;
  LEAVE;
}

static size_t most_shared(void) {
  return capability == 90                       ? 232448
         : capability == 80 || capability == 87 ? 166912
         : capability / 10 == 8                 ? 101376
         : capability / 10 == 7                 ? 98304
                                                : PLAIN_SHARED;
}

API cuFuncSetAttribute(void* given, int attribute, int value) {
  ENTER(true);
  function* each = given;
  if (attribute != 8 || value < 0 || (size_t)value > most_shared())
    code = complain(INVALID_VALUE, "%s asks for %d bytes of shared memory, and a block has %zu", each->name, value,
                    most_shared());
  else if ((size_t)value > each->allowed_shared)
    each->allowed_shared = (size_t)value;
  LEAVE;
}

API cuMemAlloc_v2(address* out, size_t bytes) {
  ENTER(true);
  if (bytes == 0)
    code = complain(INVALID_VALUE, "an allocation of no bytes");
  else
    *out = (uintptr_t)memory_allocate(bytes, ON_DEVICE);
  if (code == SUCCESS && !*out) code = OUT_OF_MEMORY;
  LEAVE;
}

API cuMemFree_v2(address given) {
  ENTER(true);
  if (!memory_free((void*)(uintptr_t)given, ON_DEVICE)) code = complain(INVALID_VALUE, "memory is freed that is none");
  LEAVE;
}

API cuMemHostAlloc(void** out, size_t bytes, unsigned flags) {
  ENTER(true);
  (void)flags;
  *out = memory_allocate(bytes, ON_HOST);
  LEAVE;
}

API cuMemFreeHost(void* given) {
  ENTER(true);
  if (!memory_free(given, ON_HOST)) code = complain(INVALID_VALUE, "host memory is freed that is none");
  LEAVE;
}

API cuPointerGetAttribute(void* value, int attribute, address given) {
  ENTER(true);
  const place where = memory_find((void*)(uintptr_t)given, 1);
  if (where == NOWHERE)
    code = INVALID_VALUE; /* as for any pointer that CUDA does not know: no misuse */
  else if (attribute == 2)
    *(unsigned*)value = where == ON_HOST ? 1 : 2;
  else if (attribute == 3)
    *(address*)value = given;
  else if (attribute == 8)
    *(unsigned*)value = 0;
  else
    code = complain(INVALID_VALUE, "the pointer attribute %d is not emulated", attribute);
  LEAVE;
}

static void append(list* to, const operation* given) {
  operation* made = malloc(sizeof *made);
  *made = *given;
  made->next = NULL;
  if (!to->first) to->last = &to->first;
  *to->last = made;
  to->last = &made->next;
}

static void clear(list* of) {
  while (of->first) {
    operation* each = of->first;
    of->first = each->next;
    if (each->owns_from) free(each->from);
    free(each);
  }
}

/* Queues or captures; what must not be captured is refused. */
static int submit(stream* on, const operation* given) {
  if (!on->is_capturing) {
    append(&on->queue, given);
    return SUCCESS;
  }
  if (given->kind != LAUNCH && given->kind != COPY)
    return complain(CAPTURE_UNSUPPORTED, "a copy from or to the host is captured");
  append(&on->captured, given);
  return SUCCESS;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

static int run(const operation* each) {
  if (each->kind == RECORD) {
    *each->event = (event){now(), true};
    return SUCCESS;
  }
  memory_blame(each->kind == LAUNCH ? each->function->name : "a copy");
  if (each->kind != LAUNCH) {
    memcpy(each->to, each->from, each->bytes);
    return SUCCESS;
  }
  if (!each->function->module) return complain(INVALID_HANDLE, "%s is launched after it was unloaded", each->function->name);
  void* parameters[MOST_PARAMETERS];
  for (int i = 0; i < MOST_PARAMETERS; ++i) parameters[i] = (void*)&each->parameters[i];
  if (each->function->code(each->grid, each->block, each->shared, parameters) != 0)
    return complain(LAUNCH_FAILED, "%s failed", each->function->name);
  ++counts.launches;
  return SUCCESS;
}

API cuStreamSynchronize(void* given) {
  ENTER(true);
  stream* on = given;
  if (code == SUCCESS && on->is_capturing)
    code = complain(CAPTURE_UNSUPPORTED, "a stream is waited for while it is captured");
  else if (code == SUCCESS) {
    memory_open();
    for (operation* each = on->queue.first; each && code == SUCCESS; each = each->next) code = run(each);
    memory_close();
    memory_blame("the host");
    clear(&on->queue);
  }
  LEAVE;
}

static int check_range(const char* what, const void* at, size_t bytes, bool is_device) {
  const place where = memory_find(at, bytes);
  if (is_device && where == NOWHERE) return complain(INVALID_VALUE, "%s of %zu bytes lies in no allocation", what, bytes);
  if (!is_device && where == ON_DEVICE) return complain(INVALID_VALUE, "%s is an address of the device", what);
  return SUCCESS;
}

API cuMemcpyHtoDAsync_v2(address to, const void* from, size_t bytes, void* on) {
  ENTER(true);
  if (code == SUCCESS) code = check_range("the destination of an upload", (void*)(uintptr_t)to, bytes, true);
  if (code == SUCCESS) code = check_range("the source of an upload", from, bytes, false);
  if (code == SUCCESS) {
    /* Pageable memory may change as soon as the call returns; mapped memory is read when its turn comes. */
    const bool owns = memory_find(from, bytes) != ON_HOST;
    char* source = owns ? memcpy(malloc(bytes), from, bytes) : (char*)from;
    code = submit(on, &(operation){.kind = UPLOAD, .to = (char*)(uintptr_t)to, .from = source, .bytes = bytes, .owns_from = owns});
    counts.uploaded += bytes;
  }
  LEAVE;
}

API cuMemcpyDtoHAsync_v2(void* to, address from, size_t bytes, void* on) {
  ENTER(true);
  if (code == SUCCESS) code = check_range("the source of a download", (void*)(uintptr_t)from, bytes, true);
  if (code == SUCCESS) code = check_range("the destination of a download", to, bytes, false);
  if (code == SUCCESS)
    code = submit(on, &(operation){.kind = DOWNLOAD, .to = to, .from = (char*)(uintptr_t)from, .bytes = bytes});
  counts.downloaded += bytes;
  LEAVE;
}

API cuMemcpyAsync(address to, address from, size_t bytes, void* on) {
  ENTER(true);
  char *destination = (char*)(uintptr_t)to, *source = (char*)(uintptr_t)from;
  if (code == SUCCESS) code = check_range("the destination of a copy", destination, bytes, true);
  if (code == SUCCESS) code = check_range("the source of a copy", source, bytes, true);
  if (code == SUCCESS && destination < source + bytes && source < destination + bytes)
    code = complain(INVALID_VALUE, "a copy of %zu bytes overlaps itself", bytes);
  if (code == SUCCESS) code = submit(on, &(operation){.kind = COPY, .to = destination, .from = source, .bytes = bytes});
  ++counts.copies;
  LEAVE;
}

API cuStreamCreate(void** out, unsigned flags) {
  ENTER(true);
  (void)flags;
  *out = code == SUCCESS ? calloc(1, sizeof(stream)) : NULL;
  live_streams += *out != NULL;
  LEAVE;
}

API cuStreamDestroy_v2(void* given) {
  ENTER(true);
  stream* on = given;
  clear(&on->queue);
  clear(&on->captured);
  free(on);
  --live_streams;
  LEAVE;
}

static int check_launch(const function* each, const unsigned grid[3], const unsigned block[3], size_t shared,
                        void** parameters) {
  static const unsigned most_grid[3] = {2147483647u, 65535u, 65535u}, most_block[3] = {1024u, 1024u, 64u};
  size_t threads = 1;
  for (int i = 0; i < 3; ++i) {
    if (grid[i] == 0 || grid[i] > most_grid[i] || block[i] == 0 || block[i] > most_block[i])
      return complain(INVALID_VALUE, "%s has a grid of %u and blocks of %u along axis %d", each->name, grid[i], block[i], i);
    threads *= block[i];
  }
  if (threads > MOST_THREADS) return complain(INVALID_VALUE, "%s has blocks of %zu threads", each->name, threads);
  if (shared > each->allowed_shared)
    return complain(INVALID_VALUE, "%s is launched with %zu bytes of shared memory and may have %zu", each->name, shared,
                    each->allowed_shared);
  const int registers = image_registers(each->module, each->name);
  if ((size_t)registers * threads > 65536)
    return complain(INVALID_VALUE, "%s has %zu threads of %d registers", each->name, threads, registers);
  for (int i = 0; i < each->parameter_bytes / (int)sizeof(void*); ++i)
    if (memory_find(*(void**)parameters[i], 1) == NOWHERE)
      return complain(INVALID_VALUE, "parameter %d of %s is no memory of the device", i, each->name);
  return SUCCESS;
}

API cuLaunchKernel(void* given, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared, void* on, void** parameters, void** extra) {
  ENTER(true);
  (void)extra;
  function* each = given;
  operation made = {.kind = LAUNCH, .function = each, .grid = {grid_x, grid_y, grid_z},
                    .block = {block_x, block_y, block_z}, .shared = shared};
  if (code == SUCCESS && !each->module) code = complain(INVALID_HANDLE, "%s is launched after it was unloaded", each->name);
  if (code == SUCCESS) code = check_launch(each, made.grid, made.block, shared, parameters);
  if (code == SUCCESS) {
    for (int i = 0; i < each->parameter_bytes / (int)sizeof(void*); ++i) made.parameters[i] = *(void**)parameters[i];
    code = submit(on, &made);
  }
  LEAVE;
}

API cuEventCreate(void** out, unsigned flags) {
  ENTER(true);
  (void)flags;
  *out = calloc(1, sizeof(event));
  ++live_events;
  LEAVE;
}

API cuEventDestroy_v2(void* given) {
  ENTER(true);
  free(given);
  --live_events;
  LEAVE;
}

API cuEventRecord(void* given, void* on) {
  ENTER(true);
  ((event*)given)->is_recorded = false;
  if (code == SUCCESS) code = submit(on, &(operation){.kind = RECORD, .event = given});
  LEAVE;
}

API cuEventElapsedTime(float* milliseconds, void* start, void* end) {
  ENTER(true);
  const event *first = start, *last = end;
  if (!first->is_recorded || !last->is_recorded) code = complain(NOT_READY, "an event is read before it was reached");
  *milliseconds = (float)(last->time - first->time);
  LEAVE;
}

API cuStreamBeginCapture_v2(void* given, int mode) {
  ENTER(true);
  (void)mode;
  stream* on = given;
  if (on->is_capturing) code = complain(CAPTURE_UNSUPPORTED, "a stream is captured twice");
  on->is_capturing = code == SUCCESS;
  LEAVE;
}

API cuStreamEndCapture(void* given, void** out) {
  ENTER(true);
  stream* on = given;
  graph* made = calloc(1, sizeof *made);
  if (!on->is_capturing) code = complain(CAPTURE_UNSUPPORTED, "a capture ends that never began");
  on->is_capturing = false;
  made->operations = on->captured;
  on->captured = (list){0};
  ++live_graphs;
  *out = made;
  LEAVE;
}

API cuGraphInstantiateWithFlags(void** out, void* given, unsigned long long flags) {
  ENTER(true);
  (void)flags;
  graph* made = calloc(1, sizeof *made);
  for (operation* each = ((graph*)given)->operations.first; each; each = each->next) append(&made->operations, each);
  ++live_graphs;
  ++counts.graphs;
  *out = made;
  LEAVE;
}

static int discard(graph* given) {
  clear(&given->operations);
  free(given);
  --live_graphs;
  return SUCCESS;
}

API cuGraphDestroy(void* given) {
  ENTER(true);
  discard(given);
  LEAVE;
}

API cuGraphExecDestroy(void* given) {
  ENTER(true);
  discard(given);
  LEAVE;
}

API cuGraphLaunch(void* given, void* on) {
  ENTER(true);
  for (operation* each = ((graph*)given)->operations.first; each && code == SUCCESS; each = each->next)
    code = submit(on, each);
  ++counts.graph_launches;
  LEAVE;
}

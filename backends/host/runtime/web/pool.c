/* The services of pool.h on one thread. */
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>

#include "scratch.h"

enum { INITIAL_SCRATCH = 256 << 10 };

typedef int (*parallel_body)(int task, void* environment, void* data);

/* The environment that TVM's parallel loops expect. */
typedef struct {
  void* sync;
  int32_t tasks;
} parallel_environment;

struct optc_pool {
  optc_scratch scratch;
  char message[256];
};

static optc_pool* current;

int optc_available_cpus(void) { return 1; }

optc_pool* optc_pool_create(int threads, bool pin, int spin_us) {
  (void)threads, (void)pin, (void)spin_us;
  optc_pool* pool = calloc(1, sizeof *pool);
  if (pool && optc_scratch_init(&pool->scratch, INITIAL_SCRATCH)) return pool;
  free(pool);
  return NULL;
}

void optc_pool_destroy(optc_pool* pool) {
  if (!pool) return;
  optc_scratch_destroy(&pool->scratch);
  free(pool);
}

int optc_pool_threads(const optc_pool* pool) {
  (void)pool;
  return 1;
}

size_t optc_pool_scratch_bytes(const optc_pool* pool) { return pool->scratch.capacity; }

bool optc_pool_enter(optc_pool* pool, optc_worker** previous) {
  *previous = NULL;
  current = pool;
  optc_scratch_reset(&pool->scratch);
  pool->message[0] = 0;
  return true;
}

void optc_pool_leave(optc_pool* pool, optc_worker* previous) { (void)pool, (void)previous; }

const char* optc_pool_message(const optc_pool* pool) { return pool->message; }

static int launch(parallel_body body, void* data, int tasks) {
  parallel_environment environment = {NULL, tasks > 0 ? tasks : 1};
  for (int task = 0; task < environment.tasks; ++task) {
    const int status = body(task, &environment, data);
    if (status != 0) return status;
  }
  return 0;
}

static void* allocate_workspace(int device_type, int device, uint64_t bytes, int dtype_code, int dtype_bits) {
  (void)device_type, (void)device, (void)dtype_code, (void)dtype_bits;
  return bytes <= SIZE_MAX ? optc_scratch_take(&current->scratch, (size_t)bytes) : NULL;
}

static int free_workspace(int device_type, int device, void* pointer) {
  (void)device_type, (void)device;
  optc_scratch_release(&current->scratch, pointer);
  return 0;
}

/* The names that TVM's code generator gives to these services: data symbols, weak and null in the kernel objects. */
int (*__TVMBackendParallelLaunch)(parallel_body, void*, int) = launch;
void* (*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate_workspace;
int (*__TVMBackendFreeWorkspace)(int, int, void*) = free_workspace;

/* Called by kernels with run-time checks; the first message of a run is kept. */
void TVMFFIErrorSetRaisedFromCStrParts(const char* kind, const char** parts, int32_t count) {
  if (current->message[0]) return;
  size_t length = (size_t)snprintf(current->message, sizeof current->message, "%s: ", kind);
  for (int32_t part = 0; part < count && length < sizeof current->message; ++part)
    if (parts[part])
      length += (size_t)snprintf(current->message + length, sizeof current->message - length, "%s", parts[part]);
}

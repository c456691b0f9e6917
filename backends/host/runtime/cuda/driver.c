#define _GNU_SOURCE
#include "driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A program that brings a driver of its own defines this: the address of a function of the driver by its name. */
__attribute__((weak)) void* optc_cuda_linked_symbol(const char* name);

static pthread_once_t once = PTHREAD_ONCE_INIT;
static optc_cuda_driver driver;
static char message[512]; /* empty once the driver is ready */

static void* symbol(void* library, const char* name) {
  return optc_cuda_linked_symbol ? optc_cuda_linked_symbol(name) : dlsym(library, name);
}

static void load(void) {
  void* library = optc_cuda_linked_symbol ? NULL : dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library && !optc_cuda_linked_symbol) {
    snprintf(message, sizeof message, "the CUDA driver is not installed: %s", dlerror());
    return;
  }
#define LOOK_UP(member, name, parameters)                                                                      \
  *(void**)&driver.member = symbol(library, name);                                                             \
  if (!driver.member) {                                                                                        \
    snprintf(message, sizeof message, "the CUDA driver is too old: %s is missing, which CUDA 10.1 has", name); \
    return;                                                                                                    \
  }
  OPTC_CUDA_FUNCTIONS(LOOK_UP)
#undef LOOK_UP
  *(void**)&driver.graph_instantiate_flags = symbol(library, "cuGraphInstantiateWithFlags");
  *(void**)&driver.graph_instantiate_log = symbol(library, "cuGraphInstantiate_v2");
  if (!driver.graph_instantiate_log) *(void**)&driver.graph_instantiate_log = symbol(library, "cuGraphInstantiate");
  const int code = driver.init(0);
  if (code != CUDA_SUCCESS) {
    const char* name = NULL;
    driver.error_name(code, &name);
    snprintf(message, sizeof message, "the CUDA driver does not start: %s", name ? name : "unknown error");
  }
}

const optc_cuda_driver* optc_cuda_open_driver(char* error, size_t bytes) {
  pthread_once(&once, load);
  if (!message[0]) return &driver;
  snprintf(error, bytes, "%s", message);
  return NULL;
}

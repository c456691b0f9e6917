/* The functions of the CUDA driver that the runtime calls. They are looked up in libcuda.so.1 when a model starts, so
 * that nothing of CUDA is needed to link. Types and numbers are those of the driver's stable binary interface. */
#ifndef OPTC_CUDA_DRIVER_H
#define OPTC_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

typedef unsigned long long optc_cuda_address;

enum {
  CUDA_SUCCESS = 0,
  CUDA_OUT_OF_MEMORY = 2,

  CUDA_ATTRIBUTE_INTEGRATED = 18,
  CUDA_ATTRIBUTE_CAN_MAP_HOST_MEMORY = 19,
  CUDA_ATTRIBUTE_MAJOR = 75,
  CUDA_ATTRIBUTE_MINOR = 76,

  CUDA_POINTER_MEMORY_TYPE = 2,
  CUDA_POINTER_DEVICE_ADDRESS = 3,
  CUDA_POINTER_IS_MANAGED = 8,
  CUDA_MEMORY_HOST = 1,

  CUDA_FUNCTION_MAX_DYNAMIC_SHARED = 8,
  CUDA_STREAM_NON_BLOCKING = 1,
  CUDA_CAPTURE_THREAD_LOCAL = 1,
  CUDA_HOST_PORTABLE = 1,
  CUDA_HOST_DEVICE_MAP = 2,
};

/* X(member, symbol, parameters): all exist since CUDA 10.1. */
#define OPTC_CUDA_FUNCTIONS(X)                                                                                     \
  X(init, "cuInit", (unsigned flags))                                                                              \
  X(error_name, "cuGetErrorName", (int code, const char** text))                                                   \
  X(error_string, "cuGetErrorString", (int code, const char** text))                                               \
  X(driver_version, "cuDriverGetVersion", (int* version))                                                          \
  X(device_count, "cuDeviceGetCount", (int* count))                                                                \
  X(device_get, "cuDeviceGet", (int* device, int ordinal))                                                         \
  X(device_name, "cuDeviceGetName", (char* name, int length, int device))                                          \
  X(device_attribute, "cuDeviceGetAttribute", (int* value, int attribute, int device))                             \
  X(context_retain, "cuDevicePrimaryCtxRetain", (void** context, int device))                                      \
  X(context_release, "cuDevicePrimaryCtxRelease_v2", (int device))                                                 \
  X(context_push, "cuCtxPushCurrent_v2", (void* context))                                                          \
  X(context_pop, "cuCtxPopCurrent_v2", (void** context))                                                           \
  X(module_load, "cuModuleLoadData", (void** module, const void* image))                                           \
  X(module_unload, "cuModuleUnload", (void* module))                                                               \
  X(module_function, "cuModuleGetFunction", (void** function, void* module, const char* name))                     \
  X(function_attribute, "cuFuncSetAttribute", (void* function, int attribute, int value))                          \
  X(allocate, "cuMemAlloc_v2", (optc_cuda_address * address, size_t bytes))                                        \
  X(release, "cuMemFree_v2", (optc_cuda_address address))                                                          \
  X(host_allocate, "cuMemHostAlloc", (void** memory, size_t bytes, unsigned flags))                                \
  X(host_release, "cuMemFreeHost", (void* memory))                                                                 \
  X(pointer_attribute, "cuPointerGetAttribute", (void* value, int attribute, optc_cuda_address address))           \
  X(upload, "cuMemcpyHtoDAsync_v2", (optc_cuda_address to, const void* from, size_t bytes, void* stream))          \
  X(download, "cuMemcpyDtoHAsync_v2", (void* to, optc_cuda_address from, size_t bytes, void* stream))              \
  X(copy, "cuMemcpyAsync", (optc_cuda_address to, optc_cuda_address from, size_t bytes, void* stream))      \
  X(stream_create, "cuStreamCreate", (void** stream, unsigned flags))                                              \
  X(stream_destroy, "cuStreamDestroy_v2", (void* stream))                                                          \
  X(stream_wait, "cuStreamSynchronize", (void* stream))                                                            \
  X(launch, "cuLaunchKernel",                                                                                      \
    (void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,        \
     unsigned block_z, unsigned shared_bytes, void* stream, void** arguments, void** extra))                       \
  X(event_create, "cuEventCreate", (void** event, unsigned flags))                                                 \
  X(event_destroy, "cuEventDestroy_v2", (void* event))                                                             \
  X(event_record, "cuEventRecord", (void* event, void* stream))                                                    \
  X(event_elapsed, "cuEventElapsedTime", (float* milliseconds, void* start, void* end))                            \
  X(capture_begin, "cuStreamBeginCapture_v2", (void* stream, int mode))                                            \
  X(capture_end, "cuStreamEndCapture", (void* stream, void** graph))                                               \
  X(graph_destroy, "cuGraphDestroy", (void* graph))                                                                \
  X(graph_launch, "cuGraphLaunch", (void* executable, void* stream))                                               \
  X(graph_release, "cuGraphExecDestroy", (void* executable))

#define OPTC_CUDA_MEMBER(member, symbol, parameters) int(*member) parameters;
typedef struct {
  OPTC_CUDA_FUNCTIONS(OPTC_CUDA_MEMBER)
  /* One of these two: the first since CUDA 11.4, the second before. */
  int (*graph_instantiate_flags)(void** executable, void* graph, unsigned long long flags);
  int (*graph_instantiate_log)(void** executable, void* graph, void** node, char* log, size_t bytes);
} optc_cuda_driver;
#undef OPTC_CUDA_MEMBER

/* The driver, loaded and initialized once in a process; NULL and a message in `error` where it is missing or fails. */
const optc_cuda_driver* optc_cuda_open_driver(char* error, size_t bytes);

#endif

/* A CUDA driver without a GPU: one device whose memory is this machine's and whose kernels run on its processors.
 *
 * It is as strict as a GPU, and says why: memory of the device cannot be touched but by copies and kernels, what is
 * queued runs when the stream is waited for and no sooner, freed memory stays forbidden, and launches must keep to the
 * limits of the compute capability. Every complaint goes to stderr and makes the process fail when it ends.
 *
 *   OPTC_EMULATED_SM      compute capability, 87 for 8.7 (default 80)
 *   OPTC_EMULATED_CUDA    the version that the driver knows, 13000 for 13.0 (the default)
 *   OPTC_EMULATED_KERNELS the library of the kernels (backends/cuda/emulator/build.py)
 *   OPTC_EMULATED_REPORT  a file that gets the counts of all that was done, as JSON
 */
#ifndef OPTC_EMULATED_H
#define OPTC_EMULATED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  UNSUPPORTED_PTX = 222,
  INVALID_CONTEXT = 201,
  NO_BINARY_FOR_GPU = 209,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  NOT_READY = 600,
  LAUNCH_FAILED = 719,
  CAPTURE_UNSUPPORTED = 900,
};

typedef struct {
  long launches, graph_launches, graphs, modules, copies;
  size_t uploaded, downloaded, allocated, most_allocated;
  long complaints;
} emulated_counts;
extern emulated_counts counts;

/* Says what is wrong; returns `code`. */
int complain(int code, const char* format, ...);

/* memory.c */
typedef enum { NOWHERE, ON_DEVICE, ON_HOST } place;
void* memory_allocate(size_t bytes, place where);
bool memory_free(void* address, place where);
place memory_find(const void* address, size_t bytes); /* of the one allocation that holds all these bytes */
long memory_live(void);
void memory_open(void); /* until memory_close this thread may touch memory of the device */
void memory_close(void);
void memory_blame(const char* name); /* what is running, for the message about a forbidden access */

/* image.c */
typedef struct emulated_module emulated_module;
emulated_module* image_load(const void* data, int sm, int cuda, int* code); /* a cubin, or PTX */
void image_free(emulated_module* module);
int image_parameters(const emulated_module* module, const char* function); /* bytes of its parameters; -1: none such */
int image_registers(const emulated_module* module, const char* function);  /* of a thread; 0 where PTX does not say */

#endif

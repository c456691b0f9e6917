/* What the generated launches and the runtime know of each other. */
#ifndef OPTC_CUDA_KERNELS_H
#define OPTC_CUDA_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Code for one kind of GPU: a cubin, or PTX that the driver compiles for the GPU and all later ones. */
typedef struct {
  int32_t sm; /* compute capability, 87 for 8.7 */
  int32_t is_ptx;
  const void* data; /* PTX ends with a zero */
} optc_cuda_image;

typedef struct {
  const char* function;
  uint32_t grid[3];
  uint32_t block[3];
  uint32_t shared_bytes; /* dynamic */
} optc_cuda_function;

typedef struct {
  const optc_cuda_image* images;
  const optc_cuda_function* functions;
  int32_t image_count;
  int32_t function_count;
  int32_t first; /* the number of its first function among those of all kernels */
} optc_cuda_kernel;

/* Defined by the generated file. */
extern const optc_cuda_kernel optc_cuda_kernels[];
extern const int32_t optc_cuda_kernel_count;
extern const int32_t optc_cuda_function_count;
extern const int32_t optc_cuda_toolkit; /* that made the code: 13000 for CUDA 13.0 */

/* Queues a function of a kernel; `arguments` holds the addresses of its parameters. Returns 0, or the driver's code. */
int32_t optc_cuda_launch(int32_t kernel, int32_t function, void** arguments);

#endif

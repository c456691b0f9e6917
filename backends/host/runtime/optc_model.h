/* The C interface of a compiled model (libmodel.so of an optc artifact). C99 and C++.
 *
 *   optc_model* model;
 *   if (optc_model_init(&model, "resnet.optc", NULL) != OPTC_OK) { puts(optc_model_error(NULL)); return 1; }
 *   const void* inputs[] = {image};
 *   void* outputs[] = {scores};
 *   if (optc_model_run(model, inputs, outputs) != OPTC_OK) puts(optc_model_error(model));
 *   optc_model_free(model);
 *
 * Every libmodel.so exports these same names: link one of them, or dlopen several with RTLD_LOCAL.
 * Handles are independent of each other and may run in different threads at the same time. One handle runs one
 * inference at a time: a second optc_model_run on it returns OPTC_BUSY and changes nothing.
 */
#ifndef OPTC_MODEL_H
#define OPTC_MODEL_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define OPTC_API __attribute__((visibility("default")))
#else
#define OPTC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define OPTC_MODEL_ABI 1

typedef struct optc_model optc_model;

/* What a call returns. */
enum {
  OPTC_OK = 0,
  OPTC_BAD_ARGUMENT = 1, /* a null, an index out of range, a size that does not fit */
  OPTC_IO = 2,           /* weights.bin cannot be opened, mapped or read, or has another size than the code expects */
  OPTC_NO_MEMORY = 3,    /* memory or threads ran out */
  OPTC_KERNEL = 4,       /* a kernel reported a failure */
  OPTC_FALLBACK = 5,     /* the fallback callback is missing or failed */
  OPTC_BUSY = 6,         /* another thread is running this handle */
  OPTC_DEVICE = 7,       /* the device that computes is missing, does not fit, or failed */
  OPTC_DAMAGED = 8       /* weights are not what was compiled (seen by a guard, or where they are decoded) */
};

/* Pass NULL for the defaults, or start from OPTC_OPTIONS. */
typedef struct {
  uint32_t size;    /* sizeof(optc_options) */
  int32_t threads;  /* 0: the number the model was compiled for, or the CPUs this process may use */
  int32_t pin;      /* 1: bind each worker thread to a CPU of its own */
  int32_t spin_us;  /* microseconds that an idle thread polls before it sleeps; -1: the default */
} optc_options;
#define OPTC_OPTIONS {sizeof(optc_options), 0, 0, -1}

typedef struct {
  const char* name;
  const char* dtype;    /* NumPy's name: float32, uint8, int64, bool ... */
  int32_t rank;         /* -1 where only the run decides */
  const int64_t* shape; /* `rank` extents; -1 where only the run decides */
  int64_t bytes;        /* of the dense row-major buffer; -1 where only the run decides */
} optc_tensor_info;

/* A step of the program with what it took since profiling was switched on. */
typedef struct {
  const char* label;    /* the names of the model's nodes */
  const char* symbol;   /* the kernel, the fallback file, or "copy" */
  uint64_t calls;
  uint64_t nanoseconds; /* of all calls together */
} optc_step_info;

/* A region that another engine computes: `model` is an ONNX file of the artifact. */
typedef struct {
  const char* model;
  const char* label;
  int32_t input_count;
  int32_t output_count;
  const optc_tensor_info* inputs;
  const optc_tensor_info* outputs;
} optc_fallback_info;

/* Computes fallback region `region`; returns 0 when done. A pointer is NULL where the tensor has no planned place
 * (its shape is known only at run time): such a tensor travels from region to region, and to the caller, outside of
 * this library, under its name. */
typedef int (*optc_fallback)(void* user, int32_t region, const void* const* inputs, void* const* outputs);

/* OPTC_MODEL_ABI of the library. */
OPTC_API uint32_t optc_model_abi(void);

/* Maps weights.bin of the artifact folder read-only, reserves the workspace and starts the threads. A model
 * that was compiled for less memory than its weights take keeps the file open, and a thread of its own reads from it;
 * one that was compiled with packed weights decodes them into memory, by as many threads as it then has. */
OPTC_API int optc_model_init(optc_model** out, const char* folder, const optc_options* options);

/* The same with weights that the caller holds: 64-byte aligned, alive and unchanged until optc_model_free. Refused where
 * the model reads its weights while it runs. */
OPTC_API int optc_model_init_weights(optc_model** out, const void* weights, size_t bytes, const optc_options* options);

/* Waits for nothing: the handle must not be running. NULL is allowed. */
OPTC_API void optc_model_free(optc_model* model);

/* The message of the handle's last failure; with NULL, of this thread's last failed init. Never NULL. */
OPTC_API const char* optc_model_error(const optc_model* model);

OPTC_API int32_t optc_model_threads(const optc_model* model);

/* Bytes of memory that the handle holds beside the weights: arena, staging of unaligned buffers, kernels' scratch. */
OPTC_API size_t optc_model_workspace_bytes(const optc_model* model);

OPTC_API int32_t optc_model_input_count(const optc_model* model);
OPTC_API int32_t optc_model_output_count(const optc_model* model);
/* NULL when the index is out of range; valid as long as the library is loaded. */
OPTC_API const optc_tensor_info* optc_model_input(const optc_model* model, int32_t index);
OPTC_API const optc_tensor_info* optc_model_output(const optc_model* model, int32_t index);

/* One inference. Each pointer names a dense row-major buffer of the tensor's `bytes` and may have any alignment
 * (64-byte aligned buffers save a copy); NULL where `bytes` is -1. Outputs must not overlap inputs or each other.
 * Allocates nothing once the handle has run. */
OPTC_API int optc_model_run(optc_model* model, const void* const* inputs, void* const* outputs);

/* Memory for one input or output, to be released before the handle is freed; NULL when there is none. A run uses it in
 * place on processors and on GPUs that share this machine's memory, and copies fastest from it on other GPUs. */
OPTC_API void* optc_model_allocate(optc_model* model, size_t bytes);
OPTC_API void optc_model_release(optc_model* model, void* memory);

OPTC_API int32_t optc_model_fallback_count(const optc_model* model);
OPTC_API const optc_fallback_info* optc_model_fallback(const optc_model* model, int32_t region);
OPTC_API void optc_model_set_fallback(optc_model* model, optc_fallback callback, void* user);

/* Clears the times of all steps and switches timing on (1) or off (0). */
OPTC_API void optc_model_profile(optc_model* model, int32_t enable);
OPTC_API int32_t optc_model_step_count(const optc_model* model);
/* Fills `out`; OPTC_BAD_ARGUMENT when the index is out of range. */
OPTC_API int optc_model_step(const optc_model* model, int32_t index, optc_step_info* out);

#ifdef __cplusplus
}
#endif
#endif

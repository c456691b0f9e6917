/* What the generated steps do with memory of the GPU. */
#ifndef OPTC_STEPS_H
#define OPTC_STEPS_H

/* Queues a copy between two places on the device; returns an optc_model code. */
int optc_cuda_copy(optc_frame* frame, int32_t step, void* destination, const void* source, size_t bytes);

/* Waits for what is queued and reads the bool at `address`; returns an optc_model code. */
int optc_cuda_condition(optc_frame* frame, const void* address, bool* value);

/* Waits for what is queued, and hands the region to the callback in copies of its operands in this machine's memory. */
int optc_cuda_fallback(optc_frame* frame, int32_t step, int32_t region, const void* const* inputs,
                       void* const* outputs);

/* Marks the end of a step on the device. */
void optc_cuda_lap(optc_frame* frame, int32_t step);

#define OPTC_CONDITION(address)                                       \
  ({                                                                  \
    bool value = false;                                               \
    const int code = optc_cuda_condition(frame, address, &value);     \
    if (__builtin_expect(code != OPTC_OK, 0)) return code;            \
    value;                                                            \
  })
#define OPTC_LAP(step)                                                     \
  do {                                                                     \
    if (__builtin_expect(frame->profiling, 0)) optc_cuda_lap(frame, step); \
  } while (0)
#define OPTC_COPY(step, destination, source, bytes)                                    \
  do {                                                                                 \
    const int code = optc_cuda_copy(frame, step, destination, source, bytes);          \
    if (__builtin_expect(code != OPTC_OK, 0)) return code;                             \
    OPTC_LAP(step);                                                                    \
  } while (0)
#define OPTC_CALL_FALLBACK(step, region, inputs, outputs) optc_cuda_fallback(frame, step, region, inputs, outputs)

#endif

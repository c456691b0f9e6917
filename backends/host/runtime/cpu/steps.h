/* What the generated steps do with memory that this machine's processors work in. */
#ifndef OPTC_STEPS_H
#define OPTC_STEPS_H

#define OPTC_CONDITION(address) (*(const uint8_t*)(address))
#define OPTC_LAP(step)                                                \
  do {                                                                \
    if (__builtin_expect(frame->profiling, 0)) optc_lap(frame, step); \
  } while (0)
#define OPTC_COPY(step, destination, source, bytes) \
  do {                                              \
    memmove(destination, source, bytes);            \
    OPTC_LAP(step);                                 \
  } while (0)
#define OPTC_CALL_FALLBACK(step, region, inputs, outputs) optc_call_fallback(frame, step, region, inputs, outputs)

#endif

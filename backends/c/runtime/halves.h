/* Codes as pairs of 16 bits in core registers: codes 0 and 2, and codes 1 and 3, of four. */
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
#include <arm_acle.h>
#define OPTC_HALVES
static inline uint32_t optc_word(const int8_t* codes) {
  uint32_t word;
  memcpy(&word, codes, 4);
  return word;
}
static inline int16x2_t optc_even(uint32_t word) {
  int16x2_t halves;
  __asm__("sxtb16 %0, %1" : "=r"(halves) : "r"(word));
  return halves;
}
static inline int16x2_t optc_odd(uint32_t word) {
  int16x2_t halves;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(word));
  return halves;
}
/* The lower halves of both, and the upper halves. */
static inline uint32_t optc_lower(uint32_t a, uint32_t b) {
  uint32_t halves;
  __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(halves) : "r"(a), "r"(b));
  return halves;
}
static inline uint32_t optc_upper(uint32_t a, uint32_t b) {
  uint32_t halves;
  __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(halves) : "r"(b), "r"(a));
  return halves;
}
#endif

/* Adds to sums the four products of two rows and two columns of n codes: x0 w0, x0 w1, x1 w0, x1 w1. */
#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>
static inline void optc_dot(const int8_t* x0, const int8_t* x1, const int8_t* w0, const int8_t* w1, int n,
                            int32_t sums[4]) {
  int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
  for (; n > 0; n -= 16, x0 += 16, x1 += 16, w0 += 16, w1 += 16) {
    const mve_pred16_t lanes = vctp8q((uint32_t)n);
    const int8x16_t a0 = vldrbq_z_s8(x0, lanes), a1 = vldrbq_z_s8(x1, lanes);
    const int8x16_t b0 = vldrbq_z_s8(w0, lanes), b1 = vldrbq_z_s8(w1, lanes);
    s0 = vmladavaq_s8(s0, a0, b0);
    s1 = vmladavaq_s8(s1, a0, b1);
    s2 = vmladavaq_s8(s2, a1, b0);
    s3 = vmladavaq_s8(s3, a1, b1);
  }
  sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}
#else
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
#include <arm_acle.h>
#define OPTC_LANES 4
/* Codes 0 and 2, and codes 1 and 3, of four as pairs of 16 bits. */
typedef struct {
  int32_t even, odd;
} optc_lanes;
static inline optc_lanes optc_load(const int8_t* codes) {
  uint32_t word;
  optc_lanes lanes;
  memcpy(&word, codes, 4);
  __asm__("sxtb16 %0, %1" : "=r"(lanes.even) : "r"(word));
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(lanes.odd) : "r"(word));
  return lanes;
}
typedef int32_t optc_sum;
static inline optc_sum optc_multiplied(optc_sum sum, optc_lanes x, optc_lanes w) {
  return __smlad(x.odd, w.odd, __smlad(x.even, w.even, sum));
}
static inline int32_t optc_total(optc_sum sum) { return sum; }
#define OPTC_ZERO 0
#elif defined(__AVX2__)
#include <immintrin.h>
#define OPTC_LANES 16
typedef __m256i optc_lanes;
typedef __m256i optc_sum;
static inline optc_lanes optc_load(const int8_t* codes) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(const void*)codes));
}
static inline optc_sum optc_multiplied(optc_sum sum, optc_lanes x, optc_lanes w) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
}
static inline int32_t optc_total(optc_sum sum) {
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}
#define OPTC_ZERO _mm256_setzero_si256()
#endif
static inline void optc_dot(const int8_t* x0, const int8_t* x1, const int8_t* w0, const int8_t* w1, int n,
                            int32_t sums[4]) {
  int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
  int i = 0;
#ifdef OPTC_LANES
  optc_sum t0 = OPTC_ZERO, t1 = OPTC_ZERO, t2 = OPTC_ZERO, t3 = OPTC_ZERO;
  for (; i + OPTC_LANES <= n; i += OPTC_LANES) {
    const optc_lanes a0 = optc_load(x0 + i), a1 = optc_load(x1 + i), b0 = optc_load(w0 + i), b1 = optc_load(w1 + i);
    t0 = optc_multiplied(t0, a0, b0);
    t1 = optc_multiplied(t1, a0, b1);
    t2 = optc_multiplied(t2, a1, b0);
    t3 = optc_multiplied(t3, a1, b1);
  }
  s0 += optc_total(t0), s1 += optc_total(t1), s2 += optc_total(t2), s3 += optc_total(t3);
#endif
  for (; i < n; i++) {
    s0 += x0[i] * w0[i];
    s1 += x0[i] * w1[i];
    s2 += x1[i] * w0[i];
    s3 += x1[i] * w1[i];
  }
  sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}
#endif

#if !defined(OPTC_LANES) && defined(__ARM_FEATURE_DOTPROD) && defined(__aarch64__)
/* Four sums in a register. */
#include <arm_neon.h>
#define OPTC_LANES 4
#define OPTC_MOST_PIXELS 8
#define OPTC_FLIPPED 0
#define OPTC_PAIRS
typedef int32x4_t optc_lanes;
typedef int32x4_t optc_partial;
typedef int8x16_t optc_weights;
typedef int8x16_t optc_group;

static inline optc_lanes optc_load(const int32_t* numbers, int n) {
  int32_t all[4] = {0};
  if (n >= 4) return vld1q_s32(numbers);
  memcpy(all, numbers, (size_t)n * 4);
  return vld1q_s32(all);
}
static inline optc_partial optc_begin(optc_lanes bias) { return bias; }
static inline optc_lanes optc_total(optc_partial sums) { return sums; }
static inline optc_weights optc_load_weights(const int8_t* weights, int n) {
  int8_t all[16] = {0};
  if (n < 4) weights = memcpy(all, weights, (size_t)n * 4);
  return vld1q_s8(weights);
}
static inline optc_group optc_spread(const int8_t* codes) {
  int32_t four;
  memcpy(&four, codes, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
static inline optc_partial optc_dot(optc_partial sums, optc_group codes, optc_weights weights) {
  return vdotq_s32(sums, weights, codes);
}
static inline optc_lanes optc_load_codes(const int8_t* codes, int n) {
  int32_t four = 0;
  if (n >= 4)
    memcpy(&four, codes, 4);
  else
    memcpy(&four, codes, (size_t)n);
  return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)))));
}
static inline optc_lanes optc_load_factors(const int8_t* weights, int n) { return optc_load_codes(weights, n); }
static inline optc_lanes optc_multiplied(optc_lanes sums, optc_lanes codes, optc_lanes factors) {
  return vmlaq_s32(sums, codes, factors);
}
static inline optc_lanes optc_high(optc_lanes a, optc_lanes b) {
  const int32x2_t low = vshrn_n_s64(vmull_s32(vget_low_s32(a), vget_low_s32(b)), 32);
  return vcombine_s32(low, vshrn_n_s64(vmull_high_s32(a, b), 32));
}
static inline optc_lanes optc_left(optc_lanes a, int shift) { return vshlq_s32(a, vdupq_n_s32(shift)); }
static inline optc_lanes optc_every(int32_t number) { return vdupq_n_s32(number); }
static inline optc_lanes optc_plus(optc_lanes a, optc_lanes b) { return vaddq_s32(a, b); }
static inline optc_lanes optc_times(optc_lanes a, optc_lanes b) { return vmulq_s32(a, b); }
static inline optc_lanes optc_shifted(optc_lanes a, int shift) { return vshlq_s32(a, vdupq_n_s32(-shift)); }
typedef struct {
  optc_lanes low, high;
} optc_bounds;
static inline optc_bounds optc_between(int low, int high) {
  optc_bounds bounds;
  bounds.low = optc_every(low), bounds.high = optc_every(high);
  return bounds;
}
static inline optc_lanes optc_within(optc_lanes a, int low, int high) {
  return vminq_s32(vmaxq_s32(a, optc_every(low)), optc_every(high));
}
static inline void optc_store_codes(int8_t* result, optc_lanes codes, optc_bounds bounds, int n) {
  codes = vminq_s32(vmaxq_s32(codes, bounds.low), bounds.high);
  const int16x4_t words = vmovn_s32(codes);
  const int32_t four = vget_lane_s32(vreinterpret_s32_s8(vmovn_s16(vcombine_s16(words, words))), 0);
  memcpy(result, &four, n < 4 ? (size_t)n : 4);
}
static inline void optc_store_reals(float* result, optc_lanes sums, const float* reals, int n) {
  float all[4];
  vst1q_f32(all, vcvtq_f32_s32(sums));
  for (int i = 0; i < n && i < 4; i++) result[i] = all[i] * reals[i];
}
#define OPTC_SLACK 0
#define optc_take(patch, codes, n) memcpy(patch, codes, (size_t)(n))
#define optc_take_exactly optc_take
#endif

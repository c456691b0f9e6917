#if !defined(OPTC_LANES) && defined(__ARM_FEATURE_MVE)
/* Four sums in a register. */
#include <arm_mve.h>
#define OPTC_LANES 4
#define OPTC_FLIPPED 0
typedef int32x4_t optc_lanes;

static inline optc_lanes optc_load(const int32_t* numbers, int n) { return vldrwq_z_s32(numbers, vctp32q((uint32_t)n)); }
static inline optc_lanes optc_load_codes(const int8_t* codes, int n) {
  return vldrbq_z_s32(codes, vctp32q((uint32_t)n));
}
static inline optc_lanes optc_load_factors(const int8_t* weights, int n) { return optc_load_codes(weights, n); }
static inline optc_lanes optc_multiplied(optc_lanes sums, optc_lanes codes, optc_lanes factors) {
  return vaddq_s32(sums, vmulq_s32(codes, factors));
}
static inline optc_lanes optc_high(optc_lanes a, optc_lanes b) { return vmulhq_s32(a, b); }
static inline optc_lanes optc_left(optc_lanes a, int shift) { return vshlq_r_s32(a, shift); }
static inline optc_lanes optc_every(int32_t number) { return vdupq_n_s32(number); }
static inline optc_lanes optc_plus(optc_lanes a, optc_lanes b) { return vaddq_s32(a, b); }
static inline optc_lanes optc_times(optc_lanes a, optc_lanes b) { return vmulq_s32(a, b); }
static inline optc_lanes optc_shifted(optc_lanes a, int shift) { return vshlq_r_s32(a, -shift); }
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
  vstrbq_p_s32(result, codes, vctp32q((uint32_t)n));
}
static inline void optc_store_reals(float* result, optc_lanes sums, const float* reals, int n) {
  int32_t all[4];
  vstrwq_s32(all, sums);
  for (int i = 0; i < n && i < 4; i++) result[i] = (float)all[i] * reals[i];
}
#define OPTC_SLACK 0
#define optc_take(patch, codes, n) memcpy(patch, codes, (size_t)(n))
#define optc_take_exactly optc_take
#endif

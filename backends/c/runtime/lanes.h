#ifndef OPTC_LANES
/* Sixteen sums in plain C, for the compiler to make registers of. */
#define OPTC_LANES 16
#define OPTC_MOST_PIXELS 2
#define OPTC_FLIPPED 0
typedef struct {
  int32_t of[16];
} optc_lanes;
typedef optc_lanes optc_partial;
typedef struct {
  int8_t of[64];
} optc_weights;
typedef struct {
  int8_t of[4];
} optc_group;

static inline optc_lanes optc_every(int32_t number) {
  optc_lanes all;
  for (int i = 0; i < 16; i++) all.of[i] = number;
  return all;
}
static inline optc_lanes optc_load(const int32_t* numbers, int n) {
  optc_lanes all = optc_every(0);
  memcpy(all.of, numbers, (n < 16 ? (size_t)n : 16) * 4);
  return all;
}
static inline optc_partial optc_begin(optc_lanes bias) { return bias; }
static inline optc_lanes optc_total(optc_partial sums) { return sums; }
static inline optc_weights optc_load_weights(const int8_t* weights, int n) {
  optc_weights all;
  if (n < 16) memset(all.of, 0, 64);
  memcpy(all.of, weights, (n < 16 ? (size_t)n : 16) * 4);
  return all;
}
static inline optc_group optc_spread(const int8_t* codes) {
  optc_group four;
  memcpy(four.of, codes, 4);
  return four;
}
static inline optc_partial optc_dot(optc_partial sums, optc_group codes, optc_weights weights) {
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < 4; k++) sums.of[i] += codes.of[k] * weights.of[4 * i + k];
  return sums;
}
static inline optc_lanes optc_load_codes(const int8_t* codes, int n) {
  optc_lanes all = optc_every(0);
  for (int i = 0; i < n && i < 16; i++) all.of[i] = codes[i];
  return all;
}
static inline optc_lanes optc_load_factors(const int8_t* weights, int n) { return optc_load_codes(weights, n); }
static inline optc_lanes optc_plus(optc_lanes a, optc_lanes b) {
  for (int i = 0; i < 16; i++) a.of[i] += b.of[i];
  return a;
}
static inline optc_lanes optc_times(optc_lanes a, optc_lanes b) {
  for (int i = 0; i < 16; i++) a.of[i] *= b.of[i];
  return a;
}
static inline optc_lanes optc_multiplied(optc_lanes sums, optc_lanes codes, optc_lanes factors) {
  return optc_plus(sums, optc_times(codes, factors));
}
static inline optc_lanes optc_high(optc_lanes a, optc_lanes b) {
  for (int i = 0; i < 16; i++) a.of[i] = (int32_t)(((int64_t)a.of[i] * b.of[i]) >> 32);
  return a;
}
static inline optc_lanes optc_left(optc_lanes a, int shift) {
  for (int i = 0; i < 16; i++) a.of[i] = (int32_t)((uint32_t)a.of[i] << shift);
  return a;
}
static inline optc_lanes optc_shifted(optc_lanes a, int shift) {
  for (int i = 0; i < 16; i++) a.of[i] >>= shift;
  return a;
}
typedef struct {
  int32_t low, high;
} optc_bounds;
static inline optc_bounds optc_between(int low, int high) {
  optc_bounds bounds;
  bounds.low = low, bounds.high = high;
  return bounds;
}
static inline optc_lanes optc_within(optc_lanes a, int low, int high) {
  for (int i = 0; i < 16; i++) a.of[i] = optc_clamped(a.of[i], low, high);
  return a;
}
static inline void optc_store_codes(int8_t* result, optc_lanes codes, optc_bounds bounds, int n) {
  for (int i = 0; i < n && i < 16; i++) result[i] = (int8_t)optc_clamped(codes.of[i], bounds.low, bounds.high);
}
static inline void optc_store_reals(float* result, optc_lanes sums, const float* reals, int n) {
  for (int i = 0; i < n && i < 16; i++) result[i] = (float)sums.of[i] * reals[i];
}
#define OPTC_SLACK 0
#define optc_take(patch, codes, n) memcpy(patch, codes, (size_t)(n))
#define optc_take_exactly optc_take
#endif

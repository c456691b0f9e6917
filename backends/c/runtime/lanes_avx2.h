#if !defined(OPTC_LANES) && defined(__AVX2__)
/* Eight sums in a register; dot products in 16 bits, where no pair of products overflows, summed in two halves. */
#include <immintrin.h>
#define OPTC_LANES 8
#define OPTC_MOST_PIXELS 4
#define OPTC_FLIPPED 0
typedef __m256i optc_lanes;
typedef struct {
  __m256i low, high; /* of the sums 0 to 3 and 4 to 7: two parts of each */
} optc_partial;
typedef optc_partial optc_weights;
typedef __m256i optc_group;

static inline optc_lanes optc_load(const int32_t* numbers, int n) {
  int32_t all[8] = {0};
  if (n >= 8) return _mm256_loadu_si256((const __m256i*)(const void*)numbers);
  memcpy(all, numbers, (size_t)n * 4);
  return _mm256_loadu_si256((const __m256i*)(const void*)all);
}
static inline optc_partial optc_begin(optc_lanes bias) {
  optc_partial sums;
  sums.low = _mm256_cvtepu32_epi64(_mm256_castsi256_si128(bias));
  sums.high = _mm256_cvtepu32_epi64(_mm256_extracti128_si256(bias, 1));
  return sums;
}
static inline optc_lanes optc_total(optc_partial sums) {
  return _mm256_permute4x64_epi64(_mm256_hadd_epi32(sums.low, sums.high), 0xd8);
}
static inline optc_weights optc_load_weights(const int8_t* weights, int n) {
  int8_t all[32] = {0};
  optc_weights wide;
  if (n < 8) weights = memcpy(all, weights, (size_t)n * 4);
  wide.low = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(const void*)weights));
  wide.high = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(const void*)(weights + 16)));
  return wide;
}
static inline optc_group optc_spread(const int8_t* codes) {
  int32_t four;
  memcpy(&four, codes, 4);
  return _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(four)));
}
static inline optc_partial optc_dot(optc_partial sums, optc_group codes, optc_weights weights) {
  sums.low = _mm256_add_epi32(sums.low, _mm256_madd_epi16(codes, weights.low));
  sums.high = _mm256_add_epi32(sums.high, _mm256_madd_epi16(codes, weights.high));
  return sums;
}
static inline optc_lanes optc_load_codes(const int8_t* codes, int n) {
  int8_t all[8] = {0};
  if (n < 8) codes = memcpy(all, codes, (size_t)n);
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)(const void*)codes));
}
static inline optc_lanes optc_load_factors(const int8_t* weights, int n) {
  return _mm256_and_si256(optc_load_codes(weights, n), _mm256_set1_epi32(0xffff));
}
/* sums + codes * factors, where the upper halves of the factors are zero. */
static inline optc_lanes optc_multiplied(optc_lanes sums, optc_lanes codes, optc_lanes factors) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(codes, factors));
}
static inline optc_lanes optc_high(optc_lanes a, optc_lanes b) {
  const __m256i even = _mm256_srli_epi64(_mm256_mul_epi32(a, b), 32);
  return _mm256_blend_epi32(even, _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32)), 0xaa);
}
static inline optc_lanes optc_left(optc_lanes a, int shift) { return _mm256_sll_epi32(a, _mm_cvtsi32_si128(shift)); }
static inline optc_lanes optc_every(int32_t number) { return _mm256_set1_epi32(number); }
static inline optc_lanes optc_plus(optc_lanes a, optc_lanes b) { return _mm256_add_epi32(a, b); }
static inline optc_lanes optc_times(optc_lanes a, optc_lanes b) { return _mm256_mullo_epi32(a, b); }
static inline optc_lanes optc_shifted(optc_lanes a, int shift) { return _mm256_sra_epi32(a, _mm_cvtsi32_si128(shift)); }
typedef struct {
  optc_lanes low, high;
} optc_bounds;
static inline optc_bounds optc_between(int low, int high) {
  optc_bounds bounds;
  bounds.low = optc_every(low), bounds.high = optc_every(high);
  return bounds;
}
static inline optc_lanes optc_within(optc_lanes a, int low, int high) {
  return _mm256_min_epi32(_mm256_max_epi32(a, optc_every(low)), optc_every(high));
}
static inline void optc_store_codes(int8_t* result, optc_lanes codes, optc_bounds bounds, int n) {
  codes = _mm256_min_epi32(_mm256_max_epi32(codes, bounds.low), bounds.high);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
  const int64_t eight = _mm_cvtsi128_si64(_mm_packs_epi16(words, words));
  memcpy(result, &eight, n < 8 ? (size_t)n : 8);
}
static inline void optc_store_reals(float* result, optc_lanes sums, const float* reals, int n) {
  float all[8];
  _mm256_storeu_ps(all, _mm256_cvtepi32_ps(sums));
  for (int i = 0; i < n; i++) result[i] = all[i] * reals[i];
}
#define OPTC_SLACK 0
#define optc_take(patch, codes, n) memcpy(patch, codes, (size_t)(n))
#define optc_take_exactly optc_take
#endif

#if !defined(OPTC_LANES) && defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
/* Sixteen sums in a register; the instruction for dot products takes one factor without sign, so patches are read with
 * their signs flipped. */
#include <immintrin.h>
#define OPTC_LANES 16
#define OPTC_MOST_PIXELS 8
#define OPTC_FLIPPED 1
#define OPTC_SLACK 64 /* codes behind what is asked for that optc_take may read and write */
#define OPTC_PAIRS
typedef __m512i optc_lanes;
typedef __m512i optc_partial;
typedef __m512i optc_weights;
typedef __m512i optc_group;

static inline __mmask16 optc_first(int n) { return (__mmask16)((1u << n) - 1u); }
static inline optc_lanes optc_load(const int32_t* numbers, int n) {
  return n == 16 ? _mm512_loadu_si512(numbers) : _mm512_maskz_loadu_epi32(optc_first(n), numbers);
}
static inline optc_partial optc_begin(optc_lanes bias) { return bias; }
static inline optc_lanes optc_total(optc_partial sums) { return sums; }
static inline optc_weights optc_load_weights(const int8_t* weights, int n) {
  return n == 16 ? _mm512_loadu_si512(weights) : _mm512_maskz_loadu_epi32(optc_first(n), weights);
}
static inline optc_group optc_spread(const int8_t* codes) {
  int32_t four;
  memcpy(&four, codes, 4);
  return _mm512_set1_epi32(four);
}
static inline optc_partial optc_dot(optc_partial sums, optc_group codes, optc_weights weights) {
  return _mm512_dpbusd_epi32(sums, codes, weights);
}
static inline __m128i optc_bytes(const int8_t* codes, int n) {
  if (n == 16) return _mm_loadu_si128((const __m128i*)(const void*)codes);
  if (n == 8) return _mm_loadl_epi64((const __m128i*)(const void*)codes);
  return _mm_maskz_loadu_epi8(optc_first(n), codes);
}
static inline optc_lanes optc_load_codes(const int8_t* codes, int n) {
  return _mm512_cvtepi8_epi32(optc_bytes(codes, n));
}
static inline optc_lanes optc_load_factors(const int8_t* weights, int n) {
  return _mm512_and_si512(optc_load_codes(weights, n), _mm512_set1_epi32(0xffff));
}
/* sums + codes * factors, where the upper halves of the factors are zero. */
static inline optc_lanes optc_multiplied(optc_lanes sums, optc_lanes codes, optc_lanes factors) {
  return _mm512_dpwssd_epi32(sums, codes, factors);
}
static inline optc_lanes optc_high(optc_lanes a, optc_lanes b) {
  const __m512i even = _mm512_srli_epi64(_mm512_mul_epi32(a, b), 32);
  return _mm512_mask_blend_epi32(0xaaaa, even, _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32)));
}
static inline optc_lanes optc_left(optc_lanes a, int shift) { return _mm512_sll_epi32(a, _mm_cvtsi32_si128(shift)); }
static inline optc_lanes optc_every(int32_t number) { return _mm512_set1_epi32(number); }
static inline optc_lanes optc_plus(optc_lanes a, optc_lanes b) { return _mm512_add_epi32(a, b); }
static inline optc_lanes optc_times(optc_lanes a, optc_lanes b) { return _mm512_mullo_epi32(a, b); }
static inline optc_lanes optc_shifted(optc_lanes a, int shift) { return _mm512_sra_epi32(a, _mm_cvtsi32_si128(shift)); }
typedef struct {
  __m128i low, high;
} optc_bounds;
static inline optc_bounds optc_between(int low, int high) {
  optc_bounds bounds;
  bounds.low = _mm_set1_epi8((char)low), bounds.high = _mm_set1_epi8((char)high);
  return bounds;
}
static inline optc_lanes optc_within(optc_lanes a, int low, int high) {
  return _mm512_min_epi32(_mm512_max_epi32(a, _mm512_set1_epi32(low)), _mm512_set1_epi32(high));
}
static inline void optc_store_codes(int8_t* result, optc_lanes codes, optc_bounds bounds, int n) {
  const __m128i bytes = _mm_min_epi8(_mm_max_epi8(_mm512_cvtsepi32_epi8(codes), bounds.low), bounds.high);
  if (n == 16)
    _mm_storeu_si128((__m128i*)(void*)result, bytes);
  else if (n == 8)
    _mm_storel_epi64((__m128i*)(void*)result, bytes);
  else
    _mm_mask_storeu_epi8(result, optc_first(n), bytes);
}
static inline void optc_store_reals(float* result, optc_lanes sums, const float* reals, int n) {
  const __m512 scales = _mm512_maskz_loadu_ps(optc_first(n), reals);
  _mm512_mask_storeu_ps(result, optc_first(n), _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scales));
}
static inline void optc_flip(int8_t* patch, const int8_t* codes) {
  const __m256i some = _mm256_loadu_si256((const __m256i*)(const void*)codes);
  _mm256_storeu_si256((__m256i*)(void*)patch, _mm256_xor_si256(some, _mm256_set1_epi8(-128)));
}
static inline void optc_take(int8_t* patch, const int8_t* codes, int n) {
  for (; n > 16; n -= 32, patch += 32, codes += 32) optc_flip(patch, codes);
  if (n > 0) {
    const __m128i some = _mm_loadu_si128((const __m128i*)(const void*)codes);
    _mm_storeu_si128((__m128i*)(void*)patch, _mm_xor_si128(some, _mm_set1_epi8(-128)));
  }
}
static inline void optc_take_exactly(int8_t* patch, const int8_t* codes, int n) {
  for (; n >= 32; n -= 32, patch += 32, codes += 32) optc_flip(patch, codes);
  const __mmask32 some = (__mmask32)((1ull << n) - 1);
  const __m256i rest = _mm256_xor_si256(_mm256_maskz_loadu_epi8(some, codes), _mm256_set1_epi8(-128));
  _mm256_mask_storeu_epi8(patch, some, rest);
}
/* Three codes of each channel beside each other, with their signs flipped; the fourth is multiplied by zero. */
static inline optc_group optc_column(const int8_t* a, const int8_t* b, const int8_t* c, int n) {
  const __m512i u = _mm512_cvtepu8_epi32(optc_bytes(a, n));
  const __m512i v = _mm512_slli_epi32(_mm512_cvtepu8_epi32(optc_bytes(b, n)), 8);
  const __m512i z = _mm512_slli_epi32(_mm512_cvtepu8_epi32(optc_bytes(c, n)), 16);
  return _mm512_xor_si512(_mm512_ternarylogic_epi32(u, v, z, 0xfe), _mm512_set1_epi32((int)0x80808080u));
}
static inline optc_weights optc_column_weights(const int8_t* a, const int8_t* b, const int8_t* c, int n) {
  const __m512i bytes = _mm512_set1_epi32(0xff), u = _mm512_and_si512(optc_load_codes(a, n), bytes);
  const __m512i v = _mm512_slli_epi32(_mm512_and_si512(optc_load_codes(b, n), bytes), 8);
  const __m512i z = _mm512_slli_epi32(_mm512_and_si512(optc_load_codes(c, n), bytes), 16);
  return _mm512_ternarylogic_epi32(u, v, z, 0xfe);
}
#define OPTC_COLUMNS
#endif

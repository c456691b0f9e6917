/* code of (a - a_zero) * a_scale + (b - b_zero) * b_scale; the multipliers are the scales in units of 2^-shift. */
typedef struct {
  int32_t a_multiplier, b_multiplier;
  int16_t a_zero, b_zero, zero, low, high, shift;
} optc_sum_of_codes;

static inline int8_t optc_added(const optc_sum_of_codes* p, int32_t a, int32_t b) {
  const int32_t sum = (a - p->a_zero) * p->a_multiplier + (b - p->b_zero) * p->b_multiplier;
  return (int8_t)optc_clamped(((sum + ((int32_t)1 << (p->shift - 1))) >> p->shift) + p->zero, p->low, p->high);
}

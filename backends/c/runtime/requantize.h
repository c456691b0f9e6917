/* round(sum * multiplier / 2^(32 + shift)) for shift in 1..30; halves go up. */
static inline int32_t optc_scaled(int32_t sum, int32_t multiplier, int shift) {
  const int32_t high = (int32_t)(((int64_t)sum * multiplier) >> 32);
  return (high + ((int32_t)1 << (shift - 1))) >> shift;
}

static inline int32_t optc_clamped(int32_t value, int32_t low, int32_t high) {
  return value < low ? low : value > high ? high : value;
}

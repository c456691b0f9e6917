static inline int32_t optc_high(int32_t a, int32_t b) { return (int32_t)(((int64_t)a * b) >> 32); }

/* One sum, or those of two outputs that follow each other. */
static inline void optc_store(const optc_finish* p, int32_t first, int32_t second, int n, int output, int index,
                              const int8_t* other, void* result) {
  (void)other;
#ifdef OPTC_REALS
  if (p->reals) {
    ((float*)result)[index] = (float)first * p->reals[output];
    if (n > 1) ((float*)result)[index + 1] = (float)second * p->reals[output + 1];
    return;
  }
#endif
  const int32_t *multipliers = p->multipliers + output, offset = optc_offset(p);
  const int shift = p->shift, low = p->low, high = p->high;
#ifdef OPTC_LEFT_SHIFT
  first *= (int32_t)1 << p->left_shift, second *= (int32_t)1 << p->left_shift;
#endif
  first = optc_clamped((optc_high(first, multipliers[0]) + offset) >> shift, low, high);
  if (n > 1) second = optc_clamped((optc_high(second, multipliers[1]) + offset) >> shift, low, high);
#ifdef OPTC_CONVOLVE_ADD
  if (p->sum) {
    first = optc_added(p->sum, first, other[index]);
    if (n > 1) second = optc_added(p->sum, second, other[index + 1]);
  }
#endif
  ((int8_t*)result)[index] = (int8_t)first;
  if (n > 1) ((int8_t*)result)[index + 1] = (int8_t)second;
}

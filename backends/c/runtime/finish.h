/* What becomes of sums: codes of the result, with another tensor added to them or not, or reals. */
typedef struct {
  int16_t zero, low, high, left_shift, shift;
  const int32_t* multipliers;
#ifdef OPTC_REALS
  const float* reals; /* the result is sum * reals[output] as float where this is not NULL */
#endif
#ifdef OPTC_CONVOLVE_ADD
  const optc_sum_of_codes* sum; /* where not NULL, the tensor `other` is added to the result */
#endif
} optc_finish;

#ifdef OPTC_REALS
#define OPTC_REALS_FIELD(value) , value
#else
#define OPTC_REALS_FIELD(value)
#endif
#ifdef OPTC_CONVOLVE_ADD
#define OPTC_SUM_FIELD(value) , value
#else
#define OPTC_SUM_FIELD(value)
#endif

/* What is added before the shift: a half, and the zero point; at most 2^21 * 128.5. */
static inline int32_t optc_offset(const optc_finish* p) {
  return ((int32_t)1 << (p->shift - 1)) + p->zero * ((int32_t)1 << p->shift);
}

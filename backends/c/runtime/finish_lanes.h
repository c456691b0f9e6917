/* What the first n sums of a register ask for, of which the first is that of `output`; kept for several pixels. */
typedef struct {
  optc_lanes multipliers, offset;
  optc_bounds bounds;
  int left, shift, output, n;
} optc_ending;

static inline optc_ending optc_end(const optc_finish* p, int output, int n) {
  optc_ending end;
  const int codes = p->multipliers != NULL;
  end.multipliers = codes ? optc_load(p->multipliers + output, n) : optc_every(0);
  end.offset = optc_every(optc_offset(p));
  end.bounds = optc_between(p->low, p->high);
#ifdef OPTC_CONVOLVE_ADD
  if (p->sum) end.bounds = optc_between(p->sum->low, p->sum->high);
#endif
  end.left = p->left_shift, end.shift = p->shift, end.output = output, end.n = n;
  return end;
}

static inline void optc_store_lanes(const optc_finish* p, const optc_ending* end, optc_lanes sums, int index,
                                    const int8_t* other, void* result) {
  (void)other, (void)p;
#ifdef OPTC_REALS
  if (p->reals) {
    optc_store_reals((float*)result + index, sums, p->reals + end->output, end->n);
    return;
  }
#endif
#ifdef OPTC_LEFT_SHIFT
  sums = optc_left(sums, end->left);
#endif
  sums = optc_shifted(optc_plus(optc_high(sums, end->multipliers), end->offset), end->shift);
#ifdef OPTC_CONVOLVE_ADD
  if (p->sum) {
    sums = optc_within(sums, p->low, p->high);
    const optc_sum_of_codes* s = p->sum;
    const optc_lanes b = optc_plus(optc_load_codes(other + index, end->n), optc_every(-s->b_zero));
    sums = optc_times(optc_plus(sums, optc_every(-s->a_zero)), optc_every(s->a_multiplier));
    sums = optc_plus(optc_plus(sums, optc_times(b, optc_every(s->b_multiplier))), optc_every(1 << (s->shift - 1)));
    sums = optc_plus(optc_shifted(sums, s->shift), optc_every(s->zero));
  }
#endif
  optc_store_codes((int8_t*)result + index, sums, end->bounds, end->n);
}

/* Two pixels and two outputs at a time. weights[outputs / 2][depth / 4][2][4], zeros behind the depth; an output that
 * is left over stands alone. */
typedef struct {
  int32_t a0, a1, b0, b1; /* pixel a or b, output 0 or 1 */
} optc_four;

static inline optc_four optc_dot_two(const int8_t* a, const int8_t* b, const int8_t* w, int depth, optc_four s) {
  for (const int8_t* end = a + depth; a != end; a += 4, b += 4, w += 8) {
#ifdef OPTC_HALVES
    const uint32_t x = optc_word(a), y = optc_word(b), v = optc_word(w), u = optc_word(w + 4);
    const int16x2_t xe = optc_even(x), xo = optc_odd(x), ye = optc_even(y), yo = optc_odd(y);
    int16x2_t we = optc_even(v), wo = optc_odd(v);
    s.a0 = __smlad(xo, wo, __smlad(xe, we, s.a0));
    s.b0 = __smlad(yo, wo, __smlad(ye, we, s.b0));
    we = optc_even(u), wo = optc_odd(u);
    s.a1 = __smlad(xo, wo, __smlad(xe, we, s.a1));
    s.b1 = __smlad(yo, wo, __smlad(ye, we, s.b1));
#else
    for (int k = 0; k < 4; k++) {
      s.a0 += a[k] * w[k];
      s.a1 += a[k] * w[k + 4];
      s.b0 += b[k] * w[k];
      s.b1 += b[k] * w[k + 4];
    }
#endif
  }
  return s;
}

static inline int32_t optc_dot_one(const int8_t* x, const int8_t* w, int depth, int32_t sum) {
  for (int i = 0; i < depth; i += 4) {
#ifdef OPTC_HALVES
    const uint32_t codes = optc_word(x + i), weights = optc_word(w + i);
    sum = __smlad(optc_odd(codes), optc_odd(weights), __smlad(optc_even(codes), optc_even(weights), sum));
#else
    for (int k = i; k < i + 4; k++) sum += x[k] * w[k];
#endif
  }
  return sum;
}

static void optc_convolve(const optc_convolution* p, const int8_t* input, const int8_t* other, void* result,
                          int8_t* patches) {
  const optc_window* w = &p->window;
  const int depth = (w->window_rows * w->window_columns * (w->channels / p->groups) + 3) / 4 * 4;
  const int pixels = w->result_rows * w->result_columns, outputs = p->outputs / p->groups;
  for (int pixel = 0; pixel < pixels; pixel += 2) {
    const int two = pixel + 1 < pixels;
    const int8_t* weights = p->weights;
    for (int group = 0, output = 0; group < p->groups; group++) {
      const int8_t* a = optc_patch(p, input, pixel, group, patches);
      const int8_t* b = two ? optc_patch(p, input, pixel + 1, group, patches ? patches + depth : NULL) : a;
      const int end = output + outputs;
      for (; output + 1 < end; output += 2, weights += 2 * depth) {
        const int32_t* bias = p->bias + output;
        const optc_four from = {bias[0], bias[1], bias[0], bias[1]};
        const optc_four s = optc_dot_two(a, b, weights, depth, from);
        optc_store(&p->finish, s.a0, s.a1, 2, output, pixel * p->outputs + output, other, result);
        if (two) optc_store(&p->finish, s.b0, s.b1, 2, output, (pixel + 1) * p->outputs + output, other, result);
      }
      if (output == end) continue;
      for (int i = 0; i <= two; i++) {
        const int32_t sum = optc_dot_one(i ? b : a, weights, depth, p->bias[output]);
        optc_store(&p->finish, sum, sum, 1, output, (pixel + i) * p->outputs + output, other, result);
      }
      weights += depth, output++;
    }
  }
}

/* Two pixels and four outputs at a time. weights[outputs][depth]. */
static inline void optc_dot_two(const int8_t* a, const int8_t* b, const int8_t* v, const int8_t* w, int n,
                                int32_t* a_sums, int32_t* b_sums) {
  int32_t s0 = a_sums[0], s1 = a_sums[1], s2 = b_sums[0], s3 = b_sums[1];
#ifdef __ARM_FEATURE_MVE
  for (; n > 0; n -= 16, a += 16, b += 16, v += 16, w += 16) {
    const mve_pred16_t some = vctp8q((uint32_t)n);
    const int8x16_t x = vldrbq_z_s8(a, some), y = vldrbq_z_s8(b, some);
    const int8x16_t first = vldrbq_z_s8(v, some), second = vldrbq_z_s8(w, some);
    s0 = vmladavaq_s8(s0, x, first);
    s1 = vmladavaq_s8(s1, x, second);
    s2 = vmladavaq_s8(s2, y, first);
    s3 = vmladavaq_s8(s3, y, second);
  }
#else
  for (int i = 0; i < n; i++) s0 += a[i] * v[i], s1 += a[i] * w[i], s2 += b[i] * v[i], s3 += b[i] * w[i];
#endif
  a_sums[0] = s0, a_sums[1] = s1, b_sums[0] = s2, b_sums[1] = s3;
}

static void optc_convolve(const optc_convolution* p, const int8_t* input, const int8_t* other, void* result,
                          int8_t* patches) {
  const optc_window* w = &p->window;
  const int depth = w->window_rows * w->window_columns * (w->channels / p->groups);
  const int pixels = w->result_rows * w->result_columns, outputs = p->outputs / p->groups;
  for (int pixel = 0; pixel < pixels; pixel += 2) {
    const int two = pixel + 1 < pixels;
    for (int group = 0; group < p->groups; group++) {
      const int8_t* a = optc_patch(p, input, pixel, group, patches);
      const int8_t* b = two ? optc_patch(p, input, pixel + 1, group, patches ? patches + depth : NULL) : a;
      for (int i = 0; i < outputs; i += 4) {
        const int output = group * outputs + i, n = outputs - i < 4 ? outputs - i : 4;
        const int8_t* weights = p->weights + (size_t)output * (size_t)depth;
        int32_t sums[OPTC_LANES < 4 ? 8 : 2 * OPTC_LANES];
        int32_t *a_sums = sums, *b_sums = sums + OPTC_LANES;
        memcpy(a_sums, p->bias + output, (size_t)n * 4);
        memcpy(b_sums, p->bias + output, (size_t)n * 4);
        for (int j = 0; j < n; j += 2)
          optc_dot_two(a, b, weights + j * depth, weights + (j + 1 < n ? j + 1 : j) * depth, depth, a_sums + j,
                       b_sums + j);
        const optc_ending end = optc_end(&p->finish, output, n);
        optc_store_lanes(&p->finish, &end, optc_load(a_sums, n), pixel * p->outputs + output, other, result);
        if (two)
          optc_store_lanes(&p->finish, &end, optc_load(b_sums, n), (pixel + 1) * p->outputs + output, other, result);
      }
    }
  }
}

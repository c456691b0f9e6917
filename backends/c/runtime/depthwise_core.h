/* Four channels of a pixel at a time. For each four channels there is a word of weights for channels 0 and 1 of two
 * taps, one for channels 2 and 3, and at last, of an odd tap, one for all four; then the taps of each channel that is
 * left over. `scratch` holds where the codes of each tap lie, as distances from the input, and behind them one code
 * for each channel that stands for those outside. */
static inline void optc_distances(const optc_window* w, const int8_t* input, const int8_t* edge, int row, int column,
                                  int32_t* distances) {
  for (int i = 0, y = row; i < w->window_rows; i++, y += w->row_gap) {
    const int inside = y >= 0 && y < w->rows;
    for (int j = 0, x = column; j < w->window_columns; j++, x += w->column_gap)
      *distances++ = inside && x >= 0 && x < w->columns ? (int32_t)((y * w->columns + x) * w->channels)
                                                        : (int32_t)(edge - input);
  }
}

static void optc_depthwise(const optc_depthwise_convolution* p, const int8_t* input, int8_t* result, int8_t* scratch) {
  const optc_window* w = &p->window;
  const int channels = w->channels, taps = w->window_rows * w->window_columns;
  int32_t* const distances = (int32_t*)(void*)scratch;
  int8_t* const edge = scratch + 4 * taps;
  memset(edge, p->input_zero, (size_t)channels);
  for (int pixel = 0; pixel < w->result_rows * w->result_columns; pixel++) {
    const int row = pixel / w->result_columns * w->row_step - w->top;
    const int column = pixel % w->result_columns * w->column_step - w->left;
    optc_distances(w, input, edge, row, column, distances);
    const int8_t* weights = p->weights;
    int first = 0;
    for (; first + 3 < channels; first += 4) {
      const int8_t* codes = input + first;
      const int32_t *at = distances, *last = distances + taps - 1;
      int32_t s0 = p->bias[first], s1 = p->bias[first + 1], s2 = p->bias[first + 2], s3 = p->bias[first + 3];
      for (; at < last; at += 2, weights += 8) {
#ifdef OPTC_HALVES
        const uint32_t x = optc_word(codes + at[0]), y = optc_word(codes + at[1]);
        const uint32_t lower = optc_lower(x, y), upper = optc_upper(x, y);
        const uint32_t v = optc_word(weights), u = optc_word(weights + 4);
        s0 = __smlad(optc_even(lower), optc_even(v), s0);
        s1 = __smlad(optc_odd(lower), optc_odd(v), s1);
        s2 = __smlad(optc_even(upper), optc_even(u), s2);
        s3 = __smlad(optc_odd(upper), optc_odd(u), s3);
#else
        const int8_t *x = codes + at[0], *y = codes + at[1];
        s0 += x[0] * weights[0] + y[0] * weights[2];
        s1 += x[1] * weights[1] + y[1] * weights[3];
        s2 += x[2] * weights[4] + y[2] * weights[6];
        s3 += x[3] * weights[5] + y[3] * weights[7];
#endif
      }
      if (at == last) {
        const int8_t* x = codes + at[0];
        s0 += x[0] * weights[0];
        s1 += x[1] * weights[1];
        s2 += x[2] * weights[2];
        s3 += x[3] * weights[3];
        weights += 4;
      }
      optc_store(&p->finish, s0, s1, 2, first, first, NULL, result);
      optc_store(&p->finish, s2, s3, 2, first + 2, first + 2, NULL, result);
    }
    for (int rest = channels % 4; rest > 0; rest--, first++, weights += taps) {
      int32_t sum = p->bias[first];
      for (int i = 0; i < taps; i++) sum += input[first + distances[i]] * weights[i];
      optc_store(&p->finish, sum, sum, 1, first, first, NULL, result);
    }
    result += channels;
  }
}

/* As many channels at a time as a register has lanes. weights[window_rows][window_columns][channels]; `edge` has one
 * code for each channel. */
static inline optc_lanes optc_window_sums(const optc_window* w, const int8_t* input, int row, int column, int first,
                                          int n, const int8_t* weights, const int8_t* edge, optc_lanes sums) {
  const int channels = w->channels, step = w->column_gap * channels;
  const int whole = column >= 0 && column + (w->window_columns - 1) * w->column_gap < w->columns;
  for (int i = 0, y = row; i < w->window_rows; i++, y += w->row_gap) {
    const int inside = y >= 0 && y < w->rows;
    const int8_t* codes = input + (inside ? (y * w->columns + column) * channels + first : 0);
    for (int j = 0, x = column; j < w->window_columns; j++, x += w->column_gap, codes += step, weights += channels) {
      const int there = inside && (whole || (x >= 0 && x < w->columns));
      sums = optc_multiplied(sums, optc_load_codes(there ? codes : edge, n), optc_load_factors(weights, n));
    }
  }
  return sums;
}

#ifdef OPTC_COLUMNS
/* Some pixels of a row for a window of 3x3. The weights stay in registers, a column of three codes is one factor, and
 * where the window moves by one column each is read once. */
OPTC_INLINE void optc_three_by_three(const optc_window* w, const optc_finish* finish, const int32_t* biases,
                                     const int8_t* weights, const int8_t* input, int row, int column, int count,
                                     int first, int n, const int8_t* edge, int8_t* result) {
  const int channels = w->channels, columns = w->columns, step = w->column_step, gap = w->column_gap;
  const optc_ending end = optc_end(finish, first, n);
  const optc_lanes bias = optc_load(biases + first, n);
  optc_weights f[3];
  const int8_t* lines[3];
  int steps[3];
  for (int i = 0; i < 3; i++) {
    const int8_t* top = weights + i * channels + first;
    const int y = row + i * w->row_gap, inside = y >= 0 && y < w->rows;
    f[i] = optc_column_weights(top, top + 3 * channels, top + 6 * channels, n);
    lines[i] = inside ? input + y * columns * channels + first : edge;
    steps[i] = inside ? channels : 0;
  }
  const optc_weights f0 = f[0], f1 = f[1], f2 = f[2];
  const int8_t *a = lines[0], *b = lines[1], *c = lines[2];
  const int at = steps[0], bt = steps[1], ct = steps[2];
#define OPTC_COLUMN(x)                                                                                          \
  ((x) >= 0 && (x) < columns ? optc_column(a + (x) * at, b + (x) * bt, c + (x) * ct, n) \
                             : optc_column(edge, edge, edge, n))
  result += first;
  if (step == 1 && gap == 1) {
    optc_group x = OPTC_COLUMN(column), y = OPTC_COLUMN(column + 1);
    for (int i = 0; i < count; i++, result += channels) {
      const optc_group z = OPTC_COLUMN(column + 2 + i);
      const optc_lanes sums = optc_dot(optc_dot(optc_dot(bias, x, f0), y, f1), z, f2);
      optc_store_lanes(finish, &end, sums, 0, NULL, result);
      x = y, y = z;
    }
    return;
  }
  for (int i = 0; i < count; i++, column += step, result += channels) {
    optc_lanes sums = optc_dot(bias, OPTC_COLUMN(column), f0);
    sums = optc_dot(optc_dot(sums, OPTC_COLUMN(column + gap), f1), OPTC_COLUMN(column + 2 * gap), f2);
    optc_store_lanes(finish, &end, sums, 0, NULL, result);
  }
}
#endif

static void optc_depthwise(const optc_depthwise_convolution* p, const int8_t* input, int8_t* result, int8_t* edge) {
  /* Copies, which no store of codes can change. */
  const optc_window window = p->window, *w = &window;
  const optc_finish finish = p->finish;
  const int channels = w->channels, span = p->span;
  memset(edge, p->input_zero, (size_t)channels);
  for (int i = 0; i < w->result_rows; i++) {
    const int row = i * w->row_step - w->top;
    for (int j = 0; j < w->result_columns; j += span, result += span * channels) {
      const int count = w->result_columns - j < span ? w->result_columns - j : span;
      for (int first = 0; first < channels; first += OPTC_LANES) {
        const int n = channels - first < OPTC_LANES ? channels - first : OPTC_LANES;
        const int column = j * w->column_step - w->left;
#ifdef OPTC_COLUMNS
        if (w->window_rows == 3 && w->window_columns == 3) {
          /* Full registers have code of their own. */
          if (n == OPTC_LANES)
            optc_three_by_three(w, &finish, p->flipped_bias, p->weights, input, row, column, count, first,
                                OPTC_LANES, edge, result);
          else
            optc_three_by_three(w, &finish, p->flipped_bias, p->weights, input, row, column, count, first, n, edge,
                                result);
          continue;
        }
#endif
        const optc_lanes bias = optc_load(p->bias + first, n);
        const optc_ending end = optc_end(&finish, first, n);
        for (int k = 0; k < count; k++) {
          const optc_lanes sums =
              optc_window_sums(w, input, row, column + k * w->column_step, first, n, p->weights + first, edge, bias);
          optc_store_lanes(&finish, &end, sums, k * channels + first, NULL, result);
        }
      }
    }
  }
}

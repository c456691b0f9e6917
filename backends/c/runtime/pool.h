/* The mean over windows that lie inside the image; the bias takes back the zero points of a window. */
typedef struct {
  optc_window window;
  int32_t bias, multiplier;
  int16_t zero, low, high, left_shift, shift;
} optc_mean;

static void optc_average(const optc_mean* p, const int8_t* input, int8_t* result) {
  const optc_window* w = &p->window;
  for (int pixel = 0; pixel < w->result_rows * w->result_columns; pixel++, result += w->channels) {
    const int row = pixel / w->result_columns * w->row_step, column = pixel % w->result_columns * w->column_step;
    for (int c = 0; c < w->channels; c++) {
      int32_t sum = p->bias;
      for (int i = 0; i < w->window_rows; i++)
        for (int j = 0; j < w->window_columns; j++) {
          const int y = row + i * w->row_gap, x = column + j * w->column_gap;
          sum += input[(y * w->columns + x) * w->channels + c];
        }
      const int32_t code = optc_scaled(sum * ((int32_t)1 << p->left_shift), p->multiplier, p->shift) + p->zero;
      result[c] = (int8_t)optc_clamped(code, p->low, p->high);
    }
  }
}

/* The largest code of each window. */
static void optc_maximum(const optc_window* w, const int8_t* input, int8_t* result) {
  for (int pixel = 0; pixel < w->result_rows * w->result_columns; pixel++, result += w->channels) {
    const int row = pixel / w->result_columns * w->row_step - w->top;
    const int column = pixel % w->result_columns * w->column_step - w->left;
    for (int c = 0; c < w->channels; c++) {
      int8_t largest = -128;
      for (int i = 0; i < w->window_rows; i++)
        for (int j = 0; j < w->window_columns; j++) {
          const int y = row + i * w->row_gap, x = column + j * w->column_gap;
          if (y < 0 || y >= w->rows || x < 0 || x >= w->columns) continue;
          const int8_t code = input[(y * w->columns + x) * w->channels + c];
          largest = code > largest ? code : largest;
        }
      result[c] = largest;
    }
  }
}

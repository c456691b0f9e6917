/* The codes that one result depends on, in the order of the weights. What optc_take writes beyond is written again, or
 * lies behind the last patch. */
OPTC_INLINE void optc_gather(const optc_window* p, int zero, int groups, const int8_t* input, int row, int column,
                               int group, int8_t* patch) {
  const int depth = p->channels / groups, line = p->window_columns * depth, pitch = p->columns * p->channels;
  const int8_t* const end = input + p->rows * pitch - OPTC_SLACK;
  row = row * p->row_step - p->top, column = column * p->column_step - p->left;
  const int8_t* codes = input + row * pitch + column * p->channels + group * depth;
  const int over = column + p->window_columns - p->columns;
  const int solid = groups == 1 && p->column_gap == 1;
  if (solid && row >= 0 && column >= 0 && over <= 0 && row + (p->window_rows - 1) * p->row_gap < p->rows &&
      codes + (p->window_rows - 1) * p->row_gap * pitch + line <= end) {
    for (int i = 0; i < p->window_rows; i++, patch += line, codes += p->row_gap * pitch) optc_take(patch, codes, line);
    return;
  }
  for (int i = 0, y = row; i < p->window_rows; i++, y += p->row_gap, patch += line, codes += p->row_gap * pitch) {
    if (y < 0 || y >= p->rows) {
      memset(patch, zero, (size_t)line);
    } else if (solid) {
      /* Codes of columns outside to the left and to the right. */
      const int before = column < 0 ? (-column < p->window_columns ? -column : p->window_columns) * depth : 0;
      const int after = over > 0 ? (over < p->window_columns ? over : p->window_columns) * depth : 0;
      if (before) memset(patch, zero, (size_t)before);
      if (before + after < line) optc_take_exactly(patch + before, codes + before, line - before - after);
      if (after) memset(patch + line - after, zero, (size_t)after);
    } else {
      for (int j = 0, x = column; j < p->window_columns; j++, x += p->column_gap) {
        if (x < 0 || x >= p->columns)
          memset(patch + j * depth, zero, (size_t)depth);
        else
          optc_take_exactly(patch + j * depth, codes + j * p->column_gap * p->channels, depth);
      }
    }
  }
}

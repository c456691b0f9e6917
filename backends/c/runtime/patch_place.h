/* The codes that a result depends on: where they lie, or gathered. */
static const int8_t* optc_patch(const optc_convolution* p, const int8_t* input, int pixel, int group, int8_t* patch) {
  const optc_window* w = &p->window;
  const int row = pixel / w->result_columns, column = pixel % w->result_columns;
  if (patch == NULL)
    return input + (row * w->row_step * w->columns + column * w->column_step) * w->channels +
           group * (w->channels / p->groups);
  optc_gather(w, p->input_zero, p->groups, input, row, column, group, patch);
  return patch;
}

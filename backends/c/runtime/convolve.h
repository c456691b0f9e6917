/* Convolution and matrix product of codes. weights[outputs][window_rows][window_columns][channels / groups]; the bias
 * holds what the zero point of the input adds. */
typedef struct {
  optc_window window;
  int16_t outputs, groups, input_zero, zero, low, high, left_shift, shift;
  const int8_t* weights;
  const int32_t* bias;
  const int32_t* multipliers;
#ifdef OPTC_REALS
  const float* reals; /* the result is sum * reals[output] as float where this is not NULL */
#endif
#ifdef OPTC_CONVOLVE_ADD
  const optc_sum_of_codes* sum; /* where not NULL, the tensor `other` is added to the result */
#endif
} optc_convolution;

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

/* The codes that one result depends on, in the order of the weights: gathered, or where they lie. */
static const int8_t* optc_patch(const optc_window* p, int zero, int groups, const int8_t* input, int pixel, int group,
                                int8_t* patch) {
  const int depth = p->channels / groups;
  const int row = pixel / p->result_columns * p->row_step - p->top;
  const int column = pixel % p->result_columns * p->column_step - p->left;
  input += group * depth;
  if (p->window_rows == 1 && p->window_columns == 1 && row >= 0 && row < p->rows && column >= 0 && column < p->columns)
    return input + (row * p->columns + column) * p->channels;
  int8_t* next = patch;
  for (int i = 0; i < p->window_rows; i++) {
    const int y = row + i * p->row_gap;
    if (y < 0 || y >= p->rows) {
      memset(next, zero, (size_t)(p->window_columns * depth));
      next += p->window_columns * depth;
      continue;
    }
    if (groups == 1 && p->column_gap == 1 && column >= 0 && column + p->window_columns <= p->columns) {
      memcpy(next, input + (y * p->columns + column) * p->channels, (size_t)(p->window_columns * depth));
      next += p->window_columns * depth;
      continue;
    }
    for (int j = 0; j < p->window_columns; j++, next += depth) {
      const int x = column + j * p->column_gap;
      if (x < 0 || x >= p->columns)
        memset(next, zero, (size_t)depth);
      else
        memcpy(next, input + (y * p->columns + x) * p->channels, (size_t)depth);
    }
  }
  return patch;
}

static inline void optc_store(const optc_convolution* p, int32_t sum, int pixel, int output, const int8_t* other,
                              void* result) {
  const int index = pixel * p->outputs + output;
  (void)other;
#ifdef OPTC_REALS
  if (p->reals) {
    ((float*)result)[index] = (float)sum * p->reals[output];
    return;
  }
#endif
  sum = optc_scaled(sum * ((int32_t)1 << p->left_shift), p->multipliers[output], p->shift) + p->zero;
  sum = optc_clamped(sum, p->low, p->high);
#ifdef OPTC_CONVOLVE_ADD
  if (p->sum) sum = optc_added(p->sum, sum, other[index]);
#endif
  ((int8_t*)result)[index] = (int8_t)sum;
}

static void optc_convolve(const optc_convolution* p, const int8_t* input, const int8_t* other, void* result,
                          int8_t* patches) {
  const optc_window* w = &p->window;
  const int depth = w->window_rows * w->window_columns * (w->channels / p->groups);
  const int pixels = w->result_rows * w->result_columns, outputs = p->outputs / p->groups;
  for (int pixel = 0; pixel < pixels; pixel += 2) {
    const int two = pixel + 1 < pixels;
    for (int group = 0; group < p->groups; group++) {
      const int8_t* x0 = optc_patch(w, p->input_zero, p->groups, input, pixel, group, patches);
      const int8_t* x1 = two ? optc_patch(w, p->input_zero, p->groups, input, pixel + 1, group, patches + depth) : x0;
      for (int i = 0; i < outputs; i += 2) {
        const int output = group * outputs + i, next = i + 1 < outputs ? output + 1 : output;
        const int8_t* w0 = p->weights + (size_t)output * (size_t)depth;
        const int8_t* w1 = p->weights + (size_t)next * (size_t)depth;
        int32_t sums[4] = {p->bias[output], p->bias[next], p->bias[output], p->bias[next]};
        optc_dot(x0, x1, w0, w1, depth, sums);
        optc_store(p, sums[0], pixel, output, other, result);
        if (next > output) optc_store(p, sums[1], pixel, next, other, result);
        if (!two) continue;
        optc_store(p, sums[2], pixel + 1, output, other, result);
        if (next > output) optc_store(p, sums[3], pixel + 1, next, other, result);
      }
    }
  }
}

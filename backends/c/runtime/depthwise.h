/* Convolution of each channel by itself. weights[window_rows][window_columns][channels]; the bias holds what the zero
 * point of the input adds; `edge` holds one code for each channel. */
typedef struct {
  optc_window window;
  int16_t input_zero, zero, low, high, left_shift, shift;
  const int8_t* weights;
  const int32_t* bias;
  const int32_t* multipliers;
} optc_depthwise_convolution;

#ifdef __AVX2__
#define OPTC_CHANNELS 32
#else
#define OPTC_CHANNELS 4
#endif

static inline void optc_add_products(int32_t* sums, const int8_t* codes, const int8_t* weights, int count) {
  for (int c = 0; c < count; c++) sums[c] += codes[c] * weights[c];
}

/* The sums of OPTC_CHANNELS or fewer channels of one pixel. */
static inline void optc_depthwise_sums(const optc_window* w, const int8_t* input, int row, int column, int first,
                                       int count, const int8_t* weights, const int8_t* edge, int32_t* sums) {
  const int channels = w->channels;
#if OPTC_CHANNELS == 4
  int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
#endif
  for (int i = 0; i < w->window_rows; i++) {
    const int y = row + i * w->row_gap;
    const int inside = y >= 0 && y < w->rows;
    const int8_t* line = inside ? input + y * w->columns * channels : input;
    for (int j = 0, x = column; j < w->window_columns; j++, x += w->column_gap, weights += channels) {
      const int8_t* codes = inside && x >= 0 && x < w->columns ? line + x * channels + first : edge;
#if OPTC_CHANNELS == 4
      if (count == 4) {
        s0 += codes[0] * weights[0];
        s1 += codes[1] * weights[1];
        s2 += codes[2] * weights[2];
        s3 += codes[3] * weights[3];
        continue;
      }
#endif
      if (count == OPTC_CHANNELS)
        optc_add_products(sums, codes, weights, OPTC_CHANNELS);
      else
        optc_add_products(sums, codes, weights, count);
    }
  }
#if OPTC_CHANNELS == 4
  if (count == 4) sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
#endif
}

static void optc_depthwise(const optc_depthwise_convolution* p, const int8_t* input, int8_t* result, int8_t* edge) {
  const optc_window* w = &p->window;
  const int channels = w->channels;
  memset(edge, p->input_zero, (size_t)channels);
  for (int pixel = 0; pixel < w->result_rows * w->result_columns; pixel++, result += channels) {
    const int row = pixel / w->result_columns * w->row_step - w->top;
    const int column = pixel % w->result_columns * w->column_step - w->left;
    for (int first = 0; first < channels; first += OPTC_CHANNELS) {
      const int count = channels - first < OPTC_CHANNELS ? channels - first : OPTC_CHANNELS;
      int32_t sums[OPTC_CHANNELS] = {0};
      for (int c = 0; c < count; c++) sums[c] = p->bias[first + c];
      optc_depthwise_sums(w, input, row, column, first, count, p->weights + first, edge, sums);
      for (int c = 0; c < count; c++) {
        const int32_t sum = sums[c] * ((int32_t)1 << p->left_shift);
        const int32_t code = optc_scaled(sum, p->multipliers[first + c], p->shift) + p->zero;
        result[first + c] = (int8_t)optc_clamped(code, p->low, p->high);
      }
    }
  }
}

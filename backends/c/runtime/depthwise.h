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

static void optc_depthwise(const optc_depthwise_convolution* p, const int8_t* input, int8_t* result, int8_t* edge) {
  const optc_window* w = &p->window;
  const int channels = w->channels;
  memset(edge, p->input_zero, (size_t)channels);
  for (int pixel = 0; pixel < w->result_rows * w->result_columns; pixel++, result += channels) {
    const int row = pixel / w->result_columns * w->row_step - w->top;
    const int column = pixel % w->result_columns * w->column_step - w->left;
    for (int first = 0; first < channels; first += OPTC_CHANNELS) {
      const int count = channels - first < OPTC_CHANNELS ? channels - first : OPTC_CHANNELS;
      int32_t sums[OPTC_CHANNELS];
      for (int c = 0; c < count; c++) sums[c] = p->bias[first + c];
      const int8_t* weights = p->weights + first;
      for (int i = 0; i < w->window_rows; i++) {
        const int y = row + i * w->row_gap;
        for (int j = 0; j < w->window_columns; j++, weights += channels) {
          const int x = column + j * w->column_gap;
          const int inside = y >= 0 && y < w->rows && x >= 0 && x < w->columns;
          const int8_t* codes = inside ? input + (y * w->columns + x) * channels + first : edge;
          if (count == OPTC_CHANNELS)
            for (int c = 0; c < OPTC_CHANNELS; c++) sums[c] += codes[c] * weights[c];
          else
            for (int c = 0; c < count; c++) sums[c] += codes[c] * weights[c];
        }
      }
      for (int c = 0; c < count; c++) {
        const int32_t sum = sums[c] * ((int32_t)1 << p->left_shift);
        const int32_t code = optc_scaled(sum, p->multipliers[first + c], p->shift) + p->zero;
        result[first + c] = (int8_t)optc_clamped(code, p->low, p->high);
      }
    }
  }
}

/* Convolution of each channel by itself; the bias holds what the zero point of the input adds. */
typedef struct {
  optc_window window;
  int16_t input_zero;
  int16_t span; /* pixels of a row that are complete before the next codes are read */
  const int8_t* weights;
  const int32_t *bias, *flipped_bias; /* the second for codes with their signs flipped */
  optc_finish finish;
} optc_depthwise_convolution;

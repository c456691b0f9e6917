/* Convolution and matrix product of codes; the bias holds what the zero point of the input adds. */
typedef struct {
  optc_window window;
  int16_t outputs, groups, input_zero;
  const int8_t* weights;
  const int32_t* bias;
  optc_finish finish;
} optc_convolution;

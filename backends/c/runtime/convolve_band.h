/* Convolution of one group whose window rows lie in a band: rows of the image with their signs flipped where that is
 * asked for, and with the columns outside. weights[outputs / 16][window_rows][line / 4][16][4], zeros behind each line;
 * the last tile is as narrow as the outputs that are left. */
#define OPTC_BAND_DOT(i) s##i = optc_dot(s##i, optc_spread(x + (i) * step), w);

#define OPTC_BAND_TILE_OF(pixels, EACH)                                                                               \
  OPTC_INLINE void optc_band_tile_##pixels(const optc_finish* finish, const int8_t* const* lines, int rows, int at,   \
                                           int step, int depth, const int8_t* weights, int stride,                    \
                                           const int32_t* biases, int output, int n, int outputs, int index,          \
                                           const int8_t* other, void* result) {                                       \
    const optc_lanes bias = optc_load(biases + output, n);                                                            \
    EACH(OPTC_BEGIN)                                                                                             \
    for (int i = 0; i < rows; i++) {                                                                                  \
      const int8_t *x = lines[i] + at, *const last = x + depth;                                                       \
      do {                                                                                                            \
        const optc_weights w = optc_load_weights(weights, n);                                                         \
        EACH(OPTC_BAND_DOT)                                                                                           \
        x += 4, weights += stride;                                                                                    \
      } while (x != last);                                                                                            \
    }                                                                                                                 \
    const optc_ending end = optc_end(finish, output, n);                                                              \
    EACH(OPTC_END)                                                                                                    \
  }

OPTC_BAND_TILE_OF(1, OPTC_EACH_1)
OPTC_BAND_TILE_OF(2, OPTC_EACH_2)
#if OPTC_MOST_PIXELS >= 4
OPTC_BAND_TILE_OF(4, OPTC_EACH_4)
#endif
#if OPTC_MOST_PIXELS >= 8
OPTC_BAND_TILE_OF(8, OPTC_EACH_8)
#endif

#ifdef OPTC_PAIRS
#define OPTC_BAND_DOT_PAIR(i)                         \
  {                                                   \
    const optc_group g = optc_spread(x + (i) * step); \
    s##i = optc_dot(s##i, g, w);                      \
    t##i = optc_dot(t##i, g, v);                      \
  }
OPTC_INLINE void optc_band_pair(const optc_finish* finish, const int8_t* const* lines, int rows, int at, int step,
                                int depth, const int8_t* weights, size_t further, int stride, const int32_t* biases,
                                int output, int outputs, int index, const int8_t* other, void* result) {
  const optc_lanes bias = optc_load(biases + output, OPTC_LANES);
  const optc_lanes more = optc_load(biases + output + OPTC_LANES, OPTC_LANES);
  OPTC_EACH_8(OPTC_BEGIN_PAIR)
  for (int i = 0; i < rows; i++) {
    const int8_t *x = lines[i] + at, *const last = x + depth;
    do {
      const optc_weights w = optc_load_weights(weights, OPTC_LANES);
      const optc_weights v = optc_load_weights(weights + further, OPTC_LANES);
      OPTC_EACH_8(OPTC_BAND_DOT_PAIR)
      x += 4, weights += stride;
    } while (x != last);
  }
  optc_ending end = optc_end(finish, output, OPTC_LANES);
  OPTC_EACH_8(OPTC_END)
  end = optc_end(finish, output + OPTC_LANES, OPTC_LANES);
  OPTC_EACH_8(OPTC_END_PAIR)
}
#endif

/* Copies a row of the image into its place of the band. */
static void optc_fill(const optc_window* w, int zero, const int8_t* input, int row, int pitch, int8_t* line) {
  const int inside = w->columns * w->channels, left = w->left * w->channels;
  zero = OPTC_FLIPPED ? (int8_t)(zero ^ -128) : zero;
  if (row < 0 || row >= w->rows) {
    memset(line, zero, (size_t)pitch);
    return;
  }
  if (left) memset(line, zero, (size_t)left);
  optc_take_exactly(line + left, input + row * inside, inside);
  if (pitch > left + inside) memset(line + left + inside, zero, (size_t)(pitch - left - inside));
}

#define OPTC_MOST_ROWS 16

static void optc_convolve_band(const optc_convolution* p, const int8_t* input, const int8_t* other, void* result,
                               int pitch, int8_t* band) {
  const optc_window window = p->window, *w = &window;
  const optc_finish finish = p->finish;
  const int rows = w->window_rows, high = (rows - 1) * w->row_gap + 1, all = p->outputs;
  const int depth = (w->window_columns * w->channels + 3) / 4 * 4, step = w->column_step * w->channels;
  int filled = -w->top;
  for (int i = 0; i < w->result_rows; i++) {
    const int row = i * w->row_step - w->top;
    const int8_t* lines[OPTC_MOST_ROWS];
    for (int j = filled < row ? row : filled; j < row + high; j++)
      optc_fill(w, p->input_zero, input, j, pitch, band + (j + w->top) % high * pitch);
    filled = row + high;
    for (int j = 0; j < rows; j++) lines[j] = band + (row + j * w->row_gap + w->top) % high * pitch;
    const int8_t* weights = p->weights;
    for (int tile = 0; tile < all; tile += OPTC_TILE) {
      const int width = all - tile < OPTC_TILE ? all - tile : OPTC_TILE;
      const size_t size = (size_t)(rows * depth);
      const int index = i * w->result_columns * all + tile;
#ifdef OPTC_PAIRS
      if (OPTC_LANES == OPTC_TILE && all - tile >= 2 * OPTC_TILE && w->result_columns % 8 == 0) {
        for (int column = 0; column < w->result_columns; column += 8)
          optc_band_pair(&finish, lines, rows, column * step, step, depth, weights, OPTC_TILE * size, 4 * OPTC_TILE,
                         p->bias, tile, all, index + column * all, other, result);
        weights += 2 * OPTC_TILE * size;
        tile += OPTC_TILE;
        continue;
      }
#endif
      for (int first = 0; first < width; first += OPTC_LANES) {
        const int lanes = width - first < OPTC_LANES ? width - first : OPTC_LANES;
        int left = w->result_columns, at = 0, next = index + first;
#define OPTC_BAND_TILES(n)                                                                                       \
  for (; left >= n; left -= n, at += n * step, next += n * all) {                                                \
    if (lanes == OPTC_LANES && width == OPTC_TILE)                                                               \
      optc_band_tile_##n(&finish, lines, rows, at, step, depth, weights + 4 * first, 4 * OPTC_TILE, p->bias,     \
                         tile + first, OPTC_LANES, all, next, other, result);                                    \
    else                                                                                                         \
      optc_band_tile_##n(&finish, lines, rows, at, step, depth, weights + 4 * first, 4 * width, p->bias,         \
                         tile + first, lanes, all, next, other, result);                                         \
  }
#if OPTC_MOST_PIXELS >= 8
        OPTC_BAND_TILES(8)
#endif
#if OPTC_MOST_PIXELS >= 4
        OPTC_BAND_TILES(4)
#endif
        OPTC_BAND_TILES(2)
        OPTC_BAND_TILES(1)
      }
      weights += (size_t)width * size;
    }
  }
}

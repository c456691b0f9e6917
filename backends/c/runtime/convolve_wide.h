/* Convolution and matrix product over gathered patches. weights[outputs / 16][depth / 4][16][4], zeros behind the
 * depth; the last tile is as narrow as the outputs that are left. */
#define OPTC_TOGETHER 8

#define OPTC_DOT(i) s##i = optc_dot(s##i, optc_spread(x + (i) * depth), w);

#define OPTC_TILE_OF(pixels, EACH)                                                                                    \
  OPTC_INLINE void optc_tile_##pixels(const optc_finish* finish, const int8_t* x, int depth, const int8_t* weights, \
                                        int stride, const int32_t* biases, int output, int n, int outputs, int index, \
                                        const int8_t* other, void* result) {                                          \
    const optc_lanes bias = optc_load(biases + output, n);                                                            \
    EACH(OPTC_BEGIN)                                                                                                  \
    const int8_t* const last = x + depth;                                                                             \
    do {                                                                                                              \
      const optc_weights w = optc_load_weights(weights, n);                                                           \
      EACH(OPTC_DOT)                                                                                                  \
      x += 4, weights += stride;                                                                                      \
    } while (x != last);                                                                                                                \
    const optc_ending end = optc_end(finish, output, n);                                                              \
    EACH(OPTC_END)                                                                                                    \
  }

OPTC_TILE_OF(1, OPTC_EACH_1)
OPTC_TILE_OF(2, OPTC_EACH_2)
#if OPTC_MOST_PIXELS >= 4
OPTC_TILE_OF(4, OPTC_EACH_4)
#endif
#if OPTC_MOST_PIXELS >= 8
OPTC_TILE_OF(8, OPTC_EACH_8)
#endif

#ifdef OPTC_PAIRS
/* Two registers of outputs beside each other, `further` weights apart. */
#define OPTC_DOT_PAIR(i)                              \
  {                                                   \
    const optc_group g = optc_spread(x + (i) * depth); \
    s##i = optc_dot(s##i, g, w);                      \
    t##i = optc_dot(t##i, g, v);                      \
  }
OPTC_INLINE void optc_tile_pair(const optc_finish* finish, const int8_t* x, int depth, const int8_t* weights,
                                  size_t further, int stride, const int32_t* biases, int output, int outputs,
                                  int index, const int8_t* other, void* result) {
  const optc_lanes bias = optc_load(biases + output, OPTC_LANES);
  const optc_lanes more = optc_load(biases + output + OPTC_LANES, OPTC_LANES);
  OPTC_EACH_8(OPTC_BEGIN_PAIR)
  const int8_t* const last = x + depth;
  do {
    const optc_weights w = optc_load_weights(weights, OPTC_LANES);
    const optc_weights v = optc_load_weights(weights + further, OPTC_LANES);
    OPTC_EACH_8(OPTC_DOT_PAIR)
    x += 4, weights += stride;
  } while (x != last);
  optc_ending end = optc_end(finish, output, OPTC_LANES);
  OPTC_EACH_8(OPTC_END)
  end = optc_end(finish, output + OPTC_LANES, OPTC_LANES);
  OPTC_EACH_8(OPTC_END_PAIR)
}
#endif

/* The patches of the next pixels, of one group. */
OPTC_INLINE void optc_gather_next(const optc_window* w, int zero, int groups, const int8_t* input, int pixel, int row,
                                  int column, int count, int group, int depth, int8_t* patches) {
  zero = OPTC_FLIPPED ? (int8_t)(zero ^ -128) : zero;
  if (w->window_rows * w->window_columns * w->row_step * w->column_step == 1 && w->top + w->left == 0 &&
      depth == w->channels && w->columns == w->result_columns) {
    const int codes = count * depth;
    if ((w->rows * w->columns - pixel) * depth >= codes + OPTC_SLACK)
      optc_take(patches, input + pixel * depth, codes);
    else
      optc_take_exactly(patches, input + pixel * depth, codes);
    return;
  }
  for (int i = 0; i < count; i++, patches += depth) {
    optc_gather(w, zero, groups, input, row, column, group, patches);
    if (++column == w->result_columns) column = 0, row++;
  }
}

static void optc_convolve(const optc_convolution* p, const int8_t* input, const int8_t* other, void* result,
                          int8_t* patches) {
  /* Copies, which no store of codes can change. */
  const optc_window window = p->window, *w = &window;
  const optc_finish finish = p->finish;
  const int depth = (w->window_rows * w->window_columns * (w->channels / p->groups) + 3) / 4 * 4;
  const int pixels = w->result_rows * w->result_columns, outputs = p->outputs / p->groups;
  const int groups = p->groups, zero = p->input_zero, all = p->outputs;
  for (int pixel = 0, row = 0, column = 0; pixel < pixels; pixel += OPTC_TOGETHER) {
    const int count = pixels - pixel < OPTC_TOGETHER ? pixels - pixel : OPTC_TOGETHER;
    for (int group = 0; group < groups; group++) {
      optc_gather_next(w, zero, groups, input, pixel, row, column, count, group, depth, patches);
      const int8_t* weights = p->weights + (size_t)group * (size_t)outputs * (size_t)depth;
      for (int tile = 0; tile < outputs; tile += OPTC_TILE) {
        const int width = outputs - tile < OPTC_TILE ? outputs - tile : OPTC_TILE;
        const int index = pixel * all + group * outputs + tile;
#ifdef OPTC_PAIRS
        if (OPTC_LANES == OPTC_TILE && count == 8 && outputs - tile >= 2 * OPTC_TILE) {
          optc_tile_pair(&finish, patches, depth, weights, (size_t)(OPTC_TILE * depth), 4 * OPTC_TILE, p->bias,
                         group * outputs + tile, all, index, other, result);
          weights += 2 * OPTC_TILE * (size_t)depth;
          tile += OPTC_TILE;
          continue;
        }
        if (2 * OPTC_LANES <= OPTC_TILE && count == 8 && width == OPTC_TILE) {
          for (int first = 0; first < OPTC_TILE; first += 2 * OPTC_LANES)
            optc_tile_pair(&finish, patches, depth, weights + 4 * first, 4 * OPTC_LANES, 4 * OPTC_TILE, p->bias,
                           group * outputs + tile + first, all, index + first, other, result);
          weights += OPTC_TILE * (size_t)depth;
          continue;
        }
#endif
        for (int first = 0; first < width; first += OPTC_LANES) {
          const int lanes = width - first < OPTC_LANES ? width - first : OPTC_LANES;
          const int8_t *x = patches, *some = weights + 4 * first;
          int left = count, next = index + first;
#define OPTC_TILES(n)                                                                                         \
  for (; left >= n; left -= n, x += n * depth, next += n * all) {                                             \
    if (lanes == OPTC_LANES && width == OPTC_TILE)                                                            \
      optc_tile_##n(&finish, x, depth, some, 4 * OPTC_TILE, p->bias, group * outputs + tile + first,          \
                    OPTC_LANES, all, next, other, result);                                                    \
    else                                                                                                      \
      optc_tile_##n(&finish, x, depth, some, 4 * width, p->bias, group * outputs + tile + first, lanes, all,  \
                    next, other, result);                                                                     \
  }
#if OPTC_MOST_PIXELS >= 8
          OPTC_TILES(8)
#endif
#if OPTC_MOST_PIXELS >= 4
          OPTC_TILES(4)
#endif
          OPTC_TILES(2)
          OPTC_TILES(1)
        }
        weights += (size_t)width * (size_t)depth;
      }
    }
    for (column += OPTC_TOGETHER; column >= w->result_columns; column -= w->result_columns) row++;
  }
}

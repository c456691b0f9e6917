#ifdef __GNUC__
#define OPTC_INLINE static inline __attribute__((always_inline))
#else
#define OPTC_INLINE static inline
#endif

/* A window that moves over an image with its channels innermost. */
typedef struct {
  int16_t rows, columns, channels, window_rows, window_columns, row_step, column_step, row_gap, column_gap;
  int16_t top, left, result_rows, result_columns;
} optc_window;

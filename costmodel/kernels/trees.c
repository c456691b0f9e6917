/* Sums of oblivious trees: see trees.py. */
#include <stdint.h>
#include <stdlib.h>

/* Rows turned into columns at once; rows whose answers stay in registers; trees whose sum is added at once, as in
   NumPy. */
enum { BLOCK = 64, LANES = 16, TOGETHER = 64 };

static void turn(const float* rows, int64_t count, int64_t columns, float* turned) {
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t i = 0; i < BLOCK; ++i) turned[column * BLOCK + i] = i < count ? rows[i * columns + column] : 0;
  }
}

/* rows: (n, columns); features, borders: (trees, depth); leaves: (trees, 2**depth); total: (n). 0 where it went well. */
int optc_trees(const float* rows, int64_t n, int64_t columns, const int32_t* features, const float* borders,
               const float* leaves, int64_t trees, int64_t depth, float* total) {
  float* turned = malloc((size_t)(columns > 0 ? columns : 1) * BLOCK * sizeof(float));
  if (!turned) return 1;
  for (int64_t first = 0; first < n; first += BLOCK) {
    const int64_t count = n - first < BLOCK ? n - first : BLOCK;
    float whole[BLOCK] = {0}, sum[BLOCK] = {0};
    turn(rows + first * columns, count, columns, turned);
    for (int64_t tree = 0; tree < trees; ++tree) {
      const float* leaf = leaves + (tree << depth);
      int32_t places[BLOCK];
      for (int lane = 0; lane < BLOCK; lane += LANES) {
        int32_t place[LANES] = {0};
        for (int64_t level = depth; level-- > 0;) {
          const float* values = turned + (int64_t)features[tree * depth + level] * BLOCK + lane;
          const float border = borders[tree * depth + level];
          for (int i = 0; i < LANES; ++i) place[i] = 2 * place[i] + (values[i] > border);
        }
        for (int i = 0; i < LANES; ++i) places[lane + i] = place[i];
      }
      for (int i = 0; i < BLOCK; ++i) sum[i] += leaf[places[i]];
      if (tree % TOGETHER == TOGETHER - 1 || tree == trees - 1) {
        for (int i = 0; i < BLOCK; ++i) {
          whole[i] += sum[i];
          sum[i] = 0;
        }
      }
    }
    for (int64_t i = 0; i < count; ++i) total[first + i] = whole[i];
  }
  free(turned);
  return 0;
}

/* The sums of what the leaves hold that samples fall into. A node is followed by the node that x <= threshold leads
   to, else the next one is `others` further. A leaf has the threshold's place for its weight and `others` for the
   target, or in `others` the number of its row of weights. */
typedef struct {
  const float* thresholds;
  const uint16_t* features;
  const uint16_t* others;
  const uint32_t* roots;
  const float* rows;
  const float* bases;
  int trees;
  int width;
  int targets;
  float divisor;
} optc_trees;

#define OPTC_LEAF 0x7fffu
#define OPTC_MISSING_LEFT 0x8000u

static void optc_sum_trees(const optc_trees* p, const float* input, float* result, int samples) {
  for (int sample = 0; sample < samples; sample++, input += p->width, result += p->targets) {
    for (int i = 0; i < p->targets; i++) result[i] = 0.0f;
    for (int tree = 0; tree < p->trees; tree++) {
      uint32_t node = p->roots[tree];
      uint32_t feature;
      while ((feature = p->features[node] & 0x7fffu) != OPTC_LEAF) {
        const float x = input[feature];
        const int left = x <= p->thresholds[node] || (x != x && (p->features[node] & OPTC_MISSING_LEFT) != 0);
        node += left ? 1u : p->others[node];
      }
      if (p->rows == NULL) {
        result[p->others[node]] += p->thresholds[node];
      } else {
        const float* row = p->rows + (uint32_t)p->others[node] * (uint32_t)p->targets;
        for (int i = 0; i < p->targets; i++) result[i] += row[i];
      }
    }
    for (int i = 0; i < p->targets; i++) result[i] = result[i] / p->divisor + p->bases[i];
  }
}

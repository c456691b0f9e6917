/* Adds two tensors of codes; the result may lie where an operand lies. */
static void optc_add(const optc_sum_of_codes* p, const int8_t* a, const int8_t* b, int8_t* result, int count) {
  for (int i = 0; i < count; i++) result[i] = optc_added(p, a[i], b[i]);
}

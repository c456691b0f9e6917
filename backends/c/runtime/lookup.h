/* Replaces each code by its entry of a table that begins with that of -128; the result may lie on the operand. */
static void optc_lookup(const int8_t table[256], const int8_t* input, int8_t* result, int count) {
  for (int i = 0; i < count; i++) result[i] = table[input[i] + 128];
}

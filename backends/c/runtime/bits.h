/* Numbers with the bits of another type. */
static inline float optc_as_float(const void* bits) {
  float value;
  memcpy(&value, bits, sizeof value);
  return value;
}

static inline int32_t optc_as_int32_t(const void* bits) {
  int32_t value;
  memcpy(&value, bits, sizeof value);
  return value;
}

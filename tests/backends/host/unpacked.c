/* Decodes packed weights: `program FILE BYTES` writes them to standard output; with a third argument, decodes that many
 * files with some bytes changed each, and says how many of them were refused. */
#include "unpack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int decode(const uint8_t* file, size_t bytes, size_t expected, uint8_t* out) {
  optc_packed packed;
  if (optc_packed_open(&packed, file, bytes, expected) != 0) return -1;
  uint8_t* scratch = malloc(packed.block_bytes);
  if (!scratch) return -1;
  int code = 0;
  for (size_t block = 0; block < packed.blocks && code == 0; ++block)
    code = optc_packed_block(&packed, block, out, scratch);
  free(scratch);
  return code;
}

int main(int count, char** arguments) {
  const size_t expected = strtoull(arguments[2], NULL, 10);
  FILE* stream = fopen(arguments[1], "rb");
  if (!stream) return 2;
  fseek(stream, 0, SEEK_END);
  const size_t bytes = (size_t)ftell(stream);
  rewind(stream);
  uint8_t* file = malloc(bytes); /* exactly, so that a checker sees what is read behind it */
  uint8_t* out = malloc(expected ? expected : 1);
  if (!file || !out || fread(file, 1, bytes, stream) != bytes) return 2;
  fclose(stream);
  int code = 0;
  if (count < 4) {
    code = decode(file, bytes, expected, out) != 0;
    if (!code) fwrite(out, 1, expected, stdout);
  } else {
    uint32_t state = 1;
    int refused = 0;
    for (int trial = 0; trial < atoi(arguments[3]); ++trial) {
      size_t places[3];
      uint8_t before[3];
      for (int each = 0; each < 3; ++each) {
        state = state * 1664525u + 1013904223u;
        /* Every other time in the heads, where sizes stand. */
        places[each] = (state >> 4) % (trial % 2 && bytes > 256 ? 256 : bytes);
        before[each] = file[places[each]];
        file[places[each]] ^= (uint8_t)(1u << (state >> 29));
      }
      refused += decode(file, bytes, expected, out) != 0;
      for (int each = 2; each >= 0; --each) file[places[each]] = before[each];
    }
    printf("%d\n", refused);
  }
  free(file);
  free(out);
  return code;
}

/* Weights that lie in fewer bytes in weights.bin than in memory; passes/compression/stored_weights.py says how. */
#ifndef OPTC_UNPACK_H
#define OPTC_UNPACK_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  const uint8_t* file;
  size_t file_bytes;
  uint64_t block_bytes; /* of a block in memory; the last may have fewer */
  uint64_t bytes;       /* of all of them */
  size_t blocks;
} optc_packed;

/* Reads the head of a file of packed weights that shall give `expected` bytes; nonzero: it is none. */
int optc_packed_open(optc_packed* packed, const uint8_t* file, size_t file_bytes, size_t expected);

/* Decodes one block to its place in `out`; `scratch` has block_bytes. Nonzero: it is damaged. Whatever the file holds,
 * nothing is read outside of it and nothing written outside of the block. */
int optc_packed_block(const optc_packed* packed, size_t block, uint8_t* out, uint8_t* scratch);

#endif

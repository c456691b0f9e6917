#include "unpack.h"

#include <string.h>

enum {
  HEAD = 24,
  LONGEST = 11,   /* bits of a code */
  STREAMS = 4,    /* of codes in a block, so that four are decoded at once */
  SYMBOLS = 256,
  LENGTHS = SYMBOLS / 2,
  BLOCK_HEAD = 4 + LENGTHS + 4 * STREAMS,
  PADDING = 8,    /* behind the last block: codes are read eight bytes at a time */
  AT_ONCE = 5,    /* codes that those bytes hold whatever their lengths */
  MOST_BLOCK = 1 << 24,
};

enum { RAW, BYTES, HALVES, WORDS = 4 }; /* what the bytes of a block are seen as */

static const uint8_t MAGIC[8] = {'O', 'P', 'T', 'C', 'P', 'W', 0, 1};

static uint32_t load32(const uint8_t* from) {
  return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static uint64_t load64(const uint8_t* from) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  uint64_t value;
  memcpy(&value, from, sizeof value);
  return value;
#else
  return load32(from) | (uint64_t)load32(from + 4) << 32;
#endif
}

int optc_packed_open(optc_packed* packed, const uint8_t* file, size_t file_bytes, size_t expected) {
  if (file_bytes < HEAD + PADDING || memcmp(file, MAGIC, sizeof MAGIC) != 0) return -1;
  packed->file = file;
  packed->file_bytes = file_bytes;
  packed->bytes = load64(file + 8);
  packed->block_bytes = load32(file + 16);
  packed->blocks = load32(file + 20);
  if (packed->bytes != expected || packed->block_bytes == 0 || packed->block_bytes > MOST_BLOCK) return -1;
  if (packed->blocks != (packed->bytes + packed->block_bytes - 1) / packed->block_bytes) return -1;
  return packed->blocks > (file_bytes - HEAD - PADDING) / 8 ? -1 : 0;
}

/* Lengths of canonical codes as a table by the next bits: symbol and length. Nonzero: they are no complete code. */
static int make_table(const uint8_t* lengths, uint16_t table[1 << LONGEST]) {
  uint32_t code = 0;
  for (int length = 1; length <= LONGEST; ++length) {
    for (int symbol = 0; symbol < SYMBOLS; ++symbol) {
      const int own = lengths[symbol / 2] >> (symbol % 2 * 4) & 15;
      if (own > LONGEST) return -1;
      if (own != length) continue;
      const uint32_t step = 1u << length;
      if (code + (1u << (LONGEST - length)) > 1u << LONGEST) return -1;
      uint32_t turned = 0; /* codes stand in the file with their first bit lowest */
      for (int bit = 0; bit < length; ++bit) turned |= (code >> (LONGEST - 1 - bit) & 1u) << bit;
      for (uint32_t entry = turned; entry < 1u << LONGEST; entry += step)
        table[entry] = (uint16_t)(symbol << 4 | length);
      code += 1u << (LONGEST - length);
    }
  }
  return code == 1u << LONGEST ? 0 : -1;
}

#define FOUR(each) each(0) each(1) each(2) each(3)
#define REFILL(stream)                                            \
  if (at[stream] > (uint64_t)bytes[stream] * 8) return -1;        \
  next[stream] = load64(from[stream] + (at[stream] >> 3)) >> (at[stream] & 7);
#define SYMBOL(stream)                                                                \
  {                                                                                   \
    const uint16_t entry = table[next[stream] & ((1u << LONGEST) - 1)];               \
    out[stream * quarter + code] = (uint8_t)(entry >> 4);                             \
    next[stream] >>= entry & 15;                                                      \
    at[stream] += entry & 15;                                                         \
  }

/* `count` symbols from four streams, each of which holds a quarter. */
static int decode(const uint8_t* const from[STREAMS], const uint32_t bytes[STREAMS], const uint16_t* table,
                  uint8_t* out, size_t count) {
  const size_t quarter = (count + STREAMS - 1) / STREAMS;
  size_t counts[STREAMS];
  uint64_t at[STREAMS] = {0};
  for (size_t stream = 0; stream < STREAMS; ++stream) {
    const size_t begin = stream * quarter < count ? stream * quarter : count;
    counts[stream] = begin + quarter < count ? quarter : count - begin;
  }
  size_t done = 0;
  for (; done + AT_ONCE <= counts[STREAMS - 1]; done += AT_ONCE) {
    uint64_t next[STREAMS];
    FOUR(REFILL)
    for (size_t code = done; code < done + AT_ONCE; ++code) {
      FOUR(SYMBOL)
    }
  }
  for (int stream = 0; stream < STREAMS; ++stream) {
    for (size_t place = done; place < counts[stream]; ++place) {
      if (at[stream] > (uint64_t)bytes[stream] * 8) return -1;
      const uint64_t next = load64(from[stream] + (at[stream] >> 3)) >> (at[stream] & 7);
      const uint16_t entry = table[next & ((1u << LONGEST) - 1)];
      out[(size_t)stream * quarter + place] = (uint8_t)(entry >> 4);
      at[stream] += entry & 15;
    }
    if ((at[stream] + 7) / 8 != bytes[stream]) return -1;
  }
  return 0;
}

/* Halves and words were turned left by one bit, so that the exponents of floats are their upper bytes: `upper`. */
static void join_halves(const uint8_t* upper, const uint8_t* rest, uint8_t* out, size_t count) {
  for (size_t place = 0; place < count; ++place) {
    const uint32_t turned = (uint32_t)upper[place] << 8 | rest[place];
    const uint16_t value = (uint16_t)(turned >> 1 | turned << 15);
    memcpy(out + 2 * place, &value, sizeof value);
  }
}

static void join_words(const uint8_t* upper, const uint8_t* rest, uint8_t* out, size_t count) {
  const uint8_t* middle = rest + 2 * count;
  for (size_t place = 0; place < count; ++place) {
    uint16_t low;
    memcpy(&low, rest + 2 * place, sizeof low);
    const uint32_t turned = (uint32_t)upper[place] << 24 | (uint32_t)middle[place] << 16 | low;
    const uint32_t value = turned >> 1 | turned << 31;
    memcpy(out + 4 * place, &value, sizeof value);
  }
}

int optc_packed_block(const optc_packed* packed, size_t block, uint8_t* out, uint8_t* scratch) {
  const uint8_t* ends = packed->file + HEAD;
  const uint64_t first = HEAD + 8 * (uint64_t)packed->blocks, last = packed->file_bytes - PADDING;
  const uint64_t begin = block ? load64(ends + 8 * (block - 1)) : first, end = load64(ends + 8 * block);
  if (begin < first || begin > end || end > last || end - begin < 4) return -1;
  const uint64_t start = block * packed->block_bytes;
  const size_t size = (size_t)(packed->bytes - start < packed->block_bytes ? packed->bytes - start
                                                                           : packed->block_bytes);
  const uint8_t* from = packed->file + begin;
  uint64_t left = end - begin;
  out += start;
  const int width = from[0];
  if (width == RAW) {
    if (left != size + 4) return -1;
    memcpy(out, from + 4, size);
    return 0;
  }
  if ((width != BYTES && width != HALVES && width != WORDS) || size % (size_t)width != 0) return -1;
  const size_t count = size / (size_t)width, rest = size - count;
  if (left < BLOCK_HEAD + rest) return -1;
  uint16_t table[1 << LONGEST];
  if (make_table(from + 4, table) != 0) return -1;
  const uint8_t* streams[STREAMS];
  uint32_t bytes[STREAMS];
  const uint8_t* place = from + BLOCK_HEAD + rest;
  left -= BLOCK_HEAD + rest;
  for (int stream = 0; stream < STREAMS; ++stream) {
    bytes[stream] = load32(from + 4 + LENGTHS + 4 * stream);
    if (bytes[stream] > left) return -1;
    streams[stream] = place;
    place += bytes[stream];
    left -= bytes[stream];
  }
  if (left != 0 || decode(streams, bytes, table, width == BYTES ? out : scratch, count) != 0) return -1;
  if (width == HALVES) join_halves(scratch, from + BLOCK_HEAD, out, count);
  if (width == WORDS) join_words(scratch, from + BLOCK_HEAD, out, count);
  return 0;
}

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
  MOST_SYMBOLS = 3, /* of a lookup */
  REACH = 16,     /* bytes that the lookups of eight bytes of codes, five as each takes up to 11 bits, may write */
  RUN = 64,       /* numbers that are joined at once */
  MOST_BLOCK = 1 << 24,
};

enum { RAW, BYTES, HALVES, WORDS = 4 }; /* what the bytes of a block are seen as */

static const uint8_t MAGIC[8] = {'O', 'P', 'T', 'C', 'P', 'W', 0, 1};

static uint32_t load32(const uint8_t* from) {
  return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static void store32(uint8_t* to, uint32_t value) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  memcpy(to, &value, sizeof value);
#else
  for (int byte = 0; byte < 4; ++byte) to[byte] = (uint8_t)(value >> (8 * byte));
#endif
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

/* What the next LONGEST bits begin with. */
typedef struct {
  uint16_t one[1 << LONGEST];  /* a symbol, and in the lower four bits its length */
  uint32_t some[1 << LONGEST]; /* up to three symbols, lowest byte first; above them their length in six bits, then
                                * how many they are in two */
} decoder;

/* From the lengths of canonical codes. Nonzero: they are no complete code. */
static int make_decoder(const uint8_t* lengths, decoder* made) {
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
        made->one[entry] = (uint16_t)(symbol << 4 | length);
      code += 1u << (LONGEST - length);
    }
  }
  if (code != 1u << LONGEST) return -1;
  for (uint32_t bits = 0; bits < 1u << LONGEST; ++bits) {
    uint32_t symbols = 0, length = 0, count = 0;
    for (; count < MOST_SYMBOLS; ++count) {
      const uint32_t entry = made->one[bits >> length];
      if (length + (entry & 15) > LONGEST) break; /* its last bits are not known */
      symbols |= (entry >> 4) << (8 * count);
      length += entry & 15;
    }
    made->some[bits] = symbols | length << 24 | count << 30;
  }
  return 0;
}

typedef struct {
  const uint8_t* from;
  uint64_t bits; /* that there are */
  uint64_t at;   /* of them */
  uint8_t* out;
  uint8_t* end;
} stream;

#define FOUR(each) each(0) each(1) each(2) each(3)
#define LOOKUPS(each) each each each each each
#define READY(n) &&s##n.end - s##n.out >= REACH && s##n.at <= s##n.bits
#define REFILL(n) uint64_t next##n = load64(s##n.from + (s##n.at >> 3)) >> (s##n.at & 7) | (uint64_t)1 << 63;
#define LOOKUP(n)                                                         \
  {                                                                       \
    const uint32_t entry = some[next##n & ((1u << LONGEST) - 1)];         \
    store32(s##n.out, entry);                                             \
    s##n.out += entry >> 30;                                              \
    next##n >>= entry >> 24 & 63;                                         \
  }
/* The bit set above those that are read says how many were. */
#define ADVANCE(n) s##n.at += (uint64_t)__builtin_clzll(next##n);

/* `count` symbols from four streams, each of which holds a quarter. */
static int decode(const uint8_t* const from[STREAMS], const uint32_t bytes[STREAMS], const decoder* codes,
                  uint8_t* out, size_t count) {
  const size_t quarter = (count + STREAMS - 1) / STREAMS;
  stream all[STREAMS];
  for (size_t each = 0; each < STREAMS; ++each) {
    const size_t begin = each * quarter < count ? each * quarter : count;
    const size_t end = begin + quarter < count ? begin + quarter : count;
    all[each] = (stream){from[each], (uint64_t)bytes[each] * 8, 0, out + begin, out + end};
  }
  const uint32_t* some = codes->some;
  stream s0 = all[0], s1 = all[1], s2 = all[2], s3 = all[3];
  while (1 FOUR(READY)) {
    FOUR(REFILL)
    LOOKUPS(FOUR(LOOKUP))
    FOUR(ADVANCE)
  }
  all[0] = s0, all[1] = s1, all[2] = s2, all[3] = s3;
  for (int each = 0; each < STREAMS; ++each) {
    s0 = all[each];
    while (1 READY(0)) {
      REFILL(0)
      LOOKUPS(LOOKUP(0))
      ADVANCE(0)
    }
    while (s0.out < s0.end) {
      if (s0.at > s0.bits) return -1;
      REFILL(0)
      const uint16_t entry = codes->one[next0 & ((1u << LONGEST) - 1)];
      *s0.out++ = (uint8_t)(entry >> 4);
      s0.at += entry & 15;
    }
    if ((s0.at + 7) / 8 * 8 != s0.bits) return -1;
  }
  return 0;
}

/* Halves and words were turned left by one bit, so that the exponents of floats are their upper bytes: `upper`. Loops
 * of a fixed length over memory that does not overlap are what compilers make vectors of. */
static void join_halves(const uint8_t* restrict upper, const uint8_t* restrict rest, uint8_t* restrict out,
                        size_t count) {
  size_t place = 0;
#define JOIN                                                                      \
  {                                                                               \
    const uint16_t turned = (uint16_t)(upper[place + each] << 8 | rest[place + each]); \
    const uint16_t value = (uint16_t)(turned >> 1 | turned << 15);                \
    memcpy(out + 2 * (place + each), &value, sizeof value);                       \
  }
  for (; place + RUN <= count; place += RUN)
    for (size_t each = 0; each < RUN; ++each) JOIN
  for (size_t each = 0; place < count; ++place) JOIN
#undef JOIN
}

static void join_words(const uint8_t* restrict upper, const uint8_t* restrict rest, uint8_t* restrict out,
                       size_t count) {
  const uint8_t* restrict middle = rest + 2 * count;
  size_t place = 0;
#define JOIN                                                                                                   \
  {                                                                                                            \
    uint16_t low;                                                                                              \
    memcpy(&low, rest + 2 * (place + each), sizeof low);                                                       \
    const uint32_t turned = (uint32_t)upper[place + each] << 24 | (uint32_t)middle[place + each] << 16 | low;  \
    const uint32_t value = turned >> 1 | turned << 31;                                                         \
    memcpy(out + 4 * (place + each), &value, sizeof value);                                                    \
  }
  for (; place + RUN <= count; place += RUN)
    for (size_t each = 0; each < RUN; ++each) JOIN
  for (size_t each = 0; place < count; ++place) JOIN
#undef JOIN
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
  decoder codes;
  if (make_decoder(from + 4, &codes) != 0) return -1;
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
  if (left != 0 || decode(streams, bytes, &codes, width == BYTES ? out : scratch, count) != 0) return -1;
  if (width == HALVES) join_halves(scratch, from + BLOCK_HEAD, out, count);
  if (width == WORDS) join_words(scratch, from + BLOCK_HEAD, out, count);
  return 0;
}

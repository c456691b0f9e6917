/* SHA-256 (FIPS 180-4) and HMAC (RFC 2104) of short messages. */
#ifndef OPTC_SHA256_H
#define OPTC_SHA256_H

#include <stdint.h>
#include <string.h>

typedef struct {
  uint32_t state[8];
  uint64_t bytes;
  uint8_t block[64];
} sha256;

static uint32_t sha256_rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha256_block(sha256* hash) {
  static const uint32_t K[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
      0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
      0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
      0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
      0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
      0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
      0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
      0xc67178f2};
  uint32_t w[64], s[8];
  for (int i = 0; i < 16; ++i) {
    const uint8_t* b = hash->block + 4 * i;
    w[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
  }
  for (int i = 16; i < 64; ++i) {
    const uint32_t x = w[i - 15], y = w[i - 2];
    w[i] = w[i - 16] + (sha256_rotate(x, 7) ^ sha256_rotate(x, 18) ^ x >> 3) + w[i - 7] +
           (sha256_rotate(y, 17) ^ sha256_rotate(y, 19) ^ y >> 10);
  }
  memcpy(s, hash->state, sizeof s);
  for (int i = 0; i < 64; ++i) {
    const uint32_t e = s[4], a = s[0];
    const uint32_t first = s[7] + (sha256_rotate(e, 6) ^ sha256_rotate(e, 11) ^ sha256_rotate(e, 25)) +
                           ((e & s[5]) ^ (~e & s[6])) + K[i] + w[i];
    const uint32_t second = (sha256_rotate(a, 2) ^ sha256_rotate(a, 13) ^ sha256_rotate(a, 22)) +
                            ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += first;
    s[0] = first + second;
  }
  for (int i = 0; i < 8; ++i) hash->state[i] += s[i];
}

static void sha256_init(sha256* hash) {
  static const uint32_t START[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(hash->state, START, sizeof START);
  hash->bytes = 0;
}

static void sha256_add(sha256* hash, const void* data, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    hash->block[hash->bytes++ % 64] = ((const uint8_t*)data)[i];
    if (hash->bytes % 64 == 0) sha256_block(hash);
  }
}

static void sha256_finish(sha256* hash, uint8_t digest[32]) {
  const uint64_t bits = 8 * hash->bytes;
  uint8_t length[8];
  for (int i = 0; i < 8; ++i) length[i] = (uint8_t)(bits >> (56 - 8 * i));
  sha256_add(hash, "\x80", 1);
  while (hash->bytes % 64 != 56) sha256_add(hash, "", 1);
  sha256_add(hash, length, sizeof length);
  for (int i = 0; i < 32; ++i) digest[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}

static void hmac_sha256(const void* key, size_t key_size, const void* data, size_t size, uint8_t digest[32]) {
  uint8_t padded[64] = {0}, inner[64], outer[64];
  sha256 hash;
  if (key_size > sizeof padded) {
    sha256_init(&hash);
    sha256_add(&hash, key, key_size);
    sha256_finish(&hash, padded);
  } else {
    memcpy(padded, key, key_size);
  }
  for (int i = 0; i < 64; ++i) {
    inner[i] = padded[i] ^ 0x36;
    outer[i] = padded[i] ^ 0x5c;
  }
  sha256_init(&hash);
  sha256_add(&hash, inner, sizeof inner);
  sha256_add(&hash, data, size);
  sha256_finish(&hash, digest);
  sha256_init(&hash);
  sha256_add(&hash, outer, sizeof outer);
  sha256_add(&hash, digest, 32);
  sha256_finish(&hash, digest);
}

#endif

/* How fast one core is right now: arithmetic, and reading from a private cache, the last cache and memory. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <time.h>

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));
enum { LANES = VECTOR_BYTES / 4, STEPS = 20000, CHAINS = 10, INNER_READS = 16 };
static const double LONGEST_STEP = 5e-6;  /* between two looks at the clock that nothing came between */
static volatile float sink;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Independent chains, enough to fill two units of latency four; others on the core take of their throughput. */
static void multiply(void) {
  vector b, c, a[CHAINS];
  for (int i = 0; i < LANES; ++i) b[i] = 0.999f, c[i] = 1e-6f;
  for (int k = 0; k < CHAINS; ++k) a[k] = c * (float)k;
  for (int step = 0; step < STEPS; ++step)
    for (int k = 0; k < CHAINS; ++k) a[k] = a[k] * b + c;
  for (int k = 1; k < CHAINS; ++k) a[0] += a[k];
  sink = a[0][0];
}

static void read_all(const vector* data, int64_t bytes) {
  vector s[8];
  memset(s, 0, sizeof s);
  for (int64_t i = 0; i + 8 <= bytes / VECTOR_BYTES; i += 8)
    for (int k = 0; k < 8; ++k) s[k] += data[i + k];
  for (int k = 1; k < 8; ++k) s[0] += s[k];
  sink = s[0][0];
}

/* Spin for a while; the share of it in which nothing else ran. */
static double wait(double seconds) {
  double start = now(), last = start, end = start + seconds, own = 0;
  while (last < end) {
    double next = now();
    if (next - last <= LONGEST_STEP) own += next - last;
    last = next;
  }
  return own / (last - start);
}

/* FLOP/s, then bytes/s of three working sets, the first in a private cache and the last beyond all; those of the second
   one again after a while, and the share of that while in which nothing else ran: six a round. */
void optc_state(const vector* data, const int64_t* bytes, int32_t rounds, double pause, double* rates) {
  for (int32_t round = 0; round < rounds; ++round, rates += 6) {
    read_all(data, bytes[1]);
    double start = now();
    multiply();
    rates[0] = 2.0 * LANES * CHAINS * STEPS / (now() - start);
    read_all(data, bytes[0]);
    start = now();
    for (int again = 0; again < INNER_READS; ++again) read_all(data, bytes[0]);
    rates[1] = (double)bytes[0] * INNER_READS / (now() - start);
    start = now();
    read_all(data, bytes[1]);
    rates[2] = (double)bytes[1] / (now() - start);
    rates[5] = wait(pause);
    start = now();
    read_all(data, bytes[1]);
    rates[4] = (double)bytes[1] / (now() - start);
    start = now();
    read_all(data, bytes[2]);
    rates[3] = (double)bytes[2] / (now() - start);
  }
}

/* Times kernels as a network calls them: their data were just written, their weights have left the inner caches. */
#include <stdint.h>
#include <time.h>

typedef int32_t (*kernel)(@PARAMETERS@);
static volatile uint64_t sink;

static double seconds_between(const struct timespec* start, const struct timespec* end) {
  return (double)(end->tv_sec - start->tv_sec) + 1e-9 * (double)(end->tv_nsec - start->tv_nsec);
}

static void read_lines(const uint8_t* bytes, int64_t size) {
  uint64_t sum = 0;
  for (int64_t i = 0; i + 8 <= size; i += 64) sum += *(const uint64_t*)(bytes + i);
  sink = sum;
}

/* One time for each round. `data` are the buffers to touch before a call, `others` what evicts the rest. */
int optc_rounds(void* function, void** a, void** data, const int64_t* sizes, int count, void* others,
                int64_t other_bytes, int rounds, double* seconds) {
  struct timespec start, end;
  for (int round = 0; round < rounds; ++round) {
    read_lines(others, other_bytes);
    for (int i = 0; i < count; ++i) read_lines(data[i], sizes[i]);
    clock_gettime(CLOCK_MONOTONIC, &start);
    int32_t failed = ((kernel)function)(@ARGUMENTS@);
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (failed) return 1;
    seconds[round] = seconds_between(&start, &end);
  }
  return 0;
}

/* The least of several times of one fixed chain of multiplications: so many cycles on any clock. */
double optc_anchor(void) {
  struct timespec start, end;
  double least = 1.0;
  for (int round = 0; round < 5; ++round) {
    uint64_t value = sink | 1;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int step = 0; step < 50000; ++step) value = value * 6364136223846793005u + 1442695040888963407u;
    clock_gettime(CLOCK_MONOTONIC, &end);
    sink = value;
    double seconds = seconds_between(&start, &end);
    least = seconds < least ? seconds : least;
  }
  return least;
}

/* Seconds of reading a buffer, the least of three. */
double optc_anchor_memory(void* bytes, int64_t size) {
  struct timespec start, end;
  double least = 1e9;
  for (int round = 0; round < 3; ++round) {
    clock_gettime(CLOCK_MONOTONIC, &start);
    read_lines(bytes, size);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = seconds_between(&start, &end);
    least = seconds < least ? seconds : least;
  }
  return least;
}

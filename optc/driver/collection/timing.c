/* Times kernels as a network calls them: their data were just written, their weights have left the inner caches. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int32_t (*kernel)(@PARAMETERS@);
static volatile uint64_t sink;

/* `data` are the buffers to touch before a call. */
struct optc_kernel {
  void* function;
  void** arguments;
  void** data;
  const int64_t* sizes;
  int32_t count;
};

/* Seconds of single calls: weights in the last cache level, and in memory. `again`: how often rounds were repeated. */
struct optc_times {
  int32_t near_count, far_count, again;
  double near[@MOST_NEAR@], far[@MOST_FAR@];
};

static double seconds_between(const struct timespec* start, const struct timespec* end) {
  return (double)(end->tv_sec - start->tv_sec) + 1e-9 * (double)(end->tv_nsec - start->tv_nsec);
}

static void read_lines(const uint8_t* bytes, int64_t size) {
  uint64_t sum = 0;
  for (int64_t i = 0; i + 8 <= size; i += 64) sum += *(const uint64_t*)(bytes + i);
  sink = sum;
}

/* One time for each round; `others` is what evicts the weights. */
static int time_rounds(const struct optc_kernel* it, void* others, int64_t evicted, int rounds, double* seconds) {
  struct timespec start, end;
  void** a = it->arguments;
  for (int round = 0; round < rounds; ++round) {
    read_lines(others, evicted);
    for (int i = 0; i < it->count; ++i) read_lines(it->data[i], it->sizes[i]);
    clock_gettime(CLOCK_MONOTONIC, &start);
    int32_t failed = ((kernel)it->function)(@ARGUMENTS@);
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (failed) return 1;
    seconds[round] = seconds_between(&start, &end);
  }
  return 0;
}

static int ascending(const void* left, const void* right) {
  const double a = *(const double*)left, b = *(const double*)right;
  return (a > b) - (a < b);
}

/* The quarter-point over the least. */
static double scatter(const struct optc_times* times) {
  double ordered[@MOST_NEAR@];
  memcpy(ordered, times->near, sizeof(double) * (size_t)times->near_count);
  qsort(ordered, (size_t)times->near_count, sizeof(double), ascending);
  return ordered[times->near_count / 4] / ordered[0] - 1.0;
}

static int near_rounds(const struct optc_kernel* it, struct optc_times* times, void* others, int64_t inner, int rounds) {
  if (rounds > @MOST_NEAR@ - times->near_count) rounds = @MOST_NEAR@ - times->near_count;
  if (time_rounds(it, others, inner, rounds, times->near + times->near_count)) return 1;
  times->near_count += rounds;
  return 0;
}

/* Time all kernels in two turns of half of the rounds each, then repeat rounds that scatter; 1 where a kernel fails. */
int optc_time(const struct optc_kernel* kernels, struct optc_times* times, int count, void* others, int64_t inner,
              int64_t outer) {
  for (int turn = 0; turn < 2; ++turn) {
    for (int i = 0; i < count; ++i) {
      double first[2];
      if (time_rounds(&kernels[i], others, inner, 2, first)) return 1;
      double enough = @ENOUGH_SECONDS@ / 2 / (first[1] > 1e-9 ? first[1] : 1e-9);
      int rounds = enough > @NEAR_ROUNDS@ / 2 ? @NEAR_ROUNDS@ / 2 : (int)enough;
      if (near_rounds(&kernels[i], &times[i], others, inner, rounds > @FEWEST@ / 2 ? rounds : @FEWEST@ / 2)) return 1;
      if (time_rounds(&kernels[i], others, outer, @FAR_ROUNDS@, times[i].far + times[i].far_count)) return 1;
      times[i].far_count += @FAR_ROUNDS@;
    }
  }
  for (int i = 0; i < count; ++i) {
    while (times[i].again < @MOST_AGAIN@ && scatter(&times[i]) > @SCATTER@) {
      ++times[i].again;
      int rounds = times[i].near_count / 2;
      if (near_rounds(&kernels[i], &times[i], others, inner, rounds > @FEWEST@ ? rounds : @FEWEST@)) return 1;
    }
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

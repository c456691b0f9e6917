/* run_once FOLDER INPUTS OUTPUTS THREADS [SECONDS LEAST LIMIT]: run an artifact's model once.
 *
 * INPUTS holds the model's inputs one after the other as dense row-major buffers; OUTPUTS gets the outputs alike.
 * With SECONDS the model then runs for a fifth of them to warm up, and for that long, LEAST times at least; what each of
 * the latter runs took is printed in nanoseconds, after a line with the threads. LIMIT: seconds that end the process.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "optc_model.h"

enum { ALIGNMENT = 64 };

static int fail(const char* message) {
  fprintf(stderr, "error: %s\n", message);
  return 1;
}

static void* buffer(int64_t bytes) {
  return aligned_alloc(ALIGNMENT, ((size_t)bytes / ALIGNMENT + 1) * ALIGNMENT);
}

static int64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int measure(optc_model* model, const void** inputs, void** outputs, double seconds, long least, int shown) {
  const int64_t end = nanoseconds() + (int64_t)(seconds * 1e9);
  for (long i = 0;; ++i) {
    const int64_t start = nanoseconds();
    if (i >= least && start >= end) return OPTC_OK;
    const int result = optc_model_run(model, inputs, outputs);
    if (result != OPTC_OK) return result;
    if (shown) printf("%lld\n", (long long)(nanoseconds() - start));
  }
}

int main(int argc, char** argv) {
  if (argc != 5 && argc != 8) return fail("usage: run_once FOLDER INPUTS OUTPUTS THREADS [SECONDS LEAST LIMIT]");
  if (argc == 8) alarm((unsigned)atoi(argv[7]));
  optc_options options = OPTC_OPTIONS;
  options.threads = atoi(argv[4]);
  optc_model* model;
  if (optc_model_init(&model, argv[1], &options) != OPTC_OK) return fail(optc_model_error(NULL));

  const int32_t input_count = optc_model_input_count(model), output_count = optc_model_output_count(model);
  const void** inputs = calloc((size_t)input_count + 1, sizeof *inputs);
  void** outputs = calloc((size_t)output_count + 1, sizeof *outputs);
  if (!inputs || !outputs) return fail("no memory");

  FILE* file = fopen(argv[2], "rb");
  if (!file) return fail("the inputs cannot be opened");
  for (int32_t i = 0; i < input_count; ++i) {
    const int64_t bytes = optc_model_input(model, i)->bytes;
    void* data = bytes < 0 ? NULL : buffer(bytes);
    if (!data || fread(data, 1, (size_t)bytes, file) != (size_t)bytes) return fail("the inputs cannot be read");
    inputs[i] = data;
  }
  fclose(file);
  for (int32_t i = 0; i < output_count; ++i) {
    const int64_t bytes = optc_model_output(model, i)->bytes;
    if (bytes < 0 || !(outputs[i] = buffer(bytes))) return fail("an output has no place");
  }

  if (optc_model_run(model, inputs, outputs) != OPTC_OK) return fail(optc_model_error(model));

  file = fopen(argv[3], "wb");
  if (!file) return fail("the outputs cannot be opened");
  for (int32_t i = 0; i < output_count; ++i) {
    const size_t bytes = (size_t)optc_model_output(model, i)->bytes;
    if (fwrite(outputs[i], 1, bytes, file) != bytes) return fail("the outputs cannot be written");
  }
  if (fclose(file) != 0) return fail("the outputs cannot be written");

  if (argc == 8) {
    const double seconds = atof(argv[5]);
    printf("threads %d\n", (int)optc_model_threads(model));
    if (measure(model, inputs, outputs, seconds / 5, 1, 0) != OPTC_OK ||
        measure(model, inputs, outputs, seconds, atol(argv[6]), 1) != OPTC_OK)
      return fail(optc_model_error(model));
  }
  optc_model_free(model);
  return 0;
}

/* Drives one linked model from C: wrong arguments, concurrent runs of one handle, two handles in two threads. */
#define _GNU_SOURCE
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "optc_model.h"

enum { SIZE = 1000, RUNS = 200 };

static optc_model* shared;
static int busy, done;

static void expect_squares(const float* x, const float* y) {
  for (int i = 0; i < SIZE; ++i) assert(y[i] == -(x[i] * x[i]));
}

static void* run_own(void* threads) {
  optc_options options = OPTC_OPTIONS;
  options.threads = (int)(size_t)threads;
  options.pin = 1;
  options.spin_us = options.threads % 2 ? 0 : -1;
  optc_model* model;
  assert(optc_model_init_weights(&model, NULL, 0, &options) == OPTC_OK);
  assert(optc_model_threads(model) == options.threads);
  /* One float further than any 64-byte boundary. */
  float* x = (float*)aligned_alloc(64, 4096) + 1;
  float* y = (float*)aligned_alloc(64, 4096) + 1;
  for (int run = 0; run < RUNS; ++run) {
    for (int i = 0; i < SIZE; ++i) x[i] = (float)(i % 100 + run);
    const void* inputs[] = {x};
    void* outputs[] = {y};
    memset(y, 0, SIZE * sizeof(float));
    assert(optc_model_run(model, inputs, outputs) == OPTC_OK);
    expect_squares(x, y);
  }
  optc_model_free(model);
  free(x - 1);
  free(y - 1);
  return NULL;
}

static void* run_shared(void* unused) {
  (void)unused;
  static const float x[SIZE] = {3};
  float y[SIZE];
  const void* inputs[] = {x};
  void* outputs[] = {y};
  for (int run = 0; run < RUNS; ++run) {
    const int code = optc_model_run(shared, inputs, outputs);
    assert(code == OPTC_OK || code == OPTC_BUSY);
    if (code == OPTC_OK) expect_squares(x, y);
    __atomic_fetch_add(code == OPTC_OK ? &done : &busy, 1, __ATOMIC_RELAXED);
  }
  return NULL;
}

static void check_arguments(void) {
  optc_model* model;
  optc_options options = OPTC_OPTIONS;
  assert(optc_model_abi() == OPTC_MODEL_ABI);
  assert(optc_model_init(NULL, ".", NULL) == OPTC_BAD_ARGUMENT);
  assert(optc_model_init(&model, NULL, NULL) == OPTC_BAD_ARGUMENT && !model);
  assert(!strcmp(optc_model_error(NULL), "the artifact folder is null"));
  options.threads = -1;
  assert(optc_model_init(&model, ".", &options) == OPTC_BAD_ARGUMENT);
  options.threads = 1;
  options.size = 4;
  assert(optc_model_init(&model, ".", &options) == OPTC_BAD_ARGUMENT);
  assert(!strncmp(optc_model_error(NULL), "optc_options.size is 4", 22));
  assert(optc_model_init_weights(&model, "", 1, NULL) == OPTC_BAD_ARGUMENT);
  assert(optc_model_run(NULL, NULL, NULL) == OPTC_BAD_ARGUMENT);
  optc_model_free(NULL);

  assert(optc_model_init(&model, "no weights are needed", NULL) == OPTC_OK);
  assert(optc_model_input_count(model) == 1 && optc_model_output_count(model) == 1);
  const optc_tensor_info* x = optc_model_input(model, 0);
  assert(!strcmp(x->name, "x") && !strcmp(x->dtype, "float32") && x->rank == 1);
  assert(x->shape[0] == SIZE && x->bytes == SIZE * 4);
  assert(!optc_model_input(model, 1) && !optc_model_output(model, -1) && !optc_model_fallback(model, 0));
  assert(optc_model_run(model, NULL, NULL) == OPTC_BAD_ARGUMENT);
  const void* inputs[] = {NULL};
  void* outputs[] = {NULL};
  assert(optc_model_run(model, inputs, outputs) == OPTC_BAD_ARGUMENT);
  assert(!strcmp(optc_model_error(model), "the buffer of input 'x' is null"));
  optc_step_info step;
  assert(optc_model_step(model, optc_model_step_count(model), &step) == OPTC_BAD_ARGUMENT);
  optc_model_free(model);
}

int main(void) {
  check_arguments();
  pthread_t threads[4];
  for (size_t i = 0; i < 4; ++i) pthread_create(&threads[i], NULL, run_own, (void*)(i + 1));
  for (size_t i = 0; i < 4; ++i) pthread_join(threads[i], NULL);
  optc_options options = OPTC_OPTIONS;
  options.threads = 2;
  assert(optc_model_init(&shared, ".", &options) == OPTC_OK);
  for (size_t i = 0; i < 3; ++i) pthread_create(&threads[i], NULL, run_shared, NULL);
  for (size_t i = 0; i < 3; ++i) pthread_join(threads[i], NULL);
  optc_model_free(shared);
  printf("%d runs\n", done + busy);
  return 0;
}

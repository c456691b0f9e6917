/* Drives a model that reads its weights while it runs: many runs, two handles, failures in the middle, files that
 * change, forks. y = x + the weights of each step; the step `checked` fails where x[0] is 13. */
#define _GNU_SOURCE
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "optc_model.h"

enum { SIZE = 1000, WEIGHTS = 6, SLOT = 4032, RUNS = 200 };

static void write_weights(void) {
  static char content[WEIGHTS * SLOT];
  for (int w = 0; w < WEIGHTS; ++w)
    for (int i = 0; i < SIZE; ++i) ((float*)(content + w * SLOT))[i] = (float)((1 << w) * (1 + i % 7));
  FILE* file = fopen("weights.bin", "wb");
  assert(file && fwrite(content, sizeof content, 1, file) == 1);
  fclose(file);
}

static int run(optc_model* model, float start) {
  float x[SIZE], y[SIZE];
  for (int i = 0; i < SIZE; ++i) x[i] = start;
  const void* inputs[] = {x};
  void* outputs[] = {y};
  const int code = optc_model_run(model, inputs, outputs);
  if (code == OPTC_OK)
    for (int i = 0; i < SIZE; ++i) assert(y[i] == start + (float)(((1 << WEIGHTS) - 1) * (1 + i % 7)));
  return code;
}

static optc_model* opened(int threads) {
  optc_options options = OPTC_OPTIONS;
  options.threads = threads;
  optc_model* model;
  assert(optc_model_init(&model, ".", &options) == OPTC_OK);
  return model;
}

static void* run_own(void* threads) {
  optc_model* model = opened((int)(size_t)threads);
  for (int turn = 0; turn < RUNS; ++turn) {
    const int fails = turn % 10 == 3;
    assert(run(model, fails ? 13 : (float)turn + 20) == (fails ? OPTC_KERNEL : OPTC_OK));
  }
  optc_model_free(model);
  return NULL;
}

static inline void check_fork(void) {
  optc_model* model = opened(1);
  assert(run(model, 1) == OPTC_OK);
  const pid_t child = fork();
  if (child == 0) {
    for (int turn = 0; turn < 5; ++turn)
      if (run(model, 2) != OPTC_OK) _exit(1);
    optc_model_free(model);
    _exit(0);
  }
  int status;
  assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  assert(run(model, 3) == OPTC_OK);
  optc_model_free(model);
}

static void check_files(void) {
  optc_model* model = opened(2);
  assert(run(model, 0) == OPTC_OK);
  assert(truncate("weights.bin", SLOT + 64) == 0);
  int code = OPTC_OK;
  for (int turn = 0; turn < 3 && code == OPTC_OK; ++turn) code = run(model, 0); /* what was read ahead is still there */
  assert(code == OPTC_IO);
  assert(run(model, 0) == OPTC_IO); /* begins with the first load again */
  puts(optc_model_error(model));
  write_weights();
  assert(run(model, 0) == OPTC_OK); /* the same file again */
  assert(unlink("weights.bin") == 0);
  for (int turn = 0; turn < 3; ++turn) assert(run(model, 0) == OPTC_OK);
  optc_model_free(model);
  assert(optc_model_init(&model, ".", NULL) == OPTC_IO && !model);
  puts(optc_model_error(NULL));
  write_weights();
  assert(truncate("weights.bin", 64) == 0);
  assert(optc_model_init(&model, ".", NULL) == OPTC_IO && !model);
  puts(optc_model_error(NULL));
  _Alignas(64) static char memory[WEIGHTS * SLOT];
  assert(optc_model_init_weights(&model, memory, sizeof memory, NULL) == OPTC_BAD_ARGUMENT);
  puts(optc_model_error(NULL));
}

int main(void) {
  write_weights();
  for (int turn = 0; turn < 20; ++turn) optc_model_free(opened(1)); /* closed while it reads */
  pthread_t threads[2];
  for (size_t i = 0; i < 2; ++i) pthread_create(&threads[i], NULL, run_own, (void*)(i + 1));
  for (size_t i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
#ifndef __SANITIZE_THREAD__ /* which does not know threads that start after a fork */
  check_fork();
#endif
  check_files();
  return 0;
}

/* What goes wrong in use, on several handles at once: failing kernels and callbacks, damaged weights, memory that runs
 * out at every place, forks. Each failure has its code and message, and the next run is as if nothing had been. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "failing.h"
#include "optc_model.h"

enum { SIZE = 1000, SLOT = 4032, RUNS = 40 };

void* __real_mmap(void*, size_t, int, int, int, off_t);
int __real_pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);

void* __wrap_mmap(void* place, size_t bytes, int rights, int flags, int file, off_t offset) {
  if (!fails()) return __real_mmap(place, bytes, rights, flags, file, offset);
  errno = ENOMEM;
  return MAP_FAILED;
}
int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* data) {
  return fails() ? EAGAIN : __real_pthread_create(thread, attributes, body, data);
}

/* One user of a handle with three inferences' worth of buffers, weights of its own, and a callback with moods. */
typedef struct {
  optc_model* model;
  optc_model* other; /* run by the callback, where it is not null */
  char* weights;
  float x[SIZE], y[SIZE], f[SIZE], z[SIZE];
  int calls;
} user;

static int run(user* u) {
  const void* inputs[] = {u->x, NULL};
  void* outputs[] = {u->y, u->f, u->z, NULL};
  return optc_model_run(u->model, inputs, outputs);
}

static int callback(void* data, int32_t region, const void* const* inputs, void* const* outputs) {
  user* u = data;
  CHECK(region == 0 && inputs[0] && outputs[0]);
  const float* x = inputs[0];
  float* f = outputs[0];
  for (int i = 0; i < SIZE; ++i) f[i] = x[i] + 1;
  if (u->other) {
    /* In the middle of a run this thread runs another handle, and is refused its own. */
    static const float two[SIZE] = {2};
    float y[SIZE], g[SIZE], z[SIZE];
    const void* given[] = {two, NULL};
    void* results[] = {y, g, z, NULL};
    CHECK(optc_model_run(u->model, given, results) == OPTC_BUSY);
    CHECK(optc_model_run(u->other, given, results) == OPTC_FALLBACK);
    CHECK(strstr(optc_model_error(u->other), "no fallback callback is set"));
  }
  return ++u->calls % 3 == 0 ? 42 : 0;
}

static void check_results(const user* u) {
  for (int i = 0; i < SIZE; ++i) {
    const float sum = u->x[i] + (float)(i % 5);
    CHECK(u->y[i] == -(sum * sum) && u->f[i] == u->x[i] + 1 && u->z[i] == (float)(i % 5));
  }
}

static user* new_user(const optc_options* options) {
  user* u = __real_calloc(1, sizeof *u);
  u->weights = __real_aligned_alloc(64, SLOT);
  memset(u->weights, 0, SLOT);
  for (int i = 0; i < SIZE; ++i) ((float*)u->weights)[i] = (float)(i % 5);
  for (int i = 0; i < SIZE; ++i) u->x[i] = (float)(i % 7 + 1);
  CHECK(optc_model_init_weights(&u->model, u->weights, SLOT, options) == OPTC_OK);
  optc_model_set_fallback(u->model, callback, u);
  return u;
}

static void free_user(user* u) {
  optc_model_free(u->model);
  free(u->weights);
  free(u);
}

static optc_options options_of(int threads, int spin_us) {
  optc_options options = OPTC_OPTIONS;
  options.threads = threads;
  options.spin_us = spin_us;
  return options;
}

/* Handles come and go while those of other threads run. */
static void* use(void* argument) {
  const int number = (int)(size_t)argument;
  const optc_options options = options_of(1 + number % 3, number % 2 ? 0 : -1), alone = options_of(1, 0);
  for (int round = 0; round < 2; ++round) {
    user* u = new_user(&options);
    user* inner = new_user(&alone);
    optc_model_set_fallback(inner->model, NULL, NULL);
    u->other = inner->model;
    for (int each = 0; each < RUNS; ++each) {
      optc_model_profile(u->model, each % 4 == 0);
      int expected = OPTC_OK;
      const char* message = "";
      if (each % 5 == 1) u->x[0] = -1;
      if (each % 5 == 2) u->weights[(each * 97) % SLOT] ^= (char)(1 << each % 8);
      const int code = run(u);
      if (each % 5 == 2) {
        expected = OPTC_DAMAGED;
        message = "the weights have changed: bytes 0 and on";
        u->weights[(each * 97) % SLOT] ^= (char)(1 << each % 8);
      } else if (each % 5 == 1) {
        expected = OPTC_KERNEL;
        message = "kernel broken (breaks) failed with code -3: ValueError: task broke";
        u->x[0] = 1;
      } else if (u->calls % 3 == 0) {
        expected = OPTC_FALLBACK;
        message = "region.onnx (region): the fallback callback returned 42";
      }
      CHECK(code == expected);
      CHECK(!strncmp(optc_model_error(u->model), message, strlen(message)));
      if (code == OPTC_OK) check_results(u);
    }
    optc_step_info step;
    for (int32_t i = 0; i < optc_model_step_count(u->model); ++i) CHECK(optc_model_step(u->model, i, &step) == OPTC_OK);
    free_user(u);
    free_user(inner);
  }
  return NULL;
}

static void wrong_sizes_and_damage(void) {
  char* weights = __real_aligned_alloc(64, 2 * SLOT);
  memset(weights, 0, 2 * SLOT);
  optc_model* model;
  CHECK(optc_model_init_weights(&model, weights, SLOT - 1, NULL) == OPTC_BAD_ARGUMENT && !model);
  CHECK(optc_model_init_weights(&model, weights + 4, SLOT, NULL) == OPTC_BAD_ARGUMENT && !model);
  CHECK(optc_model_init_weights(&model, NULL, SLOT, NULL) == OPTC_BAD_ARGUMENT && !model);
  CHECK(optc_model_init_weights(&model, weights, SLOT, NULL) == OPTC_DAMAGED && !model);
  CHECK(optc_model_init(&model, "nowhere", NULL) == OPTC_IO && !model);
  CHECK(optc_model_init(&model, "damaged", NULL) == OPTC_DAMAGED && !model);
  CHECK(optc_model_init(&model, "short", NULL) == OPTC_IO && !model);
  CHECK(optc_model_init(&model, "whole", NULL) == OPTC_OK);
  CHECK(!strcmp(optc_model_error(NULL), ""));
  CHECK(!optc_model_allocate(model, SIZE_MAX));
  optc_model_release(model, optc_model_allocate(model, 0));
  optc_model_free(model);
  free(weights);
}

static void nulls(void) {
  const optc_options options = options_of(2, 0);
  user* u = new_user(&options);
  const void* inputs[] = {u->x, NULL};
  void* outputs[] = {u->y, NULL, u->z, NULL};
  CHECK(optc_model_run(u->model, inputs, outputs) == OPTC_BAD_ARGUMENT);
  CHECK(!strcmp(optc_model_error(u->model), "the buffer of output 'f' is null"));
  CHECK(optc_model_run(u->model, inputs, NULL) == OPTC_BAD_ARGUMENT);
  CHECK(run(u) == OPTC_OK);
  check_results(u);
  free_user(u);
}

/* Whatever cannot be had when a handle is made: an error, and nothing is left behind. */
static void nothing_is_to_be_had(void) {
  const optc_options options = options_of(3, 0);
  optc_model* model = NULL;
  int place = 0, code = OPTC_NO_MEMORY;
  while (code != OPTC_OK) {
    CHECK(++place < 100);
    failing = place;
    code = optc_model_init(&model, "whole", &options);
    CHECK(code == OPTC_OK || ((code == OPTC_NO_MEMORY || code == OPTC_IO) && !model && optc_model_error(NULL)[0]));
  }
  failing = 0;
  optc_model_free(model);
  CHECK(place > 10);

  user* u = new_user(&options);
  /* The scratch of a run: the temporaries of the kernel, each in turn. */
  for (place = 1; place <= 3; ++place) {
    failing = place;
    code = run(u);
    CHECK(code == OPTC_OK || code == OPTC_KERNEL || code == OPTC_FALLBACK);
    failing = 0;
    CHECK(run(u) != OPTC_KERNEL);
  }
  u->calls = 0;
  CHECK(run(u) == OPTC_OK);
  check_results(u);
  free_user(u);
}

static int in_child(user* u) {
  /* The workers are gone, and at first cannot be started again. */
  failing = 1;
  CHECK(run(u) == OPTC_NO_MEMORY);
  CHECK(!strcmp(optc_model_error(u->model), "cannot start the threads again after a fork"));
/* The race checker knows no threads after a fork; the memory checker's allocator may be locked by one that is gone. */
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
  failing = 2;
  CHECK(run(u) == OPTC_NO_MEMORY);
  u->calls = 0;
  for (int each = 0; each < 2; ++each) {
    CHECK(run(u) == OPTC_OK);
    check_results(u);
  }
#endif
  free_user(u);
  return 7;
}

static void forks(void) {
  const optc_options options = options_of(3, -1);
  user* u = new_user(&options);
  CHECK(run(u) == OPTC_OK);
  user* unused = new_user(&options);
  const pid_t child = fork();
  if (child == 0) {
    optc_model_free(unused->model); /* nothing waits for its lost workers */
    _exit(in_child(u));
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  CHECK(run(u) == OPTC_OK);
  check_results(u);
  free_user(u);
  free_user(unused);
}

int main(void) {
  wrong_sizes_and_damage();
  nulls();
  nothing_is_to_be_had();
  forks();
  pthread_t threads[4];
  for (size_t i = 0; i < 4; ++i) CHECK(!__real_pthread_create(&threads[i], NULL, use, (void*)i));
  for (size_t i = 0; i < 4; ++i) CHECK(!pthread_join(threads[i], NULL));
  puts("done");
  return 0;
}

/* The part of the runtime for GPUs, on an emulated driver: handles of several threads come and go, callbacks fail,
 * buffers are null, and memory runs out at every place. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failing.h"
#include "optc_model.h"

enum { SIZE = 1000, SLOT = 4032, RUNS = 9 };

void* __real_realloc(void*, size_t);
void* __wrap_realloc(void* memory, size_t bytes) { return fails() ? NULL : __real_realloc(memory, bytes); }

static _Alignas(64) float weights[SLOT / 4];

typedef struct {
  optc_model* model;
  float x[SIZE], y[SIZE], z[SIZE];
  int calls;
} user;

/* One more than the region's input; every fourth time a failure. */
static int callback(void* data, int32_t region, const void* const* inputs, void* const* outputs) {
  CHECK(region == 0);
  for (int i = 0; i < SIZE; ++i) ((float*)outputs[0])[i] = ((const float*)inputs[0])[i] + 1;
  return ++((user*)data)->calls % 4 == 0 ? 9 : 0;
}

static int run(user* u) {
  const void* inputs[] = {u->x};
  void* outputs[] = {u->y, u->z};
  return optc_model_run(u->model, inputs, outputs);
}

static void check_results(const user* u) {
  for (int i = 0; i < SIZE; ++i) {
    const float sum = u->x[i] + (float)(i % 5);
    CHECK(u->y[i] == (u->x[0] > 0 ? 2 * sum : -sum) + 1 && u->z[i] == (float)(i % 5));
  }
}

static void* use(void* argument) {
  const int number = (int)(size_t)argument;
  for (int round = 0; round < 2; ++round) {
    user u = {0};
    CHECK(optc_model_init_weights(&u.model, weights, SLOT, NULL) == OPTC_OK);
    CHECK(run(&u) == OPTC_FALLBACK); /* there is no callback yet */
    optc_model_set_fallback(u.model, callback, &u);
    for (int each = 0; each < RUNS; ++each) {
      for (int i = 0; i < SIZE; ++i) u.x[i] = (float)((i + each + number) % 7 - 3);
      optc_model_profile(u.model, each % 3 == 0);
      const int code = run(&u);
      CHECK(code == (u.calls % 4 == 0 ? OPTC_FALLBACK : OPTC_OK));
      if (code == OPTC_OK) check_results(&u);
    }
    const void* inputs[] = {NULL};
    void* outputs[] = {u.y, u.z};
    CHECK(optc_model_run(u.model, inputs, outputs) == OPTC_BAD_ARGUMENT);
    void* place = optc_model_allocate(u.model, SIZE * sizeof(float));
    CHECK(place);
    memcpy(place, u.x, sizeof u.x);
    inputs[0] = place;
    u.calls = 0;
    CHECK(optc_model_run(u.model, inputs, outputs) == OPTC_OK);
    check_results(&u);
    optc_model_release(u.model, place);
    optc_model_free(u.model);
  }
  return NULL;
}

static void nothing_is_to_be_had(void) {
  user u = {0};
  int code = OPTC_NO_MEMORY, place = 0;
  while (code != OPTC_OK) {
    CHECK(++place < 100);
    failing = place;
    code = optc_model_init_weights(&u.model, weights, SLOT, NULL);
    CHECK(code == OPTC_OK || (code == OPTC_NO_MEMORY && !u.model && optc_model_error(NULL)[0]));
  }
  CHECK(place > 8);
  optc_model_set_fallback(u.model, callback, &u);
  /* What the first run makes: the profile and the copies for the callback. */
  optc_model_profile(u.model, 1);
  for (place = 0, code = OPTC_NO_MEMORY; code != OPTC_OK;) {
    CHECK(++place < 10);
    failing = place;
    code = run(&u);
    CHECK(code == OPTC_OK || (code == OPTC_NO_MEMORY && optc_model_error(u.model)[0]));
  }
  CHECK(place > 2);
  failing = 0;
  check_results(&u);
  optc_model_free(u.model);
}

int main(void) {
  for (int i = 0; i < SIZE; ++i) weights[i] = (float)(i % 5);
  /* The driver is opened by several at once. */
  pthread_t threads[3];
  for (size_t i = 0; i < 3; ++i) CHECK(!pthread_create(&threads[i], NULL, use, (void*)i));
  for (size_t i = 0; i < 3; ++i) CHECK(!pthread_join(threads[i], NULL));
  nothing_is_to_be_had();
  puts("done");
  return 0;
}

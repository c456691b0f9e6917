#define _GNU_SOURCE
#include "stream.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "optc_model.h"

struct optc_stream {
  const optc_stream_table* table;
  const optc_load* loads; /* of a run */
  int64_t count;
  int64_t steps;
  int file;
  char* memory;
  pid_t process; /* the thread does not survive a fork */
  bool has_thread;
  pthread_t thread;
  pthread_mutex_t mutex; /* of all that follows */
  pthread_cond_t loaded_more, may_load;
  int64_t runs;   /* begun, since the loads were last started afresh */
  int64_t ended;  /* steps of all of these runs */
  int64_t loaded; /* loads of all runs, those of the next one too */
  bool reading;
  bool stopping;
  bool failed; /* nothing is loaded until the next run */
  char reason[OPTC_ERROR_BYTES / 2];
};

static bool load_piece(const optc_stream* stream, const optc_load* load, char* reason, size_t reason_bytes) {
  size_t done = 0;
  while (done < load->bytes) {
    const off_t from = (off_t)(load->source + done);
    const ssize_t got = pread(stream->file, stream->memory + load->place + done, load->bytes - done, from);
    if (got > 0) {
      done += (size_t)got;
    } else if (got == 0) {
      snprintf(reason, reason_bytes, "weights.bin no longer has byte %lld", (long long)from);
      return false;
    } else if (errno != EINTR) {
      snprintf(reason, reason_bytes, "weights.bin cannot be read at byte %lld: %s", (long long)from, strerror(errno));
      return false;
    }
  }
  return true;
}

/* Whether what lies at the place of the next load is not needed any more. */
static bool has_room(const optc_stream* stream) {
  const int64_t run = stream->loaded / stream->count;
  const optc_load* load = &stream->loads[stream->loaded % stream->count];
  return stream->ended >= (run - load->earlier) * stream->steps + load->after + 1;
}

static void* loader_main(void* argument) {
  optc_stream* stream = argument;
  char reason[sizeof stream->reason];
  pthread_mutex_lock(&stream->mutex);
  for (;;) {
    while (!stream->stopping && (stream->failed || !has_room(stream)))
      pthread_cond_wait(&stream->may_load, &stream->mutex);
    if (stream->stopping) break;
    const optc_load* load = &stream->loads[stream->loaded % stream->count];
    stream->reading = true;
    pthread_mutex_unlock(&stream->mutex);
    const bool done = load_piece(stream, load, reason, sizeof reason);
    pthread_mutex_lock(&stream->mutex);
    stream->reading = false;
    if (done) {
      stream->loaded += 1;
    } else {
      stream->failed = true;
      memcpy(stream->reason, reason, sizeof reason);
    }
    pthread_cond_broadcast(&stream->loaded_more);
  }
  pthread_mutex_unlock(&stream->mutex);
  return NULL;
}

/* Signals stay with the application's own threads. */
static bool start_loader(optc_stream* stream) {
  pthread_mutex_init(&stream->mutex, NULL);
  pthread_cond_init(&stream->loaded_more, NULL);
  pthread_cond_init(&stream->may_load, NULL);
  stream->runs = stream->ended = stream->loaded = 0;
  stream->reading = stream->stopping = stream->failed = false;
  stream->process = getpid();
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  stream->has_thread = pthread_create(&stream->thread, NULL, loader_main, stream) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return stream->has_thread;
}

static int fill(optc_stream* stream, const char* folder, size_t expected, char error[OPTC_ERROR_BYTES]) {
  const optc_stream_table* table = stream->table;
  const int code = optc_open_weights(folder, expected, &stream->file, error);
  if (code != OPTC_OK) return code;
  stream->memory = optc_reserve(table->bytes, table->bytes);
  if (!stream->memory) {
    snprintf(error, OPTC_ERROR_BYTES, "no memory for the weights (%zu bytes)", table->bytes);
    return OPTC_NO_MEMORY;
  }
  for (size_t index = 0; index < table->locked; ++index)
    if (!load_piece(stream, &table->loads[index], error, OPTC_ERROR_BYTES)) return OPTC_IO;
  if (stream->count == 0 || start_loader(stream)) return OPTC_OK;
  snprintf(error, OPTC_ERROR_BYTES, "cannot start the thread that loads weights");
  return OPTC_NO_MEMORY;
}

int optc_stream_open(optc_stream** out, const optc_stream_table* table, int32_t steps, const char* folder,
                     size_t expected, char error[OPTC_ERROR_BYTES]) {
  optc_stream* stream = calloc(1, sizeof *stream);
  if (!stream) {
    snprintf(error, OPTC_ERROR_BYTES, "no memory for the weights (%zu bytes)", table->bytes);
    return OPTC_NO_MEMORY;
  }
  stream->table = table;
  stream->loads = table->loads + table->locked;
  stream->count = (int64_t)(table->count - table->locked);
  stream->steps = steps;
  stream->file = -1;
  const int code = fill(stream, folder, expected, error);
  if (code == OPTC_OK)
    *out = stream;
  else
    optc_stream_close(stream);
  return code;
}

void optc_stream_close(optc_stream* stream) {
  if (!stream) return;
  if (stream->has_thread && stream->process == getpid()) {
    pthread_mutex_lock(&stream->mutex);
    stream->stopping = true;
    pthread_cond_signal(&stream->may_load);
    pthread_mutex_unlock(&stream->mutex);
    pthread_join(stream->thread, NULL);
    pthread_cond_destroy(&stream->may_load);
    pthread_cond_destroy(&stream->loaded_more);
    pthread_mutex_destroy(&stream->mutex);
  }
  if (stream->memory) optc_unreserve(stream->memory, stream->table->bytes);
  if (stream->file >= 0) close(stream->file);
  free(stream);
}

char* optc_stream_memory(optc_stream* stream) { return stream->memory; }

int optc_stream_begin(optc_stream* stream, char error[OPTC_ERROR_BYTES]) {
  if (stream->count == 0) return OPTC_OK;
  if (stream->process != getpid() && !start_loader(stream)) {
    snprintf(error, OPTC_ERROR_BYTES, "cannot start the thread that loads weights again after a fork");
    stream->process = 0;
    return OPTC_NO_MEMORY;
  }
  pthread_mutex_lock(&stream->mutex);
  if (stream->failed || stream->ended != stream->runs * stream->steps) {
    stream->failed = true; /* holds the thread */
    while (stream->reading) pthread_cond_wait(&stream->loaded_more, &stream->mutex);
    stream->runs = stream->ended = stream->loaded = 0;
    stream->failed = false;
    pthread_cond_signal(&stream->may_load);
  }
  stream->runs += 1;
  pthread_mutex_unlock(&stream->mutex);
  return OPTC_OK;
}

int optc_stream_await(optc_stream* stream, size_t loads, char* reason, size_t reason_bytes) {
  pthread_mutex_lock(&stream->mutex);
  const int64_t needed = (stream->runs - 1) * stream->count + (int64_t)loads;
  while (stream->loaded < needed && !stream->failed) pthread_cond_wait(&stream->loaded_more, &stream->mutex);
  const bool done = stream->loaded >= needed;
  if (!done) snprintf(reason, reason_bytes, "%s", stream->reason);
  pthread_mutex_unlock(&stream->mutex);
  return done ? OPTC_OK : OPTC_IO;
}

void optc_stream_ended(optc_stream* stream, int32_t step) {
  if (stream->count == 0) return;
  pthread_mutex_lock(&stream->mutex);
  stream->ended = (stream->runs - 1) * stream->steps + step + 1;
  pthread_cond_signal(&stream->may_load);
  pthread_mutex_unlock(&stream->mutex);
}

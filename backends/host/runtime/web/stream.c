/* There are neither files nor threads to read weights with. */
#include "stream.h"

#include <stdio.h>

#include "optc_model.h"

int optc_stream_open(optc_stream** out, const optc_stream_table* table, int32_t steps, const char* folder,
                     size_t expected, char error[OPTC_ERROR_BYTES]) {
  (void)table, (void)steps, (void)folder, (void)expected;
  *out = NULL;
  snprintf(error, OPTC_ERROR_BYTES, "there are no files here to read weights from while the model runs");
  return OPTC_IO;
}

void optc_stream_close(optc_stream* stream) { (void)stream; }

char* optc_stream_memory(optc_stream* stream) {
  (void)stream;
  return NULL;
}

int optc_stream_begin(optc_stream* stream, char error[OPTC_ERROR_BYTES]) {
  (void)stream;
  snprintf(error, OPTC_ERROR_BYTES, "there are no files here to read weights from while the model runs");
  return OPTC_IO;
}

int optc_stream_await(optc_stream* stream, size_t loads, char* reason, size_t reason_bytes) {
  (void)stream, (void)loads;
  snprintf(reason, reason_bytes, "there are no files here");
  return OPTC_IO;
}

void optc_stream_ended(optc_stream* stream, int32_t step) { (void)stream, (void)step; }

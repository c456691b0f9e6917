/* run_once FOLDER INPUTS OUTPUTS THREADS: run an artifact's model once.
 *
 * INPUTS holds the model's inputs one after the other as dense row-major buffers; OUTPUTS gets the outputs alike.
 */
#include <stdio.h>
#include <stdlib.h>

#include "optc_model.h"

enum { ALIGNMENT = 64 };

static int fail(const char* message) {
  fprintf(stderr, "error: %s\n", message);
  return 1;
}

static void* buffer(int64_t bytes) {
  return aligned_alloc(ALIGNMENT, ((size_t)bytes / ALIGNMENT + 1) * ALIGNMENT);
}

int main(int argc, char** argv) {
  if (argc != 5) return fail("usage: run_once FOLDER INPUTS OUTPUTS THREADS");
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
  optc_model_free(model);
  return 0;
}

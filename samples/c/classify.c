/* Print the class of an image: classify ARTIFACT IMAGE, where IMAGE holds the input tensor as raw float32 values.
 *
 *   cc classify.c -I resnet8 resnet8/libmodel.so -Wl,-rpath,$PWD/resnet8 -o classify && ./classify resnet8 image.f32
 */
#include <stdio.h>
#include <stdlib.h>

#include "optc_model.h"

static int fail(const char* message) {
  fprintf(stderr, "error: %s\n", message);
  return 1;
}

int main(int argc, char** argv) {
  optc_model* model;
  if (argc != 3) return fail("usage: classify ARTIFACT IMAGE");
  if (optc_model_init(&model, argv[1], NULL) != OPTC_OK) return fail(optc_model_error(NULL));
  if (optc_model_input_count(model) != 1 || optc_model_output_count(model) != 1) return fail("no classifier");
  const size_t image_bytes = (size_t)optc_model_input(model, 0)->bytes;
  const size_t score_bytes = (size_t)optc_model_output(model, 0)->bytes;
  float* image = malloc(image_bytes);
  float* scores = malloc(score_bytes);
  FILE* file = fopen(argv[2], "rb");
  if (!file || fread(image, 1, image_bytes, file) != image_bytes) return fail("the image cannot be read");
  fclose(file);

  const void* inputs[] = {image};
  void* outputs[] = {scores};
  if (optc_model_run(model, inputs, outputs) != OPTC_OK) return fail(optc_model_error(model));

  size_t best = 0;
  for (size_t class_index = 1; class_index < score_bytes / sizeof(float); ++class_index)
    if (scores[class_index] > scores[best]) best = class_index;
  printf("class %zu, score %g\n", best, scores[best]);
  optc_model_free(model);
  return 0;
}

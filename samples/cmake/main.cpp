// Print the class of a picture: classify FILE, where FILE holds 3×32×32 raw float32 values from 0 to 255.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "resnet8.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: classify FILE | --grey\n");
    return 2;
  }
  optc_model* opened = nullptr;
  if (resnet8_open(&opened, nullptr) != OPTC_OK) {
    std::fprintf(stderr, "error: %s\n", resnet8_error(nullptr));
    return 1;
  }
  const std::unique_ptr<optc_model, void (*)(optc_model*)> model(opened, resnet8_free);
  std::vector<float> picture(resnet8_input(opened, 0)->bytes / sizeof(float), 127.5f);
  std::vector<float> scores(resnet8_output(opened, 0)->bytes / sizeof(float));
  if (std::strcmp(argv[1], "--grey") != 0) {
    std::ifstream file(argv[1], std::ios::binary);
    const auto bytes = static_cast<std::streamsize>(picture.size() * sizeof(float));
    if (!file.read(reinterpret_cast<char*>(picture.data()), bytes)) {
      std::fprintf(stderr, "error: %s does not hold %lld bytes\n", argv[1], static_cast<long long>(bytes));
      return 1;
    }
  }
  const void* inputs[] = {picture.data()};
  void* outputs[] = {scores.data()};
  if (resnet8_run(opened, inputs, outputs) != OPTC_OK) {
    std::fprintf(stderr, "error: %s\n", resnet8_error(opened));
    return 1;
  }
  const auto best = std::max_element(scores.begin(), scores.end());
  std::printf("class %td: score %g\n", best - scores.begin(), *best);
  return 0;
}

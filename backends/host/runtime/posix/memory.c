#define _GNU_SOURCE
#include "memory.h"

#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "optc_model.h"

enum { HUGE_PAGE = 2 << 20 };

char* optc_reserve(size_t bytes, size_t hot) {
  void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return NULL;
#ifdef MADV_HUGEPAGE
  if (hot >= HUGE_PAGE) madvise(memory, hot, MADV_HUGEPAGE);
#endif
  return memory;
}

void optc_unreserve(char* memory, size_t bytes) { munmap(memory, bytes); }

static int fail(char error[OPTC_ERROR_BYTES], const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error, OPTC_ERROR_BYTES, format, arguments);
  va_end(arguments);
  return OPTC_IO;
}

int optc_open_weights(const char* folder, size_t expected, int* opened, char error[OPTC_ERROR_BYTES]) {
  char path[4096];
  if (snprintf(path, sizeof path, "%s/weights.bin", folder) >= (int)sizeof path)
    return fail(error, "the path of the artifact folder is too long");
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return fail(error, "cannot open %s: %s", path, strerror(errno));
  struct stat status;
  int code = OPTC_OK;
  if (fstat(file, &status) != 0)
    code = fail(error, "cannot read %s: %s", path, strerror(errno));
  else if ((uint64_t)status.st_size != expected)
    code = fail(error, "%s has %lld bytes, and the code expects %zu: the files are not of one artifact", path,
                (long long)status.st_size, expected);
  if (code == OPTC_OK)
    *opened = file;
  else
    close(file);
  return code;
}

int optc_map_weights(const char* folder, size_t expected, char** weights, char error[OPTC_ERROR_BYTES]) {
  *weights = NULL;
  if (expected == 0) return OPTC_OK;
  int file;
  const int code = optc_open_weights(folder, expected, &file, error);
  if (code != OPTC_OK) return code;
  void* mapped = mmap(NULL, expected, PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return fail(error, "cannot map %s/weights.bin: %s", folder, strerror(errno));
  *weights = mapped;
  return OPTC_OK;
}

void optc_unmap_weights(char* weights, size_t bytes) { munmap(weights, bytes); }

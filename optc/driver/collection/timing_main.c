/* The program `kernels INNER OUTER`, which times kernels where no Python is: a line of JSON for each of them. */
#include <stdio.h>

/* `kinds` has a letter for each buffer: f and d are floats of single and double precision, z is anything else.
   `constants` has 1 for each that no call changes. */
struct described {
  const char* symbol;
  void* function;
  const char* kinds;
  const char* constants;
  const int64_t* sizes;
};

enum { FAILED = 1, USAGE = 2, NO_MEMORY = 3 };

@CASES@
enum { COUNT = sizeof(described) / sizeof(described[0]) };

static void* aligned(int64_t size) {
  void* found = NULL;
  return posix_memalign(&found, @ALIGNMENT@, (size_t)(size > 0 ? size : 1)) ? NULL : found;
}

/* Small numbers for floats, zeros (valid as indices) for the rest. */
static void fill(void* bytes, int64_t size, char kind) {
  uint64_t state = 1;
  memset(bytes, 0, (size_t)size);
  for (int64_t i = 0; kind != 'z' && i < size / (kind == 'f' ? 4 : 8); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double value = (double)(state >> 40) / (double)(1 << 23) - 1.0;
    if (kind == 'f') ((float*)bytes)[i] = (float)value;
    if (kind == 'd') ((double*)bytes)[i] = value;
  }
}

static int prepare(const struct described* from, struct optc_kernel* to) {
  const size_t count = strlen(from->kinds);
  void** data = calloc(count + 1, sizeof(void*));
  int64_t* sizes = calloc(count + 1, sizeof(int64_t));
  *to = (struct optc_kernel){from->function, calloc(@MOST_ARGUMENTS@, sizeof(void*)), data, sizes, 0};
  if (!data || !sizes || !to->arguments) return NO_MEMORY;
  for (size_t i = 0; i < count; ++i) {
    to->arguments[i] = aligned(from->sizes[i]);
    if (!to->arguments[i]) return NO_MEMORY;
    fill(to->arguments[i], from->sizes[i], from->kinds[i]);
    if (from->constants[i] == '1') continue;
    data[to->count] = to->arguments[i];
    sizes[to->count++] = from->sizes[i];
  }
  return 0;
}

static void print_list(const char* name, const double* values, int count) {
  printf("\"%s\": [", name);
  for (int i = 0; i < count; ++i) printf("%s%.9e", i ? ", " : "", values[i]);
  printf("], ");
}

int main(int argc, char** argv) {
  static struct optc_kernel kernels[COUNT];
  static struct optc_times times[COUNT];
  if (argc != 3) return USAGE;
  const int64_t inner = atoll(argv[1]), outer = atoll(argv[2]), most = inner > outer ? inner : outer;
  void* others = aligned(most);
  if (!others) return NO_MEMORY;
  memset(others, 1, (size_t)most);
  for (int i = 0; i < COUNT; ++i) {
    if (prepare(&described[i], &kernels[i])) return NO_MEMORY;
  }
  const double anchor = optc_anchor(), memory = optc_anchor_memory(others, outer);
  if (optc_time(kernels, times, COUNT, others, inner, outer)) return FAILED;
  for (int i = 0; i < COUNT; ++i) {
    printf("{\"symbol\": \"%s\", ", described[i].symbol);
    print_list("near", times[i].near, times[i].near_count);
    print_list("far", times[i].far, times[i].far_count);
    printf("\"again\": %d, \"anchor\": %.9e, \"anchor_memory\": %.9e}\n", (int)times[i].again, anchor, memory);
  }
  return 0;
}

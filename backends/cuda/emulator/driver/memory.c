#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emulated.h"

enum { UNIT = 256 }; /* what cuMemAlloc aligns to */

typedef struct block {
  struct block* next;
  char* pages; /* with a forbidden page at either end */
  size_t page_bytes;
  char* start;
  size_t bytes;
  place where;
  bool is_live; /* freed pages are never given out again */
} block;

static block* blocks;
static const char* running = "nothing";

static size_t up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

static void forbidden(int number, siginfo_t* info, void* context) {
  (void)number, (void)context;
  char text[256];
  const int length = snprintf(text, sizeof text, "emulated CUDA: %s touches %p, which lies in no memory that it may use\n",
                              running, info->si_addr);
  if (write(STDERR_FILENO, text, (size_t)length) != length) _exit(71);
  _exit(70);
}

static void watch(void) {
  static bool is_watching;
  if (is_watching) return;
  is_watching = true;
  static char stack[1 << 16];
  sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
  struct sigaction action = {.sa_sigaction = forbidden, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
}

void memory_blame(const char* name) { running = name; }

void* memory_allocate(size_t bytes, place where) {
  watch();
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), extent = up(bytes, UNIT), data = up(extent, page);
  block* made = calloc(1, sizeof *made);
  char* pages = mmap(NULL, data + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (!made || pages == MAP_FAILED) return NULL;
  *made = (block){blocks, pages, data + 2 * page, pages + page + data - extent, bytes, where, true};
  if (mprotect(pages + page, data, PROT_READ | PROT_WRITE) != 0) return NULL;
  memset(made->start, 0xCD, extent); /* nobody may count on zeros */
  if (where == ON_DEVICE) mprotect(pages + page, data, PROT_NONE);
  blocks = made;
  counts.allocated += bytes;
  if (counts.allocated > counts.most_allocated) counts.most_allocated = counts.allocated;
  return made->start;
}

bool memory_free(void* address, place where) {
  for (block* each = blocks; each; each = each->next) {
    if (each->start != address || each->where != where) continue;
    if (!each->is_live) return false;
    each->is_live = false;
    counts.allocated -= each->bytes;
    mprotect(each->pages, each->page_bytes, PROT_NONE);
    return true;
  }
  return false;
}

place memory_find(const void* address, size_t bytes) {
  const char* first = address;
  for (block* each = blocks; each; each = each->next)
    if (each->is_live && first >= each->start && first + bytes <= each->start + each->bytes) return each->where;
  return NOWHERE;
}

long memory_live(void) {
  long live = 0;
  for (block* each = blocks; each; each = each->next) live += each->is_live;
  return live;
}

static void protect(int rights) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (block* each = blocks; each; each = each->next)
    if (each->is_live && each->where == ON_DEVICE) mprotect(each->pages + page, each->page_bytes - 2 * page, rights);
}

void memory_open(void) { protect(PROT_READ | PROT_WRITE); }
void memory_close(void) { protect(PROT_NONE); }

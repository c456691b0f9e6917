/* The worker threads of one model handle, and the services that kernels ask for while they run. */
#ifndef OPTC_POOL_H
#define OPTC_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct optc_pool optc_pool;
typedef struct optc_worker optc_worker;

/* CPUs that this process may use, at least 1. */
int optc_available_cpus(void);

/* `threads` counts the caller. Returns NULL when memory or threads run out. */
optc_pool* optc_pool_create(int threads, bool pin, int spin_us);
void optc_pool_destroy(optc_pool* pool);

int optc_pool_threads(const optc_pool* pool);
size_t optc_pool_scratch_bytes(const optc_pool* pool);

/* Between enter and leave, the calling thread's kernels use this pool. `previous` is handed to leave.
 * False when the workers, lost in a fork, cannot be started again. */
bool optc_pool_enter(optc_pool* pool, optc_worker** previous);
void optc_pool_leave(optc_pool* pool, optc_worker* previous);

/* The text that a failing kernel of this run left; "" when none did. */
const char* optc_pool_message(const optc_pool* pool);

#endif

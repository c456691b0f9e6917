/* Memory and files as the platform gives them. */
#ifndef OPTC_MEMORY_H
#define OPTC_MEMORY_H

#include <stddef.h>

enum { OPTC_ERROR_BYTES = 512 };

/* Zeroed, 64-byte aligned memory, or NULL; pages that are never touched cost nothing where the system can. `hot` bytes
 * at its start are used all the time. */
char* optc_reserve(size_t bytes, size_t hot);
void optc_unreserve(char* memory, size_t bytes);

/* Maps weights.bin of an artifact folder read-only; it must have `expected` bytes. Returns an optc_model code and
 * leaves a message in `error`. */
int optc_map_weights(const char* folder, size_t expected, char** weights, char error[OPTC_ERROR_BYTES]);
void optc_unmap_weights(char* weights, size_t bytes);

/* Reads weights that lie packed (unpack.h) in `stored` bytes of weights.bin into memory of their own, with some threads.
 * They go as mapped ones do. */
int optc_unpack_weights(const char* folder, size_t stored, size_t expected, int threads, char** weights,
                        char error[OPTC_ERROR_BYTES]);

#endif

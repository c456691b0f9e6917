/* Files of an artifact folder. */
#ifndef OPTC_FILES_H
#define OPTC_FILES_H

#include "memory.h"

/* Opens weights.bin for reading; it must have `expected` bytes. Returns an optc_model code, and leaves a handle in
 * `opened` or a message in `error`. */
int optc_open_weights(const char* folder, size_t expected, int* opened, char error[OPTC_ERROR_BYTES]);

#endif

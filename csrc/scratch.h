/* scratch.h: memory of a call on plain arrays, which the next call finds mapped. Compiled once, for all ISAs. */
#ifndef NN_SCRATCH_H
#define NN_SCRATCH_H

#include <stddef.h>

/* At least `size` bytes on a 64-byte boundary, of any content; NULL: there is no memory. */
void *nn_take_scratch(size_t size);
void nn_give_scratch(void *scratch);
#endif

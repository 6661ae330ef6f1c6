/* scratch.c: pages that the system gives for the first time cost as much as what a call does with them, so one block is
 * kept. Calls of several threads at once have blocks of their own.
 */
#include "scratch.h"

#include <stdatomic.h>
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
enum { KEPT = 0 }; /* a larger block would hide what is read past the end of a smaller one */
#else
enum { KEPT = 64 << 20 };
#endif

typedef struct block {
    _Alignas(64) size_t size;
} block;

static _Atomic(block *) spare;

void *nn_take_scratch(size_t size)
{
    block *b = atomic_exchange(&spare, NULL);
    if (b && b->size >= size) return b + 1;
    free(b);
    b = aligned_alloc(64, sizeof *b + (size + 63) / 64 * 64);
    if (!b) return NULL;
    b->size = size;
    return b + 1;
}

void nn_give_scratch(void *scratch)
{
    block *b = (block *)scratch - 1;
    free(b->size <= KEPT ? atomic_exchange(&spare, b) : b);
}

/* walk.h: from ids to steps of word2vec; see walk.c. */
#ifndef NN_WALK_H
#define NN_WALK_H

#include "nnfast.h"
#include "simd.h"

/* m input rows meet n output rows. */
typedef struct step {
    int m, n;
    float **x, **y;       /* [m], [n] rows */
    float *counts;        /* [m] how often each x stands in the window ... */
    bool is_plain;        /* ... once, all of them */
    bool repeats;         /* a row of y stands there twice */
    const uint8_t *codes; /* [n] 1 - label, or NULL: only y[0] has the label 1 */
} step;

/* Rows that all threads change. Of `count` from `first` on the thread has copies. */
typedef struct matrix {
    float *rows[2]; /* the shared ones, the copies; [id * stride] */
    float *merged;  /* the copies as they were when last merged */
    int64_t stride, first, count;
    uint32_t *used; /* [count + 1] */
    uint32_t turns; /* uses from one merge to the next, less one: 2^n - 1 */
} matrix;

typedef struct stream {
    uint64_t a, b, c, d;
} stream;

enum { NOISE_BLOCK = 64 };

/* Where a thread stands in a chunk. */
typedef struct walk {
    const nn_words *job;
    matrix syn0, syn1, syn1hs;
    stream tokens, noises;
    int32_t *kept;                        /* [length] the words that subsampling leaves, -1 between sentences */
    int32_t *reach;                       /* [length] of their windows */
    int64_t length, at, begin, end;       /* the word at `at`, in the sentence [begin, end) */
    int64_t first, last;                  /* its contexts, itself among them */
    int64_t part, parts;                  /* steps of its window */
    int32_t noise[NOISE_BLOCK], *outputs; /* noise words drawn ahead; the step's [1 + negative] */
    int n_noise;                          /* of them used */
    int64_t words, effective, pairs;      /* passed, left by subsampling, learned */
} walk;

/* Memory that is laid out twice: for its size, without a base, and for good. */
typedef struct arena {
    char *base;
    size_t used;
} arena;

INLINE void *place(arena *a, size_t bytes)
{
    void *const p = a->base ? a->base + a->used : NULL;
    a->used += (bytes + 63) & ~(size_t)63;
    return p;
}

/* Most inputs and outputs of a step. */
INLINE int64_t most_inputs(const nn_words *w) { return w->window < NN_CHUNK / 2 ? 2 * w->window : NN_CHUNK; }
INLINE int64_t most_outputs(const nn_words *w) { return w->longest > w->negative + 1 ? w->longest : w->negative + 1; }

void FN(walk_prepare)(walk *k, const nn_words *job, arena *memory);
void FN(walk_begin)(walk *k, int64_t chunk);
bool FN(walk_next)(walk *k, step *s); /* the next step of the chunk; false at its end */
void FN(walk_share)(walk *k);         /* adds to the shared rows what the thread's copies have changed */
#endif

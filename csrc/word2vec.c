/* word2vec.c: word vectors of skip-gram and CBOW, by negative sampling and hierarchical softmax (Mikolov et al., arXiv
 * 1310.4546; word2vec.c), with one set of noise words for a window (Ji et al., arXiv 1604.04661). float only.
 *
 * A walk over a chunk of ids yields steps: m input rows x meet n output rows y. All m * n dot products come from the
 * old rows, then all rows are updated, 16 columns at a time, with the output rows and their updates in registers. The
 * next step is made and its rows are fetched while one is computed. Threads share the rows without locks (Hogwild).
 */
#include <stdlib.h>

#include "nnfast.h"
#include "rng.h"
#include "team.h"
#include "vecmath.h"

#if !NN_DOUBLE

/* ---- draws: xoshiro256++ (Blackman and Vigna, arXiv 1805.01407), seeded by Philox ---------------------------------
 */
static int BUSY, STALE;
enum { NOISE_BLOCK = 64, DRAWS = 4 }; /* DRAWS: for each noise word that is wanted, before fewer must do */

typedef struct stream {
    uint64_t a, b, c, d;
} stream;

INLINE uint64_t rotated(uint64_t word, int bits) { return word << bits | word >> (64 - bits); }

INLINE uint64_t next_word(stream *s)
{
    const uint64_t word = rotated(s->a + s->d, 23) + s->a, shifted = s->b << 17;
    s->c ^= s->a;
    s->d ^= s->b;
    s->b ^= s->c;
    s->a ^= s->d;
    s->c ^= shifted;
    s->d = rotated(s->d, 45);
    return word;
}

/* of 0 .. n-1 by a word of 32 bits */
INLINE int64_t chosen(uint64_t word, int64_t n) { return (int64_t)((word * (uint64_t)n) >> 32); }

/* ---- steps ------------------------------------------------------------------------------------------------------ */
typedef struct step {
    int m, n;
    float **x, **y;       /* [m], [n] rows */
    float *counts;        /* [m] how often each x stands in the window ... */
    bool is_plain;        /* ... once, all of them */
    bool repeats;         /* a row of y stands there twice */
    const uint8_t *codes; /* [n] 1 - label, or NULL: only y[0] has the label 1 */
} step;

/* Rows of all threads. This one's copies are of `count` from `first` on. */
typedef struct matrix {
    float *rows;
    int64_t stride, first, count;
    float *own, *base; /* [count][stride] the copies, and what they were when last merged */
    uint32_t *used;    /* [count] */
    uint32_t uses; /* a power of 2 */
} matrix;

/* One thread's memory, and where it stands in a chunk. */
typedef struct walk {
    const nn_words *job;
    matrix syn0, syn1, syn1hs;
    stream tokens, noises;
    int32_t *kept;                  /* [length] the words that subsampling leaves, -1 between sentences */
    int32_t *reach;                 /* [length] of their windows */
    int64_t length, at, begin, end; /* the word at `at`, in the sentence [begin, end) */
    int64_t first, last;            /* its contexts, itself among them */
    int64_t part, parts;            /* steps of its window */
    float alpha;
    int32_t noise[NOISE_BLOCK], *outputs; /* noise words drawn ahead; the step's [1 + negative] */
    int n_noise;                          /* of them used */
    int64_t effective, pairs;
    step steps[2];
    const step *coming;
    vec *sums;                       /* [m * n + LANES] partial dot products */
    float *dots, *g, *soft;          /* [m * n + LANES] */
    float *hidden, *error, *another; /* [stride] */
    vec *rows;                       /* [2][n], for n without a literal */
} walk;

/* ---- busy rows ---------------------------------------------------------------------------------------------------
 * Threads that write the same rows wait for each other's cache lines, and few words are most of a text. So each thread
 * has its own copies of the busiest rows, and adds what it has changed to the shared ones every few uses.
 */
INLINE void fetch(const float *row, int64_t columns)
{
    for (int64_t c = 0; c < columns; c += 16) __builtin_prefetch(row + c, 1);
}

static void merge(const matrix *a, int64_t place)
{
    float *const row = a->rows + (a->first + place) * a->stride;
    float *const own = a->own + place * a->stride, *const base = a->base + place * a->stride;
    for (int64_t c = 0; c < a->stride; c += LANES) {
        const vec sum = load(row + c) + (load(own + c) - load(base + c));
        store(row + c, sum);
        store(own + c, sum);
        store(base + c, sum);
    }
}

static void merge_rows(const matrix *a)
{
    for (int64_t i = 0; i < a->count; i++)
        if (a->used[i] & (a->uses - 1)) merge(a, i), a->used[i] = 0;
}

/* The row, or the thread's own copy. */
INLINE float *row_of(const matrix *a, int64_t id)
{
    const int64_t place = id - a->first;
    return (uint64_t)place < (uint64_t)a->count ? a->own + place * a->stride : a->rows + id * a->stride;
}

/* The same, for one more use. */
INLINE float *use_row(const matrix *a, int64_t id)
{
    const int64_t place = id - a->first;
    if ((uint64_t)place >= (uint64_t)a->count) return a->rows + id * a->stride;
    const uint32_t turn = a->used[place]++ & (a->uses - 1);
    if (turn == 0) merge(a, place);
    if (turn == a->uses - 1) {
        fetch(a->rows + id * a->stride, a->stride);
        fetch(a->base + place * a->stride, a->stride);
    }
    return a->own + place * a->stride;
}


static int32_t next_noise(walk *k)
{
    const nn_words *w = k->job;
    if (k->n_noise == NOISE_BLOCK) {
        uint64_t words[NOISE_BLOCK];
        stream s = k->noises;
        for (int i = 0; i < NOISE_BLOCK; i++) words[i] = next_word(&s);
        k->noises = s;
        for (int i = 0; i < NOISE_BLOCK; i++) {
            const int64_t place = chosen(words[i] >> 32, w->n_words);
            k->noise[i] = (uint32_t)words[i] <= w->threshold[place] ? (int32_t)place : w->alias[place];
        }
        k->n_noise = 0;
    }
    return k->noise[k->n_noise++];
}

INLINE bool among(int32_t id, const int32_t *ids, int n)
{
    bool found = false;
    for (int i = 0; i < n; i++) found |= ids[i] == id;
    return found;
}

/* The word itself and noise words: those that a window shares are all different, those of a pair are what is drawn,
 * but for the word itself. */
static void add_outputs(walk *k, step *s)
{
    const nn_words *w = k->job;
    const int32_t word = k->kept[k->at];
    const int64_t draws = w->exact ? w->negative : DRAWS * w->negative;
    int n = 0;
    k->outputs[n++] = word;
    s->repeats = false;
    for (int64_t i = 0; i < draws && n <= w->negative; i++) {
        const int32_t id = next_noise(k);
        const bool is_known = among(id, k->outputs, n);
        if (is_known && (!w->exact || id == word)) continue;
        s->repeats |= is_known;
        k->outputs[n++] = id;
    }
    for (int j = 0; j < n; j++) s->y[j] = use_row(&k->syn1, k->outputs[j]);
    s->n = n;
    s->codes = NULL;
}

static void add_path(walk *k, step *s)
{
    const nn_words *w = k->job;
    const int64_t word = k->kept[k->at], begin = w->offsets[word];
    s->n = (int)(w->offsets[word + 1] - begin);
    for (int j = 0; j < s->n; j++) s->y[j] = use_row(&k->syn1hs, w->points[begin + j]);
    s->codes = w->codes + begin;
    s->repeats = false;
}

static void add_inputs(walk *k, step *s, int64_t first, int64_t last)
{
    int m = 0;
    s->is_plain = true;
    for (int64_t p = first; p < last; p++) {
        if (p == k->at) continue;
        float *const row = use_row(&k->syn0, k->kept[p]);
        int place = m;
        for (int i = 0; i < m; i++) place = s->x[i] == row ? i : place;
        if (place < m) {
            s->counts[place]++;
            s->is_plain = false;
        } else
            s->x[m] = row, s->counts[m++] = 1;
    }
    s->m = m;
}

/* Go on to a word with contexts; false at the end of the chunk. */
static bool next_window(walk *k)
{
    const nn_words *w = k->job;
    while (++k->at < k->length) {
        if (k->kept[k->at] < 0) continue;
        if (k->at >= k->end) {
            k->begin = k->end = k->at;
            while (k->end < k->length && k->kept[k->end] >= 0) k->end++;
        }
        const int64_t coming = k->at + w->window + 1;
        if (coming < k->length && k->kept[coming] >= 0) fetch(row_of(&k->syn0, k->kept[coming]), w->columns);
        const int64_t reach = k->reach[k->at];
        k->first = k->at - k->begin < reach ? k->begin : k->at - reach;
        k->last = k->end - k->at <= reach ? k->end : k->at + reach + 1;
        const int64_t m = k->last - k->first - 1;
        if (m == 0) continue;
        k->part = 0;
        k->parts = (w->sg && w->exact ? m : 1) * ((w->negative > 0) + (w->syn1hs != NULL));
        k->pairs += w->sg ? m : 1;
        return true;
    }
    return false;
}

/* The next step of the chunk; false at its end. Of a window, or a pair, the softmax comes before the noise. */
static bool next_step(walk *k, step *s)
{
    const nn_words *w = k->job;
    const int64_t kinds = (w->negative > 0) + (w->syn1hs != NULL);
    do {
        if (k->part == k->parts && !next_window(k)) return false;
        const int64_t pair = k->part / kinds;
        if (w->syn1hs && k->part % kinds == 0)
            add_path(k, s);
        else
            add_outputs(k, s);
        if (w->sg && w->exact) {
            const int64_t p = k->first + pair, context = p + (p >= k->at);
            add_inputs(k, s, context, context + 1);
        } else
            add_inputs(k, s, k->first, k->last);
        k->part++;
    } while (s->n == 0);
    return true;
}

/* ---- the kernel ------------------------------------------------------------------------------------------------- */
enum { LITERALS = 16, GROUP = 8 }; /* numbers of outputs with a kernel of their own; outputs at once without */

/* sums[r][j] = x[r] . y[j] in LANES parts: the 16 lanes folded as far as one vector. */
INLINE void dots_of(const int n, const int rows, float *const *x, float *const *y, int64_t columns, vec *sums,
                    int64_t stride)
{
    vec l[2][LITERALS][WIDE];
    UNROLL for (int r = 0; r < rows; r++) UNROLL
        for (int j = 0; j < n; j++) UNROLL
            for (int i = 0; i < WIDE; i++) l[r][j][i] = splat(0);
    for (int64_t c = 0; c < columns; c += 16) UNROLL
        for (int i = 0; i < WIDE; i++) {
            vec a[2];
            UNROLL for (int r = 0; r < rows; r++)
                a[r] = load(x[r] + c + i * LANES);
            UNROLL for (int j = 0; j < n; j++) {
                const vec b = load(y[j] + c + i * LANES);
                UNROLL for (int r = 0; r < rows; r++)
                    l[r][j][i] = fma_(a[r], b, l[r][j][i]);
            }
        }
    UNROLL for (int r = 0; r < rows; r++) UNROLL
        for (int j = 0; j < n; j++) {
            UNROLL for (int half = WIDE / 2; half; half /= 2) UNROLL
                for (int i = 0; i < half; i++) l[r][j][i] += l[r][j][i + half];
            sums[r * stride + j] = l[r][j][0];
        }
}

INLINE void all_dots(const int n, int m, float *const *x, float *const *y, int64_t columns, vec *sums, int64_t stride)
{
    const int rows = 2 * n * WIDE + 4 <= REGISTERS ? 2 : 1;
    int i = 0;
    for (; i + rows <= m; i += rows) dots_of(n, rows, x + i, y, columns, sums + i * stride, stride);
    if (i < m) dots_of(n, 1, x + i, y, columns, sums + i * stride, stride);
}

/* y += g' x and x += g y, or error = g y for one row x, all from the old values. old, sum: [n] */
INLINE void update(const int n, int m, float *const *x, float *const *y, int64_t columns, const float *g, float *error,
                   vec *old, vec *sum, const step *coming)
{
    const int n_coming = coming->n;
    const mask adds = every(!error);
    for (int64_t c = 0; c < columns; c += LANES) {
        if (c % 16 == 0)
            for (int j = 0; j < n_coming; j++) __builtin_prefetch(coming->y[j] + c, 1);
        UNROLL for (int j = 0; j < n; j++)
            old[j] = sum[j] = load(y[j] + c);
        for (int i = 0; i < m; i++) {
            const vec a = load(x[i] + c);
            vec b = keep(adds, a);
            UNROLL for (int j = 0; j < n; j++) {
                const vec s = splat(g[i * n + j]);
                b = fma_(s, old[j], b);
                sum[j] = fma_(s, a, sum[j]);
            }
            store((error ? error : x[i]) + c, b);
        }
        UNROLL for (int j = 0; j < n; j++)
            store(y[j] + c, sum[j]);
    }
}

/* 1 / (1 + e^-x), to some ULP */
INLINE vec logistic(vec x)
{
    ivec n;
    vec r;
    const vec q = reduce_exp(minimum(C(40), maximum(C(-40), C(0) - x)), &n, &r);
    return C(1) / (C(1) + (fma_(r * r, q, r) + C(1)) * power_of_2(n));
}

/* log(1 + e^x) */
INLINE vec softplus(vec x) { return maximum(C(0), x) + vec_log1p(vec_exp(C(0) - absolute(x))); }

/* From the partial dots f to g = alpha (label - sigmoid(f)), times x's count; returns the sum of -log sigmoid(+-f). */
static double gradients(walk *k, const step *s)
{
    const int all = s->m * s->n;
    const vec rate = splat(-k->alpha);
    for (int i = 0; i < all; i += LANES) {
        const vec f = sums_of_lanes(k->sums + i);
        store(k->g + i, logistic(f) * rate);
        if (k->job->losses) store(k->dots + i, f), store(k->soft + i, softplus(f));
    }
    for (int j = 0; j < s->n; j++)
        if (!(s->codes ? s->codes[j] : j > 0))
            for (int i = j; i < all; i += s->n) k->g[i] += k->alpha;
    if (!s->is_plain)
        for (int i = 0; i < all; i++) k->g[i] *= s->counts[i / s->n];
    double loss = 0;
    if (k->job->losses)
        for (int i = 0; i < all; i++) {
            const int j = i % s->n;
            const bool is_negative = s->codes ? s->codes[j] : j > 0;
            loss += s->counts[i / s->n] * ((double)k->soft[i] - (is_negative ? 0 : (double)k->dots[i]));
        }
    return loss;
}

INLINE double learn_literal(const int n, walk *k, const step *s, float *const *x, float *error)
{
    vec old[LITERALS], sum[LITERALS];
    const int64_t columns = k->job->columns;
    all_dots(n, s->m, x, s->y, columns, k->sums, n);
    const double loss = gradients(k, s);
    update(n, s->m, x, s->y, columns, k->g, error, old, sum, k->coming);
    return loss;
}

static double learn_any(walk *k, const step *s, float *const *x, float *error)
{
    const int64_t columns = k->job->columns;
    int j = 0;
    for (; j + GROUP <= s->n; j += GROUP) all_dots(GROUP, s->m, x, s->y + j, columns, k->sums + j, s->n);
    for (; j < s->n; j++) all_dots(1, s->m, x, s->y + j, columns, k->sums + j, s->n);
    const double loss = gradients(k, s);
    update(s->n, s->m, x, s->y, columns, k->g, error, k->rows, k->rows + s->n, k->coming);
    return loss;
}

#define LITERAL(n)                                                                                                     \
    static double learn_##n(walk *k, const step *s, float *const *x, float *error)                                     \
    {                                                                                                                  \
        return learn_literal(n, k, s, x, error);                                                                       \
    }
LITERAL(1)
LITERAL(2)
LITERAL(3)
LITERAL(4)
LITERAL(5)
LITERAL(6)
LITERAL(7)
LITERAL(8)
LITERAL(9)
LITERAL(10)
LITERAL(11)
LITERAL(12)
LITERAL(13)
LITERAL(14)
LITERAL(15)
LITERAL(16)
typedef double (*learner)(walk *k, const step *s, float *const *x, float *error);
static const learner literals[LITERALS + 1] = {NULL,     learn_1,  learn_2,  learn_3,  learn_4,  learn_5,
                                               learn_6,  learn_7,  learn_8,  learn_9,  learn_10, learn_11,
                                               learn_12, learn_13, learn_14, learn_15, learn_16};

/* x += g y, or error = g y */
static double learn(walk *k, const step *s, float *const *x, float *error)
{
    return (s->n <= LITERALS ? literals[s->n] : learn_any)(k, s, x, error);
}

/* One x, and a y that stands there twice: its second time sees what the first has left. */
static double learn_in_turn(walk *k, const step *s, float *x, float *error)
{
    const int64_t columns = k->job->columns;
    static const uint8_t one_code[] = {1};
    double loss = 0;
    memset(error, 0, (size_t)columns * sizeof *error);
    for (int j = 0; j < s->n; j++) {
        step one = *s;
        one.n = 1, one.y = s->y + j, one.codes = j ? one_code : NULL;
        loss += learn(k, &one, &x, k->another);
        for (int64_t c = 0; c < columns; c += LANES) store(error + c, load(error + c) + load(k->another + c));
    }
    return loss;
}

static double learn_skip_gram(walk *k, const step *s)
{
    if (!s->repeats) return learn(k, s, s->x, NULL);
    const double loss = learn_in_turn(k, s, s->x[0], k->error);
    for (int64_t c = 0; c < k->job->columns; c += LANES) store(s->x[0] + c, load(s->x[0] + c) + load(k->error + c));
    return loss;
}

/* CBOW: the sum or mean of the contexts is the one input row; what it lacks is added to each of them. */
static double learn_bag(walk *k, const step *s)
{
    const nn_words *w = k->job;
    float total = 0;
    for (int i = 0; i < s->m; i++) total += s->counts[i];
    const vec scale = splat(w->mean ? 1 / total : 1);
    const float share = !w->mean == !w->corrected ? 1 / total : 1; /* word2vec.c divides for sums */
    for (int64_t c = 0; c < w->columns; c += LANES) {
        vec sum = splat(0);
        for (int i = 0; i < s->m; i++) sum = fma_(splat(s->counts[i]), load(s->x[i] + c), sum);
        store(k->hidden + c, sum * scale);
    }
    step one = *s;
    float once = 1;
    one.m = 1, one.counts = &once, one.is_plain = true;
    const double loss = s->repeats ? learn_in_turn(k, &one, k->hidden, k->error) : learn(k, &one, &k->hidden, k->error);
    for (int i = 0; i < s->m; i++) {
        const vec times = splat(share * s->counts[i]);
        for (int64_t c = 0; c < w->columns; c += LANES)
            store(s->x[i] + c, fma_(times, load(k->error + c), load(s->x[i] + c)));
    }
    return loss;
}

/* ---- chunks ----------------------------------------------------------------------------------------------------- */
typedef struct shared {
    nn_words *job;
    double deadline;
} shared;

/* Leave out words by subsampling; returns the words before it. Writes one place more than it keeps. */
static int64_t subsample(walk *k, int64_t begin, int64_t end)
{
    const nn_words *w = k->job;
    int64_t words = 0, length = 0, effective = 0;
    for (int64_t i = begin; i < end; i++) {
        const int32_t id = w->ids[i];
        k->kept[length] = id;
        if (id < 0) {
            length++;
            continue;
        }
        const uint64_t word = next_word(&k->tokens);
        const bool stays = word >> 32 <= w->keep[id];
        k->reach[length] = (int32_t)(w->shrink ? chosen((uint32_t)word, w->window) + 1 : w->window);
        length += stays;
        effective += stays;
        words++;
    }
    k->length = length;
    k->effective = effective;
    return words;
}

static void train_chunk(walk *k, int64_t chunk)
{
    nn_words *w = (nn_words *)k->job;
    const uint64_t key[2] = {w->seed, NN_WINDOWS};
    const uint64_t counters[2][4] = {{1, (uint64_t)chunk, w->epoch, 0}, {2, (uint64_t)chunk, w->epoch, 0}};
    uint64_t words[2][4];
    for (int i = 0; i < 2; i++) nn_philox(key, counters[i], words[i]);
    memcpy(&k->tokens, words[0], sizeof k->tokens);
    memcpy(&k->noises, words[1], sizeof k->noises);
    const int64_t begin = chunk * NN_CHUNK, end = begin + NN_CHUNK < w->n_ids ? begin + NN_CHUNK : w->n_ids;
    k->n_noise = NOISE_BLOCK;
    k->pairs = k->end = k->part = k->parts = 0;
    k->at = -1;
    const int64_t passed = subsample(k, begin, end);
    const double progress = w->from + (w->to - w->from) * ((double)begin / (double)w->n_ids);
    k->alpha = (float)(w->alpha + (w->min_alpha - w->alpha) * progress);
    double loss = 0;
    int which = 0;
    bool more = next_step(k, k->steps);
    while (more) {
        const step *s = k->steps + which;
        which = !which;
        more = next_step(k, k->steps + which);
        k->coming = k->steps + which;
        loss += w->sg ? learn_skip_gram(k, s) : learn_bag(k, s);
    }
    if (w->losses) w->losses[chunk] = loss;
    __atomic_fetch_add(&w->words, passed, __ATOMIC_RELAXED);
    __atomic_fetch_add(&w->effective, k->effective, __ATOMIC_RELAXED);
    __atomic_fetch_add(&w->pairs, k->pairs, __ATOMIC_RELAXED);
}

/* Memory of one walk from one block, or only its size for base = NULL. */
static size_t lay_out(walk *k, char *base)
{
    const nn_words *w = k->job;
    const size_t m = (size_t)(w->window < NN_CHUNK / 2 ? 2 * w->window : NN_CHUNK);
    const size_t n = (size_t)(w->longest > w->negative + 1 ? w->longest : w->negative + 1);
    const size_t dots = (w->sg && !w->exact ? m : 1) * n + LANES;
    size_t used = 0;
#define PLACE(pointer, count)                                                                                          \
    (pointer) = base ? (void *)(base + used) : NULL, used += ((count) * sizeof *(pointer) + 63) & ~(size_t)63
    PLACE(k->sums, dots);
    PLACE(k->rows, 2 * n);
    PLACE(k->dots, dots);
    PLACE(k->g, dots);
    PLACE(k->soft, dots);
    PLACE(k->hidden, (size_t)w->columns);
    PLACE(k->error, (size_t)w->columns);
    PLACE(k->another, (size_t)w->columns);
    PLACE(k->kept, (size_t)NN_CHUNK + 1);
    PLACE(k->reach, (size_t)NN_CHUNK + 1);
    PLACE(k->outputs, n);
    const int64_t busy = w->workers > 1 ? w->n_words - 1 < BUSY ? w->n_words - 1 : BUSY : 0;
    const uint32_t uses = (uint32_t)STALE/2;
    k->syn0 = (matrix){w->syn0, w->stride, .count = busy, .uses = uses};
    k->syn1 = (matrix){w->syn1, w->stride, .count = w->syn1 ? busy : 0, .uses = uses};
    k->syn1hs = (matrix){w->syn1hs, w->stride, w->n_words - 1 - busy, w->syn1hs ? busy : 0, .uses = uses};
    matrix *const matrices[] = {&k->syn0, &k->syn1, &k->syn1hs};
    for (int i = 0; i < 3; i++) {
        PLACE(matrices[i]->own, (size_t)(matrices[i]->count * w->stride));
        PLACE(matrices[i]->base, (size_t)(matrices[i]->count * w->stride));
        PLACE(matrices[i]->used, (size_t)matrices[i]->count);
    }
    for (int i = 0; i < 2; i++) {
        PLACE(k->steps[i].x, m);
        PLACE(k->steps[i].counts, m);
        PLACE(k->steps[i].y, n);
    }
#undef PLACE
    return used;
}

static void train(void *argument, const nn_team *team)
{
    const shared *const run = argument;
    nn_words *const w = run->job;
    const uint64_t before = flush_denormals();
    walk k = {.job = w};
    lay_out(&k, (char *)w->arena + (size_t)team->index * (size_t)w->share);
    do {
        const int64_t chunk = __atomic_fetch_add(&w->taken, 1, __ATOMIC_RELAXED);
        if (chunk >= w->n_chunks) break;
        train_chunk(&k, chunk);
    } while (nn_now() < run->deadline);
    merge_rows(&k.syn0), merge_rows(&k.syn1), merge_rows(&k.syn1hs);
    restore_denormals(before);
}

int FN(words_prepare)(nn_words *w)
{
    BUSY = atoi(getenv("BUSY")); STALE = atoi(getenv("STALE"));
    walk k = {.job = w};
    if ((double)w->negative * (double)w->window > 1e12) return -1; /* sizes below do not overflow */
    w->share = (int64_t)lay_out(&k, NULL);
    const size_t size = (size_t)w->share * (size_t)w->workers;
    w->arena = aligned_alloc(64, size);
    if (!w->arena) return -1;
    memset(w->arena, 0, size);
    return 0;
}

int FN(words_advance)(nn_words *w, double seconds)
{
    shared run = {w, nn_now() + seconds};
    const int64_t left = w->n_chunks - w->chunk;
    w->taken = w->chunk;
    if (left > 0) nn_parallel(left < w->workers ? left : w->workers, train, &run);
    const int64_t done = w->taken < w->n_chunks ? w->taken : w->n_chunks;
    for (; w->chunk < done; w->chunk++)
        if (w->losses) w->loss += w->losses[w->chunk];
    return w->chunk < w->n_chunks;
}
#endif

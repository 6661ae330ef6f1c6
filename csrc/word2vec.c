/* word2vec.c: word vectors of skip-gram and CBOW, by negative sampling and hierarchical softmax (Mikolov et al., arXiv
 * 1310.4546; word2vec.c), with one set of noise words for a window (Ji et al., arXiv 1604.04661). float only.
 *
 * A walk yields steps: m input rows x meet n output rows y. All m * n dot products come from the old rows, then all
 * rows are updated, 16 columns at a time, with the output rows and their updates in registers. The next step is made
 * before one is computed, and its rows are fetched meanwhile. Threads share the rows without locks (Hogwild; walk.c).
 */
#include "team.h"
#include "vecmath.h"
#include "walk.h"

#if !NN_DOUBLE

/* One thread's memory. */
typedef struct worker {
    walk walk;
    step steps[2];
    const step *coming;
    float alpha;
    vec *sums;                       /* [m * n + LANES] partial dot products */
    float *dots, *g, *soft;          /* [m * n + LANES] */
    float *hidden, *error, *another; /* [stride] */
    vec *rows;                       /* [2][n], for n without a literal */
} worker;

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
static double gradients(worker *k, const step *s)
{
    const int all = s->m * s->n;
    const vec rate = splat(-k->alpha);
    for (int i = 0; i < all; i += LANES) {
        const vec f = sums_of_lanes(k->sums + i);
        store(k->g + i, logistic(f) * rate);
        if (k->walk.job->losses) store(k->dots + i, f), store(k->soft + i, softplus(f));
    }
    for (int j = 0; j < s->n; j++)
        if (!(s->codes ? s->codes[j] : j > 0))
            for (int i = j; i < all; i += s->n) k->g[i] += k->alpha;
    if (!s->is_plain)
        for (int i = 0; i < all; i++) k->g[i] *= s->counts[i / s->n];
    double loss = 0;
    if (k->walk.job->losses)
        for (int i = 0; i < all; i++) {
            const int j = i % s->n;
            const bool is_negative = s->codes ? s->codes[j] : j > 0;
            loss += s->counts[i / s->n] * ((double)k->soft[i] - (is_negative ? 0 : (double)k->dots[i]));
        }
    return loss;
}

INLINE double learn_literal(const int n, worker *k, const step *s, float *const *x, float *error)
{
    vec old[LITERALS], sum[LITERALS];
    const int64_t columns = k->walk.job->columns;
    all_dots(n, s->m, x, s->y, columns, k->sums, n);
    const double loss = gradients(k, s);
    update(n, s->m, x, s->y, columns, k->g, error, old, sum, k->coming);
    return loss;
}

static double learn_any(worker *k, const step *s, float *const *x, float *error)
{
    const int64_t columns = k->walk.job->columns;
    int j = 0;
    for (; j + GROUP <= s->n; j += GROUP) all_dots(GROUP, s->m, x, s->y + j, columns, k->sums + j, s->n);
    for (; j < s->n; j++) all_dots(1, s->m, x, s->y + j, columns, k->sums + j, s->n);
    const double loss = gradients(k, s);
    update(s->n, s->m, x, s->y, columns, k->g, error, k->rows, k->rows + s->n, k->coming);
    return loss;
}

#define LITERAL(n)                                                                                                     \
    static double learn_##n(worker *k, const step *s, float *const *x, float *error)                                   \
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
typedef double (*learner)(worker *k, const step *s, float *const *x, float *error);
static const learner literals[LITERALS + 1] = {NULL,     learn_1,  learn_2,  learn_3,  learn_4,  learn_5,
                                               learn_6,  learn_7,  learn_8,  learn_9,  learn_10, learn_11,
                                               learn_12, learn_13, learn_14, learn_15, learn_16};

/* x += g y, or error = g y */
static double learn(worker *k, const step *s, float *const *x, float *error)
{
    return (s->n <= LITERALS ? literals[s->n] : learn_any)(k, s, x, error);
}

/* One x, and a y that stands there twice: its second time sees what the first has left. */
static double learn_in_turn(worker *k, const step *s, float *x, float *error)
{
    const int64_t columns = k->walk.job->columns;
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

static double learn_skip_gram(worker *k, const step *s)
{
    if (!s->repeats) return learn(k, s, s->x, NULL);
    const double loss = learn_in_turn(k, s, s->x[0], k->error);
    for (int64_t c = 0; c < k->walk.job->columns; c += LANES)
        store(s->x[0] + c, load(s->x[0] + c) + load(k->error + c));
    return loss;
}

/* CBOW: the sum or mean of the contexts is the one input row; what it lacks is added to each of them. */
static double learn_bag(worker *k, const step *s)
{
    const nn_words *w = k->walk.job;
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

static void train_chunk(worker *k, nn_words *w, int64_t chunk)
{
    FN(walk_begin)(&k->walk, chunk);
    const double progress = w->from + (w->to - w->from) * ((double)(chunk * NN_CHUNK) / (double)w->n_ids);
    k->alpha = (float)(w->alpha + (w->min_alpha - w->alpha) * progress);
    double loss = 0;
    int which = 0;
    bool more = FN(walk_next)(&k->walk, k->steps);
    while (more) {
        const step *s = k->steps + which;
        which = !which;
        k->coming = k->steps + which;
        more = FN(walk_next)(&k->walk, k->steps + which);
        loss += w->sg ? learn_skip_gram(k, s) : learn_bag(k, s);
    }
    if (w->losses) w->losses[chunk] = loss;
    __atomic_fetch_add(&w->words, k->walk.words, __ATOMIC_RELAXED);
    __atomic_fetch_add(&w->effective, k->walk.effective, __ATOMIC_RELAXED);
    __atomic_fetch_add(&w->pairs, k->walk.pairs, __ATOMIC_RELAXED);
}

static void prepare(worker *k, const nn_words *w, arena *memory)
{
    const size_t m = (size_t)most_inputs(w), n = (size_t)most_outputs(w);
    const size_t dots = (w->sg && !w->exact ? m : 1) * n + LANES, columns = (size_t)w->columns * sizeof(float);
    k->sums = place(memory, dots * sizeof(vec));
    k->rows = place(memory, 2 * n * sizeof(vec));
    float **const products[] = {&k->dots, &k->g, &k->soft}, **const columns_of[] = {&k->hidden, &k->error, &k->another};
    for (int i = 0; i < 3; i++) {
        *products[i] = place(memory, dots * sizeof(float));
        *columns_of[i] = place(memory, columns);
    }
    for (int i = 0; i < 2; i++) {
        k->steps[i].x = place(memory, m * sizeof(float *));
        k->steps[i].counts = place(memory, m * sizeof(float));
        k->steps[i].y = place(memory, n * sizeof(float *));
    }
    FN(walk_prepare)(&k->walk, w, memory);
}

static void train(void *argument, const nn_team *team)
{
    const shared *const run = argument;
    nn_words *const w = run->job;
    const uint64_t before = flush_denormals();
    arena memory = {(char *)w->arena + (size_t)team->index * (size_t)w->share, 0};
    worker k;
    prepare(&k, w, &memory);
    do {
        const int64_t chunk = __atomic_fetch_add(&w->taken, 1, __ATOMIC_RELAXED);
        if (chunk >= w->n_chunks) break;
        train_chunk(&k, w, chunk);
    } while (nn_now() < run->deadline);
    FN(walk_share)(&k.walk);
    restore_denormals(before);
}

int FN(words_prepare)(nn_words *w)
{
    worker k;
    arena memory = {NULL, 0};
    if ((double)w->negative * (double)w->window > 1e12) return -1; /* sizes do not overflow */
    prepare(&k, w, &memory);
    w->share = (int64_t)memory.used;
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

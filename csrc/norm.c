/* norm.c: batch and layer normalisation: h = (x - mean) inverse, inverse = 1 / sqrt(variance + epsilon),
 *     y = fma(gamma, h, beta)
 *
 *     batch_norm  mean and variance of a column over the rows of the minibatch; outside training the running ones
 *         dx = fnma(h, dgamma / n, dy - dbeta / n) (gamma inverse)         (Ioffe and Szegedy, arXiv 1502.03167)
 *         running = fma(momentum, running, (1 - momentum) new), the variance times n / (n - 1) before
 *     layer_norm  mean and variance of a row over its columns
 *         dx = fnma(h, mean of g h, g - mean of g) inverse, g = gamma dy   (Ba, Kiros and Hinton, arXiv 1607.06450)
 *     both        dgamma = sum over the rows of dy h, dbeta = that of dy
 *
 * Sums over rows run by the rule of dW, in blocks of 256, so a column belongs to one thread; sums over a row in 16
 * lanes. A variance is a second pass, of fma(x - mean, x - mean, sum). h is kept for the way back; behind it, in the
 * padding of a row, layer_norm keeps its inverse. batch_norm needs the sums dgamma and dbeta of the whole minibatch
 * before any dx: its pass back belongs to the phase after them (prepare.c).
 */
#include "engine.h"

static int64_t padded(const layer *l) { return round_up(l->n_out, 16); }

void FN(norm_copy)(const program *p, const layer *l, void *plain, real *packed, bool unpack)
{
    (void)p;
    for (int i = 0; i < 2; i++) {
        real *own = packed + (i ? l->bias : l->weights), *theirs = (real *)plain + l->theta + i * l->n_out;
        memcpy(unpack ? theirs : own, unpack ? own : theirs, l->n_out * sizeof *own);
        if (unpack && packed == p->gradient && !l->trainable) memset(theirs, 0, l->n_out * sizeof *theirs);
    }
}

/* In the program: mean, 1 / deviation and variance of a batch_norm's columns. */
typedef struct statistics {
    real *mean, *inverse, *variance;
} statistics;
static statistics of(const program *p, const layer *l)
{
    real *at = p->statistics + l->statistics;
    return (statistics){at, at + padded(l), at + 2 * padded(l)};
}
static double epsilon_of(const layer *l)
{
    return l->attributes[l->op == NN_BATCH_NORM ? NN_BATCH_EPSILON : NN_LAYER_EPSILON];
}
INLINE vec inverse_of(vec variance, double epsilon) { return splat(1) / square_root(variance + splat((real)epsilon)); }

/* Outside training the running statistics stand for those of the minibatch. */
void FN(norm_ready)(const program *p, const layer *l)
{
    if (l->op != NN_BATCH_NORM || p->call->training) return;
    const real *running = (const real *)p->call->buffers + l->buffer;
    const statistics s = of(p, l);
    for (int j = 0; j < l->n_out; j += LANES) {
        const int left = l->n_out - j;
        store(s.mean + j, load_first(running + j, left));
        store(s.inverse + j, inverse_of(load_first(running + l->n_out + j, left), epsilon_of(l)));
    }
}

/* ---- batch_norm: statistics ---- */

enum { GROUP = 4 }; /* vectors of columns at a time, whose chains do not wait for each other */

/* The sum over the rows of (x - centre)^power, of `size` vectors of columns. */
INLINE void sum_rows(const int size, const bool squares, const program *p, const layer *l, int rows, int j,
                     const vec *centre, vec *total)
{
    UNROLL for (int v = 0; v < size; v++)
        total[v] = splat(0);
    for (int block = 0; block * BLOCK < rows; block++) {
        const worker *w = p->workers + block;
        const int end = (int)at_most(BLOCK, rows - block * BLOCK);
        vec sum[GROUP];
        UNROLL for (int v = 0; v < size; v++)
            sum[v] = splat(0);
        for (int r = 0; r < end; r++) {
            const real *x = FN(input_row)(p, l, w, 0, r) + j;
            UNROLL for (int v = 0; v < size; v++) {
                const vec value = load_first(x + v * LANES, l->n_out - j - v * LANES);
                const vec off = value - centre[v];
                sum[v] = squares ? fma_(off, off, sum[v]) : sum[v] + value;
            }
        }
        UNROLL for (int v = 0; v < size; v++)
            total[v] += sum[v];
    }
}

INLINE void statistics_of(const int size, const program *p, const layer *l, int rows, int j)
{
    const statistics s = of(p, l);
    const vec n = splat((real)rows);
    vec mean[GROUP] = {{0}}, variance[GROUP];
    sum_rows(size, false, p, l, rows, j, mean, variance);
    UNROLL for (int v = 0; v < size; v++)
        mean[v] = variance[v] / n;
    sum_rows(size, true, p, l, rows, j, mean, variance);
    UNROLL for (int v = 0; v < size; v++) {
        variance[v] = variance[v] / n;
        store(s.mean + j + v * LANES, mean[v]);
        store(s.variance + j + v * LANES, variance[v]);
        store(s.inverse + j + v * LANES, inverse_of(variance[v], epsilon_of(l)));
    }
}

void FN(batch_statistics)(const program *p, const layer *l, int rows, int first, int end)
{
    int j = first;
    end = (int)at_most(end, round_up(l->n_out, LANES)); /* it may be a multiple of 16 */
    for (; j + GROUP * LANES <= end; j += GROUP * LANES) statistics_of(GROUP, p, l, rows, j);
    for (; j < end; j += LANES) statistics_of(1, p, l, rows, j);
}

/* running = momentum running + (1 - momentum) batch's; the variance's estimate is the one without bias */
void FN(keep_statistics)(const program *p, const layer *l, int rows)
{
    const double momentum = l->attributes[NN_MOMENTUM], unbiased = rows > 1 ? (double)rows / (rows - 1) : 1;
    const statistics s = of(p, l);
    real *running = (real *)p->call->buffers + l->buffer;
    const vec old = splat((real)momentum), new = splat((real)(1 - momentum));
    for (int j = 0; j < l->n_out; j += LANES) {
        const int left = l->n_out - j;
        real *mean = running + j, *variance = mean + l->n_out;
        store_first(mean, fma_(old, load_first(mean, left), new * load(s.mean + j)), left);
        const vec estimate = load(s.variance + j) * splat((real)unbiased);
        store_first(variance, fma_(old, load_first(variance, left), new * estimate), left);
    }
}

/* ---- a block ---- */

/* 1 / deviation and mean of a row. */
static real row_statistics(const layer *l, const real *x, real *mean)
{
    vec sum[WIDE];
    UNROLL for (int v = 0; v < WIDE; v++)
        sum[v] = splat(0);
    for (int j = 0; j < l->n_out; j += LANES) sum[j / LANES % WIDE] += load_first(x + j, l->n_out - j);
    *mean = sum_16(sum) / (real)l->n_out;
    UNROLL for (int v = 0; v < WIDE; v++)
        sum[v] = splat(0);
    for (int j = 0; j < l->n_out; j += LANES) {
        const vec off = keep(first(l->n_out - j), load_first(x + j, l->n_out - j) - splat(*mean));
        sum[j / LANES % WIDE] = fma_(off, off, sum[j / LANES % WIDE]);
    }
    return inverse_of(splat(sum_16(sum) / (real)l->n_out), epsilon_of(l))[0];
}

void FN(norm_forward)(const program *p, const layer *l, const worker *w, share s)
{
    const bool by_rows = l->op == NN_LAYER_NORM;
    const real *gamma = p->theta + l->weights, *beta = p->theta + l->bias;
    const statistics columns = of(p, l);
    for (int r = s.first; r < s.end; r++) {
        const real *x = FN(input_row)(p, l, w, 0, r);
        real *y = w->values + l->y + r * l->row, *h = w->values + l->kept + r * l->row;
        real mean = 0, inverse = 0;
        if (by_rows) inverse = row_statistics(l, x, &mean);
        for (int j = 0; j < l->n_out; j += LANES) {
            const vec off = load_first(x + j, l->n_out - j) - (by_rows ? splat(mean) : load(columns.mean + j));
            const vec scaled = off * (by_rows ? splat(inverse) : load(columns.inverse + j));
            store(h + j, scaled);
            store(y + j, fma_(load(gamma + j), scaled, load(beta + j)));
        }
        if (by_rows && l->kept != l->y) h[padded(l)] = inverse;
    }
}

static void layer_norm_row(const program *p, const layer *l, const worker *w, int r)
{
    const real *gamma = p->theta + l->weights, *h = w->values + l->kept + r * l->row;
    const real *dy = w->values + l->dy + r * l->row;
    vec sum[WIDE], product[WIDE];
    UNROLL for (int v = 0; v < WIDE; v++)
        sum[v] = product[v] = splat(0);
    for (int j = 0; j < l->n_out; j += LANES) {
        const vec g = keep(first(l->n_out - j), load(gamma + j) * load(dy + j));
        sum[j / LANES % WIDE] += g;
        product[j / LANES % WIDE] = fma_(g, keep(first(l->n_out - j), load(h + j)), product[j / LANES % WIDE]);
    }
    const vec mean = splat(sum_16(sum) / (real)l->n_out), along = splat(sum_16(product) / (real)l->n_out);
    real *dx = FN(gradient_row)(p, l, w, 0, r);
    for (int j = 0; j < l->n_out; j += LANES) {
        const vec g = load(gamma + j) * load(dy + j);
        give(l->in, dx + j, fnma_(load(h + j), along, g - mean) * splat(h[padded(l)]));
    }
    FN(gate_row)(p, l, w, 0, r);
}

static void batch_norm_row(const program *p, const layer *l, const worker *w, int r)
{
    const real *gamma = p->theta + l->weights, *h = w->values + l->kept + r * l->row;
    const real *dgamma = p->gradient + l->weights, *dbeta = p->gradient + l->bias;
    const real *inverse = of(p, l).inverse;
    const vec rows = splat((real)step_at(p).size);
    const real *dy = w->values + l->dy + r * l->row;
    real *dx = FN(gradient_row)(p, l, w, 0, r);
    for (int j = 0; j < l->n_out; j += LANES) {
        vec g = load(dy + j);
        if (p->call->training) g = fnma_(load(h + j), load(dgamma + j) / rows, g - load(dbeta + j) / rows);
        give(l->in, dx + j, g * (load(gamma + j) * load(inverse + j)));
    }
    FN(gate_row)(p, l, w, 0, r);
}

void FN(norm_backward)(const program *p, const layer *l, const worker *w, share s)
{
    for (int r = s.first; r < s.end; r++) (l->op == NN_LAYER_NORM ? layer_norm_row : batch_norm_row)(p, l, w, r);
}

/* ---- gamma and beta ---- */

INLINE void sum_gradients(const int size, const layer *l, const pass *s, int j)
{
    const worker *w = s->from;
    vec gamma[GROUP], beta[GROUP];
    UNROLL for (int v = 0; v < size; v++)
        gamma[v] = beta[v] = splat(0);
    for (int r = 0; r < s->rows; r++) {
        const real *dy = w->values + l->dy + r * l->row + j, *h = w->values + l->kept + r * l->row + j;
        UNROLL for (int v = 0; v < size; v++) {
            gamma[v] = fma_(load(dy + v * LANES), load(h + v * LANES), gamma[v]);
            beta[v] += load(dy + v * LANES);
        }
    }
    UNROLL for (int v = 0; v < size; v++) {
        end_sum(s->first ? END_STORE : END_ADD, 0, s->to + l->weights + j + v * LANES, NULL, gamma[v]);
        end_sum(s->first ? END_STORE : END_ADD, 0, s->to + l->bias + j + v * LANES, NULL, beta[v]);
    }
}

void FN(norm_update)(const program *p, const layer *l, pass *s)
{
    const share mine = FN(rows_of_panel)(s, l->n_out, 2);
    int j = mine.first;
    if (j >= mine.end) return;
    const int64_t n = round_up(mine.end - j, LANES);
    if (s->complete) {
    } else if (s->from) {
        for (; j + GROUP * LANES <= mine.end; j += GROUP * LANES) sum_gradients(GROUP, l, s, j);
        for (; j < mine.end; j += LANES) sum_gradients(1, l, s, j);
    } else {
        FN(add_partials)(p, s, l->weights + mine.first, n);
        FN(add_partials)(p, s, l->bias + mine.first, n);
    }
    if (!s->last || !s->rate || !l->trainable) return;
    FN(update)(p, s, l->weights + mine.first, n);
    FN(update)(p, s, l->bias + mine.first, n);
}

/* sparse.c: the first layer of X in compressed rows (CSR): nonzero j of a row is data[j] in column indices[j] = k.
 *
 *     forward   y[r][n]  = f(b[n] + sum_k x[r][k] W[k][n])      over the nonzeros of row r
 *     update    dW[k][n] = sum_r x[r][k] dz[r][n]               over the rows with a nonzero in column k
 *
 * The sums are those of dense.c: blocks of 256 of the dense k, each a chain from +0 (the first from the bias), added in
 * ascending order. A zero of x would leave its chain as it is, so it is skipped, and blocks without nonzeros with it;
 * that holds while W is finite, and but for the sign of a sum that is zero.
 *
 * Rows of a panel are contiguous and lie at random: what they cost is their way from memory, so they are fetched AHEAD
 * nonzeros before they are wanted. dW needs the block by columns: each thread has a range of them, links their
 * nonzeros into lists, and visits the columns that have any in ascending order. Where plain SGD takes the sums of a
 * step of one block, those columns are all that a step reads and writes, and there is no gradient.
 */
#include <stdlib.h>

#include "engine.h"

enum { AHEAD = 8, CHUNK = 9216 }; /* nonzeros; weights a unit of work, as in dense.c */

void FN(sparse_measure)(program *p)
{
    const nn_call *c = p->call;
    if (!c->csr.indptr) return;
    const int64_t batch = p->backward ? c->batch : c->n;
    int64_t all = 0, block = 0;
    for (int64_t i = 0; i < c->n; i++) {
        if (i % batch % BLOCK == 0) block = 0;
        const int64_t *row = c->csr.indptr + c->order[i], n = row[1] - row[0];
        all += n;
        block += n;
        if (block > p->sparse.capacity) p->sparse.capacity = block;
    }
    p->sparse.per_row = (double)all / (double)c->n;
}

static int ascending(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The columns of nonzeros that lie evenly in X, sorted: between two of them lies an equal share of the work. */
void FN(sparse_sample)(const program *p)
{
    const nn_sparse *x = &p->call->csr;
    int32_t *columns = p->sparse.sample;
    if (!columns) return;
    for (int64_t i = 0; i < SAMPLE; i++)
        columns[i] = x->n ? x->indices[x->n / SAMPLE * i + x->n % SAMPLE * i / SAMPLE] : 0;
    qsort(columns, SAMPLE, sizeof *columns, ascending);
}

void FN(sparse_gather)(const program *p, const worker *w, const int64_t *order, int first, int end)
{
    const nn_sparse *x = &p->call->csr;
    for (int i = first; i < end; i++) {
        span s = {x->indptr[order[i]], x->indptr[order[i] + 1]};
        if (s.first < 0 || s.end > x->n || s.first > s.end) s = (span){0, 0}; /* another thread changed X */
        w->spans[i] = s;
        __builtin_prefetch(x->indices + s.first);
        __builtin_prefetch((const real *)x->data + s.first);
    }
}

/* A row of a panel: NV vectors, or, where half, the lower lanes of one. */
INLINE vec get(const bool half, const real *from) { return half ? load_first(from, LANES / 2) : load(from); }
INLINE void put(const bool half, real *to, vec v)
{
    if (half)
        store_first(to, v, LANES / 2);
    else
        store(to, v);
}

INLINE void fetch(const real *row, const int width)
{
    for (int i = 0; i < width; i += 64 / (int)sizeof(real)) __builtin_prefetch(row + i);
}

#define FOR_EACH_WIDTH(width, F)                                                                                       \
    switch ((width) / LANES) {                                                                                         \
    case 0: F(1, true) break;                                                                                          \
    case 1: F(1, false) break;                                                                                         \
    case 2: F(2, false) break;                                                                                         \
    default: F(4, false) break;                                                                                        \
    }

/* ---- forward ---- */

INLINE void sum_row(const int NV, const bool half, const nn_sparse *x, span s, span next, int n_in, const real *panel,
                    const real *bias, real *y)
{
    const int width = half ? LANES / 2 : NV * LANES;
    const real *values = x->data;
    vec sum[MAX_VECTORS], total[MAX_VECTORS];
    UNROLL for (int v = 0; v < NV; v++)
        sum[v] = get(half, bias + v * LANES), total[v] = splat(0);
    for (int64_t j = next.first; j < at_most(next.end, next.first + AHEAD); j++)
        fetch(panel + (int64_t)x->indices[j] * width, width);
    int block = 0;
    for (int64_t j = s.first; j < s.end; j++) {
        const int k = x->indices[j];
        if ((unsigned)k >= (unsigned)n_in) { /* another thread changed X */
            sum[0] = splat((real)NAN);
            break;
        }
        if (j + AHEAD < s.end) fetch(panel + (int64_t)x->indices[j + AHEAD] * width, width);
        const mask ends = every(k / BLOCK != block), goes_on = every(k / BLOCK == block);
        block = k / BLOCK;
        const vec value = splat(values[j]);
        UNROLL for (int v = 0; v < NV; v++) {
            total[v] += keep(ends, sum[v]);
            sum[v] = fma_(value, get(half, panel + (int64_t)k * width + v * LANES), keep(goes_on, sum[v]));
        }
    }
    UNROLL for (int v = 0; v < NV; v++)
        put(half, y + v * LANES, total[v] + sum[v]);
}

void FN(sparse_forward)(const program *p, const layer *l, const worker *w, share s)
{
    const int n = s.end - s.first, first = s.first + n * s.part / s.parts, end = s.first + n * (s.part + 1) / s.parts;
    for (panel q = weight_panels(l->n_out, p->widest); q.width; q = next_panel(q)) {
        const real *panel = p->theta + l->weights + q.column * round_up(l->n_in, LANES);
        const real *bias = p->theta + l->bias + q.column;
        real *y = w->values + l->y + q.column;
        for (int r = first; r < end; r++) {
            const span next = r + 1 < end ? w->spans[r + 1] : (span){0, 0};
#define SUM_ROW(NV, half) sum_row(NV, half, &p->call->csr, w->spans[r], next, l->n_in, panel, bias, y + r * l->row);
            FOR_EACH_WIDTH(q.width, SUM_ROW)
        }
        y += first * l->row;
        FN(activate)(l->activation, end - first, q.width, y, y, l->row, slope_of(l, w, first * l->row + q.column));
    }
}

/* ---- update ---- */

/* Of the columns, this thread's: in words of the bit map. */
static share columns_of(const program *p, const layer *l, const pass *s, bool fused)
{
    int cut[2];
    for (int i = 0; i < 2; i++) {
        const int64_t part = s->part + i;
        cut[i] = part == s->parts ? l->n_in
                 : part == 0      ? 0
                 : fused          ? p->sparse.sample[SAMPLE * part / s->parts] / 64 * 64
                                  : (int)(l->n_in * part / s->parts / 64 * 64);
    }
    return (share){cut[0], cut[1], 0, 1};
}

/* Links the block's nonzeros in columns [k.first, k.end) into a list a column, by ascending rows; returns how many
 * columns have one, which p->sparse.columns[k.first ...] names in ascending order. */
static int link_columns(const program *p, const pass *s, share k)
{
    const nn_sparse *x = &p->call->csr;
    const sparse_lists *lists = &p->sparse;
    const span *rows = s->from->spans;
    int64_t place = 0;
    for (int r = 0; r < s->rows; r++) place += rows[r].end - rows[r].first;
    if (place > lists->capacity) return 0; /* another thread changed X */
    for (int r = s->rows - 1; r >= 0; r--) {
        place -= rows[r].end - rows[r].first;
        int64_t low = rows[r].first, high = rows[r].end;
        while (low < high) {
            const int64_t middle = low + (high - low) / 2;
            if (x->indices[middle] < k.first)
                low = middle + 1;
            else
                high = middle;
        }
        for (int64_t j = low; j < rows[r].end && x->indices[j] < k.end; j++) {
            const int column = x->indices[j];
            if (column < k.first) continue; /* another thread changed X */
            const uint64_t bit = (uint64_t)1 << column % 64;
            const int32_t node = (int32_t)(place + j - rows[r].first);
            lists->nodes[node] = (node_of_column){lists->present[column / 64] & bit ? lists->head[column] : -1, r,
                                                  ((const real *)x->data)[j]};
            lists->head[column] = node;
            lists->present[column / 64] |= bit;
        }
    }
    int n = 0;
    for (int i = k.first / 64; i < (k.end + 63) / 64; i++) {
        for (uint64_t bits = lists->present[i]; bits; bits &= bits - 1)
            lists->columns[k.first + n++] = i * 64 + __builtin_ctzll(bits);
        lists->present[i] = 0;
    }
    return n;
}

/* dW of some columns k of X, which are rows of the panel. */
INLINE void sum_columns(const int NV, const bool half, const sparse_lists *lists, const int32_t *columns, int n,
                        int end, double rate, const real *dz, ptrdiff_t dz_row, real *gradient, real *theta)
{
    const int width = half ? LANES / 2 : NV * LANES;
    for (int i = 0; i < n; i++) {
        const int64_t at = (int64_t)columns[i] * width;
        if (i + AHEAD < n) fetch((end < END_UPDATE ? gradient : theta) + (int64_t)columns[i + AHEAD] * width, width);
        vec sum[MAX_VECTORS];
        UNROLL for (int v = 0; v < NV; v++)
            sum[v] = splat(0);
        for (int32_t j = lists->head[columns[i]]; j >= 0; j = lists->nodes[j].next) {
            const vec value = splat(lists->nodes[j].value);
            const real *row = dz + lists->nodes[j].row * dz_row;
            UNROLL for (int v = 0; v < NV; v++)
                sum[v] = fma_(value, get(half, row + v * LANES), sum[v]);
        }
        UNROLL for (int v = 0; v < NV; v++) {
            real *g = gradient + at + v * LANES, *w = theta + at + v * LANES;
            if (end == END_ADD) sum[v] = get(half, g) + sum[v];
            if (end == END_UPDATE)
                put(half, w, fnma_(splat((real)rate), sum[v], get(half, w)));
            else
                put(half, g, sum[v]);
        }
    }
}

static void sum_bias(const layer *l, const pass *s, int end, double rate, real *theta)
{
    const real *dz = s->from->values + l->dy;
    for (int n = 0; n < l->n_out; n += LANES) {
        vec sum = splat(0);
        for (int r = 0; r < s->rows; r++) sum += load(dz + r * l->row + n);
        end_sum(end, rate, s->to + l->bias + n, theta + l->bias + n, sum);
    }
}

void FN(sparse_update)(const program *p, const layer *l, const pass *s)
{
    const int end = FN(end_of_sum)(p, l, s);
    const bool fused = end == END_UPDATE;
    const double rate = fused ? s->rate[0] : 0;
    const share k = columns_of(p, l, s, fused);
    if (l->use_bias && k.first == 0 && k.end > 0 && !s->complete) sum_bias(l, s, end, rate, p->theta);
    const int n = s->complete ? 0 : link_columns(p, s, k);
    for (panel q = weight_panels(l->n_out, p->widest); q.width; q = next_panel(q)) {
        const int64_t panel = l->weights + q.column * round_up(l->n_in, LANES);
        const int chunk = fused ? k.end - k.first : CHUNK / q.width;
        const int32_t *columns = p->sparse.columns + k.first, *const last = columns + n;
        for (int first = k.first; first < k.end; first += chunk) {
            const int behind = (int)at_most(first + chunk, k.end);
            int here = 0;
            while (columns + here < last && columns[here] < behind) here++;
            if (end == END_STORE && !s->complete)
                memset(s->to + panel + (int64_t)first * q.width, 0, (int64_t)(behind - first) * q.width * sizeof(real));
#define SUM_COLUMNS(NV, half)                                                                                          \
    sum_columns(NV, half, &p->sparse, columns, here, end, rate, s->from->values + l->dy + q.column, l->row,            \
                s->to + panel, p->theta + panel);
            FOR_EACH_WIDTH(q.width, SUM_COLUMNS)
            columns += here;
            if (!fused) FN(finish_sums)(p, l, s, q, first, behind);
        }
    }
}

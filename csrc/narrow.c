/* narrow.c: the last layer of few outputs (1 to 8: regressors, two classes, a handful of them), in columns.
 *
 *     forward   y[n][r]  = f(b[n] + sum_k x[r][k] w[n][k])      vectors along the rows: x is transposed in registers
 *     backward  dx[r][k] = sum_n dz[n][r] w[n][k]               outer: both operands lie as they are wanted
 *     update    dw[n][k] = sum_r x[r][k] dz[n][r]               vectors along the inputs
 *
 * In rows, n outputs take the time of a half vector; in columns that of n. The packed weights are W^T, [n_out][padded
 * n_in], so no other copy of it is needed, and the loss takes a vector of rows at a time. The sums are those of
 * dense.c.
 */
#include "engine.h"

void FN(narrow_copy)(const layer *l, real *weights, real *bias, real *packed, bool unpack)
{
    for (int n = 0; n < l->n_out; n++)
        for (int64_t k = 0; k < l->n_in; k++) {
            real *plain = weights + k * l->n_out + n, *own = packed + l->weights + n * padded_inputs(l) + k;
            memcpy(unpack ? plain : own, unpack ? own : plain, sizeof *own); /* plain may be unaligned */
        }
    if (bias) {
        real *own = packed + l->bias;
        memcpy(unpack ? bias : own, unpack ? own : bias, l->n_out * sizeof *own);
    }
}

/* ---- forward: LANES rows ---- */

INLINE void columns(const int N, const real *const *x, int n_in, const real *w, int64_t w_row, const real *bias,
                    real *y, ptrdiff_t y_row, bool mask_tail)
{
    for (int block = 0; block < n_in; block += BLOCK) {
        const int end = (int)at_most(block + BLOCK, n_in);
        vec sum[MAX_NARROW];
        UNROLL for (int n = 0; n < N; n++)
            sum[n] = splat(block ? 0 : bias[n]);
        for (int k = block; k < end; k += LANES) {
            vec t[LANES];
            if (end - k < LANES && mask_tail) UNROLL
                for (int i = 0; i < LANES; i++) t[i] = load_first(x[i] + k, end - k);
            else UNROLL
                for (int i = 0; i < LANES; i++) t[i] = load(x[i] + k);
            transpose_vectors(t);
            UNROLL for (int j = 0; j < LANES; j++)
                if (k + j < end) {
                    UNROLL for (int n = 0; n < N; n++)
                        sum[n] = fma_(t[j], splat(w[n * w_row + k + j]), sum[n]);
                }
        }
        UNROLL for (int n = 0; n < N; n++)
            store(y + n * y_row, block ? load(y + n * y_row) + sum[n] : sum[n]);
    }
}

#define FOR_EACH_WIDTH(n, F)                                                                                           \
    switch (n) {                                                                                                       \
    case 1: F(1) break;                                                                                                \
    case 2: F(2) break;                                                                                                \
    case 3: F(3) break;                                                                                                \
    case 4: F(4) break;                                                                                                \
    case 5: F(5) break;                                                                                                \
    case 6: F(6) break;                                                                                                \
    case 7: F(7) break;                                                                                                \
    case 8: F(8) break;                                                                                                \
    default: __builtin_trap();                                                                                         \
    }

void FN(narrow_forward)(const program *p, const layer *l, const worker *w, share s)
{
    const real *weights = p->theta + l->weights, *bias = p->theta + l->bias;
    for (int r = s.first; r < s.end; r += LANES) {
        const nn_rows from = FN(input_rows)(p, l, w, r, 0);
        const ptrdiff_t x_row = l->in[0].from < 0 ? 0 : p->layers[l->in[0].from].row;
        const real *x[LANES];
        for (int i = 0; i < LANES; i++) {
            const int row = r + i < s.end ? i : 0; /* what the rows behind the last become, nobody reads */
            x[i] = from.pointers ? from.pointers[row] : from.base + row * x_row;
        }
#define COLUMNS(N)                                                                                                     \
    columns(N, x, l->n_in, weights, padded_inputs(l), bias, w->values + l->y + r, l->row, from.pointers != NULL);
        FOR_EACH_WIDTH(l->n_out, COLUMNS)
    }
    real *y = w->values + l->y + s.first;
    FN(activate)(l->activation, l->n_out, (int)round_up(s.end - s.first, LANES), y, y, l->row, slope_of(l, w, s.first));
}

void FN(narrow_backward)(const program *p, const layer *l, const worker *w, share s)
{
    const edge *e = l->in;
    const layer *to = p->layers + e->from;
    const int rows = s.end - s.first;
    const nn_tile t = {.y_row = to->row,
                       .x_k = l->row,
                       .w_k = padded_inputs(l),
                       .segs = 1,
                       .seg = l->n_out,
                       .end = end_of_dx(e, e->add_dx, true)};
    const nn_rows dz = {w->values + l->dy + s.first, NULL, 0, NULL};
    for (panel q = transposed_panels(l->n_in, p->widest); q.width; q = next_panel(q)) {
        real *dx = w->values + to->dy + s.first * to->row + q.column;
        real *kept = w->values + to->kept + s.first * to->row + q.column;
        FN(outer)(q.width, rows, dx, dz, p->theta + l->weights + q.column, kept, &t);
        if (e->gate != NN_RELU) FN(gate)(e->gate, rows, q.width, dx, dx, to->row, kept, to->row);
    }
}

/* ---- update ---- */

typedef struct sums {
    nn_rows x;
    ptrdiff_t x_row;
    const real *dz;
    ptrdiff_t dz_row;
    int rows;
    int end; /* as a tile's */
    double rate;
    bool bias;
} sums;

/* Vectors of inputs at a time: as many as leave the sums, theirs and the bias', in registers. */
#define WIDTH(N) ((N) <= 4 ? (REGISTERS == 32 ? 4 : 2) : (REGISTERS == 32 ? 2 : 1))

/* NV vectors of inputs, of which so many are left, from the k-th on. */
INLINE void sum_rows(const int N, const int NV, const int pointers, const sums *s, const layer *l, int k, int left,
                     real *gradient, real *theta)
{
    vec sum[MAX_NARROW][MAX_VECTORS], bias[MAX_NARROW];
    UNROLL for (int n = 0; n < N; n++) {
        bias[n] = splat(0);
        UNROLL for (int v = 0; v < NV; v++)
            sum[n][v] = splat(0);
    }
    const bool mask_tail = pointers && left < NV * LANES; /* the user's rows have no padding */
    for (int r = 0; r < s->rows; r++) {
        const real *row = (pointers ? s->x.pointers[r] : s->x.base + r * s->x_row) + k;
        vec x[MAX_VECTORS];
        UNROLL for (int v = 0; v < NV; v++)
            x[v] = mask_tail ? load_first(row + v * LANES, left - v * LANES) : load(row + v * LANES);
        UNROLL for (int n = 0; n < N; n++) {
            const vec dz = splat(s->dz[n * s->dz_row + r]);
            bias[n] += dz;
            UNROLL for (int v = 0; v < NV; v++)
                sum[n][v] = fma_(x[v], dz, sum[n][v]);
        }
    }
    UNROLL for (int n = 0; n < N; n++) UNROLL
        for (int v = 0; v < NV; v++) {
            const int64_t at = l->weights + n * padded_inputs(l) + k + v * LANES;
            end_sum(s->end, s->rate, gradient + at, theta + at, sum[n][v]);
        }
    if (k > 0 || !s->bias) return;
    real sums_of_bias[MAX_NARROW + LANES] = {0};
    UNROLL for (int n = 0; n < N; n++)
        sums_of_bias[n] = bias[n][0];
    for (int n = 0; n < N; n += LANES)
        end_sum(s->end, s->rate, gradient + l->bias + n, theta + l->bias + n, load(sums_of_bias + n));
}

INLINE void sum_range(const int N, const int pointers, const sums *s, const layer *l, share k, real *gradient,
                      real *theta)
{
    for (int i = k.first; i < k.end;) {
        const bool wide = k.end - i > (WIDTH(N) - 1) * LANES;
        if (wide)
            sum_rows(N, WIDTH(N), pointers, s, l, i, k.end - i, gradient, theta);
        else
            sum_rows(N, 1, pointers, s, l, i, k.end - i, gradient, theta);
        i += (wide ? WIDTH(N) : 1) * LANES;
    }
}

void FN(narrow_update)(const program *p, const layer *l, pass *pass)
{
    const share k = FN(rows_of_panel)(pass, l->n_in, l->n_out);
    if (k.first >= k.end) return;
    const int64_t width = round_up(k.end - k.first, LANES);
    const bool bias = l->use_bias && k.first == 0;
    const int end = FN(end_of_sum)(p, l, pass);
    if (pass->complete) {
    } else if (pass->from) {
        const worker *w = pass->from;
        const sums s = {.x = FN(input_rows)(p, l, w, 0, 0),
                        .x_row = l->in[0].from < 0 ? 0 : p->layers[l->in[0].from].row,
                        .dz = w->values + l->dy,
                        .dz_row = l->row,
                        .rows = pass->rows,
                        .end = end,
                        .rate = pass->rate ? pass->rate[0] : 0,
                        .bias = bias};
#define SUM(N)                                                                                                         \
    if (s.x.pointers)                                                                                                  \
        sum_range(N, 1, &s, l, k, pass->to, p->theta);                                                                 \
    else                                                                                                               \
        sum_range(N, 0, &s, l, k, pass->to, p->theta);
        FOR_EACH_WIDTH(l->n_out, SUM)
    } else {
        for (int n = 0; n < l->n_out; n++)
            FN(add_partials)(p, pass, l->weights + n * padded_inputs(l) + k.first, width);
        if (bias) FN(add_partials)(p, pass, l->bias, round_up(l->n_out, LANES));
    }
    for (int n = 0; n < l->n_out && pass->last && !pass->complete; n++)
        FN(add_penalty)(p, l, pass->penalty, l->weights + n * padded_inputs(l) + k.first, width);
    if (!pass->last || !pass->rate || end >= END_UPDATE) return;
    for (int n = 0; n < l->n_out; n++) FN(update)(p, pass, l->weights + n * padded_inputs(l) + k.first, width);
    if (bias) FN(update)(p, pass, l->bias, round_up(l->n_out, LANES));
}

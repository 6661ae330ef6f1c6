/* loss.c: the value of each row and dJ/dz, fused with the link (softmax, sigmoid) of the logits z.
 *
 *     mse                   sum_n (z - y)^2 / N                      dz = 2 (z - y) / N
 *     cross_entropy         log sum_n e^z_n - z_y                    dz = softmax(z) - onehot(y)
 *                           sum_n y_n (log sum e^z - z_n)            dz = softmax(z) sum y - y
 *     binary_cross_entropy  sum_n (max(z, 0) - z y + log1p(e^-|z|)) / N    dz = (sigmoid(z) - y) / N
 *
 * times the row's weight and `scale` = 1 / rows of the step. Sums over n run in 16 lanes (simd.h); a row's value is a
 * double. The padding of dz is set to zero. A label outside [0, n) makes the value NaN, never a wild read.
 */
#include <stdlib.h>

#include "engine.h"
#include "vecmath.h"

/* lane sums of all columns j: l[j % 16] */
#define FOR_COLUMNS(j, n) for (int j = 0; j < (n); j += LANES)
#define LANE_SUM(l, j) l[(j) / LANES % WIDE]
INLINE void clear(vec *l)
{
    UNROLL for (int v = 0; v < WIDE; v++)
        l[v] = splat(0);
}

static double mse(int n, const real *z, const real *y, real *dz, real scale)
{
    vec sum[WIDE];
    clear(sum);
    const vec factor = splat(scale * 2 / (real)n);
    FOR_COLUMNS (j, n) {
        const vec e = keep(first(n - j), load(z + j) - load_first(y + j, n - j));
        LANE_SUM(sum, j) = fma_(e, e, LANE_SUM(sum, j));
        if (dz) store(dz + j, e * factor);
    }
    return (double)sum_16(sum) / n;
}

static double binary_cross_entropy(int n, const real *z, const real *y, real *dz, real scale)
{
    vec sum[WIDE];
    clear(sum);
    const vec factor = splat(scale / (real)n);
    FOR_COLUMNS (j, n) {
        const vec a = load(z + j), t = load_first(y + j, n - j);
        const vec value = fnma_(a, t, maximum(splat(0), a)) + vec_log1p(vec_exp(splat(0) - absolute(a)));
        LANE_SUM(sum, j) += keep(first(n - j), value);
        if (dz) store(dz + j, keep(first(n - j), (vec_sigmoid(a) - t) * factor));
    }
    return (double)sum_16(sum) / n;
}

/* dz = e^(z - max) for now; returns max, and the sum of dz */
static real exponentials(int n, const real *z, real *dz, real *total)
{
    vec top[WIDE], sum[WIDE];
    clear(sum);
    UNROLL for (int v = 0; v < WIDE; v++)
        top[v] = splat(-INFINITY);
    FOR_COLUMNS (j, n)
        LANE_SUM(top, j) = maximum(LANE_SUM(top, j), choose(first(n - j), load(z + j), splat(-INFINITY)));
    const real shift = maximum_16(top);
    FOR_COLUMNS (j, n) {
        const vec e = keep(first(n - j), vec_exp(load(z + j) - splat(shift)));
        LANE_SUM(sum, j) += e;
        store(dz + j, e);
    }
    *total = sum_16(sum);
    return shift;
}

/* the value without log(total), which the caller adds for many rows at once */
static double cross_entropy(int n, const real *z, int64_t label, real *dz, real scale, real *total)
{
    const double top = exponentials(n, z, dz, total);
    const vec factor = splat(scale / *total);
    FOR_COLUMNS (j, n) store(dz + j, load(dz + j) * factor);
    if ((uint64_t)label >= (uint64_t)n) return NAN;
    dz[label] -= scale;
    return top - (double)z[label];
}

static double soft_cross_entropy(int n, const real *z, const real *y, real *dz, real scale, real *total, double *mass)
{
    const double top = exponentials(n, z, dz, total);
    vec targets[WIDE], products[WIDE];
    clear(targets);
    clear(products);
    FOR_COLUMNS (j, n) {
        const vec t = load_first(y + j, n - j);
        LANE_SUM(targets, j) += t;
        LANE_SUM(products, j) = fma_(t, keep(first(n - j), load(z + j)), LANE_SUM(products, j));
    }
    const real sum = sum_16(targets);
    const vec factor = splat(scale * sum / *total), minus = splat(scale);
    FOR_COLUMNS (j, n) store(dz + j, fnma_(minus, load_first(y + j, n - j), load(dz + j) * factor));
    *mass = sum;
    return top * *mass - (double)sum_16(products);
}

static void add_logs(int rows, double *values, const real *totals, const double *mass)
{
    for (int i = 0; i < rows; i += LANES) {
        real logs[LANES];
        store(logs, vec_log(load(totals + i)));
        for (int k = i; k < rows && k < i + LANES; k++) values[k] += mass[k] * (double)logs[k - i];
    }
}

void FN(loss)(const program *p, const worker *w, int first, int end, const int64_t *order, double scale)
{
    const nn_call *c = p->call;
    const layer *l = p->layers + p->n_layers - 1;
    const int n = l->n_out;
    real totals[BLOCK + LANES];
    double mass[BLOCK];
    for (int r = first; r < end; r++) {
        const real *z = w->values + l->y + r * l->row, *y = w->y[r];
        real *dz = w->values + l->dy + r * l->row;
        const double weight = c->sample_weight ? ((const real *)c->sample_weight)[order[r]] : 1;
        const real factor = (real)(scale * weight);
        double value;
        mass[r - first] = 1;
        if (c->loss == NN_MSE)
            value = mse(n, z, y, p->backward ? dz : NULL, factor);
        else if (c->loss == NN_BINARY_CROSS_ENTROPY)
            value = binary_cross_entropy(n, z, y, p->backward ? dz : NULL, factor);
        else if (c->labels)
            value = cross_entropy(n, z, c->labels[order[r]], dz, factor, totals + r - first);
        else
            value = soft_cross_entropy(n, z, y, dz, factor, totals + r - first, mass + r - first);
        w->losses[r] = value;
    }
    if (c->loss == NN_CROSS_ENTROPY) {
        for (int i = end - first; i < round_up(end - first, LANES); i++) totals[i] = 1;
        add_logs(end - first, w->losses + first, totals, mass);
    }
    if (c->sample_weight)
        for (int r = first; r < end; r++) w->losses[r] *= ((const real *)c->sample_weight)[order[r]];
    if (p->backward) {
        real *dy = w->values + l->dy + first * l->row;
        if (l->op == NN_DENSE)
            FN(gate)(l->activation, end - first, (int)l->row, dy, l->row, w->values + l->y + first * l->row, l->row);
    }
}

/* On dense arrays, for nnfast.ops: losses [rows], dz times scale. -1: out of memory. */
int FN(softmax_cross_entropy)(int64_t rows, int64_t n, double scale, double *losses, void *dz, const void *z,
                          const int64_t *labels)
{
    const int64_t width = round_up(n, 16);
    real *row = calloc(2 * width, sizeof *row), *gradient = row + width, totals[BLOCK + LANES];
    double ones[BLOCK];
    if (!row) return -1;
    for (int i = 0; i < BLOCK; i++) ones[i] = 1;
    const uint64_t before = flush_denormals();
    for (int64_t first = 0; first < rows; first += BLOCK) {
        const int size = (int)at_most(BLOCK, rows - first);
        for (int r = 0; r < BLOCK + LANES; r++) totals[r] = 1;
        for (int64_t r = 0; r < size; r++) {
            memcpy(row, (const real *)z + (first + r) * n, n * sizeof *row);
            losses[first + r] = cross_entropy((int)n, row, labels[first + r], gradient, (real)scale, totals + r);
            memcpy((real *)dz + (first + r) * n, gradient, n * sizeof *row);
        }
        add_logs(size, losses + first, totals, ones);
    }
    restore_denormals(before);
    free(row);
    return 0;
}

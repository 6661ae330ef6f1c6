/* loss.c: the value of each row and dJ/dz, fused with the link (softmax, sigmoid, exponential) of the outputs z.
 *
 *     cross_entropy         log sum_n e^z_n - z_y                dz = softmax(z) - onehot(y)
 *                           sum_n y_n (log sum e^z - z_n)        dz = softmax(z) sum y - y
 * and the means over the N outputs of
 *     mse                   (z - y)^2                            dz = 2 (z - y)
 *     mae                   |z - y|                              dz = sign(z - y)
 *     huber                 e^2 / 2 to |e| = 1, then |e| - 1/2   dz = e within [-1, 1], e = z - y
 *     binary_cross_entropy  max(z, 0) - z y + log1p(e^-|z|)      dz = sigmoid(z) - y
 *     poisson               e^z - y z                            dz = e^z - y
 *     hinge                 max(0, 1 - y z), y = -1 or 1         dz = -y where 1 - y z > 0
 *     perceptron            max(0, -y z), y = -1 or 1            dz = -y where y z <= 0    (Rosenblatt 1958)
 *
 * with smoothed targets t = fma(share, t, offset) in place of y; of smoothed labels cross_entropy is a form of its own.
 * All times the row's weight and `scale` = 1 / rows of the step. Sums over n run in 16 lanes (simd.h), in `real`; a
 * row's value is a double. A narrow last layer (narrow.c) comes in columns, a vector of rows at a time; else a row at a
 * time, and the padding of dz is set to zero. A label outside [0, n) makes the value NaN, never a wild read.
 */
#include <stdlib.h>

#include "engine.h"
#include "vecmath.h"

/* Smoothed labels: t scale + offset in place of each target t. */
typedef struct smoothing {
    bool on;
    real scale, offset;
} smoothing;
INLINE vec smoothed(smoothing s, vec t) { return s.on ? fma_(splat(s.scale), t, splat(s.offset)) : t; }

/* ---- losses that are means over the outputs ---- */

INLINE vec value(const int loss, vec z, vec y)
{
    const vec e = z - y, size = absolute(e);
    switch (loss) {
    case NN_MSE: return e * e;
    case NN_MAE: return size;
    case NN_HUBER: return choose(greater(size, C(1)), size - C(0.5), C(0.5) * e * e);
    case NN_BINARY_CROSS_ENTROPY: return fnma_(z, y, maximum(C(0), z)) + vec_log1p(vec_exp(C(0) - absolute(z)));
    case NN_POISSON: return fnma_(y, z, vec_exp(z));
    case NN_HINGE: return maximum(C(0), fnma_(y, z, C(1)));
    default: return maximum(C(0), C(0) - y * z);
    }
}

INLINE vec slope(const int loss, vec z, vec y)
{
    const vec e = z - y, margin = fnma_(y, z, C(1)), against = C(0) - y;
    switch (loss) {
    case NN_MSE: return e + e;
    case NN_MAE: return choose(greater(absolute(e), C(0)), with_sign(C(1), e), e);
    case NN_HUBER: return minimum(C(1), maximum(C(-1), e));
    case NN_BINARY_CROSS_ENTROPY: return vec_sigmoid(z) - y;
    case NN_POISSON: return vec_exp(z) - y;
    case NN_HINGE: return keep(greater(margin, C(0)) | unordered(z, z), against);
    default: return choose(greater(y * z, C(0)), C(0), against);
    }
}

#define FOR_EACH_LOSS(loss, PASS)                                                                                      \
    switch (loss) {                                                                                                    \
    case NN_MSE: PASS(NN_MSE) break;                                                                                   \
    case NN_MAE: PASS(NN_MAE) break;                                                                                   \
    case NN_HUBER: PASS(NN_HUBER) break;                                                                               \
    case NN_BINARY_CROSS_ENTROPY: PASS(NN_BINARY_CROSS_ENTROPY) break;                                                 \
    case NN_POISSON: PASS(NN_POISSON) break;                                                                           \
    case NN_HINGE: PASS(NN_HINGE) break;                                                                               \
    case NN_PERCEPTRON: PASS(NN_PERCEPTRON) break;                                                                     \
    default: break;                                                                                                    \
    }

/* lane sums of all columns j: l[j % 16] */
#define FOR_COLUMNS(j, n) for (int j = 0; j < (n); j += LANES)
#define LANE_SUM(l, j) l[(j) / LANES % WIDE]
INLINE void clear(vec *l)
{
    UNROLL for (int v = 0; v < WIDE; v++)
        l[v] = splat(0);
}

/* one row; dz: NULL, or receives the gradient */
static double mean_of_row(int64_t loss, int n, const real *z, const real *y, real *dz, real scale, smoothing s)
{
    vec sum[WIDE];
    clear(sum);
    const vec factor = splat(scale / (real)n);
#define ROW(LOSS)                                                                                                      \
    FOR_COLUMNS (j, n) {                                                                                               \
        const mask there = first(n - j);                                                                               \
        const vec a = load(z + j), t = smoothed(s, load_first(y + j, n - j));                                          \
        LANE_SUM(sum, j) += keep(there, value(LOSS, a, t));                                                            \
        if (dz) store(dz + j, keep(there, slope(LOSS, a, t) * factor));                                                \
    }
    FOR_EACH_LOSS(loss, ROW)
    return (double)sum_16(sum) / n;
}

/* The 16 lanes of a sum over n <= 8 columns, folded 8-4-2-1: what is not there adds zero. */
INLINE vec fold(const int n, vec *l)
{
    UNROLL for (int i = 0; i < MAX_NARROW; i++)
        l[i] = i < n ? l[i] + C(0) : C(0);
    UNROLL for (int half = MAX_NARROW / 2; half; half /= 2) UNROLL
        for (int i = 0; i < half; i++) l[i] += l[i + half];
    return l[0];
}

/* ---- cross entropy ---- */

/* sum + t z, where no target is no summand, whatever z */
INLINE vec weighted(vec t, vec z, vec sum)
{
    return fma_(t, keep(greater(absolute(t), C(0)) | unordered(t, t), z), sum);
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
static double cross_entropy(int n, const real *z, int64_t label, real *dz, real scale, real *total, smoothing s)
{
    const double top = exponentials(n, z, dz, total);
    const vec factor = splat(scale / *total);
    if ((uint64_t)label >= (uint64_t)n) return NAN;
    if (!s.on) {
        FOR_COLUMNS (j, n) store(dz + j, load(dz + j) * factor);
        dz[label] -= scale;
        return top - (double)z[label];
    }
    vec sum[WIDE];
    clear(sum);
    const vec everywhere = splat(scale * s.offset);
    FOR_COLUMNS (j, n) {
        LANE_SUM(sum, j) += keep(first(n - j), load(z + j));
        store(dz + j, keep(first(n - j), load(dz + j) * factor - everywhere));
    }
    dz[label] -= scale * s.scale;
    return top - (double)s.scale * (double)z[label] - (double)s.offset * (double)sum_16(sum);
}

static double soft_cross_entropy(int n, const real *z, const real *y, real *dz, real scale, real *total, double *mass,
                                 smoothing s)
{
    const double top = exponentials(n, z, dz, total);
    vec targets[WIDE], products[WIDE];
    clear(targets);
    clear(products);
    FOR_COLUMNS (j, n) {
        const vec t = keep(first(n - j), smoothed(s, load_first(y + j, n - j)));
        LANE_SUM(targets, j) += t;
        LANE_SUM(products, j) = weighted(t, load(z + j), LANE_SUM(products, j));
    }
    const real sum = sum_16(targets);
    const vec factor = splat(scale * sum / *total), minus = splat(scale);
    FOR_COLUMNS (j, n) {
        const vec t = keep(first(n - j), smoothed(s, load_first(y + j, n - j)));
        store(dz + j, fnma_(minus, t, load(dz + j) * factor));
    }
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

/* ---- a narrow layer: LANES rows at a time, labels as one-hot targets (gather) ---- */

typedef struct columns {
    const real *z, *y; /* [n][row] */
    real *dz;          /* NULL, or receives the gradient */
    ptrdiff_t row;
} columns;

INLINE void mean_of_columns(const int loss, int n, columns c, vec scale, double *values)
{
    vec sum[MAX_NARROW];
    const vec factor = scale / splat((real)n);
    for (int j = 0; j < n; j++) {
        const vec a = load(c.z + j * c.row), t = load(c.y + j * c.row);
        sum[j] = value(loss, a, t);
        if (c.dz) store(c.dz + j * c.row, slope(loss, a, t) * factor);
    }
    const vec total = fold(n, sum);
    for (int i = 0; i < LANES; i++) values[i] = (double)total[i] / n;
}

static void cross_entropy_of_columns(int n, columns c, vec scale, double *values)
{
    vec e[MAX_NARROW], powers[MAX_NARROW], targets[MAX_NARROW], products[MAX_NARROW], top = splat(-INFINITY);
    for (int j = 0; j < n; j++) top = maximum(top, load(c.z + j * c.row));
    for (int j = 0; j < n; j++) {
        const vec z = load(c.z + j * c.row), t = load(c.y + j * c.row);
        e[j] = powers[j] = vec_exp(z - top);
        targets[j] = t;
        products[j] = weighted(t, z, C(0));
    }
    const vec total = fold(n, powers), mass = fold(n, targets), product = fold(n, products), log = vec_log(total);
    const vec factor = scale * mass / total;
    for (int j = 0; j < n && c.dz; j++) store(c.dz + j * c.row, fnma_(scale, load(c.y + j * c.row), e[j] * factor));
    for (int i = 0; i < LANES; i++) {
        const double m = mass[i];
        values[i] = (double)top[i] * m - (double)product[i] + m * (double)log[i];
    }
}

static void loss_of_columns(const program *p, const worker *w, int first, int end, const real *factors)
{
    const layer *l = p->layers + p->n_layers - 1;
    for (int r = first; r < end; r += LANES) {
        const columns c = {w->values + l->y + r, w->targets + r, p->backward ? w->values + l->dy + r : NULL, l->row};
        const vec scale = load(factors + r - first);
#define COLUMNS(LOSS) mean_of_columns(LOSS, l->n_out, c, scale, w->losses + r);
        if (p->call->loss == NN_CROSS_ENTROPY)
            cross_entropy_of_columns(l->n_out, c, scale, w->losses + r);
        else
            FOR_EACH_LOSS(p->call->loss, COLUMNS)
    }
}

static void loss_of_rows(const program *p, const worker *w, int first, int end, const int64_t *order,
                         const real *factors)
{
    const nn_call *c = p->call;
    const layer *l = p->layers + p->n_layers - 1;
    const int n = l->n_out;
    const smoothing s = {p->smooth, p->target_scale, p->target_offset};
    real totals[BLOCK + LANES];
    double mass[BLOCK];
    for (int r = first; r < end; r++) {
        const int i = r - first;
        const real *z = w->values + l->y + r * l->row, *y = w->y[r];
        real *dz = w->values + l->dy + r * l->row;
        mass[i] = 1;
        if (c->loss != NN_CROSS_ENTROPY)
            w->losses[r] = mean_of_row(c->loss, n, z, y, p->backward ? dz : NULL, factors[i], s);
        else if (c->labels)
            w->losses[r] = cross_entropy(n, z, c->labels[order[r]], dz, factors[i], totals + i, s);
        else
            w->losses[r] = soft_cross_entropy(n, z, y, dz, factors[i], totals + i, mass + i, s);
    }
    if (c->loss == NN_CROSS_ENTROPY) {
        for (int i = end - first; i < round_up(end - first, LANES); i++) totals[i] = 1;
        add_logs(end - first, w->losses + first, totals, mass);
    }
}

/* What the function has left: row losses and the derivative of their mean, weights included. */
static void loss_of_python(const program *p, const worker *w, int first, int end)
{
    const layer *l = p->layers + p->n_layers - 1;
    const nn_exchange *e = &p->call->loss_exchange;
    for (int r = first; r < end; r++) {
        w->losses[r] = e->losses[w->first + r];
        if (!p->backward) continue;
        real *dz = w->values + l->dy + r * l->row;
        memset(dz, 0, l->row * sizeof(real));
        memcpy(dz, (const real *)e->dy + (w->first + r) * l->n_out, l->n_out * sizeof(real));
    }
}

void FN(loss)(const program *p, const worker *w, int first, int end, const int64_t *order, double scale)
{
    const real *weights = p->call->sample_weight;
    const layer *l = p->layers + p->n_layers - 1;
    real factors[BLOCK + LANES];
    for (int i = 0; i < round_up(end - first, LANES); i++)
        factors[i] = (real)(weights && first + i < end ? scale * weights[order[first + i]] : scale);
    if (p->call->loss == NN_PYTHON_LOSS)
        loss_of_python(p, w, first, end);
    else if (l->narrow)
        loss_of_columns(p, w, first, end, factors);
    else
        loss_of_rows(p, w, first, end, order, factors);
    for (int r = first; r < end && p->call->loss != NN_PYTHON_LOSS; r++) {
        if (w->losses[r] > p->call->highest_loss) w->losses[r] = p->call->highest_loss;
        if (weights) w->losses[r] *= weights[order[r]];
    }
    if (!p->backward || l->op != NN_DENSE) return;
    const int64_t at = l->narrow ? first : first * l->row;
    const int rows = l->narrow ? l->n_out : end - first, columns = l->narrow ? end - first : (int)l->row;
    real *dy = w->values + l->dy + at;
    FN(gate)(l->activation, rows, columns, dy, dy, l->row, w->values + l->kept + at, l->row);
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
            losses[first + r] =
                cross_entropy((int)n, row, labels[first + r], gradient, (real)scale, totals + r, (smoothing){0});
            memcpy((real *)dz + (first + r) * n, gradient, n * sizeof *row);
        }
        add_logs(size, losses + first, totals, ones);
    }
    restore_denormals(before);
    free(row);
    return 0;
}

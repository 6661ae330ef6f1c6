/* dense.c: y = f(x W + b) and its gradients, as loops around the tile.
 *
 *     forward   y[r][n]  = f(b[n] + sum_k x[r][k] W[k][n])      panel, W packed
 *     backward  dx[r][k] = sum_n dz[r][n] W[k][n]               panel, W^T packed
 *     update    dW[k][n] = sum_r x[r][k] dz[r][n], db[n] = sum_r dz[r][n]     outer; db is the outer product with 1
 *
 * Forward and backward take a panel at a time (it stays in L1 or L2) and all rows of the block through it, one R1 block
 * of k after another. The parameter pass takes a panel's columns of dz and CHUNK rows of W at a time: the new weights,
 * the optimizer's step and the new W^T follow while they are in L1.
 */
#include "engine.h"

enum { CHUNK = 48 * 64 * 3 }; /* weights a unit of work: half an L1, in whole vectors and tiles of rows */

nn_rows FN(input_rows)(const program *p, const layer *l, const worker *w, int first, ptrdiff_t offset)
{
    if (l->in[0].from < 0) return (nn_rows){NULL, w->x + first, offset, NULL};
    const layer *from = p->layers + l->in[0].from;
    return (nn_rows){w->values + from->y + first * from->row, NULL, offset, NULL};
}

static int64_t input_row(const program *p, const layer *l)
{
    return l->in[0].from < 0 ? 0 : p->layers[l->in[0].from].row;
}

/* (n_in, n_out) weights, and the bias if there is one, to their panels, or back */
static void copy_parameters(const layer *l, int widest, real *weights, real *bias, real *packed, bool unpack)
{
    for (panel q = weight_panels(l->n_out, widest); q.width; q = next_panel(q)) {
        const int width = q.width, used = (int)at_most(width, l->n_out - q.column);
        real *to = packed + l->weights + q.column * round_up(l->n_in, LANES);
        for (int k = 0; k < l->n_in; k++, to += width) {
            real *from = weights + (int64_t)k * l->n_out + q.column;
            memcpy(unpack ? from : to, unpack ? to : from, used * sizeof(real));
        }
    }
    if (bias) {
        real *to = packed + l->bias;
        memcpy(unpack ? bias : to, unpack ? to : bias, l->n_out * sizeof(real));
    }
}

/* The bias lies behind the weights. */
void FN(dense_copy)(const program *p, const layer *l, void *plain, real *packed, bool unpack)
{
    real *weights = (real *)plain + l->theta;
    real *bias = l->use_bias ? weights + (int64_t)l->n_in * l->n_out : NULL;
    if (l->narrow)
        FN(narrow_copy)(l, weights, bias, packed, unpack);
    else
        copy_parameters(l, p->widest, weights, bias, packed, unpack);
}

void FN(dense_ready)(const program *p, const layer *l)
{
    if (l->in[0].need_dx && !l->narrow)
        for (panel q = weight_panels(l->n_out, p->widest); q.width; q = next_panel(q))
            FN(dense_transpose)(p, l, q, 0, l->n_in);
}

/* Rows [first, end) of panel q of W, first a multiple of LANES, into the panels of W^T. */
void FN(dense_transpose)(const program *p, const layer *l, panel q, int first, int end)
{
    const int64_t width = q.width, height = round_up(l->n_out, LANES);
    const real *w = p->theta + l->weights + q.column * round_up(l->n_in, LANES);
    panel to = transposed_panels(l->n_in, p->widest);
    for (int k = first; k < end; k += LANES) {
        while (k >= to.column + to.width) to = next_panel(to);
        const int64_t to_width = to.width;
        real *block = p->transposed + l->transposed + to.column * height + q.column * to_width + (k - to.column);
        for (int n = 0; n < width; n += LANES) transpose(w + k * width + n, width, block + n * to_width, to_width);
    }
}

void FN(dense_forward)(const program *p, const layer *l, const worker *w, share s)
{
    if (reads_sparse(p, l)) {
        FN(sparse_forward)(p, l, w, s);
        return;
    }
    if (l->narrow) {
        FN(narrow_forward)(p, l, w, s);
        return;
    }
    const int rows = s.end - s.first;
    int turn = 0;
    for (panel q = weight_panels(l->n_out, p->widest); q.width; q = next_panel(q)) {
        if (turn++ % s.parts != s.part) continue;
        const int width = q.width;
        real *y = w->values + l->y + s.first * l->row + q.column;
        const real *panel = p->theta + l->weights + q.column * round_up(l->n_in, LANES);
        for (int k = 0; k < l->n_in; k += BLOCK) {
            const int size = (int)at_most(BLOCK, l->n_in - k);
            const bool relu = l->activation == NN_RELU && k + size == l->n_in;
            const nn_tile t = {.y_row = l->row,
                               .x_row = input_row(p, l),
                               .w_k = width,
                               .segs = 1,
                               .seg = size,
                               .start = k ? START_ZERO : START_BIAS,
                               .end = k ? (relu ? END_ADD_RELU : END_ADD) : (relu ? END_RELU : END_STORE)};
            FN(panel)(width, rows, y, FN(input_rows)(p, l, w, s.first, k), panel + (int64_t)k * width,
                  p->theta + l->bias + q.column, &t);
        }
        if (l->activation != NN_RELU)
            FN(activate)(l->activation, rows, width, y, y, l->row, slope_of(l, w, s.first * l->row + q.column));
    }
}

void FN(dense_backward)(const program *p, const layer *l, const worker *w, share s)
{
    if (l->narrow) {
        FN(narrow_backward)(p, l, w, s);
        return;
    }
    const edge *e = l->in;
    const layer *to = p->layers + e->from;
    const int rows = s.end - s.first;
    int turn = 0;
    for (panel q = transposed_panels(l->n_in, p->widest); q.width; q = next_panel(q)) {
        if (turn++ % s.parts != s.part) continue;
        const int width = q.width;
        real *dx = w->values + to->dy + s.first * to->row + q.column;
        const real *panel = p->transposed + l->transposed + q.column * round_up(l->n_out, LANES);
        real *kept = w->values + to->kept + s.first * to->row + q.column;
        for (int n = 0; n < l->n_out; n += BLOCK) {
            const nn_tile t = {.y_row = to->row,
                               .x_row = l->row,
                               .w_k = width,
                               .segs = 1,
                               .seg = at_most(BLOCK, l->n_out - n),
                               .end = end_of_dx(e, n || e->add_dx, n + BLOCK >= l->n_out)};
            const nn_rows dz = {w->values + l->dy + s.first * l->row, NULL, n, NULL};
            FN(panel)(width, rows, dx, dz, panel + (int64_t)n * width, kept, &t);
        }
        if (e->gate != NN_RELU) FN(gate)(e->gate, rows, width, dx, dx, to->row, kept, to->row);
    }
}

/* Of the rows of a panel with its bias, from the thread's share of all of the step's columns: first to end, in whole
 * vectors so that W^T can follow. Row 0 takes the bias along. */
share FN(rows_of_panel)(pass *s, int rows, int width)
{
    int64_t cut[2] = {0, rows};
    if (s->parts > 1)
        for (int i = 0; i < 2; i++) {
            const int64_t row = (s->cost * (s->part + i) / s->parts - s->done) / width;
            cut[i] = row <= 0 ? 0 : row >= rows ? rows : at_most(round_up(row, 16), rows);
        }
    s->done += (int64_t)rows * width;
    return (share){(int)cut[0], (int)cut[1], 0, 1};
}

/* The sum over the workers' partial gradients, in the order of their blocks. */
void FN(add_partials)(const program *p, const pass *s, int64_t offset, int64_t n)
{
    for (int64_t i = offset; i < offset + n; i += LANES) {
        vec sum = load(p->workers[0].gradient + i);
        if (!s->first) sum = load(p->gradient + i) + sum;
        for (int b = 1; b < s->partials; b++) sum += load(p->workers[b].gradient + i);
        store(p->gradient + i, sum);
    }
}

/* How a sum of dW ends: in the gradient, or in theta where plain SGD may take it there at once. */
int FN(end_of_sum)(const program *p, const layer *l, const pass *s)
{
    const bool fused =
        s->last && s->rate && l->fuse_update && s->from && plain_sgd(p->call) && (s->first || !reads_sparse(p, l));
    return s->first ? (fused ? END_UPDATE : END_STORE) : (fused ? END_ADD_UPDATE : END_ADD);
}

/* dW of rows [first, end) of panel q, db with the first of them. */
static void update_unit(const program *p, const layer *l, const pass *s, panel q, int first, int end)
{
    const int width = q.width, height = end - first;
    const int64_t offset = l->weights + q.column * round_up(l->n_in, LANES) + (int64_t)first * width;
    const int64_t bias = l->use_bias && first == 0 ? l->bias + q.column : -1;
    const int end_of_sum = FN(end_of_sum)(p, l, s);
    if (s->complete) {
    } else if (s->from) {
        const worker *w = s->from;
        const nn_tile t = {.y_row = width,
                           .x_k = input_row(p, l),
                           .w_k = l->row,
                           .segs = 1,
                           .seg = s->rows,
                           .end = end_of_sum,
                           .rate = s->last && s->rate ? s->rate[0] : 0,
                           .bias = bias < 0 ? NULL : s->to + bias,
                           .updated_bias = bias < 0 ? NULL : p->theta + bias};
        nn_rows x = FN(input_rows)(p, l, w, 0, first);
        if (x.pointers && q.column == 0) x.next = w->next;
        FN(outer)(width, height, s->to + offset, x, w->values + l->dy + q.column, p->theta + offset, &t);
    } else {
        FN(add_partials)(p, s, offset, (int64_t)height * width);
        if (bias >= 0) FN(add_partials)(p, s, bias, width);
    }
    FN(finish_sums)(p, l, s, q, first, end);
}

/* What follows the sums of rows [first, end) of panel q. */
void FN(finish_sums)(const program *p, const layer *l, const pass *s, panel q, int first, int end)
{
    const int width = q.width, height = end - first;
    const int64_t offset = l->weights + q.column * round_up(l->n_in, LANES) + (int64_t)first * width;
    const int64_t bias = l->use_bias && first == 0 ? l->bias + q.column : -1;
    if (s->last && !s->complete) FN(add_penalty)(p, l, s->penalty, offset, (int64_t)height * width);
    if (!s->last || !s->rate) return;
    if (FN(end_of_sum)(p, l, s) < END_UPDATE) {
        FN(update)(p, s, offset, (int64_t)height * width);
        if (bias >= 0) FN(update)(p, s, bias, width);
    }
    if (l->in[0].need_dx) FN(dense_transpose)(p, l, q, first, end);
}

void FN(dense_update)(const program *p, const layer *l, pass *s)
{
    if (l->narrow) {
        FN(narrow_update)(p, l, s);
        return;
    }
    if (reads_sparse(p, l)) {
        FN(sparse_update)(p, l, s);
        return;
    }
    for (panel q = weight_panels(l->n_out, p->widest); q.width; q = next_panel(q)) {
        const int chunk = CHUNK / q.width;
        const share mine = FN(rows_of_panel)(s, l->n_in, q.width);
        for (int k = mine.first; k < mine.end; k += chunk)
            update_unit(p, l, s, q, k, (int)at_most(k + chunk, mine.end));
    }
}

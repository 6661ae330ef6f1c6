/* gather.c: the rows of a block, found or made: X's, as pointers to where they lie or converted, and y's. */
#include "engine.h"

/* A row of the network's type, where it lies. */
static const real *row_at(const nn_source *s, int64_t row)
{
    const char *at = s->data + row * s->row_stride;
    OPAQUE(at); /* else gcc makes eight rows' addresses at a time, which takes longer */
    return (const real *)at;
}

/* The lines of a row that will be converted soon, where its elements lie side by side. */
static void fetch(const nn_source *s, int64_t row, int64_t n)
{
    const char *from = s->data + row * s->row_stride;
    for (int64_t i = 0; s->stride > 0 && s->stride <= 8 && i < n * s->stride; i += 64) __builtin_prefetch(from + i);
}

/* Targets as a narrow last layer wants them: in columns, labels as one-hot ones. */
static void gather_columns(const program *p, const worker *w, const int64_t *order, int first, int end)
{
    const nn_call *c = p->call;
    const ptrdiff_t row = p->layers[p->n_layers - 1].row;
    for (int n = 0; n < c->n_out; n++) {
        real *column = w->targets + n * row;
        if (c->labels)
            for (int i = first; i < end; i++) {
                const int64_t label = c->labels[order[i]];
                column[i] = (uint64_t)label < (uint64_t)c->n_out ? label == n : (real)NAN;
            }
        else if (p->y_direct)
            for (int i = first; i < end; i++) column[i] = row_at(&c->y, order[i])[n];
        else
            for (int i = first; i < end; i++) FN(convert)(column + i, &c->y, order[i], n, 1, 1, 0);
        if (p->smooth)
            for (int i = first; i < round_up(end, LANES); i += LANES)
                store(column + i, fma_(splat(p->target_scale), load(column + i), splat(p->target_offset)));
    }
}

/* order: the rows of the block. Rows lie at random, so their cache misses would cost up to half of a step: the
 * rows after these, as far as there are `left`, are named here, their targets fetched now, and X's lines during the dW
 * of the first layer (tile.h). */
void FN(gather)(const program *p, const worker *w, const int64_t *order, int first, int end, int rows, int64_t left)
{
    const nn_call *c = p->call;
    if (c->csr.indptr)
        FN(sparse_gather)(p, w, order, first, end);
    else if (p->x_direct)
        for (int i = first; i < end; i++) w->x[i] = row_at(&c->x, order[i]);
    else
        for (int i = first; i < end; i++) {
            real *row = w->x_converted + i * c->n_in;
            if (i + 2 < end) fetch(&c->x, order[i + 2], c->n_in);
            FN(convert)(row, &c->x, order[i], 0, c->n_in, p->input_scale, p->input_offset);
            w->x[i] = row;
        }
    if (w->next)
        for (int i = first; i < end; i++) {
            const int64_t after = order[i + rows < left ? i + rows : i];
            w->next[i] = row_at(&c->x, after);
            __builtin_prefetch(c->labels ? (const char *)(c->labels + after) : c->y.data + after * c->y.row_stride);
        }
    if (p->layers[p->n_layers - 1].narrow && c->loss != NN_NO_LOSS)
        gather_columns(p, w, order, first, end);
    else if (c->y.data)
        for (int i = first; i < end; i++) {
            w->y[i] = p->y_direct ? row_at(&c->y, order[i]) : w->y_converted + i * c->n_out;
            if (!p->y_direct) FN(convert)(w->y_converted + i * c->n_out, &c->y, order[i], 0, c->n_out, 1, 0);
        }
}

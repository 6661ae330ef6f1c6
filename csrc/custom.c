/* custom.c: what is exchanged with functions in Python, whole minibatches in dense arrays of the user's shapes.
 *
 * A phase gives rows (the cursor then stands behind it, and the call returns); Python fills the arrays that answer
 * them; the next phase takes them from there, as this layer's way forward or back. Its parameters are one slice without
 * panels.
 */
#include "engine.h"

static const nn_exchange *exchange_of(const program *p, const layer *l)
{
    return p->call->exchanges + (int)l->attributes[NN_FUNCTION];
}
static int64_t parameters_of(const layer *l) { return (int64_t)l->attributes[NN_N_PARAMETERS]; }

void FN(custom_copy)(const program *p, const layer *l, void *plain, real *packed, bool unpack)
{
    real *own = packed + l->weights, *theirs = (real *)plain + l->theta;
    (void)p;
    memcpy(unpack ? theirs : own, unpack ? own : theirs, parameters_of(l) * sizeof *own);
}

void FN(custom_give)(const program *p, const layer *l, bool backward, share rows)
{
    const layer *last = p->layers + p->n_layers - 1;
    if (l && !backward && rows.first == 0)
        memcpy(exchange_of(p, l)->w, p->theta + l->weights, parameters_of(l) * sizeof(real));
    for (int i = rows.first; i < rows.end; i++) {
        const worker *w = p->workers + i / BLOCK;
        const int r = i % BLOCK;
        if (!l)
            memcpy((real *)p->call->loss_exchange.y + (int64_t)i * last->n_out, w->values + last->y + r * last->row,
                   last->n_out * sizeof(real));
        else if (backward)
            memcpy((real *)exchange_of(p, l)->dy + (int64_t)i * l->n_out, w->values + l->dy + r * l->row,
                   l->n_out * sizeof(real));
        else
            memcpy((real *)exchange_of(p, l)->x + (int64_t)i * l->n_in, FN(input_row)(p, l, w, 0, r),
                   l->n_in * sizeof(real));
    }
}

void FN(custom_forward)(const program *p, const layer *l, const worker *w, share s)
{
    const real *y = exchange_of(p, l)->y;
    for (int r = s.first; r < s.end; r++)
        memcpy(w->values + l->y + r * l->row, y + (w->first + r) * l->n_out, l->n_out * sizeof *y);
}

void FN(custom_backward)(const program *p, const layer *l, const worker *w, share s)
{
    const real *dx = exchange_of(p, l)->dx;
    for (int r = s.first; r < s.end; r++) {
        const real *row = dx + (w->first + r) * l->n_in;
        real *sum = FN(gradient_row)(p, l, w, 0, r);
        for (int j = 0; j < l->n_in; j += LANES) give(l->in, sum + j, load_first(row + j, l->n_in - j));
        FN(gate_row)(p, l, w, 0, r);
    }
}

/* Python has summed over the minibatch. */
void FN(custom_update)(const program *p, const layer *l, pass *s)
{
    const share mine = FN(rows_of_panel)(s, (int)parameters_of(l), 1);
    if (mine.first >= mine.end) return;
    real *gradient = p->gradient + l->weights + mine.first;
    const real *dw = (const real *)exchange_of(p, l)->dw + mine.first;
    if (!s->complete) memcpy(gradient, dw, (mine.end - mine.first) * sizeof *dw);
    if (s->last && s->rate) FN(update)(p, s, l->weights + mine.first, round_up(mine.end - mine.first, LANES));
}

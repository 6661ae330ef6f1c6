/* elementwise.c: layers that work row by row and element by element, and what they share.
 *
 *     rescaling  y = x scale + offset          dx = dy scale
 *     add        y = x_0 + x_1                 dx_0 = dx_1 = dy
 *
 * Rows of the arena are padded to whole vectors, rows of the user's X are not.
 */
#include "engine.h"

const real *FN(input_row)(const program *p, const layer *l, const worker *w, int input, int r)
{
    const int from = l->in[input].from;
    return from < 0 ? w->x[r] : w->values + p->layers[from].y + r * p->layers[from].row;
}

real *FN(gradient_row)(const program *p, const layer *l, const worker *w, int input, int r)
{
    const layer *to = p->layers + l->in[input].from;
    return w->values + to->dy + r * to->row;
}

void FN(gate_row)(const program *p, const layer *l, const worker *w, int input, int r)
{
    const layer *to = p->layers + l->in[input].from;
    real *dy = w->values + to->dy + r * to->row;
    FN(gate)(l->in[input].gate, 1, to->n_out, dy, dy, 0, w->values + to->kept + r * to->row, 0);
}

void FN(pass_down)(const program *p, const layer *l, const worker *w, int input, int r, const real *dx)
{
    if (!l->in[input].need_dx) return;
    real *sum = FN(gradient_row)(p, l, w, input, r);
    for (int j = 0; j < l->n_in; j += LANES) give(l->in + input, sum + j, load(dx + j));
    FN(gate_row)(p, l, w, input, r);
}

void FN(rescaling_forward)(const program *p, const layer *l, const worker *w, share s)
{
    const vec scale = splat((real)l->attributes[NN_SCALE]), offset = splat((real)l->attributes[NN_OFFSET]);
    for (int r = s.first; r < s.end; r++) {
        const real *x = FN(input_row)(p, l, w, 0, r);
        real *y = w->values + l->y + r * l->row;
        for (int j = 0; j < l->n_out; j += LANES) store(y + j, fma_(load_first(x + j, l->n_out - j), scale, offset));
    }
}

void FN(rescaling_backward)(const program *p, const layer *l, const worker *w, share s)
{
    const vec scale = splat((real)l->attributes[NN_SCALE]);
    for (int r = s.first; r < s.end; r++) {
        real *dy = w->values + l->dy + r * l->row;
        for (int j = 0; j < l->n_out; j += LANES) store(dy + j, load(dy + j) * scale);
        FN(pass_down)(p, l, w, 0, r, dy);
    }
}

void FN(add_forward)(const program *p, const layer *l, const worker *w, share s)
{
    for (int r = s.first; r < s.end; r++) {
        const real *a = FN(input_row)(p, l, w, 0, r), *b = FN(input_row)(p, l, w, 1, r);
        real *y = w->values + l->y + r * l->row;
        for (int j = 0; j < l->n_out; j += LANES)
            store(y + j, load_first(a + j, l->n_out - j) + load_first(b + j, l->n_out - j));
    }
}

void FN(add_backward)(const program *p, const layer *l, const worker *w, share s)
{
    for (int r = s.first; r < s.end; r++)
        for (int i = 0; i < 2; i++) FN(pass_down)(p, l, w, i, r, w->values + l->dy + r * l->row);
}

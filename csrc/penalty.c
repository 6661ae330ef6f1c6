/* penalty.c: penalties and bounds of a dense layer's weights; l1 and l2 are those of the plan times the step's factor.
 *
 *     J gets  sum over n of fma(l2, sum_k w[k][n]^2, l1 sum_k |w[k][n]|)
 *     dW, when it is complete, becomes  fma(l1, sign w, fma(2 l2, w, dW))
 *     max_norm  w[k][n] *= max / |w[.][n]| where the norm of a column, the weights into one unit, is larger
 *
 * Sums over k run by the rule of all product sums, in blocks of 256; those of the columns of all layers are added as
 * doubles, ascending; rows times that enters the loss before the rows of the step.
 */
#include "engine.h"
#include "vecmath.h"

typedef struct sums {
    vec sizes, squares;
} sums;
INLINE void add_weights(sums *s, vec w)
{
    s->sizes += absolute(w);
    s->squares = fma_(w, w, s->squares);
}
INLINE void add_block(sums *total, sums block)
{
    total->sizes += block.sizes;
    total->squares += block.squares;
}
static void put_penalty(const program *p, const layer *l, double factor, int column, int n, sums s)
{
    const vec value = fma_(C(factor * l->attributes[NN_L2]), s.squares, C(factor * l->attributes[NN_L1]) * s.sizes);
    store_first(p->statistics + l->statistics + column, value, n);
}

/* Of one vector of columns of panel q. */
static sums sums_of(const program *p, const layer *l, panel q, int v)
{
    const real *w = p->theta + l->weights + q.column * round_up(l->n_in, LANES) + v;
    sums total = {splat(0), splat(0)};
    for (int block = 0; block < l->n_in; block += BLOCK) {
        sums s = {splat(0), splat(0)};
        for (int k = block; k < l->n_in && k < block + BLOCK; k++) add_weights(&s, load(w + (int64_t)k * q.width));
        add_block(&total, s);
    }
    return total;
}

/* Of the columns of a narrow layer from `column` on, which lie in rows. */
static sums sums_of_narrow(const program *p, const layer *l, int column)
{
    const real *w = p->theta + l->weights;
    sums total = {splat(0), splat(0)};
    for (int block = 0; block < l->n_in; block += BLOCK) {
        const int end = (int)at_most(block + BLOCK, l->n_in);
        sums s = {splat(0), splat(0)};
        for (int k = block; k < end; k += LANES) {
            vec t[LANES];
            UNROLL for (int i = 0; i < LANES; i++)
                t[i] = load(w + at_most(column + i, l->n_out - 1) * padded_inputs(l) + k);
            transpose_vectors(t);
            UNROLL for (int j = 0; j < LANES; j++)
                if (k + j < end) add_weights(&s, t[j]);
        }
        add_block(&total, s);
    }
    return total;
}

void FN(penalty)(const program *p, const layer *l, double factor, share s)
{
    int turn = 0;
    if (!l->penalised) return;
    for (int n = 0; l->narrow && n < l->n_out; n += LANES)
        if (turn++ % s.parts == s.part) put_penalty(p, l, factor, n, l->n_out - n, sums_of_narrow(p, l, n));
    if (l->narrow) return;
    for (panel q = weight_panels(l->n_out, p->widest); q.width; q = next_panel(q)) {
        if (turn++ % s.parts != s.part) continue;
        for (int v = 0; v < q.width; v += LANES)
            put_penalty(p, l, factor, q.column + v, q.width - v, sums_of(p, l, q, v));
    }
}

double FN(penalties)(const program *p)
{
    double sum = 0;
    for (int i = 0; i < p->n_layers; i++)
        for (int n = 0; p->layers[i].penalised && n < p->layers[i].n_out; n++)
            sum += (double)p->statistics[p->layers[i].statistics + n];
    return sum;
}

void FN(add_penalty)(const program *p, const layer *l, double factor, int64_t offset, int64_t n)
{
    if (!l->penalised) return;
    const vec l1 = C(factor * l->attributes[NN_L1]), twice_l2 = C(2 * factor * l->attributes[NN_L2]);
    for (int64_t i = offset; i < offset + n; i += LANES) {
        const vec w = load(p->theta + i), sign = choose(greater(absolute(w), C(0)), with_sign(C(1), w), w);
        store(p->gradient + i, fma_(l1, sign, fma_(twice_l2, w, load(p->gradient + i))));
    }
}

void FN(constrain)(const program *p, const layer *l, share s)
{
    int turn = 0;
    if (!l->constrained) return;
    const vec most = C(l->attributes[NN_MAX_NORM]);
    for (panel q = weight_panels(l->n_out, p->widest); q.width; q = next_panel(q)) {
        if (turn++ % s.parts != s.part) continue;
        for (int v = 0; v < q.width; v += LANES) {
            const vec norm = square_root(sums_of(p, l, q, v).squares);
            const vec factor = choose(greater(norm, most), most / norm, C(1));
            real *w = p->theta + l->weights + q.column * round_up(l->n_in, LANES) + v;
            for (int k = 0; k < l->n_in; k++, w += q.width) store_first(w, load(w) * factor, q.width - v);
        }
        if (l->in[0].need_dx) FN(dense_transpose)(p, l, q, 0, l->n_in);
    }
}

/* optim.c: the update rules, elementwise over a range of the packed vectors.
 *
 *     clip     g = g min(1, most / (|g| + 1e-6)), or g within [-most, most]; behind penalties, before decay
 *     sgd      g += decay w;  v = momentum v + g;  w -= rate (nesterov ? g + momentum v : v)
 *     adam     g += decay w;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g g;  w -= rate m / (sqrt v + eps)
 *              rate and eps arrive with their bias corrections (Kingma and Ba, arXiv 1412.6980, section 2)
 *     adagrad  g += decay w;  v += g g;  w -= rate g / (sqrt v + eps)                          (Duchi et al. 2011)
 *     rmsprop  g += decay w;  v = a v + (1 - a) g g;  [m = a m + (1 - a) g;  v - m^2 for v;]
 *              u = g / (sqrt v + eps);  [u = momentum u_before + u;]  w -= rate u    (Tieleman and Hinton 2012)
 *     rprop    s = g g_before;  d = clip(d (more where s > 0, less where s < 0));  g = 0 where s < 0;  w -= sign(g) d
 *
 * in the forms of PyTorch (rprop: Riedmiller and Braun 1993); each a x + y is one fma, other products go from the left.
 * constants: sgd momentum, nesterov, decay; adam b1, b2, decay; adagrad -, -, decay; rmsprop a, momentum, decay,
 * centred; rprop less, more, smallest, largest. Ranges are whole vectors, padding among them, which nothing reads.
 */
#include "engine.h"

static void sgd(const double *constants, double rate, int64_t n, real *w, const real *g, real *v)
{
    const vec momentum = splat((real)constants[0]), decay = splat((real)constants[2]), step = splat((real)rate);
    const bool nesterov = constants[1] != 0, decays = constants[2] != 0;
    for (int64_t i = 0; i < n; i += LANES) {
        vec gradient = load(g + i);
        if (decays) gradient = fma_(decay, load(w + i), gradient);
        const vec velocity = fma_(momentum, load(v + i), gradient);
        store(v + i, velocity);
        store(w + i, fnma_(step, nesterov ? fma_(momentum, velocity, gradient) : velocity, load(w + i)));
    }
}

static void sgd_plain(const double *constants, double rate, int64_t n, real *w, const real *g)
{
    const vec decay = splat((real)constants[2]), step = splat((real)rate);
    const bool decays = constants[2] != 0;
    for (int64_t i = 0; i < n; i += LANES) {
        vec gradient = load(g + i);
        if (decays) gradient = fma_(decay, load(w + i), gradient);
        store(w + i, fnma_(step, gradient, load(w + i)));
    }
}

/* adamw: w -= shrinkage w first, in place of the decay */
static void adam(const double *constants, const double *rate, int64_t n, real *w, const real *g, real *m, real *v)
{
    const vec b1 = splat((real)constants[0]), b2 = splat((real)constants[1]), decay = splat((real)constants[2]);
    const vec c1 = splat((real)(1 - constants[0])), c2 = splat((real)(1 - constants[1]));
    const vec step = splat((real)rate[0]), eps = splat((real)rate[1]), shrinkage = splat((real)rate[2]);
    const bool decays = constants[2] != 0, shrinks = rate[2] != 0;
    for (int64_t i = 0; i < n; i += LANES) {
        vec gradient = load(g + i), weight = load(w + i);
        if (decays) gradient = fma_(decay, weight, gradient);
        if (shrinks) weight = fnma_(shrinkage, weight, weight);
        const vec mean = fma_(b1, load(m + i), c1 * gradient);
        const vec square = fma_(b2, load(v + i), c2 * gradient * gradient);
        store(m + i, mean);
        store(v + i, square);
        store(w + i, fnma_(step, mean / (square_root(square) + eps), weight));
    }
}

static void adagrad(const double *constants, const double *rate, int64_t n, real *w, const real *g, real *v)
{
    const vec decay = splat((real)constants[2]), step = splat((real)rate[0]), eps = splat((real)rate[1]);
    const bool decays = constants[2] != 0;
    for (int64_t i = 0; i < n; i += LANES) {
        vec gradient = load(g + i);
        if (decays) gradient = fma_(decay, load(w + i), gradient);
        const vec square = fma_(gradient, gradient, load(v + i));
        store(v + i, square);
        store(w + i, fnma_(step, gradient / (square_root(square) + eps), load(w + i)));
    }
}

/* mean: NULL unless centred; velocity: NULL without momentum */
static void rmsprop(const double *constants, const double *rate, int64_t n, real *w, const real *g, real *v, real *mean,
                    real *velocity)
{
    const vec a = splat((real)constants[0]), c = splat((real)(1 - constants[0])), momentum = splat((real)constants[1]);
    const vec decay = splat((real)constants[2]), step = splat((real)rate[0]), eps = splat((real)rate[1]);
    const bool decays = constants[2] != 0;
    for (int64_t i = 0; i < n; i += LANES) {
        vec gradient = load(g + i);
        if (decays) gradient = fma_(decay, load(w + i), gradient);
        vec square = fma_(a, load(v + i), c * gradient * gradient);
        store(v + i, square);
        if (mean) {
            const vec centre = fma_(a, load(mean + i), c * gradient);
            store(mean + i, centre);
            square = maximum(splat(0), fnma_(centre, centre, square));
        }
        vec move = gradient / (square_root(square) + eps);
        if (velocity) {
            move = fma_(momentum, load(velocity + i), move);
            store(velocity + i, move);
        }
        store(w + i, fnma_(step, move, load(w + i)));
    }
}

static void rprop(const double *constants, int64_t n, real *w, const real *g, real *before, real *size)
{
    const vec less = splat((real)constants[0]), more = splat((real)constants[1]), zero = splat(0);
    const vec smallest = splat((real)constants[2]), largest = splat((real)constants[3]);
    for (int64_t i = 0; i < n; i += LANES) {
        const vec sign = load(g + i) * load(before + i), old = load(size + i);
        const vec grown = choose(greater(sign, zero), more * old, choose(greater(zero, sign), less * old, old));
        const vec step = minimum(largest, maximum(smallest, grown));
        const vec gradient = choose(greater(zero, sign), zero, load(g + i));
        store(size + i, step);
        store(before + i, gradient);
        const vec move = choose(greater(gradient, zero), step, choose(greater(zero, gradient), zero - step, gradient));
        store(w + i, load(w + i) - move);
    }
}

/* ---- clipping ---- */

/* Squares of the gradient in theta's order, of this part's blocks: 16 lanes each. */
void FN(block_norms)(const program *p, int part, int parts)
{
    const int64_t n = p->call->n_theta, blocks = (n + NORM_BLOCK - 1) / NORM_BLOCK;
    for (int64_t b = blocks * part / parts; b < blocks * (part + 1) / parts; b++) {
        vec sum[WIDE];
        UNROLL for (int v = 0; v < WIDE; v++)
            sum[v] = splat(0);
        const real *g = p->plain + b * NORM_BLOCK;
        const int size = (int)at_most(NORM_BLOCK, n - b * NORM_BLOCK);
        for (int j = 0; j < size; j += LANES) {
            const vec v = load_first(g + j, size - j);
            sum[j / LANES % WIDE] = fma_(v, v, sum[j / LANES % WIDE]);
        }
        p->norms[b] = (double)sum_16(sum);
    }
}

real FN(clip_factor)(const program *p)
{
    double square = 0;
    for (int64_t b = 0; b * NORM_BLOCK < p->call->n_theta; b++) square += p->norms[b];
    const double factor = p->call->clip_norm / (sqrt(square) + 1e-6);
    return factor < 1 ? (real)factor : 1; /* 1 for NaN too: it is seen in the loss */
}

static void clip(const program *p, real factor, real *g, int64_t n)
{
    const real limit = p->call->clip_value > 0 ? (real)p->call->clip_value : (real)INFINITY;
    const vec by = splat(factor), top = splat(limit), bottom = splat(-limit);
    for (int64_t i = 0; i < n; i += LANES) store(g + i, minimum(top, maximum(bottom, load(g + i) * by)));
}

void FN(update)(const program *p, const pass *s, int64_t offset, int64_t n)
{
    const double *constants = p->call->constants, *rate = s->rate;
    const int64_t next = p->n_packed;
    real *w = p->theta + offset, *state = p->state + offset, *g = p->gradient + offset;
    if (p->call->clip_value > 0 || p->call->clip_norm > 0) clip(p, s->clip, g, n);
    switch (p->call->optimizer) {
    case NN_ADAM:
    case NN_ADAMW: adam(constants, rate, n, w, g, state, state + next); break;
    case NN_ADAGRAD: adagrad(constants, rate, n, w, g, state); break;
    case NN_RMSPROP: {
        const bool centred = constants[3] != 0;
        real *velocity = constants[1] != 0 ? state + (centred ? 2 : 1) * next : NULL;
        rmsprop(constants, rate, n, w, g, state, centred ? state + next : NULL, velocity);
        break;
    }
    case NN_RPROP: rprop(constants, n, w, g, state, state + next); break;
    default:
        if (constants[0] != 0)
            sgd(constants, rate[0], n, w, g, state);
        else
            sgd_plain(constants, rate[0], n, w, g);
    }
}

/* w -= rate g on the user's arrays */
void FN(sgd_update)(int64_t n, void *theta, const void *gradient, double rate)
{
    const uint64_t before = flush_denormals();
    const vec step = splat((real)rate);
    real *w = theta;
    const real *g = gradient;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) store(w + i, fnma_(step, load(g + i), load(w + i)));
    const int left = (int)(n - i);
    if (left) store_first(w + i, fnma_(step, load_first(g + i, left), load_first(w + i, left)), left);
    restore_denormals(before);
}

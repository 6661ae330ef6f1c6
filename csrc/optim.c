/* optim.c: the update rules, elementwise over a range of the packed vectors.
 *
 *     sgd   g += decay w;  v = momentum v + g;  w -= rate (nesterov ? g + momentum v : v)        (PyTorch's rule)
 *     adam  g += decay w;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= rate m / (sqrt v + eps)
 *           rate and eps arrive with their bias corrections (Kingma and Ba, arXiv 1412.6980, section 2)
 * Ranges are whole vectors: padding holds zeros, and stays zero under both rules.
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

static void adam(const double *constants, const double *rate, int64_t n, real *w, const real *g, real *m, real *v)
{
    const vec b1 = splat((real)constants[0]), b2 = splat((real)constants[1]), decay = splat((real)constants[2]);
    const vec c1 = splat((real)(1 - constants[0])), c2 = splat((real)(1 - constants[1]));
    const vec step = splat((real)rate[0]), eps = splat((real)rate[1]);
    const bool decays = constants[2] != 0;
    for (int64_t i = 0; i < n; i += LANES) {
        vec gradient = load(g + i);
        if (decays) gradient = fma_(decay, load(w + i), gradient);
        const vec mean = fma_(b1, load(m + i), c1 * gradient);
        const vec square = fma_(b2, load(v + i), c2 * gradient * gradient);
        store(m + i, mean);
        store(v + i, square);
        store(w + i, fnma_(step, mean / (square_root(square) + eps), load(w + i)));
    }
}

void FN(update)(const program *p, const double *rate, int64_t offset, int64_t n)
{
    const double *constants = p->call->constants;
    real *w = p->theta + offset, *first = p->state + offset;
    const real *g = p->gradient + offset;
    if (p->call->optimizer == NN_ADAM)
        adam(constants, rate, n, w, g, first, first + p->n_packed);
    else if (constants[0] != 0)
        sgd(constants, rate[0], n, w, g, first);
    else
        sgd_plain(constants, rate[0], n, w, g);
}

/* w -= rate g on the user's arrays */
void FN(sgd_update)(int64_t n, void *theta, const void *gradient, double rate)
{
    const uint64_t before = flush_denormals();
    const vec step = splat((real)rate);
    real *w = theta;
    const real *g = gradient;
    for (int64_t i = 0; i < n; i += LANES) {
        const int left = (int)at_most(n - i, LANES);
        store_first(w + i, fnma_(step, load_first(g + i, left), load_first(w + i, left)), left);
    }
    restore_denormals(before);
}

/* activation.c: activations as passes over rows just written, still in L1.
 *
 *     activate  y = f(z)        gate  dz = dy f'(z), written with y = f(z)        in place, or not
 * gelu and silu have no derivative that y could give: their pass forward leaves f'(z) in `slope`, and gate reads it in
 * place of y. A vector that reaches beyond the n columns of a row works on padding, which the arena's rows have.
 */
#include "engine.h"
#include "vecmath.h"

#define LEAK 0.01
#define ROOT_2_PI 0x1.40d931ff62706p+1
#define ROOT_HALF 0x1.6a09e667f3bcdp-1

/* z P(Z < z), Z normal: from the tail on the side of z */
INLINE vec gelu(vec z, vec *slope)
{
    const vec size = minimum(C(ERFC_END / ROOT_HALF), absolute(z)), density = vec_gauss(size, 0.5);
    const vec tail = C(0.5) * density * vec_erfcx(C(ROOT_HALF) * size);
    const vec below = choose(greater(z, C(0)), C(1) - tail, tail);
    *slope = fma_(choose(greater(absolute(z), size), C(0), z), density * C(1 / ROOT_2_PI), below);
    return z * below;
}

INLINE vec silu(vec z, vec *slope)
{
    const vec s = vec_sigmoid(z), y = z * s;
    *slope = fma_(y, vec_sigmoid(C(0) - z), s);
    return y;
}

INLINE vec value(const int name, vec z, vec *slope)
{
    switch (name) {
    case NN_SIGMOID: return vec_sigmoid(z);
    case NN_TANH: return vec_tanh(z);
    case NN_RELU: return maximum(splat(0), z);
    case NN_STEP: return choose(unordered(z, z), z, keep(greater(z, splat(0)), splat(1)));
    case NN_LEAKY_RELU: return choose(greater(splat(0), z), C(LEAK) * z, z);
    case NN_ELU: return choose(greater(splat(0), z), vec_expm1(z), z);
    case NN_GELU: return gelu(z, slope);
    case NN_SILU: return silu(z, slope);
    case NN_SOFTPLUS: return maximum(splat(0), z) + vec_log1p(vec_exp(splat(0) - absolute(z)));
    case NN_ARCTAN: return vec_atan(z);
    default: return z;
    }
}

INLINE vec gated(const int name, vec dy, vec y)
{
    const mask positive = gate_is_open(y);
    switch (name) {
    case NN_SIGMOID: return dy * fnma_(y, y, y);
    case NN_TANH: return dy * fnma_(y, y, splat(1));
    case NN_RELU: return keep(positive, dy);
    case NN_STEP: return splat(0);
    case NN_LEAKY_RELU: return choose(positive, dy, C(LEAK) * dy);
    case NN_ELU: return choose(positive, dy, dy * (y + splat(1)));
    case NN_GELU:
    case NN_SILU: return dy * y;
    case NN_SOFTPLUS: return dy * (splat(0) - vec_expm1(splat(0) - y));
    case NN_ARCTAN: return dy * vec_cos_squared(y);
    default: return dy;
    }
}

/* The name is tested once a pass, not once a vector. */
#define FOR_EACH_NAME(name, PASS)                                                                                      \
    switch (name) {                                                                                                    \
    case NN_SIGMOID: PASS(NN_SIGMOID) break;                                                                           \
    case NN_TANH: PASS(NN_TANH) break;                                                                                 \
    case NN_RELU: PASS(NN_RELU) break;                                                                                 \
    case NN_STEP: PASS(NN_STEP) break;                                                                                 \
    case NN_LEAKY_RELU: PASS(NN_LEAKY_RELU) break;                                                                     \
    case NN_ELU: PASS(NN_ELU) break;                                                                                   \
    case NN_GELU: PASS(NN_GELU) break;                                                                                 \
    case NN_SILU: PASS(NN_SILU) break;                                                                                 \
    case NN_SOFTPLUS: PASS(NN_SOFTPLUS) break;                                                                         \
    case NN_ARCTAN: PASS(NN_ARCTAN) break;                                                                             \
    default: break;                                                                                                    \
    }

void FN(activate)(int name, int rows, int n, real *y, const real *z, ptrdiff_t row, real *slope)
{
    if (n == row) n *= rows, rows = 1;
#define PASS(NAME)                                                                                                     \
    for (int r = 0; r < rows; r++)                                                                                     \
        for (int i = 0; i < n; i += LANES) {                                                                           \
            vec f;                                                                                                     \
            store(y + r * row + i, value(NAME, load(z + r * row + i), &f));                                            \
            if (slope && needs_z(NAME)) store(slope + r * row + i, f);                                                 \
        }
#define PASS_IN_PAIRS(NAME)                                                                                            \
    for (int r = 0; r + 1 < rows; r += 2) {                                                                            \
        vec f;                                                                                                         \
        const ptrdiff_t a = r * row, b = a + row;                                                                      \
        store_pair(y + a, y + b, value(NAME, load_pair(z + a, z + b), &f));                                            \
    }
#ifdef AVX512_VECTORS
    if (n <= LANES / 2 && !slope) {
        FOR_EACH_NAME(name, PASS_IN_PAIRS)
        y += rows / 2 * 2 * row, z += rows / 2 * 2 * row;
        rows %= 2;
    }
#endif
    FOR_EACH_NAME(name, PASS)
#undef PASS
}

void FN(gate)(int name, int rows, int n, real *dz, const real *dy, ptrdiff_t dy_row, const real *y, ptrdiff_t y_row)
{
    if (n == dy_row && n == y_row) n *= rows, rows = 1;
#define PASS(NAME)                                                                                                     \
    for (int r = 0; r < rows; r++)                                                                                     \
        for (int i = 0; i < n; i += LANES)                                                                             \
            store(dz + r * dy_row + i, gated(NAME, load(dy + r * dy_row + i), load(y + r * y_row + i)));
    FOR_EACH_NAME(name, PASS)
#undef PASS
}

/* Softmax of one row: shifted by its maximum, summed in 16 lanes, divided. n columns; reads and writes no others. */
static void softmax(int n, real *y, const real *z)
{
    vec top[WIDE], sum[WIDE];
    UNROLL for (int v = 0; v < WIDE; v++)
        top[v] = splat(-INFINITY), sum[v] = splat(0);
    for (int j = 0; j < n; j += LANES)
        top[j / LANES % WIDE] =
            maximum(top[j / LANES % WIDE], choose(first(n - j), load_first(z + j, n - j), splat(-INFINITY)));
    const vec shift = splat(maximum_16(top));
    for (int j = 0; j < n; j += LANES) {
        const vec e = keep(first(n - j), vec_exp(load_first(z + j, n - j) - shift));
        sum[j / LANES % WIDE] += e;
        store_first(y + j, e, n - j);
    }
    const vec inverse = splat(1 / sum_16(sum));
    for (int j = 0; j < n; j += LANES) store_first(y + j, load_first(y + j, n - j) * inverse, n - j);
}

/* dz = y (dy - sum_j dy_j y_j) */
static void softmax_grad(int n, real *dz, const real *y, const real *dy)
{
    vec sum[WIDE];
    UNROLL for (int v = 0; v < WIDE; v++)
        sum[v] = splat(0);
    for (int j = 0; j < n; j += LANES)
        sum[j / LANES % WIDE] = fma_(load_first(dy + j, n - j), load_first(y + j, n - j), sum[j / LANES % WIDE]);
    const vec mean = splat(sum_16(sum));
    for (int j = 0; j < n; j += LANES)
        store_first(dz + j, load_first(y + j, n - j) * (load_first(dy + j, n - j) - mean), n - j);
}

void FN(activation_forward)(const program *p, const layer *l, const worker *w, share s)
{
    for (int r = s.first; r < s.end; r++) {
        const real *z = FN(input_row)(p, l, w, 0, r);
        real *y = w->values + l->y + r * l->row;
        if (l->activation == NN_SOFTMAX) {
            softmax(l->n_out, y, z);
        } else {
            memcpy(y, z, l->n_out * sizeof *y);
            FN(activate)(l->activation, 1, l->n_out, y, y, 0, slope_of(l, w, r * l->row));
        }
    }
}

void FN(activation_backward)(const program *p, const layer *l, const worker *w, share s)
{
    for (int r = s.first; r < s.end; r++) {
        real *dz = w->values + l->dy + r * l->row;
        const real *y = w->values + l->y + r * l->row;
        if (l->activation == NN_SOFTMAX)
            softmax_grad(l->n_out, dz, y, dz);
        else
            FN(gate)(l->activation, 1, l->n_out, dz, dz, 0, w->values + l->kept + r * l->row, 0);
        FN(pass_down)(p, l, w, 0, r, dz);
    }
}

/* The faces for dense arrays: whole vectors where they lie, the last elements in a padded row. y: z where needs_z. */
static void whole_vectors(int name, int n, real *out, const real *y, const real *dy)
{
    if (name == NN_IDENTITY)
        memmove(out, dy ? dy : y, n * sizeof *out);
    else if (!dy)
        FN(activate)(name, 1, n, out, y, 0, NULL);
    else if (needs_z(name)) {
        real slope[BLOCK], f[BLOCK];
        FN(activate)(name, 1, n, f, y, 0, slope);
        FN(gate)(name, 1, n, out, dy, 0, slope, 0);
    } else
        FN(gate)(name, 1, n, out, dy, 0, y, 0);
}

/* Fewer than fill a vector */
static void some_elements(int name, int64_t n, real *out, const real *y, const real *dy)
{
    real result[LANES], a[LANES] = {0}, b[LANES] = {0};
    if (!n) return;
    memcpy(a, y, n * sizeof *a);
    if (dy) memcpy(b, dy, n * sizeof *b);
    whole_vectors(name, LANES, result, a, dy ? b : NULL);
    memcpy(out, result, n * sizeof *out);
}

/* The vectors of a long result are stored aligned: each other one would cross a line of the cache, at 1.2 times the
 * time. */
static void elementwise(int name, int64_t n, real *out, const real *y, const real *dy)
{
    const int64_t first = n < BLOCK * 4 ? 0 : (VECTOR_BYTES - (uintptr_t)out % VECTOR_BYTES) / sizeof *out % LANES;
    const int64_t end = first + (n - first) / LANES * LANES, most = dy && needs_z(name) ? BLOCK : 1 << 20;
    some_elements(name, first, out, y, dy);
    for (int64_t i = first; i < end; i += most)
        whole_vectors(name, (int)at_most(most, end - i), out + i, y + i, dy ? dy + i : NULL);
    some_elements(name, n - end, out + end, y + end, dy ? dy + end : NULL);
}

void FN(activation_array)(int64_t name, int64_t rows, int64_t n, void *y, const void *z)
{
    const uint64_t before = flush_denormals();
    if (name == NN_SOFTMAX)
        for (int64_t r = 0; r < rows; r++) softmax((int)n, (real *)y + r * n, (const real *)z + r * n);
    else
        elementwise((int)name, rows * n, y, z, NULL);
    restore_denormals(before);
}

void FN(activation_grad_array)(int64_t name, int64_t rows, int64_t n, void *dz, const void *y, const void *dy)
{
    const uint64_t before = flush_denormals();
    if (name == NN_SOFTMAX)
        for (int64_t r = 0; r < rows; r++)
            softmax_grad((int)n, (real *)dz + r * n, (const real *)y + r * n, (const real *)dy + r * n);
    else
        elementwise((int)name, rows * n, dz, y, dy);
    restore_denormals(before);
}

void FN(function_array)(int64_t name, int64_t n, void *out, const void *in)
{
    const uint64_t before = flush_denormals();
    real *y = out;
    const real *x = in;
    for (int64_t i = 0; i < n; i += LANES) {
        const int left = (int)at_most(n - i, LANES);
        const vec v = load_first(x + i, left);
        switch (name) {
        case NN_EXP: store_first(y + i, vec_exp(v), left); break;
        case NN_LOG: store_first(y + i, vec_log(v), left); break;
        case NN_LOG1P: store_first(y + i, vec_log1p(v), left); break;
        }
    }
    restore_denormals(before);
}

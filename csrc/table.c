/* table.c: what this (ISA, dtype) offers, in one table; and the probe of the FMA peak. */
#include "engine.h"
#include "team.h"

int FN(advance)(nn_call *c, double seconds);
void FN(settle)(nn_call *c);
void FN(predict_row)(const nn_call *c, const void *x, void *y);
int FN(dense_forward_array)(const nn_dense *d);
int FN(dense_backward_array)(const nn_dense *d);
int FN(softmax_cross_entropy)(int64_t rows, int64_t n, double scale, double *losses, void *dz, const void *z,
                          const int64_t *labels);
void FN(sgd_update)(int64_t n, void *theta, const void *gradient, double rate);
int FN(words_prepare)(nn_words *words);
int FN(words_advance)(nn_words *words, double seconds);
void FN(function_array)(int64_t name, int64_t n, void *y, const void *x);

static void panel_array(int64_t width, int64_t rows, void *y, const void *x, const void *w, void *bias,
                        const nn_tile *t)
{
    FN(panel)((int)width, (int)rows, y, (nn_rows){x, NULL, 0, NULL}, w, bias, t);
}

static void outer_array(int64_t width, int64_t rows, void *y, const void *x, const void *w, void *updated,
                        const nn_tile *t)
{
    FN(outer)((int)width, (int)rows, y, (nn_rows){x, NULL, 0, NULL}, w, updated, t);
}

/* 10 independent chains keep every FMA unit busy (latency 4, up to two units). */
static double peak(double seconds)
{
    enum { CHAINS = 10, ROUNDS = 4096 };
    vec a[CHAINS];
    UNROLL for (int i = 0; i < CHAINS; i++)
        a[i] = splat((real)i);
    __asm__ volatile("" : "+m"(a)); /* values that no compiler can know */
    const vec b = splat((real)0.999), c = splat((real)0.001);
    const double start = nn_now();
    double elapsed, rounds = 0;
    do {
        for (int r = 0; r < ROUNDS; r++) UNROLL
            for (int i = 0; i < CHAINS; i++) a[i] = fma_(a[i], b, c);
        rounds += ROUNDS;
        elapsed = nn_now() - start;
    } while (elapsed < seconds);
    UNROLL for (int i = 1; i < CHAINS; i++)
        a[0] += a[i];
    __asm__ volatile("" ::"m"(a[0]));
    return rounds * CHAINS * LANES * 2 / elapsed;
}

#define QUOTE_(name) #name
#define QUOTE(name) QUOTE_(name)
const nn_table FN(table) = {
    .isa = QUOTE(NN_ISA),
    .is_double = NN_DOUBLE,
    .lanes = LANES,
    .prepare = FN(prepare),
    .advance = FN(advance),
    .settle = FN(settle),
    .release = FN(release),
    .predict_row = FN(predict_row),
    .dense_forward = FN(dense_forward_array),
    .dense_backward = FN(dense_backward_array),
    .activation = FN(activation_array),
    .activation_grad = FN(activation_grad_array),
    .softmax_cross_entropy = FN(softmax_cross_entropy),
    .sgd_update = FN(sgd_update),
#if !NN_DOUBLE
    .words_prepare = FN(words_prepare),
    .words_advance = FN(words_advance),
#endif
    .function = FN(function_array),
    .panel = panel_array,
    .outer = outer_array,
    .peak = peak,
};

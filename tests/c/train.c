/* Trains a fixed small net on made-up data, in float and double, and prints a hash of theta: the same on every ISA with
 * FMA. NN_ISA names the table; everything is whole numbers or simple fractions, so that no libm has a say. */
#include <stdio.h>
#include <stdlib.h>

#include "nnfast.h"

/* dense tanh, batch_norm, dropout, a residual dense relu, layer_norm, gaussian_noise, dense */
enum { IN = 300, H = 40, OUT = 5, ROWS = 600, BATCH = 290 };
enum { FIRST, NORM = FIRST + IN * H + H, INNER = NORM + 2 * H, LAYER = INNER + H * H + H, LAST = LAYER + 2 * H };
enum { THETA = LAST + H * OUT + OUT };

static uint64_t state = 1;
static double noise(void) /* in [-1, 1) */
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int32_t)(state >> 32) / 2147483648.0;
}

static uint64_t hash(const void *bytes, size_t n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    return h;
}

static void put(int is_double, void *array, int i, double value)
{
    if (is_double)
        ((double *)array)[i] = value;
    else
        ((float *)array)[i] = (float)value;
}

static int train(const nn_table *table)
{
    const int size = table->is_double ? 8 : 4;
    char *x = calloc(ROWS * IN, size), *theta = calloc(THETA, size), *slots = calloc(2 * THETA, size);
    static int64_t order[ROWS], labels[ROWS];
    double rates[6 * NN_RATES] = {0};
    state = 1;
    for (int i = 0; i < ROWS * IN; i++) put(table->is_double, x, i, noise());
    for (int i = 0; i < THETA; i++) put(table->is_double, theta, i, noise() / 8);
    for (int i = 0; i < ROWS; i++) order[i] = (i * 7) % ROWS, labels[i] = i % OUT;
    for (int i = 0; i < 6; i++) rates[NN_RATES * i] = 0.01, rates[NN_RATES * i + 1] = 1e-8;
    char *buffers = calloc(2 * H, size);
    const nn_row rows[] = {
        {NN_DENSE, {IN, H, NN_TANH, 1, 1}, {0, -1}, IN, FIRST, -1},
        {NN_BATCH_NORM, {H, 0.9, 1e-5, 1}, {IN, -1}, IN + H, NORM, 0},
        {NN_DROPOUT, {H, 0.25, 0}, {IN + H, -1}, IN + 2 * H, -1, -1},
        {NN_DENSE, {H, H, NN_RELU, 1, 1}, {IN + 2 * H, -1}, IN + 3 * H, INNER, -1},
        {NN_ADD, {H}, {IN + 3 * H, IN + 2 * H}, IN + 4 * H, -1, -1},
        {NN_LAYER_NORM, {H, 1e-5, 1}, {IN + 4 * H, -1}, IN + 5 * H, LAYER, -1},
        {NN_GAUSSIAN_NOISE, {H, 0.1, 1}, {IN + 5 * H, -1}, IN + 6 * H, -1, -1},
        {NN_DENSE, {H, OUT, NN_IDENTITY, 1, 1, 1e-4, 1e-3, 1.5}, {IN + 6 * H, -1}, IN + 7 * H, LAST, -1},
    };
    for (int i = 0; i < H; i++) put(table->is_double, theta, NORM + i, 1), put(table->is_double, theta, LAYER + i, 1);
    nn_call call = {.rows = rows, .n_rows = sizeof rows / sizeof *rows, .n_in = IN, .n_out = OUT, .theta = theta, .n_theta = THETA,
                    .x = {x, IN * size, size, table->is_double ? NN_F64 : NN_F32, 0}, .labels = labels,
                    .order = order, .n = ROWS, .batch = BATCH, .loss = NN_CROSS_ENTROPY, .optimizer = NN_ADAM,
                    .constants = {0.9, 0.999}, .rates = rates, .state = slots, .slots = 2, .buffers = buffers, .training = 1,
                    .seed = 7, .clip_norm = 0.5, .threads = 3};
    if (table->prepare(&call)) return 1;
    while (table->advance(&call, 0) == NN_MORE) {}
    if (!(call.loss_sum > 0 && call.loss_sum < 1e4)) return 1; /* NaN has the same bits everywhere */
    table->release(&call);
    printf("%s %s %016llx\n", table->isa, table->is_double ? "double" : "float",
           (unsigned long long)(hash(theta, (size_t)THETA * size) ^ hash(buffers, (size_t)2 * H * size)));
    free(x);
    free(theta);
    free(slots);
    free(buffers);
    return 0;
}

int main(void)
{
    for (int i = 0; nn_table_at(i); i++)
        if (train(nn_table_at(i))) return 1;
    return 0;
}

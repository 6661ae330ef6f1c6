/* Trains a fixed small net on made-up data, in float and double, and prints a hash of theta: the same on every ISA with
 * FMA. NN_ISA names the table; everything is whole numbers or simple fractions, so that no libm has a say. */
#include <stdio.h>
#include <stdlib.h>

#include "nnfast.h"

enum { IN = 300, HIDDEN = 40, OUT = 5, ROWS = 600, BATCH = 290, THETA = IN * HIDDEN + HIDDEN + HIDDEN * OUT + OUT };

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
    const nn_row rows[] = {
        {NN_DENSE, {IN, HIDDEN, NN_TANH, 1, 1}, {0}, IN, 0, -1},
        {NN_DENSE, {HIDDEN, OUT, NN_IDENTITY, 1, 1}, {IN}, IN + HIDDEN, IN * HIDDEN + HIDDEN, -1},
    };
    nn_call call = {.rows = rows, .n_rows = 2, .n_in = IN, .n_out = OUT, .theta = theta, .n_theta = THETA,
                    .x = {x, IN * size, size, table->is_double ? NN_F64 : NN_F32, 0}, .labels = labels,
                    .order = order, .n = ROWS, .batch = BATCH, .loss = NN_CROSS_ENTROPY, .optimizer = NN_ADAM,
                    .constants = {0.9, 0.999}, .rates = rates, .state = slots, .slots = 2, .threads = 3};
    if (table->prepare(&call)) return 1;
    while (table->advance(&call, 0) == NN_MORE) {}
    table->release(&call);
    printf("%s %s %016llx\n", table->isa, table->is_double ? "double" : "float",
           (unsigned long long)hash(theta, (size_t)THETA * size));
    free(x);
    free(theta);
    free(slots);
    return 0;
}

int main(void)
{
    for (int i = 0; nn_table_at(i); i++)
        if (train(nn_table_at(i))) return 1;
    return 0;
}

/* tile.c: the register tile in its shapes (tile.h has the formula).
 *
 * acc[row][vector] lives in registers over the whole chain: loops over rows and vectors are unrolled with literal
 * bounds, k runs innermost in time. A panel loads `vectors` of w and one splat of x a row for rows * vectors FMAs: from
 * 8 sums on that is one FMA a cycle. General registers run out before vector ones, so a panel addresses its rows in
 * threes from one base, and every stride that can be literal is.
 */
#include <stdbool.h>

#include "tile.h"

#define EACH(m, v)                                                                                                     \
    UNROLL for (int m = 0; m < MR; m++) UNROLL                                                                         \
        for (int v = 0; v < NV; v++)

INLINE void panel_tile(const int MR, const int NV, const int pointers, real *y, nn_rows x, const real *w, real *other,
                       const nn_tile *t)
{
    vec acc[MAX_ROWS][MAX_VECTORS];
    const ptrdiff_t y_row = t->y_row, x_row = t->x_row;
    if (t->start == START_BIAS)
        EACH (m, v) acc[m][v] = load(other + v * LANES);
    else if (t->start == START_OUTPUT)
        EACH (m, v) acc[m][v] = load(y + m * y_row + v * LANES);
    else
        EACH (m, v) acc[m][v] = splat(0);

    if (pointers) {
        const real *row[MAX_ROWS];
        UNROLL for (int m = 0; m < MR; m++)
            row[m] = x.pointers[m] + x.offset;
        for (int64_t k = 0; k < t->seg; k++, w += NV * LANES) {
            vec b[MAX_VECTORS];
            UNROLL for (int v = 0; v < NV; v++)
                b[v] = load(w + v * LANES);
            UNROLL for (int m = 0; m < MR; m++) {
                const vec a = splat(row[m][k]);
                UNROLL for (int v = 0; v < NV; v++)
                    acc[m][v] = fma_(a, b[v], acc[m][v]);
            }
        }
    } else {
        const real *start = x.base + x.offset;
        const real *base[4] = {start, start + 3 * x_row, start + 6 * x_row, start + 9 * x_row};
        const ptrdiff_t w_k = t->w_k, x_next = t->x_seg - t->seg, w_next = t->w_seg - t->seg * w_k;
        UNROLL for (int i = 0; i < 4; i++)
            OPAQUE(base[i]);
        for (int64_t s = 0; s < t->segs; s++, w += w_next) {
            for (int64_t j = t->seg; j > 0; j--, w += w_k) {
                vec b[MAX_VECTORS];
                UNROLL for (int v = 0; v < NV; v++)
                    b[v] = load(w + v * LANES);
                UNROLL for (int m = 0; m < MR; m++) {
                    const vec a = splat(base[m / 3][m % 3 * x_row]);
                    UNROLL for (int v = 0; v < NV; v++)
                        acc[m][v] = fma_(a, b[v], acc[m][v]);
                }
                UNROLL for (int i = 0; i < 4; i++) {
                    base[i]++;
                    OPAQUE(base[i]);
                }
            }
            UNROLL for (int i = 0; i < 4; i++)
                base[i] += x_next;
        }
    }

    if (t->end == END_ADD || t->end == END_ADD_RELU || t->end == END_ADD_GATE)
        EACH (m, v) acc[m][v] = load(y + m * y_row + v * LANES) + acc[m][v];
    if (t->end == END_RELU || t->end == END_ADD_RELU)
        EACH (m, v) store(y + m * y_row + v * LANES, maximum(splat(0), acc[m][v]));
    else if (is_gated(t->end))
        EACH (m, v)
            store(y + m * y_row + v * LANES, keep(gate_is_open(load(other + m * y_row + v * LANES)), acc[m][v]));
    else
        EACH (m, v) store(y + m * y_row + v * LANES, acc[m][v]);
}

/* A row of sums */
INLINE void outer_end(const int NV, vec *acc, real *y, real *updated, const nn_tile *t)
{
    UNROLL for (int v = 0; v < NV; v++)
        end_sum(t->end, t->rate, y + v * LANES, updated + v * LANES, acc[v]);
}

INLINE void outer_tile(const int MR, const int NV, const int pointers, const int bias, real *y, nn_rows x,
                       const real *w, real *updated, const nn_tile *t)
{
    vec acc[MAX_ROWS][MAX_VECTORS], sum[MAX_VECTORS];
    const ptrdiff_t y_row = t->y_row, x_k = t->x_k, w_k = t->w_k;
    EACH (m, v) acc[m][v] = splat(0);
    UNROLL for (int v = 0; v < NV; v++)
        sum[v] = splat(0);
    for (int64_t s = 0; s < t->segs; s++) {
        const real *xs = x.base + x.offset + s * t->x_seg, *ws = w + s * t->w_seg;
        for (int64_t j = 0; j < t->seg; j++, xs += x_k, ws += w_k) {
            const real *row = pointers ? x.pointers[j] + x.offset : xs;
            OPAQUE(row);
            if (pointers && x.next) __builtin_prefetch(x.next[j] + x.offset);
            vec b[MAX_VECTORS];
            UNROLL for (int v = 0; v < NV; v++)
                b[v] = load(ws + v * LANES);
            if (bias) UNROLL
                for (int v = 0; v < NV; v++) sum[v] += b[v];
            UNROLL for (int m = 0; m < MR; m++) {
                const vec a = splat(row[m]);
                UNROLL for (int v = 0; v < NV; v++)
                    acc[m][v] = fma_(a, b[v], acc[m][v]);
            }
        }
    }
    if (bias) outer_end(NV, sum, t->bias, t->updated_bias, t);
    UNROLL for (int m = 0; m < MR; m++)
        outer_end(NV, acc[m], y + m * y_row, updated + m * y_row, t);
}

/* One function for each form, width and way to x. Rows are cut evenly: 20 become 10 + 10, not 12 + 8. The bias goes
 * along with the first tile: alone it would be a chain without company. Where registers are short it counts as a row.
 */
enum { BIAS_1 = 0, BIAS_2 = REGISTERS < 32, BIAS_4 = 1 };
#define panel_case(M, NV, POINTERS) panel_tile(M, NV, POINTERS, y, x, w, other, t)
#define outer_case(M, NV, POINTERS) outer_tile(M, NV, POINTERS, 0, y, x, w, other, t)
#define biased_case(M, NV, POINTERS) outer_tile(M - BIAS_##NV, NV, POINTERS, 1, y, x, w, other, t)
#define CASE(M, FORM, NV, POINTERS)                                                                                    \
    case M: FORM##_case(M, NV, POINTERS); break;
#define UP_TO_3(...)                                                                                                   \
    CASE(1, __VA_ARGS__)                                                                                               \
    CASE(2, __VA_ARGS__)                                                                                               \
    CASE(3, __VA_ARGS__)
#define UP_TO_6(...)                                                                                                   \
    UP_TO_3(__VA_ARGS__) CASE(4, __VA_ARGS__)                                                                          \
    CASE(5, __VA_ARGS__)                                                                                               \
    CASE(6, __VA_ARGS__)
#define UP_TO_12(...)                                                                                                  \
    UP_TO_6(__VA_ARGS__)                                                                                               \
    CASE(7, __VA_ARGS__)                                                                                               \
    CASE(8, __VA_ARGS__)                                                                                               \
    CASE(9, __VA_ARGS__)                                                                                               \
    CASE(10, __VA_ARGS__)                                                                                              \
    CASE(11, __VA_ARGS__)                                                                                              \
    CASE(12, __VA_ARGS__)
#if defined(__AVX512F__) || !defined(X86)
#define CASES_1 UP_TO_12
#define CASES_2 UP_TO_12
#define CASES_4 UP_TO_6
#else
#define CASES_1 UP_TO_12
#define CASES_2 UP_TO_6
#define CASES_4 UP_TO_3
#endif

#if NN_HALF
#define LINKAGE
#else
#define LINKAGE static __attribute__((noinline))
#endif
#define SHAPE(NAME, FORM, FIRST, NV, POINTERS)                                                                         \
    LINKAGE void NAME(int rows, real *y, nn_rows x, const real *w, real *other, const nn_tile *t)                      \
    {                                                                                                                  \
        const bool bias = FIRST##_BIAS;                                                                                \
        const int all = rows + (bias ? BIAS_##NV : 0), tiles = (all + ROWS_##NV - 1) / ROWS_##NV;                      \
        const int low = all / tiles, taller = all % tiles;                                                             \
        for (int i = 0; i < tiles; i++) {                                                                              \
            int height = low + (i < taller);                                                                           \
            if (bias && i == 0) {                                                                                      \
                switch (height) {                                                                                      \
                    CASES_##NV(FIRST, NV, POINTERS) default : __builtin_trap();                                        \
                }                                                                                                      \
                height -= BIAS_##NV;                                                                                   \
            } else                                                                                                     \
                switch (height) {                                                                                      \
                    CASES_##NV(FORM, NV, POINTERS) default : __builtin_trap();                                         \
                }                                                                                                      \
            y += height * t->y_row;                                                                                    \
            FORM##_NEXT(POINTERS)                                                                                      \
        }                                                                                                              \
    }
#define panel_BIAS 0
#define biased_BIAS (t->bias != NULL)
#define panel_NEXT(POINTERS)                                                                                           \
    if (is_gated(t->end)) other += height * t->y_row;                                                                  \
    if (POINTERS)                                                                                                      \
        x.pointers += height;                                                                                          \
    else                                                                                                               \
        x.base += height * t->x_row;
#define outer_NEXT(POINTERS)                                                                                           \
    x.offset += height;                                                                                                \
    other += height * t->y_row;

#if NN_HALF
SHAPE(FN(panel_half), panel, panel, 1, 0)
SHAPE(FN(panel_half_rows), panel, panel, 1, 1)
SHAPE(FN(outer_half), outer, biased, 1, 0)
SHAPE(FN(outer_half_rows), outer, biased, 1, 1)
#else
SHAPE(panel_1, panel, panel, 1, 0)
SHAPE(panel_2, panel, panel, 2, 0)
SHAPE(panel_4, panel, panel, 4, 0)
SHAPE(panel_rows_1, panel, panel, 1, 1)
SHAPE(panel_rows_2, panel, panel, 2, 1)
SHAPE(panel_rows_4, panel, panel, 4, 1)
SHAPE(outer_1, outer, biased, 1, 0)
SHAPE(outer_2, outer, biased, 2, 0)
SHAPE(outer_4, outer, biased, 4, 0)
SHAPE(outer_rows_1, outer, biased, 1, 1)
SHAPE(outer_rows_2, outer, biased, 2, 1)
SHAPE(outer_rows_4, outer, biased, 4, 1)

typedef void shape_fn(int rows, real *y, nn_rows x, const real *w, real *other, const nn_tile *t);
#ifdef AVX512_VECTORS
extern shape_fn FN( panel_half), FN( panel_half_rows), FN( outer_half), FN( outer_half_rows);
#define HALF(name) FN(name)
#else
#define HALF(name) NULL
#endif

/* by width in vectors, half a vector first */
void FN(panel)(int width, int rows, real *y, nn_rows x, const real *w, real *bias, const nn_tile *t)
{
    static shape_fn *const shapes[2][MAX_VECTORS + 1] = {
        {HALF(panel_half), panel_1, panel_2, NULL, panel_4},
        {HALF(panel_half_rows), panel_rows_1, panel_rows_2, NULL, panel_rows_4}};
    shapes[x.pointers != NULL][width / LANES](rows, y, x, w, bias, t);
}

void FN(outer)(int width, int rows, real *y, nn_rows x, const real *w, real *updated, const nn_tile *t)
{
    static shape_fn *const shapes[2][MAX_VECTORS + 1] = {
        {HALF(outer_half), outer_1, outer_2, NULL, outer_4},
        {HALF(outer_half_rows), outer_rows_1, outer_rows_2, NULL, outer_rows_4}};
    shapes[x.pointers != NULL][width / LANES](rows, y, x, w, updated, t);
}
#endif

/* tile.h: the one product sum under every layer.
 *
 *     y[m][n] = start + sum over s < segs, j < seg of  x[m*x_row + s*x_seg + j*x_k] * w[s*w_seg + j*w_k + n]
 *
 * One call is one R1 block: one FMA chain in ascending (s, j). Two forms of one template (arXiv 1906.06440):
 *     panel  x_k = 1    forward, and dX with W transposed; w is packed, w_k = the panel's width
 *     outer  x_row = 1  dW; w is dz, its rows w_k apart
 * Only a layer that reads the user's array gives pointers to the rows (m of a panel, j of an outer product) of x.
 */
#ifndef NN_TILE_H
#define NN_TILE_H

#include "nnfast.h"
#include "simd.h"

/* x[0]: base + offset; with pointers, row i starts at pointers[i] + offset (and segs is 1). next: NULL, or rows that an
 * outer product fetches into the cache while it works, the next minibatch's. */
typedef struct nn_rows {
    const real *base;
    const real *const *pointers;
    ptrdiff_t offset;
    const real *const *next;
} nn_rows;

/* The shapes: `vectors` wide and at most so many rows high, so that the sums stay in registers at full FMA rate. */
enum { MAX_VECTORS = 4, MAX_ROWS = 12 };
enum { ROWS_1 = 12, ROWS_2 = REGISTERS == 32 ? 12 : 6, ROWS_4 = REGISTERS == 32 ? 6 : 3 };

/* Where a relu gave y, its gradient passes. */
INLINE mask gate_is_open(vec y) { return greater(y, splat(0)) | unordered(y, y); }
INLINE bool is_gated(int64_t end) { return end == END_GATE || end == END_ADD_GATE; }

/* Ends a sum of an outer product as END_... says. */
INLINE void end_sum(int64_t end, double rate, real *y, real *other, vec sum)
{
    if (end == END_ADD || end == END_ADD_GATE || end == END_ADD_UPDATE) sum = load(y) + sum;
    if (end == END_UPDATE || end == END_ADD_UPDATE)
        store(other, fnma_(splat((real)rate), sum, load(other)));
    else
        store(y, is_gated(end) ? keep(gate_is_open(load(other)), sum) : sum);
}

/* width: 1, 2 or 4 vectors, or half a vector where HAS_HALF; rows >= 1 are cut evenly into tiles. other: the bias of a
 * panel that starts with one, the parameters an outer updates, the y of a gate. */
void FN(panel)(int width, int rows, real *y, nn_rows x, const real *w, real *other, const nn_tile *t);
void FN(outer)(int width, int rows, real *y, nn_rows x, const real *w, real *other, const nn_tile *t);
#ifdef AVX512_VECTORS
enum { HAS_HALF = 1 };
#else
enum { HAS_HALF = 0 };
#endif
#endif

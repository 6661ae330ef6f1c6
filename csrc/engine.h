/* engine.h: what the kernel files of one (ISA, dtype) share: a plan made ready to run, and the parts of a step. */
#ifndef NN_ENGINE_H
#define NN_ENGINE_H

#include <stdbool.h>

#include "nnfast.h"
#include "simd.h"
#include "tile.h"

/* R1: product sums run in blocks of 256, and so many rows go depth-first through the layers at a time. */
enum { BLOCK = 256 };

/* A last layer of so few outputs works in columns, where a block has a vector of rows (narrow.c). */
enum { MAX_NARROW = 8 };

INLINE int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

/* Parameters live packed for the length of a call: their columns in panels of some vectors' width, each [row][column].
 * Panel follows panel: for (panel q = weight_panels(...); q.width; q = next_panel(q)). */
typedef struct panel {
    int column, width, columns, widest, narrowest;
} panel;
INLINE panel panel_at(panel q)
{
    const int left = q.columns - q.column;
    q.width = left <= 0                  ? 0
              : left <= q.narrowest      ? q.narrowest
              : left <= LANES            ? LANES
              : left <= q.widest - LANES ? 2 * LANES
                                         : q.widest;
    return q;
}
INLINE panel next_panel(panel q)
{
    q.column += q.width;
    return panel_at(q);
}
/* The columns of W, and those of W^T, whose panels are whole vectors because they are written by transposition. */
INLINE panel weight_panels(int columns, int widest)
{
    return panel_at((panel){0, 0, columns, widest * LANES, HAS_HALF ? LANES / 2 : LANES});
}
INLINE panel transposed_panels(int columns, int widest)
{
    return panel_at((panel){0, 0, columns, widest * LANES, LANES});
}

/* A row of the plan, with its places. A dense row with a softmax becomes two layers. Offsets count reals. */
typedef struct layer {
    int op, activation, n_in, n_out;
    bool use_bias, trainable;
    int64_t output;        /* offset in a sample's activations, by which other rows name it */
    int input;             /* the layer whose output it reads, -1: X */
    bool need_dx, add_dx;  /* backward: is the gradient passed down, is it added to what another layer passed */
    int gate;              /* the input's activation, if this layer is the last to pass a gradient to it; or identity */
    bool fuse_update;      /* sole user of its slice of theta */
    int64_t theta;         /* offsets: in theta ... */
    int64_t bias, weights; /* ... in the packed vectors: [n_out], panels of [n_in] rows ... */
    int64_t transposed;    /* ... in the program: W^T, panels of [n_out] rows */
    int64_t y, dy, row;    /* in a worker: output and its gradient, both [BLOCK][row], if narrow [n_out][row] */
    int64_t kept;          /* what its derivative is made from: y, or f'(z) itself in a place like y's */
    bool narrow;
} layer;

/* Where a row's elements of a sparse X lie. */
typedef struct span {
    int64_t first, end;
} span;

/* What one block of rows needs. A team shares one worker, or each thread has its own and its own partial gradient. */
typedef struct worker {
    const real **x, **y; /* [BLOCK] rows of the batch */
    const real **next;   /* NULL, or the rows that will follow */
    span *spans;         /* [BLOCK] rows of a sparse X, in place of x */
    real *x_converted, *y_converted;
    real *targets;  /* of a narrow last layer: [n_out][row] */
    double *losses; /* [BLOCK] */
    real *values;   /* outputs and gradients of the layers */
    real *gradient; /* packed */
} worker;

/* The block of a sparse X by columns (sparse.c). */
enum { SAMPLE = 1024 };
typedef struct node_of_column {
    int32_t next, row; /* -1 behind the last; row of the block */
    real value;
} node_of_column;
typedef struct sparse_lists {
    int64_t capacity;      /* elements of a block at most */
    double per_row;        /* elements, on average */
    int32_t *sample;       /* [SAMPLE] */
    int32_t *head;         /* [n_in] the first node of a column ... */
    uint64_t *present;     /* ... whose bit is set here */
    int32_t *columns;      /* [n_in] those that have one */
    node_of_column *nodes; /* [capacity] */
} sparse_lists;

typedef struct program {
    const nn_call *call;
    int n_layers, n_workers;
    int widest, slots; /* vectors of a panel; vectors of the optimizer's state */
    bool side_by_side; /* one block a thread, in place of one block for the team */
    bool backward;
    int unit;                       /* rows that a team shares out come in multiples of it */
    int64_t n_packed, n_gradient;   /* packed length; that of the gradient, which may be shorter */
    int64_t step_cost;              /* weights that a parameter pass goes through */
    real *theta, *gradient, *state; /* packed */
    real *transposed;
    sparse_lists sparse;
    bool x_direct, y_direct; /* the rows of x, y are used where they lie */
    int stop;                /* the team's word that the call ends here */
    void *memory;
    int threads;
    bool packed;        /* predict_row: theta's snapshot is in place */
    double work_of_row; /* multiply-adds */
    worker *workers;
    layer *layers;
} program;

INLINE bool reads_sparse(const program *p, const layer *l) { return p->call->csr.indptr && l->input < 0; }
/* w -= rate g, and nothing else */
INLINE bool plain_sgd(const nn_call *c)
{
    return c->optimizer == NN_SGD && c->constants[0] == 0 && c->constants[2] == 0;
}

/* The part of a team's work that is this thread's: rows, or panels when the rows are few. */
typedef struct share {
    int first, end;  /* rows of the block */
    int part, parts; /* of the panels */
} share;

/* One pass over parameters: where block sums go and whether the step ends here. */
typedef struct pass {
    int rows;           /* of the block whose products are summed */
    bool first, last;   /* block of the step */
    const double *rate; /* NULL: no update */
    const worker *from; /* NULL: add up the partial gradients of so many workers */
    int partials;
    real *to;     /* packed gradient */
    int64_t done; /* weights passed so far: the thread's part of all of them is contiguous */
    int part, parts;
} pass;

/* prepare.c */
int FN(prepare)(nn_call *c);
void FN(release)(nn_call *c);
/* dense.c */
void FN(dense_pack)(const program *p, const layer *l);
void FN(dense_unpack)(const program *p, const layer *l);
void FN(dense_transpose)(const program *p, const layer *l, panel q, int first, int end);
void FN(dense_forward)(const program *p, const layer *l, const worker *w, share s);
void FN(dense_backward)(const program *p, const layer *l, const worker *w, share s);
void FN(dense_update)(const program *p, const layer *l, pass *s);
nn_rows FN(input_rows)(const program *p, const layer *l, const worker *w, int first, ptrdiff_t offset);
share FN(rows_of_panel)(const program *p, pass *s, int rows, int width);
int FN(end_of_sum)(const program *p, const layer *l, const pass *s);
void FN(add_partials)(const program *p, const pass *s, int64_t offset, int64_t n);
void FN(finish_sums)(const program *p, const layer *l, const pass *s, panel q, int first, int end);
/* convert.c: y = fma(x, scale, offset), or x where these are 1 and 0 */
void FN(convert)(real *to, const nn_source *s, int64_t row, int64_t column, int64_t n, real scale, real offset);
/* sparse.c */
void FN(sparse_measure)(program *p);
void FN(sparse_sample)(const program *p);
void FN(sparse_gather)(const program *p, const worker *w, const int64_t *order, int first, int end);
void FN(sparse_forward)(const program *p, const layer *l, const worker *w, share s);
void FN(sparse_update)(const program *p, const layer *l, const pass *s);
/* narrow.c */
void FN(narrow_copy)(const layer *l, real *weights, real *bias, real *packed, bool unpack);
void FN(narrow_forward)(const program *p, const layer *l, const worker *w, share s);
void FN(narrow_backward)(const program *p, const layer *l, const worker *w, share s);
void FN(narrow_update)(const program *p, const layer *l, pass *s);
/* activation.c: in place on rows `row` apart; slope: NULL, or receives f'(z) where needs_z; gate: dy *= f'(z), from y
 * or slope */
INLINE bool needs_z(int name) { return name == NN_GELU || name == NN_SILU; }
void FN(activate)(int name, int rows, int n, real *y, ptrdiff_t row, real *slope);
INLINE real *slope_of(const layer *l, const worker *w, ptrdiff_t offset)
{
    return l->kept == l->y ? NULL : w->values + l->kept + offset;
}
void FN(gate)(int name, int rows, int n, real *dy, ptrdiff_t dy_row, const real *y, ptrdiff_t y_row);
void FN(activation_forward)(const program *p, const layer *l, const worker *w, share s);
void FN(activation_backward)(const program *p, const layer *l, const worker *w, share s);
/* loss.c: rows [first, end) of the worker's block; row losses, and dJ/dz when there is a backward pass */
void FN(loss)(const program *p, const worker *w, int first, int end, const int64_t *order, double scale);
/* optim.c */
void FN(update)(const program *p, const double *rate, int64_t offset, int64_t n);
#endif

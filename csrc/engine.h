/* engine.h: what the kernel files of one (ISA, dtype) share: a plan made ready to run, and the parts of a step. */
#ifndef NN_ENGINE_H
#define NN_ENGINE_H

#include <stdbool.h>

#include "nnfast.h"
#include "simd.h"
#include "tile.h"

/* R1: product sums run in blocks of 256, and so many rows go depth-first through the layers at a time. */
enum { BLOCK = 256 };

/* R1: norms over theta, in its order, run in blocks of so many. */
enum { NORM_BLOCK = 4096 };

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

/* Panel width is a matter of speed alone: narrow panels for few rows keep more of them in registers. */
INLINE int widest_panel(int64_t rows)
{
    if (REGISTERS == 32) return rows > 4 && rows <= 16 ? 1 : 4;
    return rows <= 4 ? 4 : 2;
}

/* The stride of rows of n elements: whole vectors, and not so that a column lies in one set of the cache. */
INLINE int64_t padded_row(int64_t n)
{
    const int64_t row = round_up(n, 16);
    return row * sizeof(real) % 1024 ? row : row + 64 / (int64_t)sizeof(real);
}

/* One input of a layer, and the gradient that goes back there. */
typedef struct edge {
    int from;             /* the layer whose output it is, -1: X */
    bool need_dx, add_dx; /* is the gradient passed down, is it added to what another layer passed */
    int gate;             /* that output's activation, if this is the last gradient passed to it; or identity */
} edge;

/* A row of the plan, with its places. A dense row with a softmax becomes two layers. Offsets count reals. */
typedef struct layer {
    int op, activation, n_in, n_out;
    const double *attributes; /* NULL: a layer that no row is */
    bool use_bias, trainable, penalised, constrained;
    int64_t output; /* offset in a sample's activations, by which other rows name it */
    int n_inputs;
    edge in[NN_MAX_INPUTS];
    bool fuse_update;      /* sole user of its slice of theta, and nothing is added to its gradient */
    int64_t theta, buffer; /* offsets: in theta, in the buffers ... */
    int64_t bias, weights; /* ... in the packed vectors: [n_out] (beta), panels of [n_in] rows (gamma) ... */
    int64_t transposed;    /* ... in the program: W^T, panels of [n_out] rows ... */
    int64_t statistics;    /* ... in the program: of normalisation (norm.c), of penalties (penalty.c) */
    int64_t y, dy, row;    /* in a worker: output and its gradient, both [BLOCK][row], if narrow [n_out][row] */
    int64_t kept;          /* what its derivative is made from: y, or something else in a place like y's */
    bool narrow;
} layer;

/* Where a row's elements of a sparse X lie. */
typedef struct span {
    int64_t first, end;
} span;

/* What one block of rows needs. A team shares one worker, or each thread has its own and its own partial gradient; in a
 * step of several phases each block of the step has its own, because it comes back to it. */
typedef struct worker {
    const real **x, **y; /* [BLOCK] rows of the batch */
    const real **next;   /* NULL, or the rows that will follow */
    span *spans;         /* [BLOCK] rows of a sparse X, in place of x */
    int64_t first;       /* row of the step with which the block begins */
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

/* A step is some phases, one after the other, with a barrier between them. Most plans have one: all blocks forward,
 * loss, back, update. A step is cut where the batch couples or Python takes over (ARCHITECTURE.md); then the weights
 * wait for the last phase, so that they are those of the last finished step until the step is done.
 */
enum phase_kind { BLOCKS, STATISTICS, TO_PYTHON, FINISH };
typedef struct phase {
    int kind;
    int layer;     /* STATISTICS, TO_PYTHON: which; n_layers: the loss */
    bool backward; /* TO_PYTHON: which way */
    /* BLOCKS: for each block in turn, ranges of layers, empty or not */
    bool gather, loss;
    int forward_first, forward_end, backward_first, backward_end, update_first, update_end;
    int64_t cost; /* weights that its parameter pass goes through */
} phase;

typedef struct program {
    const nn_call *call;
    int n_layers, n_phases, n_workers;
    bool staged;       /* a step comes back to its blocks: each has a worker of its own */
    int widest, slots; /* vectors of a panel; vectors of the optimizer's state */
    bool side_by_side; /* one block a thread, in place of one block for the team */
    bool backward;
    bool update_last;                      /* by a phase of its own, FINISH */
    int unit;                              /* rows that a team shares out come in multiples of it */
    int64_t n_packed, n_gradient;          /* packed length; that of the gradient, which may be shorter */
    real *theta, *gradient, *state;        /* packed */
    real *transposed, *statistics, *plain; /* plain: NULL, or a gradient in theta's order */
    double *norms;                         /* of the blocks of plain */
    sparse_lists sparse;
    real input_scale, input_offset; /* of X, where the first row is a rescaling */
    bool x_direct, y_direct;        /* the rows of x, y are used where they lie */
    bool smooth;                    /* targets t become t target_scale + target_offset */
    real target_scale, target_offset;
    bool penalised; /* J has a penalty */
    int stop;       /* the team's word that the call ends here */
    void *memory;
    int threads;
    bool packed;        /* predict_row: theta's snapshot is in place */
    double work_of_row; /* multiply-adds */
    worker *workers;
    layer *layers;
    phase *phases;
} program;

/* of a row of a narrow layer's weights, which are W^T */
INLINE int64_t padded_inputs(const layer *l) { return round_up(l->n_in, LANES); }
INLINE bool reads_sparse(const program *p, const layer *l) { return p->call->csr.indptr && l->in[0].from < 0; }
/* w -= rate g, and nothing else */
INLINE bool plain_sgd(const nn_call *c)
{
    return c->optimizer == NN_SGD && c->constants[0] == 0 && c->constants[2] == 0;
}

/* The rows of the step at which the cursor stands; it does not move while a phase works. */
typedef struct step {
    int64_t first, size, blocks;
} step;
INLINE int64_t rows_of_step(const program *p) { return p->backward || p->staged ? p->call->batch : p->call->n; }
INLINE step step_at(const program *p)
{
    const int64_t batch = rows_of_step(p), first = p->call->step * batch, size = at_most(batch, p->call->n - first);
    return (step){first, size, (size + BLOCK - 1) / BLOCK};
}

/* The part of a team's work that is this thread's: rows, or panels when the rows are few. */
typedef struct share {
    int first, end;  /* rows of the block */
    int part, parts; /* of the panels */
} share;

/* One pass over parameters: where block sums go and whether the step ends here. */
typedef struct pass {
    bool complete;      /* the gradient is: there are no sums to make */
    int rows;           /* of the block whose products are summed */
    bool first, last;   /* block of the step */
    const double *rate; /* NULL: no update */
    const worker *from; /* NULL: add up the partial gradients of so many workers */
    int partials;
    real clip;          /* factor of the complete gradient */
    double penalty;     /* factor of the penalties */
    real *to;           /* packed gradient */
    int64_t cost, done; /* weights in all, and passed so far: the thread's part of all of them is contiguous */
    int part, parts;
} pass;

/* prepare.c */
int FN(prepare)(nn_call *c);
void FN(release)(nn_call *c);
/* The parts of an op: copy moves its slice of a vector laid out as theta to its packed place, or back; ready follows
 * the copy of theta; update sums the gradient over a block and, behind the last one, makes the optimizer's step. */
/* dense.c */
void FN(dense_copy)(const program *p, const layer *l, void *plain, real *packed, bool unpack);
void FN(dense_ready)(const program *p, const layer *l);
void FN(dense_transpose)(const program *p, const layer *l, panel q, int first, int end);
void FN(dense_forward)(const program *p, const layer *l, const worker *w, share s);
void FN(dense_backward)(const program *p, const layer *l, const worker *w, share s);
void FN(dense_update)(const program *p, const layer *l, pass *s);
nn_rows FN(input_rows)(const program *p, const layer *l, const worker *w, int first, ptrdiff_t offset);
share FN(rows_of_panel)(pass *s, int rows, int width);
int FN(end_of_sum)(const program *p, const layer *l, const pass *s);
void FN(add_partials)(const program *p, const pass *s, int64_t offset, int64_t n);
void FN(finish_sums)(const program *p, const layer *l, const pass *s, panel q, int first, int end);
/* gather.c: rows [first, end) of a block of `rows` in this order, which goes on for `left` */
void FN(gather)(const program *p, const worker *w, const int64_t *order, int first, int end, int rows, int64_t left);
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
/* activation.c: y = f(z) on rows `row` apart, y may be z; slope: NULL, or receives f'(z) where needs_z.
 * gate: dz = dy f'(z), from y or slope, dz may be dy. The identity copies nothing. */
INLINE bool needs_z(int name) { return name == NN_GELU || name == NN_SILU; }
void FN(activate)(int name, int rows, int n, real *y, const real *z, ptrdiff_t row, real *slope);
INLINE real *slope_of(const layer *l, const worker *w, ptrdiff_t offset)
{
    return l->kept == l->y ? NULL : w->values + l->kept + offset;
}
void FN(gate)(int name, int rows, int n, real *dz, const real *dy, ptrdiff_t dy_row, const real *y, ptrdiff_t y_row);
/* How a tile of dx ends: a relu's gate is shut in its registers, others are a pass. */
INLINE int end_of_dx(const edge *e, bool adds, bool last)
{
    const bool gated = last && e->gate == NN_RELU;
    return adds ? (gated ? END_ADD_GATE : END_ADD) : (gated ? END_GATE : END_STORE);
}
/* of dense arrays, for nnfast.ops; y: z where needs_z */
void FN(activation_array)(int64_t name, int64_t rows, int64_t n, void *y, const void *z);
void FN(activation_grad_array)(int64_t name, int64_t rows, int64_t n, void *dz, const void *y, const void *dy);
void FN(activation_forward)(const program *p, const layer *l, const worker *w, share s);
void FN(activation_backward)(const program *p, const layer *l, const worker *w, share s);
/* elementwise.c, and what all layers use that work row by row */
const real *FN(input_row)(const program *p, const layer *l, const worker *w, int input, int r);
/* Row r of the gradient of an input: each vector is given, then the row goes back past that input's activation. */
real *FN(gradient_row)(const program *p, const layer *l, const worker *w, int input, int r);
INLINE void give(const edge *e, real *sum, vec dx) { store(sum, e->add_dx ? load(sum) + dx : dx); }
void FN(gate_row)(const program *p, const layer *l, const worker *w, int input, int r);
/* All of that for a padded row dx, if it is wanted. */
void FN(pass_down)(const program *p, const layer *l, const worker *w, int input, int r, const real *dx);
void FN(rescaling_forward)(const program *p, const layer *l, const worker *w, share s);
void FN(rescaling_backward)(const program *p, const layer *l, const worker *w, share s);
void FN(add_forward)(const program *p, const layer *l, const worker *w, share s);
void FN(add_backward)(const program *p, const layer *l, const worker *w, share s);
/* noise.c */
void FN(dropout_forward)(const program *p, const layer *l, const worker *w, share s);
void FN(dropout_backward)(const program *p, const layer *l, const worker *w, share s);
void FN(gaussian_noise_forward)(const program *p, const layer *l, const worker *w, share s);
void FN(gaussian_noise_backward)(const program *p, const layer *l, const worker *w, share s);
/* norm.c: statistics of the columns [first, end), which are multiples of 16 */
void FN(norm_copy)(const program *p, const layer *l, void *plain, real *packed, bool unpack);
void FN(norm_ready)(const program *p, const layer *l);
void FN(norm_forward)(const program *p, const layer *l, const worker *w, share s);
void FN(norm_backward)(const program *p, const layer *l, const worker *w, share s);
void FN(norm_update)(const program *p, const layer *l, pass *s);
void FN(batch_statistics)(const program *p, const layer *l, int rows, int first, int end);
void FN(keep_statistics)(const program *p, const layer *l, int rows);
/* custom.c */
void FN(custom_copy)(const program *p, const layer *l, void *plain, real *packed, bool unpack);
void FN(custom_forward)(const program *p, const layer *l, const worker *w, share s);
void FN(custom_backward)(const program *p, const layer *l, const worker *w, share s);
void FN(custom_update)(const program *p, const layer *l, pass *s);
void FN(custom_give)(const program *p, const layer *l, bool backward, share rows); /* l NULL: to the loss */
/* penalty.c: of some of the panels */
void FN(penalty)(const program *p, const layer *l, double factor, share s);
double FN(penalties)(const program *p);
void FN(add_penalty)(const program *p, const layer *l, double factor, int64_t offset, int64_t n); /* to a range of dW */
void FN(constrain)(const program *p, const layer *l, share s);
/* loss.c: rows [first, end) of the worker's block; row losses, and dJ/dz when there is a backward pass */
void FN(loss)(const program *p, const worker *w, int first, int end, const int64_t *order, double scale);
/* optim.c */
void FN(update)(const program *p, const pass *s, int64_t offset, int64_t n);
void FN(block_norms)(const program *p, int part, int parts);
real FN(clip_factor)(const program *p);
#endif

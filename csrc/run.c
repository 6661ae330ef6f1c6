/* run.c: walks the stages of a plan: many minibatches a call, in one parallel region.
 *
 * A step is its blocks of 256 rows, in order. A block goes forward through all layers, through the loss and back while
 * its activations are in L2; then comes the parameter pass. A team works on one block, its rows (or, when they are few,
 * the panels of each layer) shared out; or, when the net is small and the blocks are many, on a block each, and adds up
 * the partial gradients in the order of the blocks. Neither changes a sum. Barriers part the phases:
 *
 *     gather, forward, loss, backward | barrier | sum the losses, parameter pass, cursor | barrier
 */
#include <time.h>

#include "engine.h"
#include "team.h"

enum { FEW_ROWS = 4 };                  /* rows a thread below which a team shares out panels */
static const double CHECK_EVERY = 2e6;  /* multiply-adds between two looks at the clock */
static const double WORTH_PACKING = 10; /* a call lasts so many times as long as its packing, if it asks for any time */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- rows of the user's arrays ---- */

/* A row where it lies, or its conversion. */
static const real *row_of(const nn_source *s, bool direct, int64_t row, int64_t n, real *converted)
{
    if (direct) {
        const char *at = s->data + row * s->row_stride;
        OPAQUE(at); /* else gcc makes eight rows' addresses at a time, which takes longer */
        return (const real *)at;
    }
    FN(convert)(converted, s, row, 0, n, 1, 0);
    return converted;
}

/* The lines of a row that will be converted soon, where its elements lie side by side. */
static void fetch(const nn_source *s, int64_t row, int64_t n)
{
    const char *from = s->data + row * s->row_stride;
    for (int64_t i = 0; s->stride > 0 && s->stride <= 8 && i < n * s->stride; i += 64) __builtin_prefetch(from + i);
}

/* Targets as a narrow last layer wants them: in columns, labels as one-hot ones. */
static void gather_columns(const program *p, const worker *w, const int64_t *order, int first, int end)
{
    const nn_call *c = p->call;
    const ptrdiff_t row = p->layers[p->n_layers - 1].row;
    for (int n = 0; n < c->n_out; n++) {
        real *column = w->targets + n * row;
        if (c->labels)
            for (int i = first; i < end; i++) {
                const int64_t label = c->labels[order[i]];
                column[i] = (uint64_t)label < (uint64_t)c->n_out ? label == n : (real)NAN;
            }
        else if (p->y_direct)
            for (int i = first; i < end; i++) column[i] = row_of(&c->y, true, order[i], 0, NULL)[n];
        else
            for (int i = first; i < end; i++) FN(convert)(column + i, &c->y, order[i], n, 1, 1, 0);
    }
}

/* order: the rows of the block. Rows lie at random, so their cache misses would cost up to half of a step: the
 * rows after these, as far as there are `left`, are named here, their targets fetched now, and X's lines during the dW
 * of the first layer (tile.h). */
static void gather(const program *p, const worker *w, const int64_t *order, int first, int end, int rows, int64_t left)
{
    const nn_call *c = p->call;
    if (c->csr.indptr)
        FN(sparse_gather)(p, w, order, first, end);
    else
        for (int i = first; i < end; i++) {
            if (!p->x_direct && i + 2 < end) fetch(&c->x, order[i + 2], c->n_in);
            w->x[i] = row_of(&c->x, p->x_direct, order[i], c->n_in, w->x_converted + i * c->n_in);
        }
    if (w->next)
        for (int i = first; i < end; i++) {
            const int64_t after = order[i + rows < left ? i + rows : i];
            w->next[i] = row_of(&c->x, true, after, 0, NULL);
            __builtin_prefetch(c->labels ? (const char *)(c->labels + after) : c->y.data + after * c->y.row_stride);
        }
    if (p->layers[p->n_layers - 1].narrow && c->loss != NN_NO_LOSS)
        gather_columns(p, w, order, first, end);
    else if (c->y.data)
        for (int i = first; i < end; i++)
            w->y[i] = row_of(&c->y, p->y_direct, order[i], c->n_out, w->y_converted + i * c->n_out);
}

/* ---- a block ---- */

static void forward(const program *p, const worker *w, const layer *l, share s)
{
    if (s.first < s.end) (l->op == NN_DENSE ? FN(dense_forward) : FN(activation_forward))(p, l, w, s);
}

static void backward(const program *p, const worker *w, const layer *l, share s)
{
    if (s.first < s.end) (l->op == NN_DENSE ? FN(dense_backward) : FN(activation_backward))(p, l, w, s);
}

/* This thread's share of a block of `rows`. by_panels: all rows of some panels, and a barrier after each layer; what
 * needs whole rows (gather, loss, layers without panels) still goes by rows. */
typedef struct cut {
    int rows;
    bool by_panels;
    const nn_team *team;
} cut;
static share rows_of(const program *p, const cut *k)
{
    const int units = (k->rows + p->unit - 1) / p->unit, index = k->team->index, size = k->team->size;
    const int64_t first = units * index / size * p->unit, end = units * (index + 1) / size * p->unit;
    return (share){(int)at_most(first, k->rows), (int)at_most(end, k->rows), 0, 1};
}
static share of_layer(const program *p, const cut *k, const layer *l)
{
    if (!k->by_panels || l->op != NN_DENSE || l->narrow) return rows_of(p, k);
    return (share){0, k->rows, k->team->index, k->team->size};
}

static void put_outputs(const program *p, const worker *w, const layer *last, real *outputs, share s)
{
    const int64_t n = p->call->n_out;
    const real *y = w->values + last->y;
    for (int r = s.first; r < s.end; r++)
        if (last->narrow)
            for (int j = 0; j < n; j++) outputs[r * n + j] = y[j * last->row + r];
        else
            memcpy(outputs + r * n, y + r * last->row, n * sizeof(real));
}

static void through_the_layers(const program *p, const worker *w, const int64_t *order, int64_t position, double scale,
                               const cut *k)
{
    const nn_call *c = p->call;
    const share mine = rows_of(p, k);
    gather(p, w, order, mine.first, mine.end, k->rows, c->n - position);
    if (k->by_panels) nn_barrier(k->team);
    for (int i = 0; i < p->n_layers; i++) {
        forward(p, w, p->layers + i, of_layer(p, k, p->layers + i));
        if (k->by_panels) nn_barrier(k->team);
    }
    const layer *last = p->layers + p->n_layers - 1;
    if (c->outputs) put_outputs(p, w, last, (real *)c->outputs + position * c->n_out, mine);
    if (c->loss != NN_NO_LOSS) FN(loss)(p, w, mine.first, mine.end, order, scale);
    if (!p->backward) return;
    for (int i = p->n_layers - 1; i > 0; i--) {
        if (k->by_panels) nn_barrier(k->team);
        if (p->layers[i].need_dx) backward(p, w, p->layers + i, of_layer(p, k, p->layers + i));
    }
}

static void update_parameters(const program *p, pass s)
{
    for (int i = p->n_layers - 1; i >= 0; i--)
        if (p->layers[i].op == NN_DENSE && p->layers[i].trainable) FN(dense_update)(p, p->layers + i, &s);
}

/* ---- the call ---- */

typedef struct call_run {
    program *p;
    nn_call *c;
    double seconds, until, work; /* multiply-adds since the last look at the clock */
    int status;
} call_run;

static void pack(const program *p, const nn_team *team)
{
    for (int i = team->index; i < p->n_layers; i += team->size)
        if (p->layers[i].op == NN_DENSE) FN(dense_pack)(p, p->layers + i);
}

static void unpack(const program *p, const nn_team *team)
{
    for (int i = team->index; i < p->n_layers; i += team->size)
        if (p->layers[i].op == NN_DENSE) FN(dense_unpack)(p, p->layers + i);
}

static double sum_from(double sum, const double *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) sum += values[i];
    return sum;
}

/* One thread moves the cursor over `rows` rows in `blocks` blocks: losses in row order, then the clock. */
static void go_on(call_run *run, int64_t rows, int64_t blocks, int64_t blocks_of_step, int64_t steps)
{
    nn_call *c = run->c;
    program *p = run->p;
    for (int64_t b = 0; b < blocks && c->loss != NN_NO_LOSS; b++)
        c->loss_sum = sum_from(c->loss_sum, p->workers[b].losses, at_most(BLOCK, rows - b * BLOCK));
    c->rows_done += rows;
    c->block += blocks;
    if (c->block >= blocks_of_step) {
        if (c->optimizer != NN_NO_OPTIMIZER && !isfinite(c->loss_sum))
            run->status = NN_NOT_FINITE;
        else
            c->block = 0, c->step++;
    }
    if (c->step == steps) run->status = NN_DONE;
    run->work += (double)rows * p->work_of_row;
    if (run->work > CHECK_EVERY) {
        run->work = 0;
        if (now() > run->until) p->stop = 1;
    }
    if (run->status != NN_MORE) p->stop = 1;
}

static void work(void *argument, const nn_team *team)
{
    call_run *run = argument;
    program *p = run->p;
    nn_call *c = run->c;
    const uint64_t before = flush_denormals();
    const worker *w = p->workers + (p->side_by_side ? team->index : 0);
    const nn_team alone = {0, 1, NULL};
    const int64_t batch = p->backward ? c->batch : c->n, steps = (c->n + batch - 1) / batch;
    const double began = now();
    if (c->block == 0) pack(p, team);
    nn_barrier(team);
    if (team->index == 0 && run->seconds > 0) run->until = now() + fmax(run->seconds, WORTH_PACKING * (now() - began));
    while (!p->stop) {
        const int64_t step = c->step, block = c->block, first = step * batch, size = at_most(batch, c->n - first);
        const int64_t blocks = (size + BLOCK - 1) / BLOCK;
        const int64_t wave = p->side_by_side ? at_most(team->size, blocks - block) : 1;
        const double scale = 1 / (double)size;
        const int64_t own = block + (p->side_by_side ? team->index : 0);
        const int rows = (int)at_most(BLOCK, size - own * BLOCK);
        const int64_t position = first + own * BLOCK;
        pass s = {.rows = rows, .first = true, .part = 0, .parts = 1, .from = w, .to = w->gradient};
        if (p->side_by_side) {
            if (rows > 0) {
                through_the_layers(p, w, c->order + position, position, scale, &(cut){rows, false, &alone});
                if (p->backward) update_parameters(p, s);
            }
            s.from = NULL;
        } else
            through_the_layers(p, w, c->order + position, position, scale,
                               &(cut){rows, team->size > 1 && rows < FEW_ROWS * team->size, team});
        nn_barrier(team);
        if (team->index == 0) go_on(run, at_most(wave * BLOCK, size - block * BLOCK), wave, blocks, steps);
        if (p->backward) {
            s.first = block == 0;
            s.last = block + wave >= blocks;
            s.rate = c->rates ? c->rates + NN_RATES * step : NULL;
            s.partials = (int)wave;
            s.to = p->gradient;
            s.part = team->index;
            s.parts = team->size;
            update_parameters(p, s);
        }
        nn_barrier(team);
    }
    if (run->status != NN_NOT_FINITE) unpack(p, team); /* inside a step too: theta is that of the last finished one */
    restore_denormals(before);
}

int FN(advance)(nn_call *c, double seconds)
{
    call_run run = {.p = c->program, .c = c, .seconds = seconds, .status = NN_MORE};
    run.p->stop = 0;
    nn_parallel(run.p->threads, work, &run);
    return run.status;
}

void FN(predict_row)(const nn_call *c, const void *x, void *y)
{
    program *p = c->program;
    const uint64_t before = flush_denormals();
    const worker *w = p->workers;
    const layer *last = p->layers + p->n_layers - 1;
    if (!p->packed) pack(p, &(nn_team){0, 1, NULL}), p->packed = true;
    w->x[0] = x;
    for (int i = 0; i < p->n_layers; i++) forward(p, w, p->layers + i, (share){0, 1, 0, 1});
    memcpy(y, w->values + last->y, c->n_out * sizeof(real));
    restore_denormals(before);
}

/* ---- nnfast.ops: the backward pass of one dense layer. The plan is (identity, dense); call->y holds dy. ---- */

typedef struct layer_run {
    program *p;
    const nn_source *y;
    real *dx, *db;
} layer_run;

static void backward_work(void *argument, const nn_team *team)
{
    const layer_run *run = argument;
    const program *p = run->p;
    const nn_call *c = p->call;
    const worker *w = p->workers;
    const layer *from = p->layers, *l = p->layers + 1;
    const uint64_t before = flush_denormals();
    pack(p, team);
    nn_barrier(team);
    for (int64_t first = 0; first < c->n; first += BLOCK) {
        const int rows = (int)at_most(BLOCK, c->n - first);
        const share s = rows_of(p, &(cut){rows, false, team});
        for (int r = s.first; r < s.end; r++) {
            FN(convert)(w->values + from->y + r * from->row, &c->x, first + r, 0, c->n_in, 1, 0);
            FN(convert)(w->values + l->y + r * l->row, run->y, first + r, 0, c->n_out, 1, 0);
            FN(convert)(w->values + l->dy + r * l->row, &c->y, first + r, 0, c->n_out, 1, 0);
        }
        if (s.end > s.first) {
            const int64_t at = s.first * l->row;
            const int mine = s.end - s.first, width = (int)l->row;
            if (needs_z(l->activation))
                FN(activate)(l->activation, mine, width, w->values + l->y + at, l->row, slope_of(l, w, at));
            FN(gate)(l->activation, mine, width, w->values + l->dy + at, l->row, w->values + l->kept + at, l->row);
            if (run->dx) FN(dense_backward)(p, l, w, s);
        }
        for (int r = s.first; r < s.end && run->dx; r++)
            memcpy(run->dx + (first + r) * c->n_in, w->values + from->dy + r * from->row, c->n_in * sizeof(real));
        nn_barrier(team);
        pass u = {
            .rows = rows, .first = first == 0, .from = w, .to = p->gradient, .part = team->index, .parts = team->size};
        FN(dense_update)(p, l, &u);
        nn_barrier(team);
    }
    unpack(p, team);
    if (team->index == 0 && run->db) memcpy(run->db, p->gradient + l->bias, c->n_out * sizeof(real));
    restore_denormals(before);
}

int FN(dense_backward_array)(nn_call *c, const nn_source *y, void *dx, void *db)
{
    if (FN(prepare)(c)) return -1;
    layer_run run = {c->program, y, dx, db};
    nn_parallel(run.p->threads, backward_work, &run);
    FN(release)(c);
    return 0;
}

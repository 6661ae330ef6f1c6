/* run.c: walks the phases of a step: many minibatches a call, in one parallel region.
 *
 * A step is its blocks of 256 rows, in order. A block goes forward through all layers, through the loss and back while
 * its activations are in L2; then comes the parameter pass. A team works on one block, its rows (or, when they are few,
 * the panels of each layer) shared out; or, when the net is small and the blocks are many, on a block each, and adds up
 * the partial gradients in the order of the blocks. Neither changes a sum. Barriers part what is done:
 *
 *     gather, forward, loss, backward | barrier | sum the losses, parameter pass, cursor | barrier
 *
 * Where a layer couples the rows of a batch, or Python takes over, the step has more phases (prepare.c): each is a walk
 * over all blocks through some of the layers, or what happens between two such walks. The cursor is (step, phase,
 * block).
 */
#include "engine.h"
#include "team.h"

enum { FEW_ROWS = 4 };                  /* rows a thread below which a team shares out panels */
static const double CHECK_EVERY = 2e6;  /* multiply-adds between two looks at the clock */
static const double WORTH_PACKING = 10; /* a call lasts so many times as long as its packing, if it asks for any time */

/* ---- a block ---- */

typedef void row_pass(const program *p, const layer *l, const worker *w, share s);
typedef struct operation {
    row_pass *forward, *backward;
    void (*update)(const program *p, const layer *l, pass *s); /* NULL: no parameters */
    void (*copy)(const program *p, const layer *l, void *plain, real *packed, bool unpack);
    void (*ready)(const program *p, const layer *l);
} operation;
static const operation OPERATIONS[] = {
    [NN_DENSE] = {FN(dense_forward), FN(dense_backward), FN(dense_update), FN(dense_copy), FN(dense_ready)},
    [NN_ACTIVATION] = {.forward = FN(activation_forward), .backward = FN(activation_backward)},
    [NN_RESCALING] = {.forward = FN(rescaling_forward), .backward = FN(rescaling_backward)},
    [NN_DROPOUT] = {.forward = FN(dropout_forward), .backward = FN(dropout_backward)},
    [NN_GAUSSIAN_NOISE] = {.forward = FN(gaussian_noise_forward), .backward = FN(gaussian_noise_backward)},
    [NN_BATCH_NORM] = {FN(norm_forward), FN(norm_backward), FN(norm_update), FN(norm_copy), FN(norm_ready)},
    [NN_LAYER_NORM] = {FN(norm_forward), FN(norm_backward), FN(norm_update), FN(norm_copy), FN(norm_ready)},
    [NN_ADD] = {.forward = FN(add_forward), .backward = FN(add_backward)},
    [NN_CUSTOM] = {FN(custom_forward), FN(custom_backward), FN(custom_update), FN(custom_copy), NULL},
};

static void forward(const program *p, const worker *w, const layer *l, share s)
{
    if (s.first < s.end) OPERATIONS[l->op].forward(p, l, w, s);
}

static void backward(const program *p, const worker *w, const layer *l, share s)
{
    bool wanted = false;
    for (int k = 0; k < l->n_inputs; k++) wanted |= l->in[k].need_dx;
    if (wanted && s.first < s.end) OPERATIONS[l->op].backward(p, l, w, s);
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

static void through_the_layers(const program *p, const phase *ph, const worker *w, const int64_t *order,
                               int64_t position, double scale, const cut *k)
{
    const nn_call *c = p->call;
    const share mine = rows_of(p, k);
    if (ph->gather) {
        FN(gather)(p, w, order, mine.first, mine.end, k->rows, c->n - position);
        if (k->by_panels) nn_barrier(k->team);
    }
    for (int i = ph->forward_first; i < ph->forward_end; i++) {
        forward(p, w, p->layers + i, of_layer(p, k, p->layers + i));
        if (k->by_panels) nn_barrier(k->team);
    }
    if (c->outputs && ph->forward_first < p->n_layers && ph->forward_end == p->n_layers)
        put_outputs(p, w, p->layers + p->n_layers - 1, (real *)c->outputs + position * c->n_out, mine);
    if (ph->loss) FN(loss)(p, w, mine.first, mine.end, order, scale);
    for (int i = ph->backward_end - 1; i >= ph->backward_first; i--) {
        if (k->by_panels) nn_barrier(k->team);
        backward(p, w, p->layers + i, of_layer(p, k, p->layers + i));
    }
}

static void update_parameters(const program *p, const phase *ph, pass s)
{
    s.cost = ph->cost;
    for (int i = ph->update_end - 1; i >= ph->update_first; i--) {
        const layer *l = p->layers + i;
        if (OPERATIONS[l->op].update && (l->trainable || l->op == NN_BATCH_NORM)) OPERATIONS[l->op].update(p, l, &s);
    }
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
    const nn_call *c = p->call;
    for (int i = team->index; i < p->n_layers; i += team->size) {
        const layer *l = p->layers + i;
        const operation *o = OPERATIONS + l->op;
        if (!o->copy) continue;
        o->copy(p, l, c->theta, p->theta, false);
        for (int k = 0; k < p->slots; k++)
            o->copy(p, l, (real *)c->state + k * c->n_theta, p->state + k * p->n_packed, false);
        if (o->ready) o->ready(p, l);
    }
}

static void unpack(const program *p, const nn_team *team)
{
    const nn_call *c = p->call;
    for (int i = team->index; i < p->n_layers; i += team->size) {
        const layer *l = p->layers + i;
        const operation *o = OPERATIONS + l->op;
        if (!o->copy) continue;
        if (c->gradient) o->copy(p, l, c->gradient, p->gradient, true);
        if (c->optimizer == NN_NO_OPTIMIZER || !l->trainable) continue;
        o->copy(p, l, c->theta, p->theta, true);
        for (int k = 0; k < p->slots; k++)
            o->copy(p, l, (real *)c->state + k * c->n_theta, p->state + k * p->n_packed, true);
    }
}

static double sum_from(double sum, const double *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) sum += values[i];
    return sum;
}

/* ---- phases: what a team does between two barriers, and how the cursor moves ---- */

/* One thread moves the cursor over some blocks of the phase, or over all of it, and looks at the clock. */
static void go_on(call_run *run, step s, int64_t blocks)
{
    nn_call *c = run->c;
    program *p = run->p;
    const phase *ph = p->phases + c->phase;
    const int64_t rows = at_most(blocks * BLOCK, s.size - c->block * BLOCK);
    if (ph->loss) {
        if (c->block == 0 && c->losses) c->loss_sum = 0;
        if (c->block == 0 && p->penalised) c->loss_sum += (double)s.size * FN(penalties)(p);
        for (int64_t b = 0; b < blocks; b++)
            c->loss_sum = sum_from(c->loss_sum, p->workers[p->staged ? c->block + b : b].losses,
                                   at_most(BLOCK, rows - b * BLOCK));
        c->rows_done += rows;
        if (c->losses) c->losses[c->step] = c->loss_sum;
    }
    c->block += blocks;
    if (c->block >= s.blocks) {
        if (ph->loss && c->optimizer != NN_NO_OPTIMIZER && !isfinite(c->loss_sum))
            run->status = NN_NOT_FINITE;
        else {
            c->block = 0;
            if (++c->phase == p->n_phases) c->phase = 0, c->step++;
        }
    }
    if (c->step * rows_of_step(p) >= c->n) run->status = NN_DONE;
    if (!p->staged) p->workers->first = c->block * BLOCK;
    run->work += (double)rows * p->work_of_row;
    if (run->work > CHECK_EVERY) {
        run->work = 0;
        if (nn_now() > run->until) p->stop = 1;
    }
    if (run->status != NN_MORE) p->stop = 1;
}

/* The block at the cursor, or one a thread. */
static void do_blocks(call_run *run, const phase *ph, step st, const nn_team *team)
{
    program *p = run->p;
    nn_call *c = run->c;
    const nn_team alone = {0, 1, NULL};
    const int64_t block = c->block, wave = p->side_by_side ? at_most(team->size, st.blocks - block) : 1;
    const int64_t own = block + (p->side_by_side ? team->index : 0);
    worker *w = p->workers + (p->side_by_side ? team->index : p->staged ? block : 0);
    if (p->side_by_side) w->first = own * BLOCK;
    const int rows = (int)at_most(BLOCK, st.size - own * BLOCK);
    const int64_t position = st.first + own * BLOCK;
    const double scale = 1 / (double)st.size;
    const double penalty = c->penalty_factors ? c->penalty_factors[c->step] : 1;
    pass s = {.rows = rows, .first = true, .part = 0, .parts = 1, .from = w, .to = w->gradient, .penalty = penalty};
    if (ph->gather && block == 0 && p->penalised)
        for (int i = 0; i < p->n_layers; i++)
            FN(penalty)(p, p->layers + i, penalty, (share){0, 0, team->index, team->size});
    if (p->side_by_side) {
        if (rows > 0) {
            through_the_layers(p, ph, w, c->order + position, position, scale, &(cut){rows, false, &alone});
            if (p->backward) update_parameters(p, ph, s);
        }
        s.from = NULL;
    } else
        through_the_layers(p, ph, w, c->order + position, position, scale,
                           &(cut){rows, team->size > 1 && rows < FEW_ROWS * team->size, team});
    if (p->backward) {
        s.first = block == 0;
        s.last = block + wave >= st.blocks;
        s.rate = c->rates && !p->update_last ? c->rates + NN_RATES * c->step : NULL;
        s.partials = (int)wave;
        s.to = p->gradient;
        s.part = team->index;
        s.parts = team->size;
    }
    nn_barrier(team);
    if (team->index == 0) go_on(run, st, wave);
    if (p->backward) update_parameters(p, ph, s);
}

static share part_of(int units, int unit, const nn_team *team)
{
    return (share){units * team->index / team->size * unit, units * (team->index + 1) / team->size * unit, 0, 1};
}

static void do_statistics(call_run *run, const phase *ph, step st, const nn_team *team)
{
    const layer *l = run->p->layers + ph->layer;
    const share columns = part_of((l->n_out + 15) / 16, 16, team);
    FN(batch_statistics)(run->p, l, (int)st.size, columns.first, columns.end);
    nn_barrier(team);
    if (team->index == 0) go_on(run, st, st.blocks);
}

static void ask_python(call_run *run, const phase *ph, step st, const nn_team *team)
{
    nn_call *c = run->c;
    const layer *l = run->p->layers + ph->layer;
    const bool is_loss = ph->layer == run->p->n_layers;
    FN(custom_give)(run->p, is_loss ? NULL : l, ph->backward, part_of((int)st.size, 1, team));
    nn_barrier(team);
    if (team->index) return;
    c->wanted.exchange = is_loss ? -1 : (int64_t)l->attributes[NN_FUNCTION];
    c->wanted.backward = ph->backward;
    c->wanted.first = st.first;
    c->wanted.rows = st.size;
    go_on(run, st, st.blocks);
    run->status = NN_PYTHON;
    run->p->stop = 1;
}

/* The gradient is complete: clip it, make the optimizer's step, keep the weights within their bounds. */
static void finish_step(call_run *run, const phase *ph, step st, const nn_team *team)
{
    const program *p = run->p;
    const nn_call *c = run->c;
    pass s = {.complete = true,
              .last = true,
              .rate = c->rates + NN_RATES * c->step,
              .clip = 1,
              .part = team->index,
              .parts = team->size};
    if (c->clip_norm > 0) {
        for (int i = team->index; i < p->n_layers; i += team->size)
            if (OPERATIONS[p->layers[i].op].copy)
                OPERATIONS[p->layers[i].op].copy(p, p->layers + i, p->plain, p->gradient, true);
        nn_barrier(team);
        FN(block_norms)(p, team->index, team->size);
        nn_barrier(team);
        s.clip = FN(clip_factor)(p);
    }
    update_parameters(p, ph, s);
    nn_barrier(team);
    for (int i = 0; i < p->n_layers; i++) FN(constrain)(p, p->layers + i, (share){0, 0, team->index, team->size});
    if (team->index) return;
    for (int i = 0; i < p->n_layers; i++)
        if (p->layers[i].op == NN_BATCH_NORM && c->training) FN(keep_statistics)(p, p->layers + i, (int)st.size);
    go_on(run, st, st.blocks);
}

static void work(void *argument, const nn_team *team)
{
    static void (*const DO[])(call_run *, const phase *, step, const nn_team *) = {
        [BLOCKS] = do_blocks, [STATISTICS] = do_statistics, [TO_PYTHON] = ask_python, [FINISH] = finish_step};
    call_run *run = argument;
    program *p = run->p;
    nn_call *c = run->c;
    const uint64_t before = flush_denormals();
    const double began = nn_now();
    if (c->phase == 0 && c->block == 0) pack(p, team);
    nn_barrier(team);
    if (team->index == 0 && run->seconds > 0)
        run->until = nn_now() + fmax(run->seconds, WORTH_PACKING * (nn_now() - began));
    while (!p->stop) {
        const phase *ph = p->phases + c->phase;
        DO[ph->kind](run, ph, step_at(p), team);
        nn_barrier(team);
    }
    /* inside a step too: theta is that of the last finished one */
    if (run->status != NN_NOT_FINITE && run->status != NN_PYTHON) unpack(p, team);
    restore_denormals(before);
}

int FN(advance)(nn_call *c, double seconds)
{
    call_run run = {.p = c->program, .c = c, .seconds = seconds, .status = NN_MORE};
    run.p->stop = 0;
    if (!run.p->staged) run.p->workers->first = c->block * BLOCK;
    nn_parallel(run.p->threads, work, &run);
    return run.status;
}

void FN(settle)(nn_call *c) { unpack(c->program, &(nn_team){0, 1, NULL}); }

void FN(predict_row)(const nn_call *c, const void *x, void *y)
{
    program *p = c->program;
    const uint64_t before = flush_denormals();
    const worker *w = p->workers;
    const layer *last = p->layers + p->n_layers - 1;
    if (!p->packed) pack(p, &(nn_team){0, 1, NULL}), p->packed = true;
    w->x[0] = x;
    if (!p->x_direct) {
        const nn_source row = {x, 0, sizeof(real), NN_DOUBLE ? NN_F64 : NN_F32, 0};
        FN(convert)(w->x_converted, &row, 0, 0, c->n_in, p->input_scale, p->input_offset);
        w->x[0] = w->x_converted;
    }
    for (int i = 0; i < p->n_layers; i++) forward(p, w, p->layers + i, (share){0, 1, 0, 1});
    memcpy(y, w->values + last->y, c->n_out * sizeof(real));
    restore_denormals(before);
}

/* prepare.c: a plan becomes a program: rows become layers with their places in theta, packed vectors and workers. */
#include <stdlib.h>

#include "engine.h"

enum { SMALL_NET = 1 << 15 }; /* parameters up to which a team takes a block each: partial gradients stay in L2 */

/* The layer whose output lies at the offset; -1: X, also behind a first rescaling, which the conversion of X does. */
static int producer(const program *p, int64_t offset)
{
    int i = p->n_layers - 1;
    while (i >= 0 && p->layers[i].output != offset) i--;
    return i;
}

static layer *add_layer(program *p, layer l)
{
    /* behind what layer_norm keeps of a row lies its 1/deviation (norm.c) */
    l.row = padded_row(l.op == NN_LAYER_NORM ? round_up(l.n_out, 16) + 16 : l.n_out);
    p->layers[p->n_layers] = l;
    return p->layers + p->n_layers++;
}

static void add_dense(program *p, layer l)
{
    const bool softmax = l.attributes[NN_DENSE_ACTIVATION] == NN_SOFTMAX;
    const int64_t output = l.output;
    l.activation = softmax ? NN_IDENTITY : (int)l.attributes[NN_DENSE_ACTIVATION];
    l.use_bias = l.attributes[NN_USE_BIAS] != 0;
    l.trainable = l.attributes[NN_TRAINABLE] != 0;
    l.penalised = l.trainable && (l.attributes[NN_L1] != 0 || l.attributes[NN_L2] != 0);
    l.constrained = l.trainable && l.attributes[NN_MAX_NORM] != 0;
    if (softmax) l.output = -1;
    const layer *dense = add_layer(p, l);
    if (softmax)
        add_layer(p, (layer){.op = NN_ACTIVATION,
                             .activation = NN_SOFTMAX,
                             .n_in = dense->n_out,
                             .n_out = dense->n_out,
                             .n_inputs = 1,
                             .in = {{.from = p->n_layers - 1}},
                             .output = output});
}

static void add_rows(program *p)
{
    const nn_call *c = p->call;
    p->input_scale = 1;
    for (int64_t i = 0; i < c->n_rows; i++) {
        const nn_row *r = c->rows + i;
        const double *a = r->attributes;
        const bool two_widths = r->op == NN_DENSE || r->op == NN_CUSTOM;
        if (i == 0 && r->op == NN_RESCALING && c->n_rows > 1 && c->rows[1].inputs[0] == r->output) {
            p->input_scale = (real)a[NN_SCALE];
            p->input_offset = (real)a[NN_OFFSET];
            continue;
        }
        layer l = {.op = (int)r->op,
                   .attributes = a,
                   .n_in = (int)a[NN_N_IN],
                   .n_out = (int)a[two_widths ? NN_N_OUT : NN_N_IN],
                   .theta = r->theta,
                   .buffer = r->buffer,
                   .output = r->output};
        for (; l.n_inputs < NN_MAX_INPUTS && r->inputs[l.n_inputs] >= 0; l.n_inputs++)
            l.in[l.n_inputs].from = r->inputs[l.n_inputs] == 0 ? -1 : producer(p, r->inputs[l.n_inputs]);
        switch (r->op) {
        case NN_DENSE: add_dense(p, l); continue;
        case NN_ACTIVATION: l.activation = (int)a[NN_ACTIVATION_NAME]; break;
        case NN_DROPOUT:
        case NN_GAUSSIAN_NOISE:
            if (!c->training) l.op = NN_ACTIVATION; /* the identity */
            break;
        case NN_BATCH_NORM: l.trainable = a[NN_BATCH_TRAINABLE] != 0; break;
        case NN_LAYER_NORM: l.trainable = a[NN_LAYER_TRAINABLE] != 0; break;
        case NN_CUSTOM: l.trainable = a[NN_CUSTOM_TRAINABLE] != 0 && a[NN_N_PARAMETERS] > 0; break;
        }
        add_layer(p, l);
    }
}

/* Columns pay where a block has some vectors of rows; Python wants its arrays in rows. Smoothed labels stay in rows:
 * one-hot targets, which columns have, would give them other bits. */
static void choose_columns(program *p, int64_t rows)
{
    layer *last = p->layers + p->n_layers - 1;
    last->narrow = last->op == NN_DENSE && last->n_out <= MAX_NARROW && rows >= LANES && !reads_sparse(p, last) &&
                   !last->constrained && !(p->smooth && p->call->labels) && p->call->loss != NN_PYTHON_LOSS;
    p->unit = last->narrow ? 16 : 1;
    if (last->narrow) last->row = round_up(at_most(rows, BLOCK), 16) + 64 / (int64_t)sizeof(real);
}

/* Who passes a gradient to whom: backward order is descending, so the first consumer of an output passes last. */
static void link_gradients(program *p)
{
    bool *below = calloc(p->n_layers + 1, sizeof *below), *passed = calloc(p->n_layers + 1, sizeof *passed);
    if (!below || !passed) abort(); /* a few bytes */
    for (int i = 0; i < p->n_layers; i++) {
        const layer *l = p->layers + i;
        below[i] = l->trainable;
        for (int k = 0; k < l->n_inputs; k++) below[i] |= l->in[k].from >= 0 && below[l->in[k].from];
    }
    for (int i = p->n_layers - 1; i >= 0; i--)
        for (int k = 0; k < p->layers[i].n_inputs; k++) {
            edge *e = p->layers[i].in + k;
            e->gate = NN_IDENTITY;
            e->need_dx = p->backward && e->from >= 0 && below[e->from];
            if (!e->need_dx) continue;
            e->add_dx = passed[e->from];
            passed[e->from] = true;
        }
    for (int i = 0; i < p->n_layers; i++)
        for (int k = p->layers[i].n_inputs - 1; k >= 0; k--) {
            edge *e = p->layers[i].in + k;
            if (!e->need_dx || !passed[e->from]) continue;
            passed[e->from] = false;
            if (p->layers[e->from].op == NN_DENSE) e->gate = p->layers[e->from].activation;
        }
    for (int i = 0; i < p->n_layers; i++) {
        p->layers[i].fuse_update = !p->layers[i].penalised;
        for (int j = 0; j < p->n_layers; j++)
            if (j != i && p->layers[j].op == NN_DENSE && p->layers[j].theta == p->layers[i].theta)
                p->layers[i].fuse_update = false;
    }
    free(below);
    free(passed);
}

/* ---- phases ---- */

static bool couples(const program *p, int i)
{
    const layer *l = p->layers + i;
    return l->op == NN_CUSTOM || (l->op == NN_BATCH_NORM && p->call->training);
}

static bool is_custom(const program *p, int i) { return i < p->n_layers && p->layers[i].op == NN_CUSTOM; }

/* The layers between two that couple are a stage. A layer that couples begins its stage on the way forward, and ends
 * the stage before it on the way back: there what the batch, or Python, makes of its gradient is known. */
static void add_phases(program *p)
{
    const int n = p->n_layers;
    phase *at = p->phases;
    *at = (phase){.kind = BLOCKS, .gather = true};
    for (int i = 0; i < n; i++)
        if (couples(p, i)) {
            at->forward_end = i;
            *++at = (phase){.kind = is_custom(p, i) ? TO_PYTHON : STATISTICS, .layer = i};
            *++at = (phase){.kind = BLOCKS, .forward_first = i};
        }
    at->forward_end = n;
    const phase *stage = at;
    if (p->call->loss == NN_PYTHON_LOSS) {
        *++at = (phase){.kind = TO_PYTHON, .layer = n};
        *++at = (phase){.kind = BLOCKS, .forward_first = n, .forward_end = n};
    }
    at->loss = p->call->loss != NN_NO_LOSS;
    for (; p->backward && stage >= p->phases; stage--) {
        if (stage->kind != BLOCKS) continue;
        const int first = stage->forward_first, end = stage->forward_end;
        const bool begins_coupled = stage > p->phases;
        if (end < n) {
            if (is_custom(p, end)) *++at = (phase){.kind = TO_PYTHON, .layer = end, .backward = true};
            *++at = (phase){.kind = BLOCKS, .forward_first = n, .forward_end = n};
        }
        at->backward_first = begins_coupled ? first + 1 : first;
        at->backward_end = (int)at_most(end + 1, n);
        at->update_first = begins_coupled && is_custom(p, first) ? first + 1 : first;
        at->update_end = is_custom(p, end) ? end + 1 : end;
    }
    p->staged = at > p->phases;
    p->update_last = p->staged || p->call->clip_value > 0 || p->call->clip_norm > 0;
    for (int i = 0; i < n; i++) p->update_last |= p->layers[i].constrained;
    if (p->update_last && p->call->optimizer != NN_NO_OPTIMIZER) *++at = (phase){.kind = FINISH, .update_end = n};
    p->n_phases = (int)(at - p->phases) + 1;
}

static bool direct(const nn_source *s)
{
    return s->data && s->type == (NN_DOUBLE ? NN_F64 : NN_F32) && !s->swapped && s->stride == (ptrdiff_t)sizeof(real) &&
           s->row_stride % (ptrdiff_t)sizeof(real) == 0 && (uintptr_t)s->data % sizeof(real) == 0;
}

/* Takes places one after another; with base NULL it only measures. */
typedef struct places {
    char *base;
    size_t used;
} places;
static void *take(places *at, int64_t n, size_t size)
{
    void *place = at->base ? at->base + at->used : NULL;
    at->used += round_up(n * (int64_t)size, 64);
    return place;
}

/* Does the update always follow the sums of dW at once, in theta alone (sparse.c)? */
static bool without_gradient(const program *p, const layer *l)
{
    return reads_sparse(p, l) && l->fuse_update && plain_sgd(p->call) && step_at(p).size <= BLOCK && !p->update_last;
}

/* In the packed vectors; layers without a gradient lie behind its end. */
static void place_parameters(program *p)
{
    p->n_packed = 0;
    for (int last = 0; last < 2; last++) {
        for (int i = 0; i < p->n_layers; i++) {
            layer *l = p->layers + i;
            if (without_gradient(p, l) != last) continue;
            const int64_t inputs = round_up(l->n_in, LANES), outputs = round_up(l->n_out, 16);
            l->bias = p->n_packed;
            l->weights = l->bias + outputs;
            switch (l->op) {
            case NN_DENSE:
                p->n_packed = l->weights + (l->narrow ? l->n_out : round_up(l->n_out, LANES)) * inputs;
                break;
            case NN_BATCH_NORM:
            case NN_LAYER_NORM: p->n_packed = l->weights + outputs; break;
            case NN_CUSTOM: p->n_packed = l->weights + round_up((int64_t)l->attributes[NN_N_PARAMETERS], 16); break;
            }
        }
        if (!last) p->n_gradient = p->n_packed;
    }
}

/* The weights that a parameter pass goes through, which a team shares out evenly. */
static int64_t cost_of(const program *p, const layer *l)
{
    switch (l->op) {
    case NN_DENSE:
        return l->trainable && !reads_sparse(p, l)
                   ? (int64_t)(l->narrow ? l->n_out : round_up(l->n_out, LANES)) * l->n_in
                   : 0;
    case NN_BATCH_NORM:
    case NN_LAYER_NORM: return 2 * l->n_out;
    case NN_CUSTOM: return l->trainable ? (int64_t)l->attributes[NN_N_PARAMETERS] : 0;
    default: return 0;
    }
}

static void place_lists(program *p, places *at)
{
    const int64_t n_in = p->call->n_in;
    if (!p->call->csr.indptr || !p->backward) return;
    sparse_lists *lists = &p->sparse;
    lists->sample = take(at, SAMPLE, sizeof *lists->sample);
    lists->head = take(at, n_in, sizeof *lists->head);
    lists->present = take(at, n_in / 64 + 1, sizeof *lists->present);
    lists->columns = take(at, n_in, sizeof *lists->columns);
    lists->nodes = take(at, lists->capacity, sizeof *lists->nodes);
}

static size_t place(program *p, char *base)
{
    const nn_call *c = p->call;
    const layer *last = p->layers + p->n_layers - 1;
    places at = {base, 0};
    const int64_t rows = at_most(BLOCK, step_at(p).size);
    int64_t values = 0, transposed = 0, statistics = 0;
    place_parameters(p);
    for (int i = 0; i < p->n_phases; i++) p->phases[i].cost = 0;
    for (int i = 0; i < p->n_layers; i++) {
        layer *l = p->layers + i;
        const int64_t size = l->row * (l->narrow ? l->n_out : rows);
        const bool keeps =
            needs_z(l->activation) || l->op == NN_DROPOUT || l->op == NN_BATCH_NORM || l->op == NN_LAYER_NORM;
        l->y = values;
        l->dy = l->y + size;
        values = l->dy + (p->backward || c->loss != NN_NO_LOSS ? size : 0);
        l->kept = p->backward && keeps ? values : l->y;
        if (l->kept != l->y) values += size;
        const int64_t cost = cost_of(p, l);
        for (int k = 0; k < p->n_phases; k++)
            if (i >= p->phases[k].update_first && i < p->phases[k].update_end) p->phases[k].cost += cost;
        l->transposed = transposed;
        if (l->op == NN_DENSE && l->in[0].need_dx && !l->narrow)
            transposed += round_up(l->n_out, LANES) * round_up(l->n_in, LANES);
        l->statistics = statistics;
        if (l->op == NN_BATCH_NORM || l->penalised) statistics += 3 * round_up(l->n_out, 16);
    }
    const int64_t n = p->n_packed + 16;
    p->theta = take(&at, n, sizeof(real));
    p->gradient = take(&at, p->backward ? p->n_gradient + 16 : 0, sizeof(real));
    p->state = take(&at, p->slots * p->n_packed, sizeof(real));
    p->transposed = take(&at, transposed, sizeof(real));
    p->statistics = take(&at, statistics, sizeof(real));
    p->plain = take(&at, c->clip_norm > 0 ? c->n_theta : 0, sizeof(real));
    p->norms = take(&at, c->clip_norm > 0 ? c->n_theta / NORM_BLOCK + 1 : 0, sizeof(double));
    place_lists(p, &at);
    for (int i = 0; i < p->n_workers; i++) {
        worker *w = p->workers + i;
        w->first = i * BLOCK;
        w->x = take(&at, rows, sizeof *w->x);
        w->y = take(&at, rows, sizeof *w->y);
        w->next = p->backward && p->x_direct && p->n_workers == 1 ? take(&at, rows, sizeof *w->next) : NULL;
        w->spans = take(&at, c->csr.indptr ? rows : 0, sizeof *w->spans);
        w->x_converted = take(&at, p->x_direct || c->csr.indptr ? 0 : rows * c->n_in, sizeof(real));
        w->y_converted = take(&at, p->y_direct || !c->y.data ? 0 : rows * c->n_out, sizeof(real));
        w->targets = take(&at, last->narrow && c->loss != NN_NO_LOSS ? last->n_out * last->row : 0, sizeof(real));
        w->losses = take(&at, rows + 16, sizeof *w->losses);
        w->values = take(&at, values + 16, sizeof(real));
        w->gradient = take(&at, p->backward && p->side_by_side ? n : 0, sizeof(real));
    }
    return at.used;
}

int FN(prepare)(nn_call *c)
{
    program *p = calloc(1, sizeof *p);
    if (!p) return -1;
    *p = (program){.call = c, .backward = c->gradient || c->optimizer != NN_NO_OPTIMIZER, .slots = (int)c->slots};
    c->program = p;
    p->layers = calloc(2 * c->n_rows, sizeof *p->layers);
    p->phases = calloc(8 * c->n_rows + 8, sizeof *p->phases);
    if (!p->layers || !p->phases) goto out_of_memory;
    add_rows(p);
    link_gradients(p);
    add_phases(p);
    p->x_direct = direct(&c->x) && p->input_scale == 1 && p->input_offset == 0;
    p->y_direct = direct(&c->y);
    p->smooth = c->label_smoothing > 0;
    p->target_scale = (real)(1 - c->label_smoothing);
    p->target_offset = (real)(c->label_smoothing / (c->loss == NN_CROSS_ENTROPY ? (double)c->n_out : 2));

    const int64_t rows = step_at(p).size;
    choose_columns(p, rows);
    p->widest = widest_panel(rows);
    FN(sparse_measure)(p);
    if (p->sparse.capacity > INT32_MAX) goto out_of_memory;
    double parameters = 0;
    for (int i = 0; i < p->n_layers; i++) {
        const layer *l = p->layers + i;
        if (l->op == NN_DENSE) parameters += (reads_sparse(p, l) ? p->sparse.per_row : (double)l->n_in) * l->n_out;
        p->penalised |= c->loss != NN_NO_LOSS && l->penalised;
    }
    p->work_of_row = parameters * (p->backward ? 3 : 1);
    const double useful = c->serial_below > 0 ? 2 * p->work_of_row * rows / c->serial_below : NN_MAX_THREADS;
    p->threads = useful < 2 ? 1 : (int)at_most(c->threads, useful > NN_MAX_THREADS ? NN_MAX_THREADS : (int64_t)useful);
    p->side_by_side =
        !p->staged && p->threads > 1 && rows > BLOCK && (!p->backward || (parameters <= SMALL_NET && !c->csr.indptr));
    p->n_workers = p->side_by_side ? p->threads : p->staged ? (int)((rows + BLOCK - 1) / BLOCK) : 1;
    p->workers = calloc(p->n_workers, sizeof *p->workers);
    if (!p->workers) goto out_of_memory;
    const size_t size = place(p, NULL);
    p->memory = aligned_alloc(64, round_up((int64_t)size + 64, 64));
    if (!p->memory) goto out_of_memory;
    memset(p->memory, 0, size + 64);
    place(p, p->memory);
    FN(sparse_sample)(p);
    return 0;
out_of_memory:
    FN(release)(c);
    return -1;
}

void FN(release)(nn_call *c)
{
    program *p = c->program;
    if (!p) return;
    free(p->memory);
    free(p->workers);
    free(p->phases);
    free(p->layers);
    free(p);
    c->program = NULL;
}

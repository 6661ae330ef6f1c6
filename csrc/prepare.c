/* prepare.c: a plan becomes a program: rows become layers with their places in theta, packed vectors and workers. */
#include <stdlib.h>

#include "engine.h"

enum { SMALL_NET = 1 << 15 }; /* parameters up to which a team takes a block each: partial gradients stay in L2 */

static int producer(const program *p, int64_t offset)
{
    int i = p->n_layers - 1;
    while (i >= 0 && p->layers[i].output != offset) i--;
    return i;
}

static void add_layer(program *p, layer l)
{
    l.row = round_up(l.n_out, 16);
    if (l.row * sizeof(real) % 1024 == 0) l.row += 64 / sizeof(real); /* keep columns out of one cache set */
    l.gate = NN_IDENTITY;
    p->layers[p->n_layers++] = l;
}

/* A dense row with a softmax becomes two layers: the softmax needs whole rows. */
static void add_rows(program *p)
{
    const nn_call *c = p->call;
    for (int64_t i = 0; i < c->n_rows; i++) {
        const nn_row *r = c->rows + i;
        const double *a = r->attributes;
        const int input = r->inputs[0] == 0 ? -1 : producer(p, r->inputs[0]);
        if (r->op == NN_DENSE) {
            const bool softmax = a[NN_DENSE_ACTIVATION] == NN_SOFTMAX;
            add_layer(p, (layer){.op = NN_DENSE,
                                 .activation = softmax ? NN_IDENTITY : (int)a[NN_DENSE_ACTIVATION],
                                 .n_in = (int)a[NN_N_IN],
                                 .n_out = (int)a[NN_N_OUT],
                                 .use_bias = a[NN_USE_BIAS] != 0,
                                 .trainable = a[NN_TRAINABLE] != 0,
                                 .input = input,
                                 .theta = r->theta,
                                 .output = softmax ? -1 : r->output});
            if (softmax)
                add_layer(p, (layer){.op = NN_ACTIVATION,
                                     .activation = NN_SOFTMAX,
                                     .n_in = (int)a[NN_N_OUT],
                                     .n_out = (int)a[NN_N_OUT],
                                     .input = p->n_layers - 1,
                                     .output = r->output});
        } else
            add_layer(p, (layer){.op = NN_ACTIVATION,
                                 .activation = (int)a[NN_ACTIVATION_NAME],
                                 .n_in = (int)a[NN_N],
                                 .n_out = (int)a[NN_N],
                                 .input = input,
                                 .output = r->output});
    }
}

/* Columns pay where a block has some vectors of rows; nnfast.ops wants its arrays in rows. */
static void choose_columns(program *p, int64_t rows)
{
    layer *last = p->layers + p->n_layers - 1;
    last->narrow = last->op == NN_DENSE && last->n_out <= MAX_NARROW && rows >= LANES && !reads_sparse(p, last) &&
                   !(p->backward && p->call->loss == NN_NO_LOSS);
    p->unit = last->narrow ? 16 : 1;
    if (last->narrow) last->row = round_up(at_most(rows, BLOCK), 16) + 64 / (int64_t)sizeof(real);
}

/* Who passes a gradient to whom: backward order is descending, so the first consumer of an output passes last. */
static void link_gradients(program *p)
{
    bool *below = calloc(p->n_layers + 1, sizeof *below), *passed = calloc(p->n_layers + 1, sizeof *passed);
    if (!below || !passed) abort(); /* a few bytes */
    for (int i = 0; i < p->n_layers; i++)
        below[i] = p->call->pass_dx || (p->layers[i].op == NN_DENSE && p->layers[i].trainable) ||
                   (p->layers[i].input >= 0 && below[p->layers[i].input]);
    for (int i = p->n_layers - 1; i >= 0; i--) {
        layer *l = p->layers + i;
        l->need_dx = p->backward && l->input >= 0 && below[l->input];
        if (!l->need_dx) continue;
        l->add_dx = passed[l->input];
        passed[l->input] = true;
    }
    for (int i = 0; i < p->n_layers; i++) {
        layer *l = p->layers + i;
        if (!l->need_dx || !passed[l->input]) continue;
        passed[l->input] = false;
        if (p->layers[l->input].op == NN_DENSE) l->gate = p->layers[l->input].activation;
    }
    for (int i = 0; i < p->n_layers; i++) {
        p->layers[i].fuse_update = true;
        for (int j = 0; j < p->n_layers; j++)
            if (j != i && p->layers[j].op == NN_DENSE && p->layers[j].theta == p->layers[i].theta)
                p->layers[i].fuse_update = false;
    }
    free(below);
    free(passed);
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

static int64_t rows_of_step(const program *p) { return p->backward ? at_most(p->call->batch, p->call->n) : p->call->n; }

/* Does the update always follow the sums of dW at once, in theta alone (sparse.c)? */
static bool without_gradient(const program *p, const layer *l)
{
    return reads_sparse(p, l) && l->fuse_update && plain_sgd(p->call) && rows_of_step(p) <= BLOCK;
}

/* In the packed vectors; layers without a gradient lie behind its end. */
static void place_parameters(program *p)
{
    p->n_packed = 0;
    for (int last = 0; last < 2; last++) {
        for (int i = 0; i < p->n_layers; i++) {
            layer *l = p->layers + i;
            if (l->op != NN_DENSE || without_gradient(p, l) != last) continue;
            l->bias = p->n_packed;
            l->weights = l->bias + round_up(l->n_out, LANES);
            p->n_packed = l->weights + (l->narrow ? l->n_out : round_up(l->n_out, LANES)) * round_up(l->n_in, LANES);
        }
        if (!last) p->n_gradient = p->n_packed;
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
    const int64_t rows = at_most(BLOCK, rows_of_step(p));
    int64_t values = 0;
    p->step_cost = 0;
    place_parameters(p);
    int64_t transposed = 0;
    for (int i = 0; i < p->n_layers; i++) {
        layer *l = p->layers + i;
        const int64_t size = l->row * (l->narrow ? l->n_out : rows);
        l->y = values;
        l->dy = l->y + size;
        values = l->dy + (p->backward || c->loss != NN_NO_LOSS ? size : 0);
        l->kept = p->backward && needs_z(l->activation) ? values : l->y;
        if (l->kept != l->y) values += size;
        if (l->op != NN_DENSE) continue;
        const int64_t width = l->narrow ? l->n_out : round_up(l->n_out, LANES);
        if (l->trainable && !reads_sparse(p, l)) p->step_cost += width * l->n_in;
        l->transposed = transposed;
        if (l->need_dx && !l->narrow) transposed += width * round_up(l->n_in, LANES);
    }
    const int64_t n = p->n_packed + 16;
    p->theta = take(&at, n, sizeof(real));
    p->gradient = take(&at, p->backward ? p->n_gradient + 16 : 0, sizeof(real));
    p->state = take(&at, p->slots * p->n_packed, sizeof(real));
    p->transposed = take(&at, transposed, sizeof(real));
    place_lists(p, &at);
    for (int i = 0; i < p->n_workers; i++) {
        worker *w = p->workers + i;
        w->x = take(&at, rows, sizeof *w->x);
        w->y = take(&at, rows, sizeof *w->y);
        w->next = p->backward && p->x_direct && !p->side_by_side ? take(&at, rows, sizeof *w->next) : NULL;
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

/* Panel width is a matter of speed alone: narrow panels for few rows keep more of them in registers. */
static int widest_panel(int64_t rows)
{
    if (REGISTERS == 32) return rows > 4 && rows <= 16 ? 1 : 4;
    return rows <= 4 ? 4 : 2;
}

int FN(prepare)(nn_call *c)
{
    program *p = calloc(1, sizeof *p);
    if (!p) return -1;
    *p = (program){.call = c, .backward = c->gradient || c->optimizer != NN_NO_OPTIMIZER, .slots = (int)c->slots};
    c->program = p;
    p->layers = calloc(2 * c->n_rows, sizeof *p->layers);
    if (!p->layers) goto out_of_memory;
    add_rows(p);
    link_gradients(p);
    p->x_direct = direct(&c->x);
    p->y_direct = direct(&c->y);

    const int64_t rows = rows_of_step(p);
    choose_columns(p, rows);
    p->widest = widest_panel(rows);
    FN(sparse_measure)(p);
    if (p->sparse.capacity > INT32_MAX) goto out_of_memory;
    double parameters = 0;
    for (int i = 0; i < p->n_layers; i++) {
        const layer *l = p->layers + i;
        if (l->op == NN_DENSE) parameters += (reads_sparse(p, l) ? p->sparse.per_row : l->n_in) * l->n_out;
    }
    p->work_of_row = parameters * (p->backward ? 3 : 1);
    const double useful = c->serial_below > 0 ? 2 * p->work_of_row * rows / c->serial_below : NN_MAX_THREADS;
    p->threads = useful < 2 ? 1 : (int)at_most(c->threads, useful > NN_MAX_THREADS ? NN_MAX_THREADS : (int64_t)useful);
    p->side_by_side = p->threads > 1 && rows > BLOCK && (!p->backward || (parameters <= SMALL_NET && !c->csr.indptr));
    p->n_workers = p->side_by_side ? p->threads : 1;
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
    free(p->layers);
    free(p);
    c->program = NULL;
}

/* plain.c: one dense layer on plain arrays, for nnfast.ops: no plan; W stays where it lies or is packed for the call.
 *
 *     forward   y = f(x W + b)                                   panel; W stays where rows are few, or is packed
 *     backward  dz = dy f'(y)
 *               dx = dz W^T      rows by W^T                     panel; a panel of W^T is made from rows of W
 *                                or W by dz^T, when rows are few panel; W stays, dz^T and dx^T are small
 *               dW = x^T dz, db = sum of dz's rows               outer, or panel with x^T; straight into dW
 *
 * Forward, a thread takes rows, through all panels, which the team has packed together; or, when rows are few or W is
 * larger than L2, panels, which it packs a block of rows at a time. A W whose rows lie multiples of 1 KB apart is
 * packed sooner: they share few sets of the cache. Of dx, a unit of work is some panels and some rows; a thread takes a
 * contiguous range of units, so it packs a panel once. Columns that do not fill a panel's vectors pass through the
 * thread's scratch.
 */
#include "engine.h"
#include "scratch.h"
#include "team.h"

enum { TALL = 192, ROWS = 96, HEIGHT = 288, STRIP = 4 }; /* rows at a time: of y, of dx; of dW: rows of W; to pack */
enum { WIDEST = MAX_VECTORS * LANES };
enum { L2 = 1 << 20 };                                 /* what half of it or more holds */
enum { GROUP = L2 / (BLOCK * WIDEST * sizeof(real)) }; /* panels in it, a block of rows high */
enum { FEW = 24, SOME = 256 };                         /* rows that do not pay for packing: by a thread, by the team */
enum { CHEAP = L2 / sizeof(real) };                    /* dz that a thread makes sooner than it has it from another */
enum { NEAR = 96 };                                    /* columns of an array that the outer tile reads where it lies */
enum { TURNED = BLOCK + 64 / sizeof(real) };           /* the stride of x^T: no column lies in one set of the cache */

typedef struct task {
    const nn_dense *d;
    int widest;
    bool by_panels;   /* forward: a thread takes panels of all rows, in place of rows */
    bool near_w;      /* whole panels of W are read where they lie */
    int height;       /* rows at a time */
    int64_t own_size; /* of the panels that a thread packs for itself, a block of rows high */
    real *packed;     /* the team's W in panels [n_in][width], those that are packed */
    const real *dz;   /* [rows][dz_row]; of a row whole panels may be read */
    real *own_dz;     /* NULL, or where it is made */
    int64_t dz_row;
    real *dz_panels; /* NULL, or dz in panels [256][width], blocks of rows one after the other */
    bool far_x;      /* columns of x are turned for dW */
    real *dz_turned; /* NULL, or dz^T in panels [n_out][width], when rows are few */
    int64_t copy;    /* 0, or the size of these three, of which each thread makes its own */
    real *scratch;   /* [threads][scratch_size] */
    int64_t scratch_size;
} task;

static real *scratch_of(const task *t, const nn_team *team) { return t->scratch + team->index * t->scratch_size; }

/* Of the `n` units that follow `before` others, those of this thread, which has an even part of `all`. */
static share part_of(const nn_team *team, int64_t all, int64_t before, int64_t n)
{
    const int64_t first = all * team->index / team->size - before, end = all * (team->index + 1) / team->size - before;
    const share s = {(int)(first < 0 ? 0 : at_most(first, n)), (int)(end < 0 ? 0 : at_most(end, n)), 0, 1};
    return s;
}

static int64_t panels(panel q)
{
    int64_t n = 0;
    for (; q.width; q = next_panel(q)) n++;
    return n;
}

/* The used columns of `rows` packed rows to an array, or back. */
static void copy_columns(int rows, int used, real *to, ptrdiff_t to_row, const real *from, ptrdiff_t from_row)
{
    for (int r = 0; r < rows; r++) memcpy(to + r * to_row, from + r * from_row, used * sizeof *to);
}

/* ---- forward ---- */

static int used_of(const nn_dense *d, panel q) { return (int)at_most(q.width, d->n_out - q.column); }

static bool is_packed(const task *t, panel q)
{
    return used_of(t->d, q) < q.width || !(t->near_w || q.width == t->d->n_out);
}

/* Rows [first, end) of W into a packed panel of them, unless it is read where it lies. */
static void pack(const task *t, panel q, int64_t first, int64_t end, real *packed)
{
    const nn_dense *d = t->d;
    if (is_packed(t, q))
        copy_columns((int)(end - first), used_of(d, q), packed, q.width,
                     (const real *)d->w + first * d->n_out + q.column, d->n_out);
}

/* The part of a panel of y that rows [k, k + BLOCK) of W make; the last one ends it. packed: these rows. */
static void forward_block(const task *t, panel q, const real *packed, real *bias, int64_t k, int first, int rows,
                          real *out)
{
    const nn_dense *d = t->d;
    const bool whole = used_of(d, q) == q.width && q.width % LANES == 0; /* activate() works in whole vectors */
    real *y = (real *)d->y + first * d->n_out + q.column, *to = whole ? y : out;
    const int64_t size = at_most(BLOCK, d->n_in - k);
    const bool ends = k + size == d->n_in, relu = ends && d->activation == NN_RELU, is = is_packed(t, q);
    const real *w = is ? packed : (const real *)d->w + k * d->n_out + q.column;
    const nn_tile tile = {.y_row = whole ? d->n_out : round_up(q.width, LANES),
                          .x_row = d->n_in,
                          .w_k = is ? q.width : d->n_out,
                          .segs = 1,
                          .seg = size,
                          .start = k || !d->b ? START_ZERO : START_BIAS,
                          .end = k ? (relu ? END_ADD_RELU : END_ADD) : (relu ? END_RELU : END_STORE)};
    FN(panel)(q.width, rows, to, (nn_rows){(const real *)d->x + first * d->n_in, NULL, k, NULL}, w, bias, &tile);
    if (!ends) return;
    if (!relu) FN(activate)((int)d->activation, rows, q.width, to, to, tile.y_row, NULL);
    if (to != y) copy_columns(rows, used_of(d, q), y, d->n_out, out, tile.y_row);
}

/* All rows of some panels, which this thread packs a block of rows of W at a time, to stay in its L2. */
static void forward_panels(const task *t, panel start, int64_t n, real *bias, real *packed, real *out)
{
    const nn_dense *d = t->d;
    const int64_t height = at_most(BLOCK, d->n_in);
    for (int64_t k = 0; k < d->n_in; k += BLOCK) {
        const int64_t end = at_most(k + BLOCK, d->n_in);
        panel q = start;
        for (int64_t r = k; r < end; r += STRIP, q = start)
            for (int64_t i = 0; i < n; i++, q = next_panel(q))
                pack(t, q, r, at_most(r + STRIP, end), packed + (q.column - start.column) * height + (r - k) * q.width);
        for (int first = 0; first < d->rows; first += ROWS, q = start)
            for (int64_t i = 0; i < n; i++, q = next_panel(q))
                forward_block(t, q, packed + (q.column - start.column) * height, bias + q.column, k, first,
                              (int)at_most(ROWS, d->rows - first), out + first * WIDEST);
    }
}

static void forward_work(void *argument, const nn_team *team)
{
    const task *t = argument;
    const nn_dense *d = t->d;
    const uint64_t before = flush_denormals();
    real *bias = scratch_of(t, team), *own = bias + round_up(d->n_out, WIDEST), *out = own + t->own_size;
    if (d->b) memcpy(bias, d->b, d->n_out * sizeof *bias);
    const panel start = weight_panels((int)d->n_out, t->widest);
    if (t->by_panels) {
        const int64_t all = panels(start);
        const share mine = part_of(team, all, 0, all);
        panel q = start;
        for (int i = 0; i < mine.end; i++, q = next_panel(q))
            if (i >= mine.first && (i - mine.first) % GROUP == 0)
                forward_panels(t, q, at_most(GROUP, mine.end - i), bias, own, out);
    } else {
        const share of_w = part_of(team, d->n_in, 0, d->n_in), mine = part_of(team, d->rows, 0, d->rows);
        for (panel q = start; q.width; q = next_panel(q))
            pack(t, q, of_w.first, of_w.end, t->packed + q.column * d->n_in + of_w.first * q.width);
        nn_barrier(team);
        for (int first = mine.first; first < mine.end; first += t->height)
            for (panel q = start; q.width; q = next_panel(q))
                for (int64_t k = 0; k < d->n_in; k += BLOCK)
                    forward_block(t, q, t->packed + q.column * d->n_in + k * q.width, bias + q.column, k, first,
                                  (int)at_most(t->height, mine.end - first), out);
    }
    if (d->activation == NN_SOFTMAX) {
        nn_barrier(team);
        const share mine = part_of(team, d->rows, 0, d->rows);
        real *y = (real *)d->y + mine.first * d->n_out;
        FN(activation_array)(NN_SOFTMAX, mine.end - mine.first, d->n_out, y, y);
    }
    restore_denormals(before);
}

/* ---- backward ---- */

static real *dz_panel(const task *t, int64_t row, panel q)
{
    return t->dz_panels + row / BLOCK * BLOCK * round_up(t->d->n_out, 16) + q.column * BLOCK + row % BLOCK * q.width;
}

/* Some rows at a time, whose panels are copied from the L1. */
static void make_dz(const task *t, const nn_team *team)
{
    const nn_dense *d = t->d;
    const share mine = part_of(team, d->rows, 0, d->rows);
    const int64_t n = d->n_out, tail = t->dz_row - n, step = tail ? 1 : STRIP;
    for (int64_t r = mine.first, rows; r < mine.end; r += rows) {
        rows = at_most(step - r % step, mine.end - r);
        if (t->own_dz) {
            real *dz = t->own_dz + r * t->dz_row;
            const real *y = (const real *)d->y + r * n, *dy = (const real *)d->dy + r * n;
            FN(activation_grad_array)(d->activation, rows, n, dz, y, dy);
            memset(dz + rows * n, 0, tail * sizeof *dz);
        }
        for (panel q = weight_panels((int)n, t->widest); t->dz_panels && q.width; q = next_panel(q))
            copy_columns((int)rows, q.width, dz_panel(t, r, q), q.width, t->dz + r * t->dz_row + q.column, t->dz_row);
    }
}

/* to[n][k] = from[k][n] of rows x columns */
static void turn(int64_t rows, int64_t columns, const real *from, ptrdiff_t from_row, real *to, ptrdiff_t to_row)
{
    for (int64_t k = 0; k < rows; k += LANES)
        for (int64_t n = 0; n < columns; n += LANES) {
            if (k + LANES <= rows && n + LANES <= columns) {
                transpose(from + k * from_row + n, from_row, to + n * to_row + k, to_row);
                continue;
            }
            for (int64_t j = n; j < columns && j < n + LANES; j++)
                for (int64_t i = k; i < rows && i < k + LANES; i++) to[j * to_row + i] = from[i * from_row + j];
        }
}

/* The same into a panel [columns][width], whose other elements become 0. */
static void turn_panel(int width, int64_t rows, int64_t columns, const real *from, ptrdiff_t from_row, real *to)
{
    if (rows < width) memset(to, 0, columns * width * sizeof *to);
    turn(rows, columns, from, from_row, to, width);
}

/* The product of rows of x with a packed panel, over k, in blocks of R1. */
static void multiply(int width, int rows, int64_t n, real *y, ptrdiff_t y_row, const real *x, ptrdiff_t x_row,
                     const real *w)
{
    for (int64_t k = 0; k < n; k += BLOCK) {
        const nn_tile t = {.y_row = y_row,
                           .x_row = x_row,
                           .w_k = width,
                           .segs = 1,
                           .seg = at_most(BLOCK, n - k),
                           .end = k ? END_ADD : END_STORE};
        FN(panel)(width, rows, y, (nn_rows){x, NULL, k, NULL}, w + k * width, NULL, &t);
    }
}

/* dx of some rows and a panel of columns */
static void dx_rows(const task *t, panel q, const real *turned, int first, int rows, real *out)
{
    const nn_dense *d = t->d;
    const int used = (int)at_most(q.width, d->n_in - q.column);
    real *dx = (real *)d->dx + first * d->n_in + q.column, *to = used == q.width ? dx : out;
    const ptrdiff_t row = used == q.width ? d->n_in : q.width;
    multiply(q.width, rows, d->n_out, to, row, t->dz + first * t->dz_row, t->dz_row, turned);
    if (to != dx) copy_columns(rows, used, dx, d->n_in, out, row);
}

/* dx^T of some of its rows and a panel of its columns */
static void dx_columns(const task *t, panel q, int first, int rows, real *out)
{
    const nn_dense *d = t->d;
    const int used = (int)at_most(q.width, d->rows - q.column);
    multiply(q.width, rows, d->n_out, out, q.width, (const real *)d->w + first * d->n_out, d->n_out,
             t->dz_turned + q.column * d->n_out);
    turn(rows, used, out, q.width, (real *)d->dx + q.column * d->n_in + first, d->n_in);
}

/* Panels of dx that pass over dz together: as many as stay in L2, where dz does not. */
static int64_t panels_of_dx(const nn_dense *d)
{
    const int64_t fit = L2 / (d->n_out * WIDEST * sizeof(real));
    return fit > 1 && d->rows * d->n_out * sizeof(real) > L2 ? fit : 1;
}

/* All of dx: a grid of panels and rows in either form. */
static void make_dx(const task *t, const nn_team *team)
{
    const nn_dense *d = t->d;
    real *out = scratch_of(t, team), *packed = out + HEIGHT * WIDEST;
    const bool few = t->dz_turned;
    const int64_t columns = few ? d->rows : d->n_in, rows = few ? d->n_in : d->rows,
                  together = few ? 1 : panels_of_dx(d);
    const int unit = (int)at_most(ROWS, round_up((rows + team->size - 1) / team->size, MAX_ROWS));
    const int64_t units = (rows + unit - 1) / unit;
    panel q = transposed_panels((int)columns, t->widest);
    const int64_t all = (panels(q) + together - 1) / together * units;
    for (int64_t done = 0; q.width; done += units) {
        const share mine = part_of(team, all, done, units);
        const panel start = q;
        for (int64_t i = 0; i < together && q.width; i++, q = next_panel(q))
            if (!few && mine.first < mine.end)
                turn_panel(q.width, at_most(q.width, columns - q.column), d->n_out,
                           (const real *)d->w + q.column * d->n_out, d->n_out,
                           packed + (q.column - start.column) * d->n_out);
        const int end = q.column;
        for (int i = mine.first; i < mine.end; i++) {
            const int height = (int)at_most(unit, rows - i * unit);
            for (panel p = start; p.width && p.column < end; p = next_panel(p))
                if (few)
                    dx_columns(t, p, i * unit, height, out);
                else
                    dx_rows(t, p, packed + (p.column - start.column) * d->n_out, i * unit, height, out);
        }
    }
}

/* One block of rows into dW of rows [first, first + rows) of W and a panel of columns, into db with the first of them.
 * turned: NULL, or these columns of x. A last panel that is wider than what is left sums in `out` and `sums`. */
static void dw_block(const task *t, panel q, int first, int rows, int64_t r, const real *turned, real *out, real *sums)
{
    const nn_dense *d = t->d;
    const int used = (int)at_most(q.width, d->n_out - q.column), size = (int)at_most(BLOCK, d->rows - r);
    const bool whole = used == q.width, begins = r == 0, ends = r + BLOCK >= d->rows;
    real *dw = (real *)d->dw + first * d->n_out + q.column, *db = first ? NULL : (real *)d->db + q.column;
    real *to = whole ? dw : out, *to_db = whole || !db ? db : sums;
    const ptrdiff_t row = whole ? d->n_out : q.width;
    if (!whole && begins && d->add) {
        copy_columns(rows, used, out, row, dw, d->n_out);
        if (db) memcpy(sums, db, used * sizeof *db);
    }
    const real *dz = t->dz_panels ? dz_panel(t, r, q) : t->dz + r * t->dz_row + q.column;
    nn_tile tile = {.y_row = row,
                    .x_k = d->n_in,
                    .x_row = TURNED,
                    .w_k = t->dz_panels ? q.width : t->dz_row,
                    .segs = 1,
                    .seg = size,
                    .end = begins && !d->add ? END_STORE : END_ADD,
                    .bias = to_db,
                    .updated_bias = to_db};
    const int outer = !turned ? rows : db ? (int)at_most(rows, ROWS_4 - 1) : 0; /* a tile, which has room for db */
    if (outer)
        FN(outer)(q.width, outer, to, (nn_rows){(const real *)d->x + r * d->n_in + first, NULL, 0, NULL}, dz, to, &tile);
    if (outer < rows)
        FN(panel)(q.width, rows - outer, to + outer * row, (nn_rows){turned + outer * TURNED, NULL, 0, NULL}, dz, NULL,
              &tile);
    if (!whole && ends) {
        copy_columns(rows, used, dw, d->n_out, out, row);
        if (db) memcpy(db, sums, used * sizeof *db);
    }
}

/* The same of all blocks and n panels; block: where columns of x are turned. */
static void dw_panels(const task *t, panel start, int n, int first, int rows, real *block, real *out, real *sums)
{
    const nn_dense *d = t->d;
    for (int64_t r = 0; r < d->rows; r += BLOCK) {
        if (t->far_x)
            turn(at_most(BLOCK, d->rows - r), rows, (const real *)d->x + r * d->n_in + first, d->n_in, block, TURNED);
        panel q = start;
        for (int i = 0; i < n; i++, q = next_panel(q))
            dw_block(t, q, first, rows, r, t->far_x ? block : NULL, out, sums);
    }
}

/* As few as are no higher than HEIGHT, evenly high, as many for each thread. */
static int64_t chunks_of_w(int64_t n_in, int threads) { return round_up((n_in + HEIGHT - 1) / HEIGHT, threads); }

/* All of dW and db: some rows and panels of W at a time, which stay in L2 while all blocks of rows of x and dz pass. */
static void make_dw(const task *t, const nn_team *team)
{
    const nn_dense *d = t->d;
    real *out = scratch_of(t, team), *sums = out + HEIGHT * WIDEST, *block = sums + WIDEST;
    const int64_t units = panels(weight_panels((int)d->n_out, t->widest)), chunks = chunks_of_w(d->n_in, team->size);
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const share of_w = part_of(&(nn_team){(int)chunk, (int)chunks, NULL}, d->n_in, 0, d->n_in),
                    mine = part_of(team, chunks * units, chunk * units, units);
        panel q = weight_panels((int)d->n_out, t->widest);
        for (int i = 0; i < mine.end; i++, q = next_panel(q))
            if (i >= mine.first && (i - mine.first) % (GROUP / 2) == 0)
                dw_panels(t, q, (int)at_most(GROUP / 2, mine.end - i), of_w.first, of_w.end - of_w.first, block, out,
                          sums);
    }
}

static void backward_work(void *argument, const nn_team *team)
{
    task own = *(const task *)argument, *t = &own;
    const nn_dense *d = t->d;
    const nn_team alone = {0, 1, NULL}, *makers = t->copy ? &alone : team;
    const uint64_t before = flush_denormals();
    const int64_t at = team->index * t->copy;
    if (t->own_dz) t->dz = t->own_dz += at;
    if (t->dz_panels) t->dz_panels += at;
    if (t->dz_turned) t->dz_turned += at;
    make_dz(t, makers);
    if (t->own_dz || t->dz_panels) nn_barrier(makers);
    if (t->dz_turned) {
        int i = 0;
        for (panel q = transposed_panels((int)d->rows, t->widest); q.width; q = next_panel(q))
            if (i++ % makers->size == makers->index)
                turn_panel(q.width, at_most(q.width, d->rows - q.column), d->n_out, t->dz + q.column * t->dz_row,
                           t->dz_row, t->dz_turned + q.column * d->n_out);
        nn_barrier(makers);
    }
    if (d->dx) make_dx(t, team);
    make_dw(t, team);
    restore_denormals(before);
}

/* ---- both ---- */

typedef struct sizes {
    int64_t packed, dz, panels, turned, scratch;
} sizes;

static int run(task *t, sizes n, void (*work)(void *, const nn_team *))
{
    t->scratch_size = round_up(n.scratch, 16);
    n.packed = round_up(n.packed, 16), n.dz = round_up(n.dz, 16), n.panels = round_up(n.panels, 16),
    n.turned = round_up(n.turned, 16);
    const int64_t all_dz = n.dz + n.panels + n.turned, threads = t->d->threads;
    if (all_dz <= CHEAP) t->copy = all_dz;
    const int64_t size = n.packed + (t->copy ? threads : 1) * all_dz + threads * t->scratch_size;
    real *memory = nn_take_scratch(size * sizeof *memory), *at = memory;
    if (!memory) return -1;
    t->scratch = at, at += threads * t->scratch_size;
    t->packed = at, at += n.packed;
    if (n.dz) t->dz = t->own_dz = at, at += n.dz;
    if (n.panels) t->dz_panels = at, at += n.panels;
    if (n.turned) t->dz_turned = at;
    nn_parallel(threads, work, t);
    nn_give_scratch(memory);
    return 0;
}

int FN(dense_forward_array)(const nn_dense *d)
{
    const bool far = d->n_in * d->n_out * sizeof(real) > L2 && d->rows <= 2 * BLOCK;
    const bool by_panels = far || 4 * d->rows <= d->n_out || (d->threads == 1 && d->rows <= ROWS);
    const bool near = d->rows <= (by_panels ? FEW : SOME) || d->n_out * sizeof(real) % 1024;
    const int64_t columns = round_up(d->n_out, WIDEST), packed = near && d->n_out % 16 == 0 ? 0 : columns;
    task t = {.d = d,
              .widest = widest_panel(d->rows),
              .by_panels = by_panels,
              .own_size = by_panels ? at_most(BLOCK, d->n_in) * at_most(GROUP * WIDEST, packed) : 0,
              .near_w = near,
              .height = by_panels ? (int)d->rows : TALL};
    return run(&t,
               (sizes){.packed = by_panels ? 0 : d->n_in * packed, .scratch = columns + t.own_size + t.height * WIDEST},
               forward_work);
}

int FN(dense_backward_array)(const nn_dense *d)
{
    task t = {.d = d,
              .widest = widest_panel(d->rows),
              .dz = d->dy,
              .dz_row = d->n_out,
              .far_x = d->n_in > NEAR && d->rows > NEAR};
    sizes n = {0};
    if (d->activation != NN_IDENTITY || d->n_out % 16) {
        t.dz_row = padded_row(d->n_out);
        n.dz = d->rows * t.dz_row;
    }
    if (d->n_out > NEAR) n.panels = round_up(d->rows, BLOCK) * round_up(d->n_out, 16);
    if (d->dx && d->rows * (d->n_in + d->n_out) < d->n_in * d->n_out) n.turned = round_up(d->rows, LANES) * d->n_out;
    const int64_t dx = panels_of_dx(d) * d->n_out * WIDEST, dw = WIDEST + (t.far_x ? HEIGHT * TURNED : 0);
    n.scratch = HEIGHT * WIDEST + (dx > dw ? dx : dw);
    return run(&t, n, backward_work);
}

/* walk.c: from ids to steps of word2vec: subsampling, windows, noise words, and the rows that they meet in.
 *
 * A walk over a chunk of ids yields steps. Its draws depend on the seed, the epoch and the chunk alone.
 */
#include "walk.h"

#include "rng.h"

#if !NN_DOUBLE

/* ---- draws: xoshiro256++ (Blackman and Vigna, arXiv 1805.01407), seeded by Philox ---------------------------------
 */
enum { DRAWS = 4 }; /* for each noise word that is wanted, before fewer must do */

INLINE uint64_t rotated(uint64_t word, int bits) { return word << bits | word >> (64 - bits); }

INLINE uint64_t next_word(stream *s)
{
    const uint64_t word = rotated(s->a + s->d, 23) + s->a, shifted = s->b << 17;
    s->c ^= s->a;
    s->d ^= s->b;
    s->b ^= s->c;
    s->a ^= s->d;
    s->c ^= shifted;
    s->d = rotated(s->d, 45);
    return word;
}

/* of 0 .. n-1 by a word of 32 bits */
INLINE int64_t chosen(uint64_t word, int64_t n) { return (int64_t)((word * (uint64_t)n) >> 32); }

/* ---- busy rows ---------------------------------------------------------------------------------------------------
 * Threads that write the same rows wait for each other's cache lines, and few words are most of a text. So each thread
 * has its own copies of the busiest rows, and adds what it has changed to the shared ones every few uses: all together
 * leave out some STALE of them at most, since with far more they would all make the same step.
 */
enum { BUSY = 1024, STALE = 128 };

INLINE void fetch(const float *row, int64_t columns)
{
    for (int64_t c = 0; c < columns; c += 16) __builtin_prefetch(row + c, 1);
}

static void merge(const matrix *a, int64_t id)
{
    float *const row = a->rows[0] + id * a->stride, *const own = a->rows[1] + id * a->stride;
    float *const merged = a->merged + id * a->stride;
    for (int64_t c = 0; c < a->stride; c += LANES) {
        const vec sum = load(row + c) + (load(own + c) - load(merged + c));
        store(row + c, sum);
        store(own + c, sum);
        store(merged + c, sum);
    }
}

static void merge_all(const matrix *a)
{
    for (int64_t i = 0; i < a->count; i++) {
        if (a->used[i]) merge(a, a->first + i);
        a->used[i] = 0;
    }
}

INLINE bool is_busy(const matrix *a, int64_t id) { return (uint64_t)(id - a->first) < (uint64_t)a->count; }

INLINE float *row_of(const matrix *a, int64_t id) { return a->rows[is_busy(a, id)] + id * a->stride; }

/* The row for one more use. Without branches that the processor would have to guess: which rows are busy is noise. */
INLINE float *use_row(const matrix *a, int64_t id)
{
    const uint64_t place = (uint64_t)(id - a->first), count = (uint64_t)a->count;
    uint32_t *const used = a->used + (place < count ? place : count); /* the last counts nothing */
    const uint32_t turn = *used & a->turns;
    *used += place < count;
    if (turn == 0) merge(a, id);
    if (turn == a->turns) {
        fetch(a->rows[0] + id * a->stride, a->stride);
        fetch(a->merged + id * a->stride, a->stride);
    }
    return row_of(a, id);
}

/* The busiest are the first words and the last nodes of the tree. */
static matrix matrix_of(const nn_words *w, float *rows, bool is_tree, arena *memory)
{
    const int64_t all = w->n_words - is_tree;
    const int64_t count = !rows || w->workers == 1 ? 0 : all < BUSY ? all : BUSY;
    uint32_t turns = 4;
    while (turns * w->workers < STALE) turns *= 2;
    matrix a = {
        .rows = {rows}, .stride = w->stride, .first = is_tree ? all - count : 0, .count = count, .turns = turns - 1};
    const size_t bytes = (size_t)(count * a.stride) * sizeof *rows;
    a.rows[1] = place(memory, bytes);
    a.merged = place(memory, bytes);
    a.used = place(memory, (size_t)(count + 1) * sizeof *a.used);
    if (memory->base) {
        a.rows[1] -= a.first * a.stride, a.merged -= a.first * a.stride;
        a.used[count] = 1;
    }
    return a;
}

void FN(walk_share)(walk *k) { merge_all(&k->syn0), merge_all(&k->syn1), merge_all(&k->syn1hs); }

/* ---- steps ------------------------------------------------------------------------------------------------------ */
static int32_t next_noise(walk *k)
{
    const nn_words *w = k->job;
    if (k->n_noise == NOISE_BLOCK) {
        uint64_t words[NOISE_BLOCK];
        stream s = k->noises;
        for (int i = 0; i < NOISE_BLOCK; i++) words[i] = next_word(&s);
        k->noises = s;
        for (int i = 0; i < NOISE_BLOCK; i++) {
            const int64_t place = chosen(words[i] >> 32, w->n_words);
            k->noise[i] = (uint32_t)words[i] <= w->threshold[place] ? (int32_t)place : w->alias[place];
        }
        k->n_noise = 0;
    }
    return k->noise[k->n_noise++];
}

INLINE bool among(int32_t id, const int32_t *ids, int n)
{
    bool found = false;
    for (int i = 0; i < n; i++) found |= ids[i] == id;
    return found;
}

/* The word itself and noise words: those that a window shares are all different, those of a pair are what is drawn,
 * but for the word itself. */
static void add_outputs(walk *k, step *s)
{
    const nn_words *w = k->job;
    const int32_t word = k->kept[k->at];
    const int64_t draws = w->exact ? w->negative : DRAWS * w->negative;
    int n = 0;
    k->outputs[n++] = word;
    s->repeats = false;
    for (int64_t i = 0; i < draws && n <= w->negative; i++) {
        const int32_t id = next_noise(k);
        const bool is_known = among(id, k->outputs, n);
        if (is_known && (!w->exact || id == word)) continue;
        s->repeats |= is_known;
        k->outputs[n++] = id;
    }
    for (int j = 0; j < n; j++) s->y[j] = use_row(&k->syn1, k->outputs[j]);
    s->n = n;
    s->codes = NULL;
}

static void add_path(walk *k, step *s)
{
    const nn_words *w = k->job;
    const int64_t word = k->kept[k->at], begin = w->offsets[word];
    s->n = (int)(w->offsets[word + 1] - begin);
    for (int j = 0; j < s->n; j++) s->y[j] = use_row(&k->syn1hs, w->points[begin + j]);
    s->codes = w->codes + begin;
    s->repeats = false;
}

static void add_inputs(walk *k, step *s, int64_t first, int64_t last)
{
    int m = 0;
    s->is_plain = true;
    for (int64_t p = first; p < last; p++) {
        if (p == k->at) continue;
        float *const row = use_row(&k->syn0, k->kept[p]);
        int place = m;
        for (int i = 0; i < m; i++) place = s->x[i] == row ? i : place;
        if (place < m) {
            s->counts[place]++;
            s->is_plain = false;
        } else
            s->x[m] = row, s->counts[m++] = 1;
    }
    s->m = m;
}

/* Go on to a word with contexts; false at the end of the chunk. */
static bool next_window(walk *k)
{
    const nn_words *w = k->job;
    while (++k->at < k->length) {
        if (k->kept[k->at] < 0) continue;
        if (k->at >= k->end) {
            k->begin = k->end = k->at;
            while (k->end < k->length && k->kept[k->end] >= 0) k->end++;
        }
        const int64_t coming = k->at + w->window + 1;
        if (coming < k->length && k->kept[coming] >= 0) fetch(row_of(&k->syn0, k->kept[coming]), w->columns);
        const int64_t reach = k->reach[k->at];
        k->first = k->at - k->begin < reach ? k->begin : k->at - reach;
        k->last = k->end - k->at <= reach ? k->end : k->at + reach + 1;
        const int64_t m = k->last - k->first - 1;
        if (m == 0) continue;
        k->part = 0;
        k->parts = (w->sg && w->exact ? m : 1) * ((w->negative > 0) + (w->syn1hs != NULL));
        k->pairs += w->sg ? m : 1;
        return true;
    }
    return false;
}

/* Of a window, or a pair, the softmax comes before the noise. */
bool FN(walk_next)(walk *k, step *s)
{
    const nn_words *w = k->job;
    const int64_t kinds = (w->negative > 0) + (w->syn1hs != NULL);
    do {
        if (k->part == k->parts && !next_window(k)) return false;
        const int64_t pair = k->part / kinds;
        if (w->syn1hs && k->part % kinds == 0)
            add_path(k, s);
        else
            add_outputs(k, s);
        if (w->sg && w->exact) {
            const int64_t p = k->first + pair, context = p + (p >= k->at);
            add_inputs(k, s, context, context + 1);
        } else
            add_inputs(k, s, k->first, k->last);
        k->part++;
    } while (s->n == 0);
    return true;
}

/* ---- chunks ----------------------------------------------------------------------------------------------------- */
/* Leave out words by subsampling. Writes one place more than it keeps. */
static void subsample(walk *k, int64_t begin, int64_t end)
{
    const nn_words *w = k->job;
    int64_t words = 0, length = 0, effective = 0;
    for (int64_t i = begin; i < end; i++) {
        const int32_t id = w->ids[i];
        k->kept[length] = id;
        if (id < 0) {
            length++;
            continue;
        }
        const uint64_t word = next_word(&k->tokens);
        const bool stays = word >> 32 <= w->keep[id];
        k->reach[length] = (int32_t)(w->shrink ? chosen((uint32_t)word, w->window) + 1 : w->window);
        length += stays;
        effective += stays;
        words++;
    }
    k->length = length;
    k->words = words, k->effective = effective;
}

void FN(walk_begin)(walk *k, int64_t chunk)
{
    const nn_words *w = k->job;
    const uint64_t key[2] = {w->seed, NN_WINDOWS};
    const uint64_t counters[2][4] = {{1, (uint64_t)chunk, w->epoch, 0}, {2, (uint64_t)chunk, w->epoch, 0}};
    uint64_t words[2][4];
    for (int i = 0; i < 2; i++) nn_philox(key, counters[i], words[i]);
    memcpy(&k->tokens, words[0], sizeof k->tokens);
    memcpy(&k->noises, words[1], sizeof k->noises);
    const int64_t begin = chunk * NN_CHUNK, end = begin + NN_CHUNK < w->n_ids ? begin + NN_CHUNK : w->n_ids;
    k->n_noise = NOISE_BLOCK;
    k->pairs = k->end = k->part = k->parts = 0;
    k->at = -1;
    subsample(k, begin, end);
}

void FN(walk_prepare)(walk *k, const nn_words *w, arena *memory)
{
    *k = (walk){.job = w};
    k->kept = place(memory, (NN_CHUNK + 1) * sizeof *k->kept);
    k->reach = place(memory, (NN_CHUNK + 1) * sizeof *k->reach);
    k->outputs = place(memory, (size_t)most_outputs(w) * sizeof *k->outputs);
    k->syn0 = matrix_of(w, w->syn0, false, memory);
    k->syn1 = matrix_of(w, w->syn1, false, memory);
    k->syn1hs = matrix_of(w, w->syn1hs, true, memory);
}
#endif

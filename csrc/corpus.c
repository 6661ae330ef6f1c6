/* corpus.c: the words of a text become ids, in the order in which they are first seen.

   A token is what stands between bytes of white space (space, \t, \n, \v, \f, \r); a sentence ends at \n, or when it
   has max_sentence_length tokens. Any other byte is part of a token, zero too. The text comes in blocks that may be cut
   anywhere.

   Eight bytes are looked at together, since most words are shorter than that: their end is found by arithmetic, and
   the bytes before it are the key. Multiplying by odd numbers and shifting loses nothing, so for up to 8 bytes an equal
   hash and length is an equal word, and the word itself, likely in no cache, need not be read. The seed keeps a text
   from being made whose words all fall into one place. Numbers are little-endian, as on all processors that we build
   for. */
#include "corpus.h"

#include <stdlib.h>
#include <string.h>

#define ONES 0x0101010101010101u
#define HIGH (0x80 * ONES)

static uint64_t load(const char *p)
{
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

/* The high bit of each byte that is white space. */
static uint64_t white(uint64_t x)
{
    const uint64_t low = x & ~HIGH, space = low ^ ' ' * ONES;
    const uint64_t control = (low + (0x80 - '\t') * ONES) & ~(low + (0x80 - '\r' - 1) * ONES);
    return (control | ~(space + ~HIGH)) & ~x & HIGH;
}

static int is_white(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

static uint64_t mix(uint64_t x)
{
    x *= 0x9E3779B97F4A7C15u;
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93u;
    return x ^ x >> 32;
}

/* The first n < 8 bytes of x. */
static uint64_t first(uint64_t x, int64_t n) { return x & (((uint64_t)1 << 8 * n) - 1); }

static uint64_t hash_of(const nn_corpus *c, const char *key, int64_t n)
{
    uint64_t h = c->seed, last = 0;
    for (; n > 8; n -= 8, key += 8) h = mix(h ^ load(key));
    memcpy(&last, key, (size_t)n);
    return mix(h ^ last);
}

/* Room for `needed` elements in *array, which has *room; at least doubled, so that n appends cost O(n). */
static int grow(void *array, int64_t *room, int64_t needed, size_t size)
{
    void *old, *new;
    if (needed <= *room) return 0;
    const int64_t more = needed > 2 * *room ? needed : 2 * *room;
    memcpy(&old, array, sizeof old);
    if ((uint64_t)more > PTRDIFF_MAX / size || !(new = realloc(old, (size_t)more * size))) return NN_CORPUS_NO_MEMORY;
    memcpy(array, &new, sizeof new);
    *room = more;
    return 0;
}

/* The slot of a word, or the empty one where it belongs. */
static nn_slot *find(const nn_corpus *c, const char *key, int64_t n, uint64_t hash)
{
    const uint64_t mask = c->n_slots - 1;
    for (uint64_t i = hash & mask;; i = (i + 1) & mask) {
        nn_slot *s = &c->slots[i];
        if (s->id < 0) return s;
        if (s->hash == hash && s->length == n && (n <= 8 || !memcmp(c->bytes + c->words[s->id].begin, key, (size_t)n)))
            return s;
    }
}

/* A table of n slots (a power of two); places: new ids, or NULL to keep them. */
static int rebuild(nn_corpus *c, uint64_t n, const int32_t *places)
{
    nn_slot *slots = n <= PTRDIFF_MAX / sizeof *slots ? malloc(n * sizeof *slots) : NULL;
    if (!slots) return NN_CORPUS_NO_MEMORY;
    for (uint64_t i = 0; i < n; i++) slots[i].id = -1;
    for (uint64_t i = 0; i < c->n_slots; i++) {
        nn_slot s = c->slots[i];
        if (s.id >= 0 && places) s.id = places[s.id];
        if (s.id < 0) continue;
        uint64_t to = s.hash & (n - 1);
        while (slots[to].id >= 0) to = (to + 1) & (n - 1);
        slots[to] = s;
    }
    free(c->slots);
    c->slots = slots;
    c->n_slots = n;
    return 0;
}

/* The id of a word that is seen for the first time. */
static int add(nn_corpus *c, const char *key, int64_t n, uint64_t hash, nn_slot *slot)
{
    if (c->n_words == INT32_MAX - 1 || grow(&c->words, &c->room, c->n_words + 2, sizeof *c->words))
        return NN_CORPUS_NO_MEMORY;
    if (c->n_words == 0) c->words[0].begin = 0;
    nn_word *word = &c->words[c->n_words];
    if (grow(&c->bytes, &c->bytes_room, word->begin + n, 1)) return NN_CORPUS_NO_MEMORY;
    memcpy(c->bytes + word->begin, key, (size_t)n);
    word[0].count = 0;
    word[1].begin = word->begin + n;
    *slot = (nn_slot){hash, (int32_t)c->n_words, (uint32_t)n};
    c->n_words++;
    return 2 * (uint64_t)c->n_words > c->n_slots ? rebuild(c, 2 * c->n_slots, NULL) : 0;
}

static int32_t *end_sentence(nn_corpus *c, int32_t *out)
{
    if (!c->length) return out;
    c->n_sentences++;
    c->length = 0;
    *out = -1;
    return out + 1;
}

/* Write the id of a token, and the end of the sentence if it is full. NULL: no memory. */
static inline int32_t *take(nn_corpus *c, const char *key, int64_t n, uint64_t hash, int32_t *out)
{
    nn_slot *slot = find(c, key, n, hash);
    int32_t id = slot->id;
    if (id < 0) {
        id = (int32_t)c->n_words;
        if (add(c, key, n, hash, slot)) return NULL;
    }
    c->words[id].count++;
    c->n_raw_words++;
    *out++ = id;
    return ++c->length == c->max_sentence_length ? end_sentence(c, out) : out;
}

/* Take the token in the tail, if there is one. */
static int32_t *take_tail(nn_corpus *c, int32_t *out)
{
    const int64_t n = c->tail_length;
    c->tail_length = 0;
    return n ? take(c, c->tail, n, hash_of(c, c->tail, n), out) : out;
}

static int push(nn_corpus *c, const char *bytes, int64_t n)
{
    if (c->tail_length + n > UINT32_MAX || grow(&c->tail, &c->tail_room, c->tail_length + n, 1))
        return NN_CORPUS_NO_MEMORY;
    memcpy(c->tail + c->tail_length, bytes, (size_t)n);
    c->tail_length += n;
    return 0;
}

/* The bytes before the next white space, or before the end. */
static int64_t token_length(const char *p, const char *end)
{
    const char *q = p;
    for (; end - q >= 8; q += 8) {
        const uint64_t w = white(load(q));
        if (w) return q - p + (__builtin_ctzll(w) >> 3);
    }
    while (q < end && !is_white(*q)) q++;
    return q - p;
}

int nn_corpus_feed(nn_corpus *c, const char *data, int64_t n, int64_t *used, int32_t *out, int64_t *written)
{
    const char *p = data, *const end = data + n;
    int32_t *to = out;
    int status = NN_CORPUS_OK;
    if (!c->slots && rebuild(c, 1 << 12, NULL)) return NN_CORPUS_NO_MEMORY;
    while (p < end && status == NN_CORPUS_OK) {
        const int64_t sentences = c->n_sentences;
        const uint64_t x = end - p >= 8 ? load(p) : 0, w = white(x);
        const int64_t length = w ? __builtin_ctzll(w) >> 3 : token_length(p, end);
        if (p + length == end || c->tail_length) {
            if (push(c, p, length)) return NN_CORPUS_NO_MEMORY;
            if (p + length == end) {
                p = end;
                break;
            }
            to = take_tail(c, to);
        } else if (length) {
            to = take(c, p, length, w ? mix(c->seed ^ first(x, length)) : hash_of(c, p, length), to);
        }
        if (!to) return NN_CORPUS_NO_MEMORY;
        p += length;
        if (*p++ == '\n') to = end_sentence(c, to);
        if (c->n_sentences > sentences && c->n_words > c->max_words) status = NN_CORPUS_PRUNE;
    }
    *used = p - data;
    *written = to - out;
    return status;
}

int nn_corpus_finish(nn_corpus *c, int32_t *out, int64_t *written)
{
    const int64_t sentences = c->n_sentences;
    int32_t *to = out;
    if (c->tail_length && !(to = take_tail(c, to))) return NN_CORPUS_NO_MEMORY;
    to = end_sentence(c, to);
    *written = to - out;
    return c->n_sentences > sentences && c->n_words > c->max_words ? NN_CORPUS_PRUNE : NN_CORPUS_OK;
}

int nn_corpus_prune(nn_corpus *c, int64_t least, int32_t *places)
{
    int64_t n = 0, end = 0;
    for (int64_t i = 0; i < c->n_words; i++) {
        const nn_word word = c->words[i];
        const int64_t length = c->words[i + 1].begin - word.begin;
        places[i] = -1;
        if (word.count < least) continue;
        places[i] = (int32_t)n;
        memmove(c->bytes + end, c->bytes + word.begin, (size_t)length);
        c->words[n++] = (nn_word){word.count, end};
        end += length;
    }
    if (c->n_words) c->words[n].begin = end;
    c->n_words = n;
    return rebuild(c, c->n_slots, places);
}

void nn_corpus_free(nn_corpus *c)
{
    free(c->words);
    free(c->bytes);
    free(c->slots);
    free(c->tail);
    memset(c, 0, sizeof *c);
}

int64_t nn_corpus_remap(int64_t n, int32_t *ids, const int32_t *places, int *open, int64_t *sentences)
{
    int64_t to = 0, ends = 0;
    int is_open = *open;
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = ids[i], place = id < 0 ? -1 : places[id];
        ids[to] = place; /* stays if it is counted in: no branch on what a word is */
        const int kept = place >= 0 || (id < 0 && is_open);
        ends += id < 0 && is_open;
        is_open = id >= 0 && (is_open || place >= 0);
        to += kept;
    }
    *open = is_open;
    *sentences = ends;
    return to;
}

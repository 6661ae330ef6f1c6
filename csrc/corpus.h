/* corpus.h: the words of a text become ids; see corpus.c. Included by C and by corpus.pxi. */
#ifndef NN_CORPUS_H
#define NN_CORPUS_H

#include <stdint.h>

typedef struct nn_slot {
    uint64_t hash;
    int32_t id;      /* -1: empty */
    uint32_t length; /* in bytes; longer tokens are refused */
} nn_slot;

typedef struct nn_word {
    int64_t count, begin; /* its bytes begin at `begin` of nn_corpus.bytes and end where those of the next one begin */
} nn_word;

/* Begins as zeros but for the first three; nn_corpus_free empties it again. */
typedef struct nn_corpus {
    int64_t max_sentence_length, max_words;
    uint64_t seed;
    int64_t n_raw_words, n_sentences;
    int64_t n_words, room;
    nn_word *words; /* by id; one more marks the end */
    char *bytes;    /* of all words, nothing between them */
    int64_t bytes_room;
    nn_slot *slots;   /* open addressing, at most half full */
    uint64_t n_slots; /* a power of two */
    char *tail;       /* a token that the end of a block has cut */
    int64_t tail_length, tail_room;
    int64_t length; /* tokens of the sentence so far */
} nn_corpus;

enum { NN_CORPUS_OK = 0, NN_CORPUS_PRUNE = 1, NN_CORPUS_NO_MEMORY = -1 };

/* Read n bytes: *used of them, *written ids to out, which has room for n + 4. NN_CORPUS_PRUNE: stopped behind a
   sentence, as there are more than max_words words. */
int nn_corpus_feed(nn_corpus *c, const char *data, int64_t n, int64_t *used, int32_t *out, int64_t *written);

/* The text has ended: the last token and sentence, at most 3 ids. */
int nn_corpus_finish(nn_corpus *c, int32_t *out, int64_t *written);

/* Forget the words with counts below least; places (n_words) receives new ids, -1 for those forgotten. */
int nn_corpus_prune(nn_corpus *c, int64_t least, int32_t *places);

void nn_corpus_free(nn_corpus *c);

/* ids (n) in place: id i becomes places[i], tokens with a negative place go, -1 is the end of a sentence and goes if
   nothing of that is left. *open: whether the sentence has begun before. Returns what is left of n. */
int64_t nn_corpus_remap(int64_t n, int32_t *ids, const int32_t *places, int *open, int64_t *sentences);

#endif

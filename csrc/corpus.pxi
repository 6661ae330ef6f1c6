# The words of a text become ids; included by _native.pyx.
cdef extern from "corpus.h" nogil:
    enum: NN_CORPUS_PRUNE, NN_CORPUS_NO_MEMORY
    ctypedef struct nn_word:
        int64_t count, begin
    ctypedef struct nn_corpus:
        int64_t max_sentence_length, max_words
        uint64_t seed
        int64_t n_raw_words, n_sentences, n_words
        nn_word *words
        char *bytes
    int nn_corpus_feed(nn_corpus *, const char *, int64_t, int64_t *, int32_t *, int64_t *)
    int nn_corpus_finish(nn_corpus *, int32_t *, int64_t *)
    int nn_corpus_prune(nn_corpus *, int64_t, int32_t *)
    void nn_corpus_free(nn_corpus *)
    int64_t nn_corpus_remap(int64_t, int32_t *, const int32_t *, int *, int64_t *)


cdef class CorpusReader:
    """Reads a text in blocks; see nnfast.backend.CorpusReader. The seed places words in the table, and nothing else."""

    cdef nn_corpus corpus

    def __cinit__(self, int64_t max_sentence_length, int64_t max_words, uint64_t seed):
        self.corpus.max_sentence_length, self.corpus.max_words = max_sentence_length, max_words
        self.corpus.seed = seed

    def __dealloc__(self):
        nn_corpus_free(&self.corpus)

    @property
    def n_raw_words(self):
        return self.corpus.n_raw_words

    @property
    def n_sentences(self):
        return self.corpus.n_sentences

    cdef int checked(self, int status) except -1:
        if status == NN_CORPUS_NO_MEMORY:
            raise MemoryError(
                f"out of memory after {self.corpus.n_words} different words; pass max_vocab_size, which forgets the rarest"
            )
        return status

    def feed(self, data, out):
        """Read a block; return the bytes read, the entries of `out`, and whether to prune now."""
        cdef Arrays arrays = Arrays()
        cdef const char *from_ = <const char *>arrays.take(data)
        cdef int32_t *to = <int32_t *>arrays.take(out, True)
        cdef int64_t n = arrays.buffers[0].len, used = 0, written = 0
        cdef int status
        if arrays.buffers[1].len < 4 * (n + 4):
            raise ValueError(f"out: expected room for {n + 4} ids, got {arrays.buffers[1].len // 4}")
        with nogil:
            status = nn_corpus_feed(&self.corpus, from_, n, &used, to, &written)
        return used, written, self.checked(status) == NN_CORPUS_PRUNE

    def finish(self, out):
        """End the last token and sentence; return the entries of `out`, and whether to prune."""
        cdef Arrays arrays = Arrays()
        cdef int32_t *to = <int32_t *>arrays.take(out, True)
        cdef int64_t written = 0
        if arrays.buffers[0].len < 12:
            raise ValueError("out: expected room for 3 ids")
        status = self.checked(nn_corpus_finish(&self.corpus, to, &written))
        return written, status == NN_CORPUS_PRUNE

    def prune(self, int64_t least):
        """Forget words of lower counts; return the new id of each, or -1."""
        cdef Arrays arrays = Arrays()
        places = empty(self.corpus.n_words, "i4")
        self.checked(nn_corpus_prune(&self.corpus, least, <int32_t *>arrays.take(places, True)))
        return places

    def words(self):
        """Return the words by id."""
        cdef nn_word *w = self.corpus.words
        cdef int64_t i
        return [self.corpus.bytes[w[i].begin:w[i + 1].begin] for i in range(self.corpus.n_words)]

    def counts(self):
        """Return their counts."""
        cdef Arrays arrays = Arrays()
        cdef int64_t i
        counts = empty(self.corpus.n_words, "i8")
        cdef int64_t *to = <int64_t *>arrays.take(counts, True)
        for i in range(self.corpus.n_words):
            to[i] = self.corpus.words[i].count
        return counts


def remap_corpus(ids, places, bint is_open):
    """Give tokens other ids in place; see nnfast.backend.Backend.remap_corpus."""
    cdef Arrays arrays = Arrays()
    cdef int32_t *to = <int32_t *>arrays.take(ids, True)
    cdef const int32_t *from_ = <const int32_t *>arrays.take(places)
    cdef int64_t n = arrays.buffers[0].len // 4, sentences = 0, left
    cdef int open_ = is_open
    with nogil:
        left = nn_corpus_remap(n, to, from_, &open_, &sentences)
    return left, sentences, bool(open_)

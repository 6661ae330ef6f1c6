# The training of word vectors; included by _native.pyx.
WORDS_CHUNK = NN_CHUNK


cdef class Word2VecRun:
    """What is left of an epoch; see nnfast.backend.Word2VecRun. The job has checked its arrays."""

    cdef nn_words words_
    cdef const nn_table *table
    cdef Arrays arrays

    def __cinit__(self, str isa, job, int64_t longest, aligned_rows):
        cdef nn_words *w = &self.words_
        self.table = table_of(isa, False)
        self.arrays = Arrays()
        w.ids, w.n_ids = <const int32_t *>self.arrays.take(job.ids), job.ids.size
        w.keep, w.n_words = <const uint32_t *>self.arrays.take(job.keep), job.keep.size
        w.syn0, w.stride = <float *>self.arrays.take(job.syn0, True), job.syn0.shape[1]
        w.columns = (<int64_t>job.size + 15) // 16 * 16
        if job.negative:
            w.syn1 = <float *>self.arrays.take(job.syn1, True)
            threshold, alias = job.noise
            w.threshold = <const uint32_t *>self.arrays.take(threshold)
            w.alias = <const int32_t *>self.arrays.take(alias)
        if job.huffman is not None:
            w.syn1hs = <float *>self.arrays.take(job.syn1hs, True)
            w.codes = <const uint8_t *>self.arrays.take(job.huffman.codes)
            w.points = <const int32_t *>self.arrays.take(job.huffman.points)
            w.offsets = <const int64_t *>self.arrays.take(job.huffman.offsets)
            w.longest = longest
        w.sg, w.window, w.negative, w.shrink = job.sg, job.window, job.negative, job.shrink_windows
        w.mean, w.corrected = job.cbow_mean, job.cbow_grad == "corrected"
        w.exact = job.sharing == "exact"
        w.seed, w.epoch = job.seed, job.epoch
        w.alpha, w.min_alpha, w.workers = job.alpha, job.min_alpha, job.workers
        w.begin, w.end = job.progress
        w.n_chunks, w.chunk = job.n_chunks, job.first_chunk
        if job.compute_loss:
            w.losses = <double *>self.arrays.take(zeros(w.n_chunks), True)
        try:
            if self.table.words_prepare(w):
                raise MemoryError
            w.arena = <void *><float *>self.arrays.take(aligned_rows(w.workers, w.share // 4), True)
        except (MemoryError, OSError, OverflowError):
            raise MemoryError(
                f"out of memory for {job.workers} workers with a window of {job.window} and {job.negative} noise "
                "words; lower them"
            )

    @property
    def chunk(self):
        return self.words_.chunk

    @property
    def words(self):
        return self.words_.words

    @property
    def effective(self):
        return self.words_.effective

    @property
    def pairs(self):
        return self.words_.pairs

    @property
    def loss(self):
        return self.words_.loss

    def advance(self, double seconds):
        """Train for about so many seconds; True while there is more to do."""
        cdef bint more
        with nogil:
            more = self.table.words_advance(&self.words_, seconds)
        return more

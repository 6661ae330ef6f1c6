# The one crossing from Python to C: check, take pointers, drop the GIL, call, raise. backend.py is its only user, and
# hands over arrays of the right type and shape; what could still reach outside an array is checked here again.
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDED_RO, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from time import monotonic

from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

from numpy import empty, ndarray, zeros

from nnfast.plan import Csr

cdef extern from "nnfast.h" nogil:
    const char *NN_NAMES
    enum: NN_MAX_ATTRIBUTES, NN_MAX_INPUTS, NN_NOT_FINITE, NN_MORE, NN_PYTHON, NN_IDENTITY, NN_RELU
    ctypedef struct nn_row:
        int64_t op
        double attributes[NN_MAX_ATTRIBUTES]
        int64_t inputs[NN_MAX_INPUTS]
        int64_t output, theta, buffer
    ctypedef struct nn_source:
        const char *data
        ptrdiff_t row_stride, stride
        int32_t type, swapped
    ctypedef struct nn_exchange:
        void *x
        void *y
        void *dy
        void *dx
        void *w
        void *dw
        double *losses
    ctypedef struct nn_wanted:
        int64_t exchange, backward, first, rows
    ctypedef struct nn_sparse:
        const void *data
        const int32_t *indices
        const int64_t *indptr
        int64_t n
    ctypedef struct nn_call:
        const nn_row *rows
        int64_t n_rows, n_in, n_out
        void *theta
        nn_source x, y
        nn_sparse csr
        const int64_t *labels
        const void *sample_weight
        const int64_t *order
        int64_t n, batch, loss, optimizer
        double label_smoothing, highest_loss
        double constants[4]
        double clip_value, clip_norm
        const double *rates
        const double *penalty_factors
        void *state
        int64_t slots
        int64_t n_theta
        void *buffers
        int64_t training
        uint64_t seed
        int64_t first_step
        nn_exchange *exchanges
        nn_exchange loss_exchange
        void *gradient
        void *outputs
        double *losses
        int64_t threads
        double serial_below
        void *program
        int64_t step, phase, block, rows_done
        double loss_sum
        nn_wanted wanted
    ctypedef struct nn_dense:
        int64_t rows, n_in, n_out, activation, threads
        const void *x
        const void *w
        const void *b
        void *y
        const void *dy
        void *dx
        void *dw
        void *db
        int64_t add
    ctypedef struct nn_tile:
        int64_t y_row, x_row, x_k, x_seg, w_k, w_seg, segs, seg, start, end
        double rate
    enum: NN_CHUNK
    ctypedef struct nn_words:
        const int32_t *ids
        const uint32_t *keep
        int64_t n_ids, n_words
        float *syn0
        float *syn1
        float *syn1hs
        int64_t stride, columns
        const uint32_t *threshold
        const int32_t *alias
        const uint8_t *codes
        const int32_t *points
        const int64_t *offsets
        int64_t longest, sg, window, negative, shrink, mean, corrected, exact
        uint64_t seed, epoch
        double alpha, min_alpha
        double begin "from"
        double end "to"
        int64_t workers
        double *losses
        void *arena
        int64_t share
        int64_t chunk, n_chunks, words, effective, pairs
        double loss
    ctypedef struct nn_table:
        const char *isa
        int64_t is_double, lanes
        int (*prepare)(nn_call *) noexcept nogil
        int (*advance)(nn_call *, double) noexcept nogil
        void (*settle)(nn_call *) noexcept nogil
        void (*release)(nn_call *) noexcept nogil
        void (*predict_row)(const nn_call *, const void *, void *) noexcept nogil
        int (*dense_forward)(const nn_dense *) noexcept nogil
        int (*dense_backward)(const nn_dense *) noexcept nogil
        void (*activation)(int64_t, int64_t, int64_t, void *, const void *) noexcept nogil
        void (*activation_grad)(int64_t, int64_t, int64_t, void *, const void *, const void *) noexcept nogil
        int (*softmax_cross_entropy)(int64_t, int64_t, double, double *, void *, const void *,
                                     const int64_t *) noexcept nogil
        void (*sgd_update)(int64_t, void *, const void *, double) noexcept nogil
        int (*words_prepare)(nn_words *) noexcept nogil
        int (*words_advance)(nn_words *, double) noexcept nogil
        void (*function)(int64_t, int64_t, void *, const void *) noexcept nogil
        void (*panel)(int64_t, int64_t, void *, const void *, const void *, void *, const nn_tile *) noexcept nogil
        void (*outer)(int64_t, int64_t, void *, const void *, const void *, void *, const nn_tile *) noexcept nogil
        double (*peak)(double) noexcept nogil
    const nn_table *nn_table_at(int index)

cdef extern from "team.h" nogil:
    ctypedef struct nn_team:
        int index, size
    int nn_max_threads()
    ctypedef struct nn_limits:
        pass
    void nn_read_limits(nn_limits *limits)
    void nn_parallel(int64_t threads, void (*work)(void *, const nn_team *) noexcept nogil, void *argument)

cdef extern from "rng.h" nogil:
    void nn_permutation(int64_t *order, int64_t n, uint64_t seed, uint64_t step)

cdef enum:
    ELEMENTS_OF_A_THREAD = 1 << 15  # below which another thread costs more than it brings

NAMES = NN_NAMES.decode()
# Element types by NumPy's kind and size, in the order of enum nn_type.
TYPES = {"f4": 0, "f8": 1, "i1": 2, "i2": 3, "i4": 4, "i8": 5, "u1": 6, "b1": 6, "u2": 7, "u4": 8, "u8": 9}


cdef const nn_table *table_of(str isa, bint is_double) except NULL:
    cdef int i = 0
    cdef const nn_table *table = nn_table_at(0)
    while table != NULL:
        if table.is_double == is_double and table.isa.decode() == isa:
            return table
        i += 1
        table = nn_table_at(i)
    raise ValueError(f"expected one of the instruction sets {isas()}, got {isa!r}")


def isas():
    """Names of the instruction sets that this build has and this processor runs, best first."""
    cdef int i = 0
    names = []
    while nn_table_at(i) != NULL:
        names.append(nn_table_at(i).isa.decode())
        i += 2
    return names


cdef class Arrays:
    """Holds the buffers whose pointers a call uses: none of them can move or be resized before release."""

    cdef Py_buffer buffers[16]
    cdef int n

    cdef void *take(self, array, bint writable=False, bint strided=False) except? NULL:
        if array is None:
            return NULL
        cdef int flags = PyBUF_STRIDED_RO if strided else PyBUF_C_CONTIGUOUS
        PyObject_GetBuffer(array, &self.buffers[self.n], flags | (PyBUF_WRITABLE if writable else 0))
        self.n += 1
        return self.buffers[self.n - 1].buf

    cdef void release(self) noexcept:
        while self.n:
            self.n -= 1
            PyBuffer_Release(&self.buffers[self.n])

    def __dealloc__(self):
        self.release()


cdef nn_source source(Arrays arrays, array) except *:
    """A 2-D array of any real type and strides."""
    cdef nn_source s
    memset(&s, 0, sizeof(s))
    if array is not None:
        s.data = <const char *>arrays.take(array, False, True)
        s.row_stride, s.stride = array.strides
        kind = array.dtype
        s.type = TYPES[kind.str[1:]]
        s.swapped = not kind.isnative
    return s


cdef nn_exchange exchange(list held, a) except *:
    cdef nn_exchange e
    cdef Arrays taken = Arrays()
    e.x, e.y = taken.take(a.x, True), taken.take(a.y, True)
    e.dy, e.dx = taken.take(a.dy, True), taken.take(a.dx, True)
    e.w, e.dw, e.losses = taken.take(a.w, True), taken.take(a.dw, True), <double *>taken.take(a.losses, True)
    held.append(taken)
    return e


cdef class Run:
    """One run of a plan, and where it stands. rows: (op, attributes, inputs, output, theta, buffer) of integers.

    exchanges: for each function, and loss_exchange for a loss in Python, an object with the arrays of nn_exchange; then
    python(which, backward, first, rows) answers what the run asks for, which = -1 for the loss.
    """

    cdef nn_call call
    cdef nn_row *rows_
    cdef nn_exchange *exchanges
    cdef const nn_table *table
    cdef Arrays arrays
    cdef list held
    cdef object python
    cdef double loss_before
    cdef readonly bint finite

    def __cinit__(self, str isa, bint is_double, rows, int64_t n_in, int64_t n_out, theta, x, y, labels, sample_weight,
                  order, int64_t batch, int64_t loss, double label_smoothing, double highest_loss, int64_t optimizer,
                  constants, double clip_value, double clip_norm, rates, penalty_factors, state, buffers, bint training, uint64_t seed,
                  int64_t first_step, gradient, outputs, losses, double loss_before, int64_t threads, double serial_below, exchanges,
                  loss_exchange, python):
        cdef nn_call *c = &self.call
        cdef int i, j
        self.table = table_of(isa, is_double)
        self.arrays = Arrays()
        self.finite = True
        self.held = []
        self.python = python
        self.rows_ = <nn_row *>calloc(len(rows), sizeof(nn_row))
        self.exchanges = <nn_exchange *>calloc(len(exchanges) + 1, sizeof(nn_exchange))
        if self.rows_ == NULL or self.exchanges == NULL:
            raise MemoryError
        for i, (op, attributes, inputs, output, offset, buffer) in enumerate(rows):
            self.rows_[i].op = op
            for j, value in enumerate(attributes):
                self.rows_[i].attributes[j] = value
            for j in range(NN_MAX_INPUTS):
                self.rows_[i].inputs[j] = inputs[j] if j < len(inputs) else -1
            self.rows_[i].output = output
            self.rows_[i].theta = offset
            self.rows_[i].buffer = buffer
        c.rows, c.n_rows, c.n_in, c.n_out = self.rows_, len(rows), n_in, n_out
        c.theta, c.n_theta = self.arrays.take(theta, optimizer >= 0), theta.size
        if isinstance(x, Csr):
            c.csr.data, c.csr.n = self.arrays.take(x.data), x.data.size
            c.csr.indices = <const int32_t *>self.arrays.take(x.indices)
            c.csr.indptr = <const int64_t *>self.arrays.take(x.indptr)
            x = None
        c.x, c.y = source(self.arrays, x), source(self.arrays, y)
        c.labels = <const int64_t *>self.arrays.take(labels)
        c.sample_weight = self.arrays.take(sample_weight)
        c.order, c.n, c.batch = <const int64_t *>self.arrays.take(order), order.size, batch
        c.loss, c.label_smoothing, c.highest_loss, c.optimizer = loss, label_smoothing, highest_loss, optimizer
        c.clip_value, c.clip_norm = clip_value, clip_norm
        for i, value in enumerate(constants):
            c.constants[i] = value
        c.rates = <const double *>self.arrays.take(rates)
        c.penalty_factors = <const double *>self.arrays.take(penalty_factors)
        c.state, c.slots = self.arrays.take(state, True), 0 if state is None else len(state)
        c.buffers = self.arrays.take(buffers, optimizer >= 0)
        c.training, c.seed, c.first_step = training, seed, first_step
        for i, value in enumerate(exchanges):
            self.exchanges[i] = exchange(self.held, value)
        c.exchanges = self.exchanges
        if loss_exchange is not None:
            c.loss_exchange = exchange(self.held, loss_exchange)
        c.gradient = self.arrays.take(gradient, True)
        c.outputs = self.arrays.take(outputs, True)
        c.losses = <double *>self.arrays.take(losses, True)
        c.loss_sum, c.threads, c.serial_below = loss_before, threads, serial_below
        self.loss_before = loss_before

    def prepare(self):
        if self.table.prepare(&self.call):
            raise MemoryError("out of memory for the workspace of a run")

    def restart(self, int64_t first_step):
        """Stand at the beginning again, with what the arrays hold now; the step's number is a key of the noise."""
        cdef nn_call *c = &self.call
        c.step = c.phase = c.block = c.rows_done = 0
        c.loss_sum, c.first_step, self.finite = self.loss_before, first_step, True
        if c.csr.indptr != NULL:  # its lists were measured by the order
            self.table.release(c)
            self.prepare()

    def __dealloc__(self):
        if self.call.program != NULL:
            self.table.release(&self.call)
        free(self.rows_)
        free(self.exchanges)

    @property
    def steps(self):
        return self.call.step

    @property
    def rows(self):
        return self.call.rows_done

    @property
    def loss(self):
        return self.call.loss_sum

    def advance(self, double seconds):
        """Work for about so many seconds; True while there is more to do."""
        cdef int status
        cdef nn_wanted *w = &self.call.wanted
        end = monotonic() + seconds
        while True:
            with nogil:
                status = self.table.advance(&self.call, seconds)
            if status != NN_PYTHON:
                break
            try:
                self.python(w.exchange, w.backward, w.first, w.rows)
            except BaseException:
                self.table.settle(&self.call)
                raise
            seconds = end - monotonic()
        self.finite = status != NN_NOT_FINITE
        return status == NN_MORE


cdef class Predictor:
    """The network's output for one row, at the lowest latency: a snapshot of theta, packed once."""

    cdef Run run
    cdef object template
    cdef Py_ssize_t bytes_in, bytes_out
    cdef bytes format

    def __cinit__(self, Run run, x, template):
        cdef Arrays arrays = Arrays()
        cdef void *from_ = arrays.take(x)
        cdef void *to = arrays.take(template, True)
        run.prepare()
        run.table.predict_row(&run.call, from_, to)  # packs theta
        self.run = run
        self.template = template
        self.bytes_in = run.call.n_in * template.itemsize
        self.bytes_out = run.call.n_out * template.itemsize
        self.format = template.dtype.char.encode()

    cdef bint fits(self, Py_buffer *buffer, Py_ssize_t size):
        return buffer.len == size and buffer.format[0] == self.format[0] and buffer.format[1] == 0

    def __call__(self, x, out=None):
        """y = net(x) for x of shape (n_in,) or (1, n_in), contiguous and of the network's dtype; out receives y."""
        cdef Py_buffer from_, to
        y = self.template.copy() if out is None else out
        PyObject_GetBuffer(x, &from_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        try:
            if not self.fits(&from_, self.bytes_in):
                raise self.refusal("x", x, self.run.call.n_in)
            PyObject_GetBuffer(y, &to, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE)
            try:
                if not self.fits(&to, self.bytes_out):
                    raise self.refusal("out", y, self.run.call.n_out)
                self.run.table.predict_row(&self.run.call, from_.buf, to.buf)
            finally:
                PyBuffer_Release(&to)
        finally:
            PyBuffer_Release(&from_)
        return y

    def refusal(self, name, array, size):
        came = f"{array.dtype} of shape {array.shape}" if hasattr(array, "dtype") else type(array).__name__
        return ValueError(
            f"expected {name} as a contiguous {self.template.dtype.name} array of {size} elements, "
            f"got {came}; convert it once with "
            f"numpy.ascontiguousarray({name}, dtype={self.template.dtype.name!r})"
        )


# Dense arrays below: C-contiguous, of the type that is_double names. The work is elementwise, or by rows, so each thread
# takes a piece of the rows.

cdef enum Kind: ACTIVATION, ACTIVATION_GRAD, SOFTMAX_CROSS_ENTROPY, SGD_UPDATE

cdef struct Pieces:
    const nn_table *table
    Kind kind
    int64_t name, rows, n
    double factor
    double *losses
    const int64_t *labels
    char *out
    const char *a
    const char *b
    int status


cdef void piece(void *argument, const nn_team *team) noexcept nogil:
    cdef Pieces *p = <Pieces *>argument
    cdef int64_t first = p.rows * team.index // team.size, end = p.rows * (team.index + 1) // team.size
    cdef int64_t rows = end - first, skipped = first * p.n * (8 if p.table.is_double else 4)
    if rows == 0:
        return
    if p.kind == ACTIVATION:
        p.table.activation(p.name, rows, p.n, p.out + skipped, p.a + skipped)
    elif p.kind == ACTIVATION_GRAD:
        p.table.activation_grad(p.name, rows, p.n, p.out + skipped, p.a + skipped, p.b + skipped)
    elif p.kind == SGD_UPDATE:
        p.table.sgd_update(rows * p.n, p.out + skipped, p.a + skipped, p.factor)
    elif p.table.softmax_cross_entropy(rows, p.n, p.factor, p.losses + first, p.out + skipped, p.a + skipped,
                                       p.labels + first):
        p.status = -1


cdef Pieces pieces(const nn_table *table, Kind kind, int64_t name, int64_t rows, int64_t n, double factor=0) noexcept:
    cdef Pieces p
    memset(&p, 0, sizeof(p))
    p.table, p.kind, p.name, p.rows, p.n, p.factor = table, kind, name, rows, n, factor
    return p


cdef int check_pieces(const Pieces *p) except -1:
    if p.status:
        raise MemoryError("out of memory for a row of softmax_cross_entropy")
    return 0


cdef int run_pieces(Pieces *p, int64_t threads) except -1:
    cdef int64_t useful = p.rows * p.n // ELEMENTS_OF_A_THREAD
    with nogil:
        nn_parallel(max(1, min(threads, useful)), piece, p)
    return check_pieces(p)


include "plain.pxi"


def activation(str isa, bint is_double, int64_t name, int64_t rows, int64_t n, y, z, int64_t threads):
    cdef Arrays arrays = Arrays()
    cdef Pieces p = pieces(table_of(isa, is_double), ACTIVATION, name, rows, n)
    p.out, p.a = <char *>arrays.take(y, True), <const char *>arrays.take(z)
    run_pieces(&p, threads)


def activation_grad(str isa, bint is_double, int64_t name, int64_t rows, int64_t n, dz, y, dy, int64_t threads):
    cdef Arrays arrays = Arrays()
    cdef Pieces p = pieces(table_of(isa, is_double), ACTIVATION_GRAD, name, rows, n)
    p.out, p.a, p.b = <char *>arrays.take(dz, True), <const char *>arrays.take(y), <const char *>arrays.take(dy)
    run_pieces(&p, threads)


def softmax_cross_entropy(str isa, bint is_double, losses, dz, z, labels, int64_t threads):
    cdef Arrays arrays = Arrays()
    cdef Pieces p = pieces(table_of(isa, is_double), SOFTMAX_CROSS_ENTROPY, 0, z.shape[0], z.shape[1], 1.0 / len(z))
    p.out, p.a = <char *>arrays.take(dz, True), <const char *>arrays.take(z)
    p.losses, p.labels = <double *>arrays.take(losses, True), <const int64_t *>arrays.take(labels)
    run_pieces(&p, threads)


def sgd_update(str isa, bint is_double, theta, gradient, double rate, int64_t threads):
    cdef Arrays arrays = Arrays()
    cdef Pieces p = pieces(table_of(isa, is_double), SGD_UPDATE, 0, theta.size, 1, rate)
    p.out, p.a = <char *>arrays.take(theta, True), <const char *>arrays.take(gradient)
    run_pieces(&p, threads)


def function(str isa, bint is_double, int64_t name, y, x):
    """exp, log, log1p (0, 1, 2) of an array, for the tests."""
    cdef const nn_table *table = table_of(isa, is_double)
    cdef Arrays arrays = Arrays()
    cdef int64_t n = x.size
    cdef void *out = arrays.take(y, True)
    cdef const void *from_ = arrays.take(x)
    with nogil:
        table.function(name, n, out, from_)


def tile(str isa, bint is_double, bint outer, int64_t width, int64_t rows, y, x, w, other, strides, double rate=0.0):
    """The register tile itself, for the tests; strides: the integers of nn_tile in their order. The arrays are not checked."""
    cdef const nn_table *table = table_of(isa, is_double)
    cdef Arrays arrays = Arrays()
    cdef nn_tile t
    t.y_row, t.x_row, t.x_k, t.x_seg, t.w_k, t.w_seg, t.segs, t.seg, t.start, t.end = strides
    t.rate = rate
    cdef void *to = arrays.take(y, True)
    cdef const void *left = arrays.take(x)
    cdef const void *right = arrays.take(w)
    cdef void *more = arrays.take(other)
    (table.outer if outer else table.panel)(width, rows, to, left, right, more, &t)


def max_threads():
    """Threads that OpenMP would use."""
    return nn_max_threads()


def lanes(str isa, bint is_double):
    """Elements of a vector."""
    return table_of(isa, is_double).lanes


def peak(str isa, bint is_double, double seconds):
    """FLOP/s of FMAs on this core, measured for about so many seconds."""
    cdef const nn_table *table = table_of(isa, is_double)
    cdef double rate
    with nogil:
        rate = table.peak(seconds)
    return rate


def permutation(order, uint64_t seed, uint64_t epoch):
    """Fill order (int64) with a permutation of its indices."""
    cdef Arrays arrays = Arrays()
    cdef int64_t n = order.size
    cdef int64_t *to = <int64_t *>arrays.take(order, True)
    with nogil:
        nn_permutation(to, n, seed, epoch)


include "corpus.pxi"
include "word2vec.pxi"

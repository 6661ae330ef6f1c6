# nnfast.ops on the arrays that a hand-written network has, at the lowest latency: contiguous, aligned, of one type, of
# the right shapes. For others the functions do nothing and return None.
from numpy import dtype

cdef enum:
    BLOCK = 256  # rows of a block sum of dW

cdef double SERIAL_BELOW = 0.5e6  # FLOP a thread, as Job.serial_below
cdef double FLOP_OF_A_CALL = 2e10  # between two looks at signals

cdef object FLOAT32 = dtype("float32"), FLOAT64 = dtype("float64")


cdef struct Held:
    Py_buffer buffers[8]
    int n


cdef object kind_of(array):
    """FLOAT32, FLOAT64 or None: an array's dtype, which is another object of the same meaning if it was unpickled."""
    if type(array) is not ndarray:
        return None
    kind = array.dtype
    if kind is FLOAT32 or kind is FLOAT64:
        return kind
    return FLOAT32 if kind == FLOAT32 else FLOAT64 if kind == FLOAT64 else None


cdef Py_buffer *hold(Held *held, array, kind, int ndim, bint writable=False) except? NULL:
    """The buffer of an array of this type and so many axes (-1: any), which release() gives back; or NULL."""
    cdef Py_buffer *b = &held.buffers[held.n]
    if type(array) is not ndarray or (array.dtype is not kind and array.dtype != kind):
        return NULL
    try:
        PyObject_GetBuffer(array, b, PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writable else 0))
    except (BufferError, ValueError):
        return NULL
    held.n += 1
    return NULL if ndim >= 0 and b.ndim != ndim or b.len == 0 or <uintptr_t>b.buf % b.itemsize else b


cdef Py_buffer *matrix(Held *held, array, kind, int64_t rows, int64_t columns, bint writable=False) except? NULL:
    """The same of an array of this shape."""
    cdef Py_buffer *b = hold(held, array, kind, 2, writable)
    return b if b != NULL and b.shape[0] == rows and b.shape[1] == columns else NULL


cdef void release(Held *held) noexcept:
    while held.n:
        held.n -= 1
        PyBuffer_Release(&held.buffers[held.n])


cdef class Plain:
    """The functions for the tables of one instruction set.

    codes: activations by all their names. default_threads() is asked where None is given and there is work for a second one.
    """

    cdef const nn_table *tables[2]
    cdef dict codes
    cdef object default_threads

    def __cinit__(self, str isa, dict codes, default_threads):
        self.tables[0], self.tables[1] = table_of(isa, False), table_of(isa, True)
        self.codes = codes
        self.default_threads = default_threads

    cdef bint layer(self, nn_dense *d, Held *held, x, w, kind, activation, threads, double flop_of_weight) except -1:
        """Sizes, x, w, the activation and the threads of a layer; False if they are not plain."""
        cdef Py_buffer *from_ = NULL
        cdef Py_buffer *weights = NULL
        memset(d, 0, sizeof(nn_dense))
        code = self.codes.get(activation) if type(activation) is str else None
        if code is None or kind is None or (threads is not None and not (type(threads) is int and 1 <= threads <= 256)):
            return False
        from_ = hold(held, x, kind, 2)
        weights = hold(held, w, kind, 2) if from_ != NULL else NULL
        if weights == NULL or from_.shape[1] != weights.shape[0]:
            return False
        d.rows, d.n_in, d.n_out, d.activation = from_.shape[0], weights.shape[0], weights.shape[1], code
        d.x, d.w = from_.buf, weights.buf
        useful = flop_of_weight * d.rows * d.n_in * d.n_out / SERIAL_BELOW
        d.threads = 1 if useful < 2 else min(useful, self.default_threads() if threads is None else threads)
        return True

    cdef int run(self, nn_dense *d, bint is_double, bint backward) except -1:
        """Some blocks of rows after the other, the gradients of w and b added up."""
        cdef const nn_table *table = self.tables[is_double]
        cdef int64_t size = 8 if is_double else 4, left = d.rows
        cdef double flop = (6.0 if backward else 2.0) * d.n_in * d.n_out
        cdef int64_t most = BLOCK * max(1, <int64_t>(FLOP_OF_A_CALL / flop / BLOCK))
        cdef int status
        while left > 0:
            d.rows = min(left, most)
            with nogil:
                status = (table.dense_backward if backward else table.dense_forward)(d)
            if status:
                raise MemoryError(f"out of memory for the workspace of dense_{'backward' if backward else 'forward'}")
            left -= d.rows
            if left == 0:
                break
            PyErr_CheckSignals()
            d.x = <const char *>d.x + d.rows * d.n_in * size
            d.y = <char *>d.y + d.rows * d.n_out * size
            if backward:
                d.dy = <const char *>d.dy + d.rows * d.n_out * size
                if d.dx != NULL:
                    d.dx = <char *>d.dx + d.rows * d.n_in * size
                d.add = 1
        return 0

    def dense_forward(self, x, w, b, activation, out, threads):
        """y = f(x w + b), in `out` unless that is None."""
        cdef nn_dense d
        cdef Held held
        cdef Py_buffer *more
        held.n = 0
        try:
            kind = kind_of(x)
            if not self.layer(&d, &held, x, w, kind, activation, threads, 2.0):
                return None
            if b is not None:
                more = hold(&held, b, kind, 1)
                if more == NULL or more.shape[0] != d.n_out:
                    return None
                d.b = more.buf
            y = empty((d.rows, d.n_out), kind) if out is None else out
            more = matrix(&held, y, kind, d.rows, d.n_out, True)
            if more == NULL:
                return None
            d.y = more.buf
            self.run(&d, kind is FLOAT64, False)
            return y
        finally:
            release(&held)

    def dense_backward(self, x, w, y, dy, activation, bint need_dx, threads):
        """(dx or None, dw, db); y is z for an activation whose derivative needs it."""
        cdef nn_dense d
        cdef Held held
        cdef Py_buffer *to
        cdef Py_buffer *slope
        held.n = 0
        try:
            kind = kind_of(x)
            if not self.layer(&d, &held, x, w, kind, activation, threads, 6.0):
                return None
            to = matrix(&held, y, kind, d.rows, d.n_out)
            slope = matrix(&held, dy, kind, d.rows, d.n_out) if to != NULL else NULL
            if slope == NULL:
                return None
            d.y, d.dy = to.buf, slope.buf
            dx = empty((d.rows, d.n_in), kind) if need_dx else None
            dw, db = empty((d.n_in, d.n_out), kind), empty(d.n_out, kind)
            if need_dx:
                d.dx = hold(&held, dx, kind, 2, True).buf
            d.dw, d.db = hold(&held, dw, kind, 2, True).buf, hold(&held, db, kind, 1, True).buf
            self.run(&d, kind is FLOAT64, True)
            return dx, dw, db
        finally:
            release(&held)

    def sgd_update(self, theta, gradient, lr):
        """True: theta -= lr * gradient is done. Not for large ones, which have work for several threads."""
        cdef Held held
        cdef Py_buffer *to
        cdef Py_buffer *from_
        cdef int64_t i, n
        held.n = 0
        try:
            kind = kind_of(theta)
            if kind is None or type(lr) is not float or not isfinite(lr):
                return None
            to = hold(&held, theta, kind, -1, True)
            from_ = hold(&held, gradient, kind, -1) if to != NULL else NULL
            if from_ == NULL or to.ndim != from_.ndim:
                return None
            for i in range(to.ndim):
                if to.shape[i] != from_.shape[i]:
                    return None
            n = to.len // to.itemsize
            if n >= 2 * ELEMENTS_OF_A_THREAD:
                return None
            self.tables[kind is FLOAT64].sgd_update(n, to.buf, from_.buf, lr)
            return True
        finally:
            release(&held)

# nnfast.ops on the arrays that a hand-written network has, at the lowest latency: contiguous, aligned, of one type, of
# the right shapes. For others the functions do nothing and return None.
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_INCREF

from numpy import dtype
from numpy._core._multiarray_umath import _ARRAY_API

cdef extern from *:
    """
    /* The fields that NumPy's PyArray_DATA and its like read, the same since NumPy 1.0: the buffer protocol gives the
     * same at 0.1 us an array, which is as long as NumPy takes for a small operation. */
    typedef struct nn_array {
        PyObject_HEAD
        char *data;
        int nd;
        Py_ssize_t *dimensions, *strides;
        PyObject *base, *descr;
        int flags;
    } nn_array;
    /* PyArray_NewFromDescr, which has had this place in NumPy's table since 1.0: empty() takes 0.3 us by way of Python. */
    typedef PyObject *(*nn_new_array)(PyObject *type, PyObject *descr, int nd, const Py_ssize_t *dimensions,
                                      const Py_ssize_t *strides, void *data, int flags, PyObject *like);
    #define NN_NEW_ARRAY(api) ((nn_new_array)(api)[94])
    """
    ctypedef object (*nn_new_array)(object, object, int, const Py_ssize_t *, const Py_ssize_t *, void *, int, PyObject *)
    nn_new_array NN_NEW_ARRAY(void **api)
    ctypedef struct nn_array:
        char *data
        int nd
        Py_ssize_t *dimensions
        PyObject *descr
        int flags

cdef enum:
    BLOCK = 256  # rows of a block sum of dW
    CONTIGUOUS = 0x1, ALIGNED = 0x100, WRITEABLE = 0x400  # NumPy's flags

# What a thread must have to do, in FLOP of float32; those of float64 count twice, an element of a function as FUNCTION: a
# second thread costs 1.6 us.
cdef double SERIAL_BELOW = 0.4e6, FUNCTION = 80
cdef double FLOP_OF_A_CALL = 2e10  # between two looks at signals
cdef int64_t BYTES_OF_DZ = 1 << 24  # of both its copies: the memory of more rows might not be kept for the next call (scratch.c)

cdef object ARRAY = ndarray, FLOAT32 = dtype("float32"), FLOAT64 = dtype("float64"), INT64 = dtype("int64")
cdef nn_new_array new_array = NN_NEW_ARRAY(<void **>PyCapsule_GetPointer(_ARRAY_API, NULL))


cdef object new(int ndim, const Py_ssize_t *shape, kind):
    """empty(shape, kind)"""
    Py_INCREF(kind)  # which the function takes for itself
    return new_array(ARRAY, kind, ndim, shape, NULL, NULL, 0, NULL)


cdef void *data_of(array) noexcept:
    return (<nn_array *><PyObject *>array).data


cdef object kind_of(array):
    """FLOAT32, FLOAT64 or None: an array's dtype, which is another object of the same meaning if it was unpickled."""
    cdef PyObject *kind
    if type(array) is not ARRAY:
        return None
    kind = (<nn_array *><PyObject *>array).descr
    if kind == <PyObject *>FLOAT32:
        return FLOAT32
    if kind == <PyObject *>FLOAT64:
        return FLOAT64
    return FLOAT32 if <object>kind == FLOAT32 else FLOAT64 if <object>kind == FLOAT64 else None


cdef nn_array *plain(array, kind, int ndim, bint writable=False) except? NULL:
    """The array, if it has this type and so many axes (-1: some), elements, and lies as a kernel reads it; or NULL."""
    cdef nn_array *a = <nn_array *><PyObject *>array
    cdef int i, flags = CONTIGUOUS | ALIGNED | (WRITEABLE if writable else 0)
    if type(array) is not ARRAY or (a.descr != <PyObject *>kind and <object>a.descr != kind):
        return NULL
    if a.flags & flags != flags or a.nd == 0 or (ndim >= 0 and a.nd != ndim):
        return NULL
    for i in range(a.nd):
        if a.dimensions[i] == 0:
            return NULL
    return a


cdef nn_array *matrix(array, kind, int64_t rows, int64_t columns, bint writable=False) except? NULL:
    """The same of an array of this shape."""
    cdef nn_array *a = plain(array, kind, 2, writable)
    return a if a != NULL and a.dimensions[0] == rows and a.dimensions[1] == columns else NULL


cdef nn_array *like(array, const nn_array *other, kind, bint writable=False) except? NULL:
    """The same of an array of the shape of the other."""
    cdef nn_array *a = plain(array, kind, other.nd, writable)
    cdef int i
    if a != NULL:
        for i in range(a.nd):
            if a.dimensions[i] != other.dimensions[i]:
                return NULL
    return a


cdef int64_t size_of(const nn_array *a) noexcept:
    cdef int64_t n = 1
    cdef int i
    for i in range(a.nd):
        n *= a.dimensions[i]
    return n


cdef class Plain:
    """The functions for the tables of one instruction set.

    codes: activations by all their names. default_threads() is asked where None is given and there is work for a second one,
    and again when its limits have changed or forget() was called: it takes 1.7 us.
    """

    cdef const nn_table *tables[2]
    cdef dict codes
    cdef object default_threads
    cdef nn_limits limits  # under which default_threads() was asked last
    cdef int64_t number  # what it said

    def __cinit__(self, str isa, dict codes, default_threads):
        probe = zeros((3, 5), FLOAT32)
        cdef nn_array *a = <nn_array *><PyObject *>probe
        if a.nd != 2 or a.dimensions[0] != 3 or a.dimensions[1] != 5 or a.descr != <PyObject *>FLOAT32:
            raise ImportError("NumPy's arrays are not laid out as up to NumPy 2; use an older NumPy, or a newer nnfast")
        self.tables[0], self.tables[1] = table_of(isa, False), table_of(isa, True)
        self.codes = codes
        self.default_threads = default_threads

    def forget(self):
        """Ask default_threads() again at the next call."""
        memset(&self.limits, 0, sizeof(nn_limits))

    cdef int64_t threads_of_call(self) except -1:
        cdef nn_limits now
        nn_read_limits(&now)
        if memcmp(&now, &self.limits, sizeof(nn_limits)) != 0:
            self.number = self.default_threads()
            self.limits = now
        return self.number

    cdef int run_pieces(self, Pieces *p) except -1:
        """The work, on several threads where it is enough for them; what is short keeps the GIL."""
        cdef nn_team alone
        if p.rows * p.n >= 2 * ELEMENTS_OF_A_THREAD:
            return run_pieces(p, self.threads_of_call())
        alone.index, alone.size = 0, 1
        piece(p, &alone)
        return check_pieces(p)

    cdef bint layer(self, nn_dense *d, x, w, kind, activation, threads, bint backward) except -1:
        """Sizes, x, w, the activation and the threads of a layer; False if they are not plain."""
        cdef nn_array *from_
        cdef nn_array *weights
        memset(d, 0, sizeof(nn_dense))
        code = self.codes.get(activation) if type(activation) is str else None
        if code is None or kind is None or (threads is not None and not (type(threads) is int and 1 <= threads <= 256)):
            return False
        from_ = plain(x, kind, 2)
        weights = plain(w, kind, 2)
        if from_ == NULL or weights == NULL or from_.dimensions[1] != weights.dimensions[0]:
            return False
        d.rows, d.n_in, d.n_out, d.activation = from_.dimensions[0], weights.dimensions[0], weights.dimensions[1], code
        d.x, d.w = from_.data, weights.data
        flop = 6.0 * d.n_in if backward else 2.0 * d.n_in + (0 if code == NN_IDENTITY or code == NN_RELU else FUNCTION)
        useful = flop * d.rows * d.n_out * (2 if kind is FLOAT64 else 1) / SERIAL_BELOW
        d.threads = 1 if useful < 2 else min(useful, self.threads_of_call() if threads is None else threads)
        return True

    cdef int run(self, nn_dense *d, bint is_double, bint backward) except -1:
        """Some blocks of rows after the other, the gradients of w and b added up."""
        cdef const nn_table *table = self.tables[is_double]
        cdef int64_t size = 8 if is_double else 4, left = d.rows
        cdef double flop = (6.0 if backward else 2.0) * d.n_in * d.n_out
        cdef int64_t most = BLOCK * max(1, <int64_t>(FLOP_OF_A_CALL / flop / BLOCK)), calls
        if backward:
            most = min(most, BLOCK * max(1, BYTES_OF_DZ // (2 * d.n_out * size * BLOCK)))
        calls = (d.rows + most - 1) // most
        most = (d.rows + calls * BLOCK - 1) // (calls * BLOCK) * BLOCK
        kernel = table.dense_backward if backward else table.dense_forward
        cdef int status
        while left > 0:
            d.rows = min(left, most)
            if flop * d.rows < SERIAL_BELOW:  # over before another thread could take the GIL
                status = kernel(d)
            else:
                with nogil:
                    status = kernel(d)
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
        cdef nn_array *more
        kind = kind_of(x)
        if not self.layer(&d, x, w, kind, activation, threads, False):
            return None
        if b is not None:
            more = plain(b, kind, 1)
            if more == NULL or more.dimensions[0] != d.n_out:
                return None
            d.b = more.data
        y = new(2, [d.rows, d.n_out], kind) if out is None else out
        more = matrix(y, kind, d.rows, d.n_out, True)
        if more == NULL:
            return None
        d.y = more.data
        self.run(&d, kind is FLOAT64, False)
        return y

    def dense_backward(self, x, w, y, dy, activation, bint need_dx, threads):
        """(dx or None, dw, db); y is z for an activation whose derivative needs it."""
        cdef nn_dense d
        cdef nn_array *to
        cdef nn_array *slope
        kind = kind_of(x)
        if not self.layer(&d, x, w, kind, activation, threads, True):
            return None
        to = matrix(y, kind, d.rows, d.n_out)
        slope = matrix(dy, kind, d.rows, d.n_out)
        if to == NULL or slope == NULL:
            return None
        d.y, d.dy = to.data, slope.data
        dx = new(2, [d.rows, d.n_in], kind) if need_dx else None
        dw, db = new(2, [d.n_in, d.n_out], kind), new(1, [d.n_out], kind)
        if need_dx:
            d.dx = data_of(dx)
        d.dw, d.db = data_of(dw), data_of(db)
        self.run(&d, kind is FLOAT64, True)
        return dx, dw, db

    def activation(self, z, dz, name, out):
        """f(z), or with the gradient dz of y: that of z, from y (z where the derivative needs it) in place of z.

        In `out` unless that is None.
        """
        cdef nn_array *first
        cdef nn_array *gradient = NULL
        cdef nn_array *to
        cdef Pieces p
        cdef int64_t activation, columns
        kind = kind_of(z)
        code = self.codes.get(name) if type(name) is str else None
        if kind is None or code is None:
            return None
        first = plain(z, kind, -1)
        if first == NULL:
            return None
        activation, columns = code, first.dimensions[first.nd - 1]
        if dz is not None:
            gradient = like(dz, first, kind)
            if gradient == NULL:
                return None
        y = new(first.nd, first.dimensions, kind) if out is None else out
        to = like(y, first, kind, True)
        if to == NULL:
            return None
        p = pieces(self.tables[kind is FLOAT64], ACTIVATION, activation, size_of(first) // columns, columns)
        p.out, p.a = to.data, first.data
        if gradient != NULL:
            p.kind, p.b = ACTIVATION_GRAD, gradient.data
        self.run_pieces(&p)
        return y

    def softmax_cross_entropy(self, z, labels, out):
        """(loss, dz), dz in `out` unless that is None. Not for labels that are no classes."""
        cdef nn_array *from_
        cdef nn_array *classes
        cdef nn_array *to
        cdef const int64_t *label
        cdef double *losses
        cdef double total = 0
        cdef int64_t i, rows, n
        cdef Pieces p
        kind = kind_of(z)
        from_ = plain(z, kind, 2) if kind is not None else NULL
        classes = plain(labels, INT64, 1) if from_ != NULL else NULL
        if classes == NULL or classes.dimensions[0] != from_.dimensions[0]:
            return None
        rows, n, label = from_.dimensions[0], from_.dimensions[1], <const int64_t *>classes.data
        for i in range(rows):
            if not 0 <= label[i] < n:
                return None
        dz = new(2, [rows, n], kind) if out is None else out
        to = matrix(dz, kind, rows, n, True)
        if to == NULL:
            return None
        losses = <double *>calloc(rows, sizeof(double))
        if losses == NULL:
            raise MemoryError
        p = pieces(self.tables[kind is FLOAT64], SOFTMAX_CROSS_ENTROPY, 0, rows, n, 1.0 / rows)
        p.out, p.a, p.losses, p.labels = to.data, from_.data, losses, label
        try:
            self.run_pieces(&p)
            for i in range(rows):
                total += losses[i]
        finally:
            free(losses)
        return total / rows, dz

    def sgd_update(self, theta, gradient, lr):
        """True: theta -= lr * gradient is done."""
        cdef nn_array *to
        cdef nn_array *by
        cdef Pieces p
        kind = kind_of(theta)
        if kind is None or type(lr) is not float or not isfinite(lr):
            return None
        to = plain(theta, kind, -1, True)
        by = like(gradient, to, kind) if to != NULL else NULL
        if by == NULL:
            return None
        p = pieces(self.tables[kind is FLOAT64], SGD_UPDATE, 0, size_of(to), 1, lr)
        p.out, p.a = to.data, by.data
        self.run_pieces(&p)
        return True

/* nnfast.h: the whole interface between Python's side (_native.pyx) and the kernels.
 *
 * A network arrives as a plan: a short table of rows, pure data (ARCHITECTURE.md). A call holds a plan, the arrays
 * of one run and a cursor; `advance` works on it for about so many seconds and can go on later without changing a
 * bit of the result. Every kernel is compiled once per (ISA, dtype) and reached through one nn_table.
 */
#ifndef NNFAST_H
#define NNFAST_H

#include <stddef.h>
#include <stdint.h>

/* The lists below are compared with plan.py, activations.py, losses.py and optimizers.py when nnfast is imported. */
#define NN_NAMES                                                                                                       \
    "ops: dense(n_in, n_out, activation, use_bias, trainable, l1, l2, max_norm) activation(n, activation) "            \
    "rescaling(n, scale, offset) dropout(n, rate, stream) gaussian_noise(n, stddev, stream) "                          \
    "batch_norm(n, momentum, epsilon, trainable) layer_norm(n, epsilon, trainable) add(n) "                            \
    "custom(n_in, n_out, function, n_parameters, trainable); "                                                         \
    "activations: identity sigmoid tanh relu softmax step leaky_relu elu gelu silu softplus arctan; "                  \
    "losses: mse cross_entropy binary_cross_entropy mae huber poisson hinge perceptron; "                              \
    "optimizers: sgd adam adamw adagrad rmsprop rprop"

enum nn_op {
    NN_DENSE,
    NN_ACTIVATION,
    NN_RESCALING,
    NN_DROPOUT,
    NN_GAUSSIAN_NOISE,
    NN_BATCH_NORM,
    NN_LAYER_NORM,
    NN_ADD,
    NN_CUSTOM
};
/* Attributes by their places. The first is the width; only dense and custom rows have another one behind them. */
enum { NN_N_IN, NN_N_OUT };
enum nn_dense_attribute { NN_DENSE_ACTIVATION = 2, NN_USE_BIAS, NN_TRAINABLE, NN_L1, NN_L2, NN_MAX_NORM };
enum nn_activation_attribute { NN_ACTIVATION_NAME = 1 };
enum nn_rescaling_attribute { NN_SCALE = 1, NN_OFFSET };
enum nn_noise_attribute { NN_RATE = 1, NN_STDDEV = 1, NN_STREAM };
enum nn_batch_norm_attribute { NN_MOMENTUM = 1, NN_BATCH_EPSILON, NN_BATCH_TRAINABLE };
enum nn_layer_norm_attribute { NN_LAYER_EPSILON = 1, NN_LAYER_TRAINABLE };
enum nn_custom_attribute { NN_FUNCTION = 2, NN_N_PARAMETERS, NN_CUSTOM_TRAINABLE };
enum nn_activation {
    NN_IDENTITY,
    NN_SIGMOID,
    NN_TANH,
    NN_RELU,
    NN_SOFTMAX,
    NN_STEP,
    NN_LEAKY_RELU,
    NN_ELU,
    NN_GELU,
    NN_SILU,
    NN_SOFTPLUS,
    NN_ARCTAN
};
enum nn_loss {
    NN_NO_LOSS = -1,
    NN_MSE,
    NN_CROSS_ENTROPY,
    NN_BINARY_CROSS_ENTROPY,
    NN_MAE,
    NN_HUBER,
    NN_POISSON,
    NN_HINGE,
    NN_PERCEPTRON,
    NN_PYTHON_LOSS
};
enum nn_optimizer { NN_NO_OPTIMIZER = -1, NN_SGD, NN_ADAM, NN_ADAMW, NN_ADAGRAD, NN_RMSPROP, NN_RPROP };

enum { NN_MAX_ATTRIBUTES = 16, NN_MAX_INPUTS = 2, NN_MAX_THREADS = 256, NN_RATES = 3 };

/* One row of the plan; offsets count elements of one sample's activations, of theta and of the buffers; -1: none. */
typedef struct nn_row {
    int64_t op;
    double attributes[NN_MAX_ATTRIBUTES]; /* numbers, names by their place in a list */
    int64_t inputs[NN_MAX_INPUTS];
    int64_t output, theta, buffer;
} nn_row;

/* The user's array, read where it lies: row i, column j at data + i*row_stride + j*stride (bytes). */
enum nn_type { NN_F32, NN_F64, NN_I8, NN_I16, NN_I32, NN_I64, NN_U8, NN_U16, NN_U32, NN_U64 };
typedef struct nn_source {
    const char *data;
    ptrdiff_t row_stride, stride;
    int32_t type;    /* enum nn_type */
    int32_t swapped; /* 1: the bytes of an element are in the other order */
} nn_source;

/* X in compressed rows, of the network's dtype: row i has the elements [indptr[i], indptr[i + 1]) of data, which lie in
 * the columns `indices`, ascending in a row. */
typedef struct nn_sparse {
    const void *data;
    const int32_t *indices;
    const int64_t *indptr;
    int64_t n; /* elements of data */
} nn_sparse;

enum nn_status { NN_MORE, NN_DONE, NN_NOT_FINITE, NN_PYTHON };

/* What a custom row, or a loss in Python, exchanges with its function: arrays of one step's rows. */
typedef struct nn_exchange {
    void *x, *y, *dy, *dx; /* [batch][n]; of a loss y and dy, which holds the derivative of the mean */
    void *w, *dw;          /* parameters and their gradient */
    double *losses;        /* [batch], of a loss */
} nn_exchange;

/* What Python is to do before a run goes on, for these rows of the order. exchange: a custom row's, or -1, the loss'.
 */
typedef struct nn_wanted {
    int64_t exchange, backward, first, rows;
} nn_wanted;

/* One run of a plan. Pointers to `real` are float or double, as the table that runs the call. */
typedef struct nn_call {
    const nn_row *rows;
    int64_t n_rows, n_in, n_out;
    void *theta;               /* [n_theta] read, and written when there is an optimizer */
    nn_source x;               /* [samples][n_in], or data = NULL and ... */
    nn_sparse csr;             /* ... X in compressed rows, which only dense rows of the plan read */
    nn_source y;               /* [samples][n_out], or data = NULL */
    const int64_t *labels;     /* [samples] in place of y, or NULL */
    const void *sample_weight; /* [samples] or NULL */
    const int64_t *order;      /* [n] rows of x in the order of their use */
    int64_t n, batch;          /* batch: rows of a step, the last may be shorter */
    int64_t loss, optimizer;   /* enum nn_loss, enum nn_optimizer */
    double label_smoothing;
    double highest_loss;           /* a row's loss counts as at most this; its gradient does not know */
    double constants[4];           /* of the rule (optim.c) */
    double clip_value, clip_norm;  /* 0: none */
    const double *rates;           /* [steps][NN_RATES] step size, epsilon, shrinkage, corrections included */
    const double *penalty_factors; /* [steps] of the plan's penalties, or NULL: 1 */
    void *state;                   /* [slots][n_theta] */
    int64_t slots;
    int64_t n_theta;
    void *buffers;          /* [n_buffers], written when there is an optimizer */
    int64_t training;       /* 1: noise is made, batch_norm normalises by the minibatch */
    uint64_t seed;          /* key of the noise, with ... */
    int64_t first_step;     /* ... the number of the call's first step */
    nn_exchange *exchanges; /* of the custom rows' functions */
    nn_exchange loss_exchange;
    void *gradient; /* [n_theta] or NULL: receives the gradient of the one step */
    void *outputs;  /* [n][n_out] or NULL */
    double *losses; /* [steps] or NULL: receives each step's loss_sum, which begins with 0 then */
    int64_t threads;
    double serial_below; /* FLOP a thread must have before one more thread is used */
    void *program;       /* from prepare() to release(): everything the steps need, allocated once */
    /* the cursor: where the run stands */
    int64_t step, phase, block;
    int64_t rows_done; /* rows whose loss is in loss_sum */
    double loss_sum;   /* of weight * row loss, in row order */
    nn_wanted wanted;  /* after NN_PYTHON */
} nn_call;

/* One dense layer on dense arrays, for nnfast.ops. */
typedef struct nn_dense {
    int64_t rows, n_in, n_out, activation, threads;
    const void *x, *w, *b; /* [rows][n_in], [n_in][n_out], [n_out] or NULL */
    void *y;               /* [rows][n_out]; z where the derivative needs it (gelu, silu) */
    const void *dy;
    void *dx, *dw, *db; /* dx may be NULL */
    int64_t add;        /* 1: dw and db hold the sums over rows before, a multiple of 256 */
} nn_dense;

/* The strides of one register tile (tile.h has the formula).
 * Where the sum starts, and how it ends. GATE: 0 where other[m][n], a relu's output, is 0. UPDATE: other[m][n] =
 * fma(-rate, sum, other[m][n]); y is then only read. */
enum { START_ZERO, START_BIAS, START_OUTPUT };
enum { END_STORE, END_RELU, END_GATE, END_ADD, END_ADD_RELU, END_ADD_GATE, END_UPDATE, END_ADD_UPDATE };

typedef struct nn_tile {
    int64_t y_row;
    int64_t x_row, x_k, x_seg;
    int64_t w_k, w_seg;
    int64_t segs, seg; /* K = segs * seg */
    int64_t start, end;
    double rate;
    void *bias, *updated_bias; /* outer: NULL, or where sum_j w[j] goes, as another row 0 of y and of what is updated */
} nn_tile;

enum nn_function { NN_EXP, NN_LOG, NN_LOG1P };

enum { NN_CHUNK = 16384 }; /* CHUNK of word_job.py */

/* An epoch of word2vec, or what is left of it; nnfast.word_job.Word2VecJob explains the settings. */
typedef struct nn_words {
    const int32_t *ids;   /* [n_ids], -1 behind each sentence */
    const uint32_t *keep; /* [n_words] */
    int64_t n_ids, n_words;
    float *syn0, *syn1, *syn1hs; /* rows of `stride` floats; syn1hs: NULL without hierarchical softmax */
    int64_t stride, columns;     /* columns: the size, rounded up to 16; those behind the size are zero */
    const uint32_t *threshold;   /* [n_words] of the alias table */
    const int32_t *alias;
    const uint8_t *codes; /* paths of the Huffman tree */
    const int32_t *points;
    const int64_t *offsets; /* [n_words + 1] */
    int64_t longest;        /* path */
    int64_t sg, window, negative, shrink, mean, corrected, exact;
    uint64_t seed, epoch;
    double alpha, min_alpha, from, to; /* the rates at progress 0 and 1, the progress at the begin and end of ids */
    int64_t workers;
    double *losses;          /* [n_chunks], or NULL */
    void *arena;             /* of all workers: zeros */
    int64_t share;           /* bytes of one, by words_prepare() */
    int64_t chunk, n_chunks; /* chunk: the first one to do */
    int64_t taken;           /* chunks that the threads have begun */
    int64_t words, effective, pairs;
    double loss; /* of the chunks done, in their order */
} nn_words;

/* Everything one (ISA, dtype) offers. Arrays are dense unless said otherwise. */
typedef struct nn_table {
    const char *isa;
    int64_t is_double, lanes;
    int (*prepare)(nn_call *call);                 /* 0, or -1: out of memory */
    int (*advance)(nn_call *call, double seconds); /* enum nn_status */
    void (*settle)(nn_call *call); /* after NN_PYTHON, if the run ends there: theta of the last finished step */
    void (*release)(nn_call *call);
    void (*predict_row)(const nn_call *call, const void *x, void *y); /* a prepared call; [n_in] to [n_out] */
    /* nnfast.ops; matrices are [rows][n] */
    int (*dense_forward)(const nn_dense *layer); /* 0, or -1: out of memory */
    int (*dense_backward)(const nn_dense *layer);
    void (*activation)(int64_t name, int64_t rows, int64_t n, void *y, const void *z);
    void (*activation_grad)(int64_t name, int64_t rows, int64_t n, void *dz, const void *y, const void *dy);
    int (*softmax_cross_entropy)(int64_t rows, int64_t n, double scale, double *losses, void *dz, const void *z,
                                 const int64_t *labels);
    void (*sgd_update)(int64_t n, void *theta, const void *gradient, double rate);
    /* word2vec, in float alone */
    int (*words_prepare)(nn_words *words);                 /* 0, or -1: too large */
    int (*words_advance)(nn_words *words, double seconds); /* 1: there is more to do */
    /* for tests and benchmarks */
    void (*function)(int64_t name, int64_t n, void *y, const void *x); /* enum nn_function */
    void (*panel)(int64_t width, int64_t rows, void *y, const void *x, const void *w, void *bias, const nn_tile *t);
    void (*outer)(int64_t width, int64_t rows, void *y, const void *x, const void *w, void *updated, const nn_tile *t);
    double (*peak)(double seconds); /* FMA probe: FLOP/s of this core */
} nn_table;

/* The tables that this processor runs: best ISA first, float before double; NULL behind the last. */
const nn_table *nn_table_at(int index);
#endif

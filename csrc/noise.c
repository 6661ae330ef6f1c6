/* noise.c: what training adds at random.
 *
 *     dropout         y = x f, dx = dy f    f = 0 where a word < rate 2^32, else 1 / (1 - rate)
 *                                           (Srivastava et al., JMLR 15, 2014)
 *     gaussian_noise  y = fma(stddev, g, x), dx = dy    g = sqrt(-2 log u) sin(2 pi t), u and t from a word each
 *                                           (Box and Muller, 1958)
 *
 * Words are those of Philox4x32-10 (Salmon et al., SC 2011), a function of the seed, the step, the stream of the layer,
 * the row of the minibatch and the column: the same on any ISA and in both dtypes. f lies where other layers keep a
 * slope.
 */
#include "engine.h"
#include "vecmath.h"

/* Words of 32 bits for CHUNK columns: the counters (8 i + 0..7, row, step, stream) of chunk i give four words each; the
 * first two of all eight are columns 0 to 15, two by two, the others 16 to 31. */
enum { CHUNK = 32, COUNTERS = 8, PAIRS = VECTOR_BYTES / 8 };

typedef struct draw {
    uint32_t key[2], step, stream;
} draw;

static void draw_words(draw d, uint32_t row, uint32_t chunk, uint32_t *out)
{
    for (int first = 0; first < COUNTERS; first += PAIRS) {
        words a, b = words_of(row), c = words_of(d.step), e = words_of(d.stream);
        for (int i = 0; i < PAIRS; i++) a[i] = COUNTERS * chunk + first + i;
        uint32_t k0 = d.key[0], k1 = d.key[1];
        for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
            const words left = multiply_words(a, words_of(0xD2511F53u)),
                        right = multiply_words(c, words_of(0xCD9E8D57u));
            a = (right >> 32) ^ b ^ words_of(k0);
            b = right;
            c = (left >> 32) ^ e ^ words_of(k1);
            e = left;
        }
        const words low = words_of(0xFFFFFFFFu), pairs[2] = {(a & low) | b << 32, (c & low) | e << 32};
        memcpy(out + 2 * first, pairs, sizeof *pairs);
        memcpy(out + CHUNK / 2 + 2 * first, pairs + 1, sizeof *pairs);
    }
}

enum { FIRST_WORD, SECOND_WORD };
static draw draw_of(const program *p, const layer *l, int which)
{
    const nn_call *c = p->call;
    const uint64_t step = (uint64_t)(c->first_step + c->step);
    const uint32_t stream = 2 * (uint32_t)l->attributes[NN_STREAM] + (uint32_t)which;
    return (draw){
        {(uint32_t)c->seed, (uint32_t)(c->seed >> 32)}, (uint32_t)step, stream ^ (uint32_t)(step >> 32) << 16};
}

void FN(dropout_forward)(const program *p, const layer *l, const worker *w, share s)
{
    const double rate = l->attributes[NN_RATE];
    const uint32_t dropped = (uint32_t)(rate * 0x1p32); /* words below it are */
    const real factor = (real)(1 / (1 - rate));
    const draw d = draw_of(p, l, FIRST_WORD);
    for (int r = s.first; r < s.end; r++) {
        const real *x = FN(input_row)(p, l, w, 0, r);
        real *y = w->values + l->y + r * l->row, *kept = w->values + l->kept + r * l->row;
        for (int j = 0; j < l->n_out; j += CHUNK) {
            uint32_t drawn[CHUNK];
            real factors[CHUNK];
            draw_words(d, (uint32_t)(w->first + r), (uint32_t)(j / CHUNK), drawn);
            for (int i = 0; i < CHUNK; i++) factors[i] = drawn[i] < dropped ? 0 : factor;
            for (int i = 0; i < CHUNK && j + i < l->n_out; i += LANES) {
                const vec f = load(factors + i);
                if (l->kept != l->y) store(kept + j + i, f);
                store(y + j + i, load_first(x + j + i, l->n_out - j - i) * f);
            }
        }
    }
}

void FN(dropout_backward)(const program *p, const layer *l, const worker *w, share s)
{
    for (int r = s.first; r < s.end; r++) {
        real *dy = w->values + l->dy + r * l->row;
        const real *kept = w->values + l->kept + r * l->row;
        for (int j = 0; j < l->n_out; j += LANES) store(dy + j, load(dy + j) * load(kept + j));
        FN(pass_down)(p, l, w, 0, r, dy);
    }
}

/* sqrt(-2 log u) sin(2 pi t), u in (0, 1], t in [-1/4, 1/4]: Box and Muller (1958) */
INLINE vec normal(vec u, vec t)
{
    static const double series[] = {/* (-1)^i / (2i + 1)! */
                                    1,
                                    -0x1.5555555555555p-3,
                                    0x1.1111111111111p-7,
                                    -0x1.a01a01a01a01ap-13,
                                    0x1.71de3a556c734p-19,
                                    -0x1.ae64567f544e4p-26,
                                    0x1.6124613a86d09p-33,
                                    -0x1.ae7f3e733b81fp-41,
                                    0x1.952c77030ad4ap-49,
                                    -0x1.2f49b46814157p-57,
                                    0x1.71b8ef6dcf572p-66};
    enum { TERMS = NN_DOUBLE ? 11 : 7 };
    const vec x = t * C(6.283185307179586), square = x * x;
    vec sum = C(series[TERMS - 1]);
    UNROLL for (int i = TERMS - 2; i >= 0; i--)
        sum = fma_(sum, square, C(series[i]));
    return square_root(C(-2) * vec_log(u)) * (x * sum);
}

void FN(gaussian_noise_forward)(const program *p, const layer *l, const worker *w, share s)
{
    const vec stddev = splat((real)l->attributes[NN_STDDEV]);
    const draw size = draw_of(p, l, FIRST_WORD), angle = draw_of(p, l, SECOND_WORD);
    for (int r = s.first; r < s.end; r++) {
        const real *x = FN(input_row)(p, l, w, 0, r);
        real *y = w->values + l->y + r * l->row;
        for (int j = 0; j < l->n_out; j += CHUNK) {
            uint32_t a[CHUNK], b[CHUNK];
            real u[CHUNK], t[CHUNK];
            draw_words(size, (uint32_t)(w->first + r), (uint32_t)(j / CHUNK), a);
            draw_words(angle, (uint32_t)(w->first + r), (uint32_t)(j / CHUNK), b);
            for (int i = 0; i < CHUNK; i++) {
                u[i] = ((real)a[i] + (real)0.5) * (real)0x1p-32;
                t[i] = (real)0.25 - (real)(b[i] >> 1) * (real)0x1p-32;
            }
            for (int i = 0; i < CHUNK && j + i < l->n_out; i += LANES) {
                const vec g = normal(load(u + i), load(t + i));
                store(y + j + i, fma_(stddev, g, load_first(x + j + i, l->n_out - j - i)));
            }
        }
    }
}

void FN(gaussian_noise_backward)(const program *p, const layer *l, const worker *w, share s)
{
    for (int r = s.first; r < s.end; r++) FN(pass_down)(p, l, w, 0, r, w->values + l->dy + r * l->row);
}

/* convert.c: elements of the user's arrays become reals: y = fma(x, scale, offset), or x itself where these are 1 and
 * 0.
 *
 * A row that is contiguous and in the processor's byte order goes a vector at a time, the last one over those before
 * it; integers of up to 32 bits are widened to int32 step by step, each of which is an instruction on every ISA. Other
 * rows, 64-bit integers and uint32 go element by element: they lie where the user put them, perhaps unaligned.
 */
#include "engine.h"

typedef int16_t int16s __attribute__((vector_size(LANES * 2)));
typedef int32_t int32s __attribute__((vector_size(LANES * 4)));

#define CONTIGUOUS(name, type, twice, four_times)                                                                      \
    typedef type name##_lanes __attribute__((vector_size(LANES * sizeof(type)), aligned(1), may_alias));               \
    INLINE void name(real *to, const char *from, int64_t n, const bool scaled, vec scale, vec offset)                  \
    {                                                                                                                  \
        for (int64_t j = 0; j < n; j = at_most(j + LANES, j + LANES < n ? n - LANES : n)) {                            \
            const name##_lanes *x = (const name##_lanes *)(from + j * (int64_t)sizeof(type));                          \
            const four_times wide = __builtin_convertvector(__builtin_convertvector(*x, twice), four_times);           \
            const vec v = __builtin_convertvector(wide, vec);                                                          \
            store(to + j, scaled ? fma_(v, scale, offset) : v);                                                        \
        }                                                                                                              \
    }
CONTIGUOUS(from_f32, float, from_f32_lanes, from_f32_lanes)
CONTIGUOUS(from_f64, double, from_f64_lanes, from_f64_lanes)
CONTIGUOUS(from_i8, int8_t, int16s, int32s)
CONTIGUOUS(from_i16, int16_t, from_i16_lanes, int32s)
CONTIGUOUS(from_i32, int32_t, from_i32_lanes, int32s)
CONTIGUOUS(from_u8, uint8_t, int16s, int32s)
CONTIGUOUS(from_u16, uint16_t, from_u16_lanes, int32s)

static bool contiguous(real *to, const nn_source *s, const char *from, int64_t n, bool scaled, vec scale, vec offset)
{
#define CASE(code, name, type)                                                                                         \
    case code:                                                                                                         \
        if (s->stride != sizeof(type)) return false;                                                                   \
        if (scaled)                                                                                                    \
            name(to, from, n, true, scale, offset);                                                                    \
        else                                                                                                           \
            name(to, from, n, false, scale, offset);                                                                   \
        return true;
    if (s->swapped || n < LANES) return false;
    switch (s->type) {
        CASE(NN_F32, from_f32, float)
        CASE(NN_F64, from_f64, double)
        CASE(NN_I8, from_i8, int8_t)
        CASE(NN_I16, from_i16, int16_t)
        CASE(NN_I32, from_i32, int32_t)
        CASE(NN_U8, from_u8, uint8_t)
        CASE(NN_U16, from_u16, uint16_t)
    }
    return false;
}

static void one_by_one(real *to, const nn_source *s, const char *from, int64_t n)
{
#define ELEMENTS(type)                                                                                                 \
    for (int64_t j = 0; j < n; j++, from += s->stride) {                                                               \
        type v;                                                                                                        \
        char bytes[sizeof v];                                                                                          \
        for (size_t b = 0; b < sizeof v; b++) bytes[b] = from[s->swapped ? sizeof v - 1 - b : b];                      \
        memcpy(&v, bytes, sizeof v);                                                                                   \
        to[j] = (real)v;                                                                                               \
    }                                                                                                                  \
    break;
    switch (s->type) {
    case NN_F32: ELEMENTS(float)
    case NN_F64: ELEMENTS(double)
    case NN_I8: ELEMENTS(int8_t)
    case NN_I16: ELEMENTS(int16_t)
    case NN_I32: ELEMENTS(int32_t)
    case NN_I64: ELEMENTS(int64_t)
    case NN_U8: ELEMENTS(uint8_t)
    case NN_U16: ELEMENTS(uint16_t)
    case NN_U32: ELEMENTS(uint32_t)
    case NN_U64: ELEMENTS(uint64_t)
    }
}

/* Elements [column, column + n) of a row. */
void FN(convert)(real *to, const nn_source *s, int64_t row, int64_t column, int64_t n, real scale, real offset)
{
    const char *from = s->data + row * s->row_stride + column * s->stride;
    const bool scaled = scale != 1 || offset != 0;
    if (contiguous(to, s, from, n, scaled, splat(scale), splat(offset))) return;
    one_by_one(to, s, from, n);
    for (int64_t j = 0; scaled && j < n; j += LANES) {
        const int left = (int)at_most(n - j, LANES);
        store_first(to + j, fma_(load_first(to + j, left), splat(scale), splat(offset)), left);
    }
}

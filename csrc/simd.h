/* simd.h: a vector of `real` for the ISA being compiled, and its verbs. The only file with intrinsics.
 *
 * NN_ISA (baseline, avx2, avx512, neon) and NN_DOUBLE (0, 1) come from the build, which compiles every kernel once for
 * each pair; FN(name) is the name of this pair's copy. Verbs do the same to each lane on every ISA, so results do too:
 * every FMA is written as fma() and the build forbids contraction. `baseline` has no FMA unit: there fma() rounds
 * twice, and its results agree with the others within bounds, not bit for bit.
 */
#ifndef NN_SIMD_H
#define NN_SIMD_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define INLINE static inline __attribute__((always_inline))
/* Keeps the compiler from spreading an address over several registers, or deriving one base from another. */
#define OPAQUE(p) __asm__("" : "+r"(p))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#if NN_DOUBLE
typedef double real;
typedef int64_t lane;
#define FN(name) PASTE(PASTE(nn_##name##_f64_, NN_ISA), )
#define SUFFIX _pd
#else
typedef float real;
typedef int32_t lane;
#define FN(name) PASTE(PASTE(nn_##name##_f32_, NN_ISA), )
#define SUFFIX _ps
#endif

#ifndef NN_HALF
#define NN_HALF 0
#endif
/* NN_HALF: avx512 with vectors of 32 bytes, for the tiles of narrow panels. */
#if defined(__AVX512F__) && !NN_HALF
#define AVX512_VECTORS
#include <immintrin.h>
enum { VECTOR_BYTES = 64, REGISTERS = 32 };
#define X86(op) PASTE(_mm512_##op, SUFFIX)
#elif defined(__AVX2__)
#include <immintrin.h>
enum { VECTOR_BYTES = 32, REGISTERS = NN_HALF ? 32 : 16 };
#define X86(op) PASTE(_mm256_##op, SUFFIX)
#elif defined(__SSE2__)
#include <immintrin.h>
enum { VECTOR_BYTES = 16, REGISTERS = 16 };
#define X86(op) PASTE(_mm_##op, SUFFIX)
#else
#include <arm_neon.h>
enum { VECTOR_BYTES = 16, REGISTERS = 32 };
#endif
enum { LANES = VECTOR_BYTES / sizeof(real) };

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef lane ivec __attribute__((vector_size(VECTOR_BYTES)));
typedef real unaligned_vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

INLINE vec load(const real *p) { return *(const unaligned_vec *)p; }
INLINE void store(real *p, vec v) { *(unaligned_vec *)p = v; }
INLINE vec splat(real s) { return s - (vec){0}; }
INLINE ivec isplat(lane s) { return s - (ivec){0}; }

/* maximum and minimum return b when a lane of either is NaN: maximum(0, x) keeps a NaN of x. */
#ifdef X86
INLINE vec square_root(vec a) { return X86(sqrt)(a); }
INLINE vec maximum(vec a, vec b) { return X86(max)(a, b); }
INLINE vec minimum(vec a, vec b) { return X86(min)(a, b); }
#endif

#if defined(AVX512_VECTORS)
#if NN_DOUBLE
typedef __mmask8 mask;
#else
typedef __mmask16 mask;
#endif
INLINE vec fma_(vec a, vec b, vec c) { return X86(fmadd)(a, b, c); }
INLINE vec fnma_(vec a, vec b, vec c) { return X86(fnmadd)(a, b, c); }
INLINE mask greater(vec a, vec b) { return PASTE(PASTE(_mm512_cmp, SUFFIX), _mask)(a, b, _CMP_GT_OQ); }
INLINE mask unordered(vec a, vec b) { return PASTE(PASTE(_mm512_cmp, SUFFIX), _mask)(a, b, _CMP_UNORD_Q); }
INLINE mask first(int n) { return (mask)(n >= LANES ? -1u : (1u << n) - 1); }
INLINE mask every(bool lanes) { return (mask) - (int)lanes; }
INLINE vec choose(mask m, vec a, vec b) { return X86(mask_mov)(b, m, a); }
INLINE vec keep(mask m, vec a) { return X86(maskz_mov)(m, a); }
INLINE vec load_first(const real *p, int n) { return X86(maskz_loadu)(first(n), p); }
INLINE void store_first(real *p, vec v, int n) { X86(mask_storeu)(p, first(n), v); }
/* half a vector each */
INLINE vec load_pair(const real *a, const real *b)
{
    const __m512i low = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)a));
    return (vec)_mm512_inserti64x4(low, _mm256_loadu_si256((const void *)b), 1);
}
INLINE void store_pair(real *a, real *b, vec v)
{
    _mm256_storeu_si256((void *)a, _mm512_castsi512_si256((__m512i)v));
    _mm256_storeu_si256((void *)b, _mm512_extracti64x4_epi64((__m512i)v, 1));
}
#else
typedef ivec mask;
#if defined(__AVX2__)
INLINE vec fma_(vec a, vec b, vec c) { return X86(fmadd)(a, b, c); }
INLINE vec fnma_(vec a, vec b, vec c) { return X86(fnmadd)(a, b, c); }
#elif defined(X86)
INLINE vec fma_(vec a, vec b, vec c) { return a * b + c; }
INLINE vec fnma_(vec a, vec b, vec c) { return c - a * b; }
#elif NN_DOUBLE
INLINE vec fma_(vec a, vec b, vec c) { return (vec)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
INLINE vec fnma_(vec a, vec b, vec c) { return (vec)vfmsq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
INLINE vec square_root(vec a) { return (vec)vsqrtq_f64((float64x2_t)a); }
#else
INLINE vec fma_(vec a, vec b, vec c) { return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE vec fnma_(vec a, vec b, vec c) { return (vec)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE vec square_root(vec a) { return (vec)vsqrtq_f32((float32x4_t)a); }
#endif
INLINE mask greater(vec a, vec b) { return (mask)(a > b); }
INLINE mask unordered(vec a, vec b) { return (mask)(a != a) | (mask)(b != b); }
INLINE mask every(bool lanes) { return isplat(-(lane)lanes); }
INLINE vec choose(mask m, vec a, vec b) { return (vec)(((ivec)a & m) | ((ivec)b & ~m)); }
INLINE vec keep(mask m, vec a) { return (vec)((ivec)a & m); }
#ifndef X86
INLINE vec maximum(vec a, vec b) { return choose(greater(a, b), a, b); }
INLINE vec minimum(vec a, vec b) { return choose(greater(b, a), a, b); }
#endif
INLINE mask first(int n)
{
    static const lane ones[2 * LANES] = {[0 ... LANES - 1] = -1};
    mask m;
    memcpy(&m, ones + (n >= LANES ? 0 : LANES - n), sizeof m);
    return m;
}
INLINE vec load_first(const real *p, int n)
{
    if (n >= LANES) return load(p);
    vec v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
INLINE void store_first(real *p, vec v, int n)
{
    if (n >= LANES) {
        store(p, v);
        return;
    }
    for (int i = 0; i < n; i++) p[i] = v[i];
}
#endif

/* Words of 32 bits, each in 64; of a product's factors the upper halves do not count. */
typedef uint64_t words __attribute__((vector_size(VECTOR_BYTES)));
INLINE words words_of(uint32_t w) { return (uint64_t)w + (words){0}; }
INLINE words multiply_words(words a, words b)
{
#if defined(AVX512_VECTORS)
    return (words)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (words)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(X86)
    return (words)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (words)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
#endif
}

/* Lane i of a with lane i^distance: one shuffle, its indices spelt out for each vector length. */
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif
#if defined(AVX512_VECTORS) && !NN_DOUBLE
#define EACH_LANE(F, d)                                                                                                \
    F(0, d), F(1, d), F(2, d), F(3, d), F(4, d), F(5, d), F(6, d), F(7, d), F(8, d), F(9, d), F(10, d), F(11, d),      \
        F(12, d), F(13, d), F(14, d), F(15, d)
#elif (defined(AVX512_VECTORS) && NN_DOUBLE) || (defined(__AVX2__) && !NN_DOUBLE)
#define EACH_LANE(F, d) F(0, d), F(1, d), F(2, d), F(3, d), F(4, d), F(5, d), F(6, d), F(7, d)
#elif defined(__AVX2__) || !NN_DOUBLE
#define EACH_LANE(F, d) F(0, d), F(1, d), F(2, d), F(3, d)
#else
#define EACH_LANE(F, d) F(0, d), F(1, d)
#endif
#define PARTNER_(i, d) ((i) ^ (d))
#define LOWER_(i, d) ((i) & (d) ? LANES + (i) - (d) : (i))
#define UPPER_(i, d) ((i) & (d) ? LANES + (i) : (i) + (d))
#define PARTNERS(v, d) SHUFFLE(v, v, EACH_LANE(PARTNER_, d))

/* Sums over features run in 16 lanes on every ISA and in both dtypes, held here in WIDE vectors, folded 8-4-2-1. */
enum { WIDE = 16 / LANES };
#define FOLD_16(name, combine)                                                                                         \
    INLINE real name(vec *l)                                                                                           \
    {                                                                                                                  \
        UNROLL for (int half = WIDE / 2; half; half /= 2) UNROLL                                                       \
            for (int i = 0; i < half; i++) l[i] = combine(l[i], l[i + half]);                                          \
        vec v = l[0];                                                                                                  \
        if (LANES > 8) v = combine(v, PARTNERS(v, LANES > 8 ? 8 : 1));                                                 \
        if (LANES > 4) v = combine(v, PARTNERS(v, LANES > 4 ? 4 : 1));                                                 \
        if (LANES > 2) v = combine(v, PARTNERS(v, LANES > 2 ? 2 : 1));                                                 \
        v = combine(v, PARTNERS(v, 1));                                                                                \
        return v[0];                                                                                                   \
    }
#define ADD_(a, b) ((a) + (b))
FOLD_16(sum_16, ADD_)
FOLD_16(maximum_16, maximum)

/* Lane i: the sum of l[i]'s lanes, folded as sum_16 does; l is overwritten. */
INLINE vec sums_of_lanes(vec *l)
{
#define HALVE(d)                                                                                                       \
    UNROLL for (int i = 0; i < (d); i++)                                                                               \
        l[i] = SHUFFLE(l[i], l[i + (d)], EACH_LANE(LOWER_, d)) + SHUFFLE(l[i], l[i + (d)], EACH_LANE(UPPER_, d));
    if (LANES > 8) HALVE(LANES > 8 ? 8 : 1)
    if (LANES > 4) HALVE(LANES > 4 ? 4 : 1)
    if (LANES > 2) HALVE(LANES > 2 ? 2 : 1)
    HALVE(1)
#undef HALVE
    return l[0];
}

/* r[j][i] and r[i][j] change places: blocks of 1, 2, 4, 8 lanes do, between two vectors. */
INLINE void transpose_vectors(vec *r)
{
#define EXCHANGE(d)                                                                                                    \
    UNROLL for (int i = 0; i < LANES; i++)                                                                             \
        if (!(i & (d))) {                                                                                              \
            vec a = r[i], b = r[(i + (d)) % LANES];                                                                    \
            r[i] = SHUFFLE(a, b, EACH_LANE(LOWER_, d));                                                                \
            r[(i + (d)) % LANES] = SHUFFLE(a, b, EACH_LANE(UPPER_, d));                                                \
        }
    if (LANES > 1) EXCHANGE(1)
    if (LANES > 2) EXCHANGE(2 % LANES)
    if (LANES > 4) EXCHANGE(4 % LANES)
    if (LANES > 8) EXCHANGE(8 % LANES)
#undef EXCHANGE
}

/* dst[j][i] = src[i][j] of a LANES x LANES block */
INLINE void transpose(const real *src, ptrdiff_t src_row, real *dst, ptrdiff_t dst_row)
{
    vec r[LANES];
    UNROLL for (int i = 0; i < LANES; i++)
        r[i] = load(src + i * src_row);
    transpose_vectors(r);
    UNROLL for (int i = 0; i < LANES; i++)
        store(dst + i * dst_row, r[i]);
}

/* Flush-to-zero and denormals-are-zero are part of the definition of every kernel: on inside, restored after. */
#if defined(X86)
INLINE uint64_t flush_denormals(void)
{
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
}
INLINE void restore_denormals(uint64_t before) { _mm_setcsr((unsigned)before); }
#else
INLINE uint64_t flush_denormals(void)
{
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" ::"r"(before | (1u << 24)));
    return before;
}
INLINE void restore_denormals(uint64_t before) { __asm__ volatile("msr fpcr, %0" ::"r"(before)); }
#endif
#endif

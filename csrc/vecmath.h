/* vecmath.h: exp, log, log1p, tanh and sigmoid of a vector, as fixed sequences of FMAs.
 *
 * Arguments are reduced by a rounded multiple of ln 2 in two words; what remains is a polynomial (float: Chebyshev
 * interpolation over the reduced range; double: Taylor). Errors over all floats are in docs/guarantees.md: at most 2
 * ULP in float, 3 in double. NaN goes through; subnormals count as zero, as everywhere (flush_denormals).
 */
#ifndef NN_VECMATH_H
#define NN_VECMATH_H

#include "simd.h"

#define C(x) splat((real)(x))
#if NN_DOUBLE
#define ROUNDING 0x1.8p52 /* x + ROUNDING rounds x to an integer, left in the low bits */
enum { MANTISSA_BITS = 52, EXPONENT_BIAS = 1023 };
#define LN2_HIGH 0x1.62e42fefa3800p-1
#define LN2_LOW 0x1.ef35793c76730p-45
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdLL
#define LARGEST DBL_MAX
#define SMALLEST DBL_MIN
#else
#define ROUNDING 0x1.8p23
enum { MANTISSA_BITS = 23, EXPONENT_BIAS = 127 };
#define LN2_HIGH 0x1.62e4p-1
#define LN2_LOW 0x1.7f7d1cf7p-20
#define SQRT_HALF_BITS 0x3f3504f3
#define LARGEST FLT_MAX
#define SMALLEST FLT_MIN
#endif
#define LOG2_E 0x1.71547652b82fep+0

INLINE vec absolute(vec x) { return (vec)((ivec)x & ~(ivec)C(-0.0)); }
INLINE vec with_sign(vec x, vec sign) { return (vec)((ivec)x | ((ivec)sign & (ivec)C(-0.0))); }
INLINE vec power_of_2(ivec n) { return (vec)((n + isplat(EXPONENT_BIAS)) << MANTISSA_BITS); }

INLINE vec polynomial(vec x, const double *c, const int terms)
{
    vec p = C(c[terms - 1]);
    UNROLL for (int i = terms - 2; i >= 0; i--)
        p = fma_(p, x, C(c[i]));
    return p;
}

/* n = round(x / ln 2), r = x - n ln 2, |r| <= ln 2 / 2; returns (e^r - 1 - r) / r^2. */
INLINE vec reduce_exp(vec x, ivec *n, vec *r)
{
#if NN_DOUBLE
    static const double q[] = {1. / 2,     1. / 6,      1. / 24,      1. / 120,      1. / 720,       1. / 5040,
                               1. / 40320, 1. / 362880, 1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800};
#else
    static const double q[] = {0x1p-1, 0x1.5554dep-3, 0x1.55551ap-5, 0x1.120b62p-7, 0x1.6d10fcp-10};
#endif
    const vec shifted = fma_(x, C(LOG2_E), C(ROUNDING)), multiple = shifted - C(ROUNDING);
    *n = (ivec)shifted - (ivec)C(ROUNDING);
    *r = fnma_(multiple, C(LN2_LOW), fnma_(multiple, C(LN2_HIGH), x));
    return polynomial(*r, q, sizeof q / sizeof *q);
}

INLINE vec vec_exp(vec x)
{
    ivec n;
    vec r;
    const double low = -EXPONENT_BIAS * 0.72, high = EXPONENT_BIAS * 0.71; /* e^x is 0, infinite from there on */
    const vec q = reduce_exp(minimum(C(high), maximum(C(low), x)), &n, &r);
    const ivec half = n >> 1; /* 2^n itself may be out of range */
    return (fma_(r * r, q, r) + C(1)) * power_of_2(half) * power_of_2(n - half);
}

/* e / (1 + e), e = exp(-|x|) in two words; 1 / (1 + e) for x >= 0. */
INLINE vec vec_sigmoid(vec x)
{
    ivec n;
    vec r;
    const vec q = reduce_exp(maximum(C(-EXPONENT_BIAS * 0.6929), C(0) - absolute(x)), &n, &r), scale = power_of_2(n);
    const vec sum = C(1) + r, rest = fma_(r * r, q, r - (sum - C(1)));
    const vec high = (sum + rest) * scale, low = (rest - ((sum + rest) - sum)) * scale;
    const vec d = C(1) + high, d_low = ((C(1) - d) + high) + low;
    const mask right = greater(x, C(0));
    const vec top = choose(right, C(1), high), top_low = choose(right, C(0), low);
    const vec inverse = C(1) / d, y = top * inverse;
    return fma_((fnma_(y, d, top) + top_low) - y * d_low, inverse, y);
}

/* sign(x) t / (t + 2), t = e^(2|x|) - 1 = 2^n (e^2r - 1) + (2^n - 1), |r| <= ln 2 / 4; the rounding of t + 2 put back.
 */
INLINE vec vec_tanh(vec x)
{
#if NN_DOUBLE
    static const double c[] = {2,        4. / 3,    2. / 3,     4. / 15,     4. / 45,     8. / 315,
                               2. / 315, 4. / 2835, 4. / 14175, 8. / 155925, 4. / 467775, 8. / 6081075};
    const double large = 19.1;
#else
    static const double c[] = {0x1p+1, 0x1.555556p+0, 0x1.5554eap-1, 0x1.1110ep-2, 0x1.6d4316p-4, 0x1.a124e4p-6};
    const double large = 9.02;
#endif
    const vec a = minimum(C(large), absolute(x));
    const vec shifted = fma_(a, C(2 * LOG2_E), C(ROUNDING)), multiple = shifted - C(ROUNDING);
    const vec scale = power_of_2((ivec)shifted - (ivec)C(ROUNDING));
    const vec r = fnma_(multiple, C(LN2_LOW / 2), fnma_(multiple, C(LN2_HIGH / 2), a));
    const vec e = fma_(r * r, polynomial(r, c, sizeof c / sizeof *c), r + r);
    const vec t = fma_(e, scale, scale - C(1)), d = t + C(2), y = t / d;
    const vec lost = keep(greater(C(2), t), t - (d - C(2)));
    return with_sign(fnma_(y * lost, fnma_(y, C(0.5), C(0.5)), y), x);
}

/* k ln 2 + log(1 + f), f in [sqrt(1/2) - 1, sqrt(2) - 1]: with s = f / (2 + f), log(1 + f) = f - f^2/2 + s (f^2/2 + R).
 */
INLINE vec log_of_parts(vec k, vec f)
{
    static const double c[] = {2. / 3,  2. / 5,  2. / 7,  2. / 9,  2. / 11, 2. / 13,
                               2. / 15, 2. / 17, 2. / 19, 2. / 21, 2. / 23};
    const int terms = NN_DOUBLE ? 11 : 5;
    const vec s = f / (C(2) + f), z = s * s, half = C(0.5) * f * f;
    const vec rest = fma_(s, fma_(z, polynomial(z, c, terms), half), k * C(LN2_LOW));
    return fma_(k, C(LN2_HIGH), f - (half - rest));
}

/* x = 2^k m, m in [sqrt(1/2), sqrt(2)) */
INLINE vec split_exponent(vec x, ivec *k)
{
    *k = ((ivec)x - isplat(SQRT_HALF_BITS)) >> MANTISSA_BITS;
    return (vec)((ivec)x - (*k << MANTISSA_BITS));
}

/* y, unless x is a special argument of a logarithm of x. */
INLINE vec log_or_special(vec x, vec y)
{
    y = choose(greater(x, C(LARGEST)), x, y);
    y = choose(greater(C(SMALLEST), x), C(-INFINITY), y);
    y = choose(greater(C(0), x), C(NAN), y);
    return choose(unordered(x, x), x, y);
}

INLINE vec vec_log(vec x)
{
    ivec k;
    const vec m = split_exponent(x, &k);
    return log_or_special(x, log_of_parts(__builtin_convertvector(k, vec), m - C(1)));
}

/* log(u), u = fl(1 + x), with what the sum lost added to its mantissa. */
INLINE vec vec_log1p(vec x)
{
    ivec k;
    const vec u = C(1) + x, lost = choose(greater(x, C(1)), C(1) - (u - x), x - (u - C(1)));
    const vec m = split_exponent(u, &k);
    const vec exact = fma_(lost, (vec)((isplat(EXPONENT_BIAS) - k) << MANTISSA_BITS), m - C(1));
    const vec f =
        choose(greater(x, C(ROUNDING)), m - C(1), exact); /* 2^-k may be out of range, the loss is too small */
    const vec y = log_or_special(u, log_of_parts(__builtin_convertvector(k, vec), f));
    return choose(greater(absolute(x), C(0)), y, choose(unordered(x, x), x, with_sign(C(0), x)));
}
#endif

/* vecmath.h: functions of a vector as fixed sequences of FMAs: exp, expm1, log, log1p, tanh, sigmoid, atan, and the
 * parts of erfc.
 *
 * Arguments of the exponential family are reduced by a rounded multiple of ln 2 in two words (tanh: in one, its large
 * values need no more); what remains is a polynomial (float: Chebyshev interpolation over the reduced range, of tanh
 * searched on for the least error; double: Taylor, of tanh Chebyshev). Errors over all floats are in
 * docs/guarantees.md: at most 2 ULP in float, 3 in double. NaN goes through; subnormals count as zero, as everywhere
 * (flush_denormals).
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
#define PI_2_HIGH 0x1.921fb54442d18p+0
#define PI_2_LOW 0x1.1a62633145c07p-54
#define LARGEST DBL_MAX
#define SMALLEST DBL_MIN
#else
#define ROUNDING 0x1.8p23
enum { MANTISSA_BITS = 23, EXPONENT_BIAS = 127 };
#define LN2_HIGH 0x1.62e4p-1
#define LN2_LOW 0x1.7f7d1cf7p-20
#define SQRT_HALF_BITS 0x3f3504f3
#define PI_2_HIGH 0x1.921fb6p+0
#define PI_2_LOW -0x1.777a5cp-25
#define LARGEST FLT_MAX
#define SMALLEST FLT_MIN
#endif
#define LOG2_E 0x1.71547652b82fep+0
#define LN2 0x1.62e42fefa39efp-1

INLINE vec absolute(vec x) { return (vec)((ivec)x & ~(ivec)C(-0.0)); }
INLINE vec with_sign(vec x, vec sign) { return (vec)((ivec)x | ((ivec)sign & (ivec)C(-0.0))); }
/* 2^n from n + EXPONENT_BIAS in the low bits */
INLINE vec power_of_2(ivec biased) { return (vec)(biased << MANTISSA_BITS); }

INLINE vec polynomial(vec x, const double *c, const int terms)
{
    vec p = C(c[terms - 1]);
    UNROLL for (int i = terms - 2; i >= 0; i--)
        p = fma_(p, x, C(c[i]));
    return p;
}

/* A long one in two chains, which do not wait for each other: for coefficients of one sign, where nothing cancels. */
INLINE vec polynomial_2(vec x, const double *c, const int terms)
{
    if (terms < 8) return polynomial(x, c, terms);
    const int top = (terms - 1) / 2 * 2, next = (terms - 2) / 2 * 2 + 1;
    const vec square = x * x;
    vec even = C(c[top]), odd = C(c[next]);
    UNROLL for (int i = top - 2; i >= 0; i -= 2)
        even = fma_(even, square, C(c[i]));
    UNROLL for (int i = next - 2; i >= 1; i -= 2)
        odd = fma_(odd, square, C(c[i]));
    return fma_(odd, x, even);
}

/* n = round(x / ln 2), r = x - n ln 2, |r| <= ln 2 / 2; returns (e^r - 1 - r) / r^2. n as power_of_2 takes it. */
INLINE vec reduce_exp(vec x, ivec *n, vec *r)
{
#if NN_DOUBLE
    static const double q[] = {1. / 2,     1. / 6,      1. / 24,      1. / 120,      1. / 720,       1. / 5040,
                               1. / 40320, 1. / 362880, 1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800};
#else
    static const double q[] = {0x1p-1, 0x1.5554dep-3, 0x1.55551ap-5, 0x1.120b62p-7, 0x1.6d10fcp-10};
#endif
    const vec rounding = C(ROUNDING + EXPONENT_BIAS), shifted = fma_(x, C(LOG2_E), rounding);
    const vec multiple = shifted - rounding;
    *n = (ivec)shifted;
    *r = fnma_(multiple, C(LN2_LOW), fnma_(multiple, C(LN2_HIGH), x));
    return polynomial_2(*r, q, sizeof q / sizeof *q);
}

INLINE vec vec_exp(vec x)
{
    ivec n;
    vec r;
    const double low = -EXPONENT_BIAS * 0.72, high = EXPONENT_BIAS * 0.71; /* e^x is 0, infinite from there on */
    const vec q = reduce_exp(minimum(C(high), maximum(C(low), x)), &n, &r);
    const ivec twice = n - (ivec)C(ROUNDING) + isplat(EXPONENT_BIAS), half = twice >> 1; /* 2^n may be out of range */
    return (fma_(r * r, q, r) + C(1)) * power_of_2(half) * power_of_2(twice - half);
}

/* 2^n (e^r - 1) + (2^n - 1) for x <= 0 */
INLINE vec vec_expm1(vec x)
{
    ivec n;
    vec r;
    const vec q = reduce_exp(maximum(C(-EXPONENT_BIAS * 0.6929), x), &n, &r), scale = power_of_2(n);
    return fma_(fma_(r * r, q, r), scale, scale - C(1));
}

/* q = e / (1 + e), e = exp(-|x|): e - e q for x <= 0, 1 - q for x > 0 */
INLINE vec vec_sigmoid(vec x)
{
    ivec n;
    vec r;
    const vec q = reduce_exp(maximum(C(-EXPONENT_BIAS * 0.6929), with_sign(x, C(-0.0))), &n, &r), scale = power_of_2(n);
    const vec e = (fma_(r * r, q, r) + C(1)) * scale, w = choose(greater(x, C(0)), C(1), e);
    return fnma_(w, e / (C(1) + e), w);
}

/* sign(x) h / (1 + h), h = (e^(2|x|) - 1) / 2 = 2^n (e^2r - 1) / 2 + (2^n - 1) / 2, |r| <= ln 2 / 4. The quotient of
 * w = min(h, 1) is taken from w: h - h h/(1 + h) below 1, 1 - 1/(1 + h) above, where its error counts less than that of
 * h/(1 + h) would. c: (e^2r - 1 - 2r) / 2r^2.
 */
INLINE vec vec_tanh(vec x)
{
#if NN_DOUBLE
    static const double c[] = {0x1.0000000000001p+0,  0x1.5555555555556p-1, 0x1.5555555553d37p-2, 0x1.11111111109a6p-3,
                               0x1.6c16c1789d1d7p-5,  0x1.a01a01a7cebcdp-7, 0x1.a019b8ca26fcfp-9, 0x1.71de0d85293b8p-11,
                               0x1.2891d4ffbb0f9p-13, 0x1.af390ba7e6f47p-16};
    const double large = 19.1;
#else
    static const double c[] = {0x1p+0, 0x1.5554a8p-1, 0x1.555424p-2, 0x1.12160cp-3, 0x1.6cfa9cp-5};
    const double large = 9.02;
#endif
    const vec a = minimum(C(large), absolute(x)), rounding = C(ROUNDING + EXPONENT_BIAS);
    const vec shifted = fma_(a, C(2 * LOG2_E), rounding), scale = power_of_2((ivec)shifted);
    const vec r = fnma_(shifted - rounding, C(LN2 / 2), a);
    const vec e = fma_(r * r, polynomial_2(r, c, sizeof c / sizeof *c), r);
    const vec h = fma_(e, scale, fma_(scale, C(0.5), C(-0.5))), w = minimum(C(1), h);
    return with_sign(fnma_(w, w / (C(1) + h), w), x);
}

/* k ln 2 + log(1 + f), f in [sqrt(1/2) - 1, sqrt(2) - 1]: with s = f / (2 + f), log(1 + f) = f - f^2/2 + s (f^2/2 + R).
 */
INLINE vec log_of_parts(vec k, vec f)
{
    static const double c[] = {2. / 3,  2. / 5,  2. / 7,  2. / 9,  2. / 11, 2. / 13,
                               2. / 15, 2. / 17, 2. / 19, 2. / 21, 2. / 23};
    const int terms = NN_DOUBLE ? 11 : 5;
    const vec s = f / (C(2) + f), z = s * s, half = C(0.5) * f * f;
    const vec rest = fma_(s, fma_(z, polynomial_2(z, c, terms), half), k * C(LN2_LOW));
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

/* e^(-factor x^2), x^2 in two words */
INLINE vec vec_gauss(vec x, const double factor)
{
    const vec square = x * x, lost = fma_(x, x, C(0) - square), e = vec_exp(C(-factor) * square);
    return fnma_(C(factor) * lost, e, e);
}

enum { ERFC_END = NN_DOUBLE ? 27 : 10 }; /* erfc is zero from here on */

/* e^(x^2) erfc(x), 0 <= x <= ERFC_END: (x + 3) times it is a polynomial in (x - 3) / (x + 3). */
INLINE vec vec_erfcx(vec x)
{
#if NN_DOUBLE
    static const double c[] = {
        0x1.12f21ddd9f5e2p+0,   -0x1.c44c471baa376p-1,  0x1.2e326945de2adp-1,   -0x1.3deb21415dce5p-2,
        0x1.e995f11b181cap-4,   -0x1.b78993d6ab814p-6,  -0x1.3dd3e716acb03p-10, 0x1.8dae3a235de71p-9,
        -0x1.1f78e0a850788p-11, -0x1.2238fcb967c2cp-12, 0x1.c32511f1841c0p-14,  0x1.fdff0d0b24d9cp-16,
        -0x1.2518203a4297fp-16, -0x1.3eb4d59ebd772p-18, 0x1.72e0e41e95992p-19,  0x1.0bfc9caa0cd9bp-20,
        -0x1.b22d6edd4064dp-22, -0x1.f2724f0b33400p-23, 0x1.6c683ecc01171p-25,  0x1.a0bbe43d5780bp-25,
        0x1.e06859a4f46fap-31,  -0x1.c9d885a1c305fp-28, -0x1.38f5faf34100ap-30, 0x1.912eed950c29ep-33};
#else
    static const double c[] = {0x1.12f21ep+0,   -0x1.c44c48p-1, 0x1.2e326ap-1,  -0x1.3deacap-2,
                               0x1.e9960cp-4,   -0x1.b7c1c0p-6, -0x1.40236p-10, 0x1.946e98p-9,
                               -0x1.009a72p-11, -0x1.5f9afp-12, -0x1.bd2f32p-19};
#endif
    const vec inverse = C(1) / (x + C(3));
    return polynomial((x - C(3)) * inverse, c, sizeof c / sizeof *c) * inverse;
}

/* x + x^3 r(x^2) below 1, pi/2 - atan(1/x) above */
INLINE vec vec_atan(vec x)
{
#if NN_DOUBLE
    static const double r[] = {
        -0x1.5555555555555p-2, 0x1.9999999999620p-3,  -0x1.24924924753ecp-3,  0x1.c71c71bb00a6cp-4,
        -0x1.745d15ee35819p-4, 0x1.3b1399d1dcdc7p-4,  -0x1.110fff599e4d2p-4,  0x1.e1d0239d392a6p-5,
        -0x1.aebbb1647a168p-5, 0x1.841dcf603a209p-5,  -0x1.5d02278205cc7p-5,  0x1.3328700bb8169p-5,
        -0x1.00390504e9f2fp-5, 0x1.843f4bca23369p-6,  -0x1.fd0e4de8fed90p-7,  0x1.123baedb61abdp-7,
        -0x1.ca3677db66678p-9, 0x1.1325b2f8964bep-10, -0x1.a359b96a4eee4p-13, 0x1.2f07811f9f6e9p-16};
#else
    static const double r[] = {-0x1.555554p-2, 0x1.99983cp-3,  -0x1.246cd2p-3, 0x1.c3f168p-4, -0x1.6295f8p-4,
                               0x1.0001c6p-4,  -0x1.25dc12p-5, 0x1.ba9f66p-7,  -0x1.38de56p-9};
#endif
    const vec size = absolute(x);
    const mask beyond = greater(size, C(1));
    const vec u = choose(beyond, C(1) / size, size), square = u * u;
    const vec y = fma_(u * square, polynomial(square, r, sizeof r / sizeof *r), u);
    return with_sign(choose(beyond, C(PI_2_HIGH) - (y - C(PI_2_LOW)), y), x);
}

/* 1 / (1 + z^2) from y = atan z: the square of cos y, which is the sine of pi/2 - |y| */
INLINE vec vec_cos_squared(vec y)
{
    static const double c[] = {-1. / 6,
                               1. / 120,
                               -1. / 5040,
                               1. / 362880,
                               -1. / 39916800.,
                               1. / 6227020800.,
                               -1. / 1307674368000.,
                               1. / 355687428096000.,
                               -1. / 121645100408832000.,
                               1. / 51090942171709440000.,
                               -1. / 25852016738884976640000.};
    const int terms = NN_DOUBLE ? 11 : 6;
    const vec t = maximum(C(0), (C(PI_2_HIGH) - absolute(y)) + C(PI_2_LOW)), square = t * t;
    const vec sine = fma_(t * square, polynomial(square, c, terms), t);
    return sine * sine;
}
#endif

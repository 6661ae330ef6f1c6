"""Initial weights: uniform and normal distributions scaled by the fans of a parameter.

Glorot and Bengio (AISTATS 2010), He et al. (ICCV 2015, section 2.2), LeCun et al. ("Efficient
BackProp", 1998, section 4.6). Made of + - * / sqrt and frexp alone, which IEEE 754 rounds
correctly, so that the same seed gives the same bits on every machine.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import checks, rng

Initializer = str | NDArray[Any]

NAMES = (
    "glorot_uniform",
    "he_uniform",
    "lecun_uniform",
    "glorot_normal",
    "he_normal",
    "lecun_normal",
    "zeros",
    "ones",
)


def checked(initializer: Any, name: str) -> Initializer:
    """Return a known name, or the given values as a real array. ValueError or TypeError."""
    if isinstance(initializer, str):
        if initializer not in NAMES:
            raise checks.unknown(name, initializer, NAMES)
        return initializer
    values = np.asarray(initializer)
    if initializer is None or values.dtype.kind not in "biuf":
        came = f"an object of type {type(initializer).__name__}"
        raise TypeError(
            f"{name}: expected an array of real numbers or one of {', '.join(NAMES)}, got {came}"
        )
    return values


def draw(
    initializer: Initializer,
    shape: tuple[int, ...],
    fan_in: int,
    fan_out: int,
    seed: int,
    index: int,
) -> NDArray[Any]:
    """Return the initial values of one parameter, float64 unless the values are given.

    Parameters
    ----------
    initializer : str or ndarray
        One of `NAMES`, or the values themselves, of the parameter's shape. The normal
        distributions are not truncated (Keras truncates at two standard deviations).
    shape, fan_in, fan_out
        Of the parameter.
    seed, index : int
        Key of the random stream; `index` counts the parameters of the plan.

    Raises
    ------
    ValueError
        Given values of another shape.
    """
    if not isinstance(initializer, str):
        if initializer.shape != shape:
            raise ValueError(
                f"initializer: expected an array of shape {shape}, got {initializer.shape}; "
                "a Dense weight is (n_in, n_out)"
            )
        return initializer
    if initializer in ("zeros", "ones"):
        return np.full(shape, 1.0 if initializer == "ones" else 0.0)
    family, distribution = initializer.split("_")
    variance = {"glorot": 2 / (fan_in + fan_out), "he": 2 / fan_in, "lecun": 1 / fan_in}[family]
    bits = (rng.words(seed, rng.WEIGHTS, index, math.prod(shape)) >> np.uint64(11)).astype(float)
    if distribution == "uniform":
        values = (2 * (bits * 2.0**-53) - 1) * math.sqrt(3 * variance)
    else:
        values = normal_quantile((bits + 0.5) * 2.0**-53) * math.sqrt(variance)
    return values.reshape(shape)


def normal_quantile(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of the normal distribution function at `p`, 0 < p < 1.

    Algorithm AS 241, PPND16 (Wichura, Applied Statistics 37, 1988): about 1 part in 10**16.
    """
    q = p - 0.5
    r = 0.180625 - q * q
    centre = q * _polynomial(r, _A) / _polynomial(r, _B)
    r = np.sqrt(-_log(np.minimum(p, 1 - p)))
    near = _polynomial(r - 1.6, _C) / _polynomial(r - 1.6, _D)
    far = _polynomial(r - 5, _E) / _polynomial(r - 5, _F)
    tail = np.where(r <= 5, near, far)
    return np.where(np.abs(q) <= 0.425, centre, np.where(q < 0, -tail, tail))


def _log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm as 2 artanh((m - 1) / (m + 1)) + e ln 2 with x = m 2**e."""
    m, e = np.frexp(x)
    low = m < math.sqrt(0.5)
    m = np.where(low, 2 * m, m)
    s = (m - 1) / (m + 1)
    series = _polynomial(s * s, [1 / k for k in range(1, 24, 2)])
    return np.asarray(2 * s * series + (e - low) * 0.6931471805599453)


def _polynomial(x: NDArray[np.float64], coefficients: list[float]) -> NDArray[np.float64]:
    value = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


_A = [
    3.3871328727963666080e0,
    1.3314166789178437745e2,
    1.9715909503065514427e3,
    1.3731693765509461125e4,
    4.5921953931549871457e4,
    6.7265770927008700853e4,
    3.3430575583588128105e4,
    2.5090809287301226727e3,
]
_B = [
    1.0,
    4.2313330701600911252e1,
    6.8718700749205790830e2,
    5.3941960214247511077e3,
    2.1213794301586595867e4,
    3.9307895800092710610e4,
    2.8729085735721942674e4,
    5.2264952788528545610e3,
]
_C = [
    1.42343711074968357734e0,
    4.63033784615654529590e0,
    5.76949722146069140550e0,
    3.64784832476320460504e0,
    1.27045825245236838258e0,
    2.41780725177450611770e-1,
    2.27238449892691845833e-2,
    7.74545014278341407640e-4,
]
_D = [
    1.0,
    2.05319162663775882187e0,
    1.67638483018380384940e0,
    6.89767334985100004550e-1,
    1.48103976427480074590e-1,
    1.51986665636164571966e-2,
    5.47593808499534494600e-4,
    1.05075007164441684324e-9,
]
_E = [
    6.65790464350110377720e0,
    5.46378491116411436990e0,
    1.78482653991729133580e0,
    2.96560571828504891230e-1,
    2.65321895265761230930e-2,
    1.24266094738807843860e-3,
    2.71155556874348757815e-5,
    2.01033439929228813265e-7,
]
_F = [
    1.0,
    5.99832206555887937690e-1,
    1.36929880922735805310e-1,
    1.48753612908506148525e-2,
    7.86869131145613259100e-4,
    1.84631831751005468180e-5,
    1.42151175831644588870e-7,
    2.04426310338993978564e-15,
]

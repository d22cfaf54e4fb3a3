"""erf, erfinv, lgamma and digamma."""
from __future__ import annotations

import math

from ..ir import KernelBuilder, Val
from . import coefficients as table
from .common import Float
from .exponential import exp_inside
from .logarithm import log

ERF_SPLIT = {"f32": 1.4, "f64": 1.25}
#: erf rounds to 1 from a little before
ERF_LIMIT = {"f32": 3.95, "f64": 5.95}
#: centres of the polynomials of erfinv: in w, and in its square root
ERFINV_CENTRES = {"f32": (1.0, 3.25), "f64": (3.125, 3.25, 5.0)}
#: the positive root of digamma, and what its first part drops
DIGAMMA_ROOT = {"f32": (1.4616321325302124, 1.243815006546356e-08), "f64": (1.4616321449683622, 9.549995429965697e-17)}
STIRLING_CONSTANT = (math.log(2 * math.pi) - 1) / 2
#: from here on the expansions of the gamma functions for large arguments hold
LARGE = {"f32": 4, "f64": 8}


def erf(k: KernelBuilder, x: Val) -> Val:
    """``2 / sqrt(pi) * integral of e^(-t^2) from 0 to x``.

    Below a split ``x + x p(x^2)``; above it, f32 takes a polynomial for erf itself (its error counts absolutely
    there) and f64 ``1 - e^(-x^2) q(1 / (1 + x))``.
    Largest error: f32 1.9 ulp, f64 1.7 ulp.
    """
    f = Float(k, x.type)
    magnitude = k.fabs(x)
    clamped = f.at_most(magnitude, ERF_LIMIT[f.elem])
    split = ERF_SPLIT[f.elem]
    small = f.fma(f.polynomial(f.mul(x, x), table.ERF_SMALL), magnitude, magnitude)
    if f.double:
        tail = f.polynomial(f.div(1.0, f.add(clamped, 1.0)), table.ERF_LARGE)
        large = f.fma(exp_inside(f, k.fneg(f.mul(clamped, clamped))), k.fneg(tail), 1.0)
    else:
        large = f.polynomial(f.add(clamped, -(split + ERF_LIMIT[f.elem]) / 2), table.ERF_LARGE)
    return k.copysign(f.select(f.is_("olt", magnitude, split), small, large), x)


def erfinv(k: KernelBuilder, x: Val) -> Val:
    """The y with ``erf(y) = x``; infinite at -1 and 1, NaN outside.

    ``x p(w)`` with ``w = -log(1 - x^2)``, from some w on ``x q(sqrt(w))`` (after Giles, "Approximating the erfinv
    function", 2011; own coefficients).
    Largest error: f32 2.3 ulp, f64 2.1 ulp.
    """
    f = Float(k, x.type)
    w = k.fneg(log(k, f.fma(k.fneg(x), x, 1.0)))
    root = k.fsqrt(w)
    near, *tails = ERFINV_CENTRES[f.elem]
    ratio = f.polynomial(f.add(root, -tails[0]), table.ERFINV_TAIL)
    if f.double:
        far = f.polynomial(f.add(root, -tails[1]), table.ERFINV_FAR)
        ratio = f.select(f.is_("ogt", root, 4.0), far, ratio)
    is_near = f.is_("ole", w, 6.25 if f.double else 5.0)
    ratio = k.select(is_near, f.polynomial(f.add(w, -near), table.ERFINV_NEAR), ratio)
    return f.select(f.is_("oeq", k.fabs(x), 1.0), f.mul(x, math.inf), f.mul(ratio, x))


def _whole(f: Float, size: Val) -> Val:
    """The integer nearest to ``size >= 0``."""
    unit = 2.0**f.mantissa
    return f.select(f.is_("olt", size, unit), f.add(f.add(size, unit), -unit), size)


def lgamma(k: KernelBuilder, x: Val) -> Val:
    """``log |gamma(x)|``; infinite at 0, -1, -2, ...

    Stirling's formula for large arguments; below, the recurrence leads to ``t p(t) = log gamma(2 + t)`` with
    ``-3/4 <= t <= 1/4``, plus or minus the logarithm of a product; negative x by reflection. Near the zeros at
    negative x the error is relative to the terms that cancel there, not to the result.
    Largest error of x > 0: f32 3.8 ulp, f64 3 ulp.
    """
    f = Float(k, x.type)
    a = k.fabs(x)
    tiny = f.is_("olt", a, 0.25)
    below = f.is_("olt", a, 1.25)
    large = f.is_("oge", a, float(LARGE[f.elem]))
    product: Val = f.number(1.0)
    t = f.add(a, -2.0)
    for i in range(1, LARGE[f.elem] - 1):  # a = i + (a - i) with a - i in [1.25, 2.25)
        factor = f.add(a, -float(i))
        active = f.is_("oge", a, i + 1.25)
        product = k.select(active, f.mul(product, factor), product)
        t = k.select(active, f.add(factor, -2.0), t)
    product = f.select(below, k.select(tiny, f.fma(a, a, a), a), product)
    t = k.select(tiny, a, k.select(below, f.add(a, -1.0), t))
    logarithm = log(k, k.select(large, a, product))
    small = f.fma(t, f.polynomial(t, table.LGAMMA), k.select(below, k.fneg(logarithm), logarithm))
    inverse = f.div(1.0, a)
    rest = f.mul(f.polynomial(f.mul(inverse, inverse), table.STIRLING), inverse)
    stirling = f.fma(f.add(a, -0.5), f.add(logarithm, -1.0), f.add(rest, STIRLING_CONSTANT))
    positive = k.select(large, stirling, small)
    # gamma(x) gamma(-x) = -pi / (x sin(pi x)); so close to 0 that gamma(x) is 1/x, nothing is to do
    reflected = f.is_("olt", x, -(2.0 ** -(f.mantissa + 3)))

    def reflect() -> list[Val]:
        d = k.fsub(a, _whole(f, a))
        sine = f.mul(k.fabs(d), f.polynomial(f.mul(d, d), table.SIN_PI))
        other = k.fsub(log(k, f.div(math.pi, f.mul(sine, a))), positive)
        other = f.select(f.is_("ueq", d, 0.0), math.inf, other)  # also -inf, where d is NaN
        return [k.select(reflected, other, positive)]

    return k.if_(f.any(reflected), reflect, lambda: [positive])[0]


def digamma(k: KernelBuilder, x: Val) -> Val:
    """The derivative of log gamma; ``-1/x`` decides the sign of the infinity at 0, NaN at -1, -2, ...

    The asymptotic expansion for large arguments; below, the recurrence leads to [1, 2], where a polynomial is
    multiplied with the distance from the root; negative x by reflection. Near its negative roots the error is
    relative to the terms that cancel there, not to the result.
    Largest error of x > 0: f32 4 ulp, f64 3.7 ulp.
    """
    f = Float(k, x.type)
    negative = f.is_("olt", x, 0.0)
    a = k.select(negative, f.sub(1.0, x), x)
    large = f.is_("oge", a, float(LARGE[f.elem]))
    below = f.is_("olt", a, 1.0)
    # sum of 1 / (a - i) as one fraction; a - i ends in [1, 2)
    numerator, denominator, base = f.number(0.0), f.number(1.0), a
    for i in range(1, LARGE[f.elem] - 1):
        factor = f.add(a, -float(i))
        active = f.is_("oge", a, i + 1.0)
        numerator = k.select(active, f.fma(numerator, factor, denominator), numerator)
        denominator = k.select(active, f.mul(denominator, factor), denominator)
        base = k.select(active, factor, base)
    numerator = f.select(below, -1.0, numerator)
    denominator = k.select(below, a, denominator)
    high, low = DIGAMMA_ROOT[f.elem]
    # a + 1 - root without rounding a + 1
    distance = f.select(below, f.add(base, 1.0 - high), f.add(base, -high))
    distance = f.add(distance, -low)
    small = f.fma(f.polynomial(distance, table.DIGAMMA), distance, k.fdiv(numerator, denominator))
    inverse = f.div(1.0, a)
    u = f.mul(inverse, inverse)
    rest = f.fma(f.polynomial(u, table.DIGAMMA_LARGE), u, f.mul(inverse, 0.5))
    result = k.select(large, k.fsub(log(k, a), rest), small)
    # digamma(x) = digamma(1 - x) - pi cot(pi x)
    size = k.fabs(x)
    d = k.fsub(size, _whole(f, size))
    cotangent = f.div(f.polynomial(f.mul(d, d), table.COT_PI), d)
    reflected = f.select(f.is_("oeq", d, 0.0), math.nan, k.fadd(result, cotangent))
    return k.select(negative, reflected, result)

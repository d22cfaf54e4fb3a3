"""erf, erfinv, lgamma and digamma."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..ir import KernelBuilder, Val
from . import coefficients as table
from .common import Float, Pair, fast_two_sum, two_sum
from .exponential import exp_inside
from .logarithm import log_parts

ERF_SPLIT = {"f32": 1.4, "f64": 1.25}
#: erf rounds to 1 from a little before
ERF_LIMIT = {"f32": 3.95, "f64": 5.95}
#: centres of the polynomials of erfinv: in w, and in its square root
ERFINV_CENTRES = {"f32": (1.0, 3.25), "f64": (3.125, 3.25, 5.0)}
#: the positive root of digamma, its derivative there, and the first two coefficients of log gamma(2 + t)
#: and of sin(pi d) / (pi d): in two parts
DIGAMMA_ROOT = {
    "f32": (1.4616321325302124, 1.243815006546356e-08),
    "f64": (1.4616321449683622, 9.549995429965697e-17),
}
DIGAMMA_SLOPE = {
    "f32": (0.9676722288131714, 1.6634450261676648e-08),
    "f64": (0.9676722454476212, -3.387874303038943e-17),
}
LGAMMA_FIRST = {
    "f32": (0.42278432846069336, 6.637773886097875e-09),
    "f64": (0.42278433509846713, 4.942915152430645e-18),
}
LGAMMA_SECOND = {
    "f32": (0.32246702909469604, 4.329417269133273e-09),
    "f64": (0.3224670334241132, 1.520336175199238e-17),
}
PI_SQUARED_SIXTH = {
    "f32": (1.644934058189392, 8.658834538266547e-09),
    "f64": (1.6449340668482264, 3.040672350398476e-17),
}
HALF_LOG_2_PI = math.log(2 * math.pi) / 2
#: from here on the expansion of log gamma for large arguments holds
LARGE = {"f32": 4, "f64": 8}
#: from here on that of digamma holds
LARGE_DIGAMMA = 4.0


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
    function", 2011; own coefficients). w, its root, and the first two terms have two parts each.
    Largest error: f32 1.4 ulp, f64 1.4 ulp.
    """
    f = Float(k, x.type)
    w, rest = (k.fneg(v) for v in fast_two_sum(k, *log_parts(f, f.fma(k.fneg(x), x, 1.0))))
    root = k.fsqrt(w)
    root_rest = k.fmul(k.fadd(f.fma(k.fneg(root), root, w), rest), f.div(0.5, root))

    def piece(at: Val, below: Val, centre: float, coefficients: Mapping[str, Sequence[float]]) -> Pair:
        first, second, *others = coefficients[f.elem]
        t, dropped = fast_two_sum(k, f.number(-centre), at)
        linear = f.mul(t, second)
        more = f.fma(k.fadd(below, dropped), second, f.fma(t, second, k.fneg(linear)))
        total, dropped = fast_two_sum(k, f.number(first), linear)
        return total, f.fma(f.polynomial(t, {f.elem: others}), f.mul(t, t), k.fadd(dropped, more))

    near, *tails = ERFINV_CENTRES[f.elem]
    first, more = piece(root, root_rest, tails[0], table.ERFINV_TAIL)
    pieces = [(f.is_("ole", w, 6.25 if f.double else 5.0), piece(w, rest, near, table.ERFINV_NEAR))]
    if f.double:
        pieces.insert(0, (f.is_("ogt", root, 4.0), piece(root, root_rest, tails[1], table.ERFINV_FAR)))
    for here, (its_first, its_more) in pieces:
        first, more = k.select(here, its_first, first), k.select(here, its_more, more)
    result = k.copysign(f.fma(x, first, k.fmul(x, more)), x)
    magnitude = k.fabs(x)
    result = f.select(f.is_("ogt", magnitude, 1.0), math.nan, result)
    return f.select(f.is_("oeq", magnitude, 1.0), f.mul(x, math.inf), result)


def _whole(f: Float, size: Val) -> Val:
    """The integer nearest to ``size >= 0``."""
    unit = 2.0**f.mantissa
    return f.select(f.is_("olt", size, unit), f.add(f.add(size, unit), -unit), size)


def lgamma(k: KernelBuilder, x: Val) -> Val:
    """``log |gamma(x)|``; infinite at 0, -1, -2, ...

    Stirling's formula for large arguments; below, the recurrence leads to ``t p(t) = log gamma(2 + t)`` with
    ``-3/4 <= t <= 1/4``, plus or minus the logarithm of a product; negative x by reflection. The logarithm and the
    first two terms of ``p`` have two parts each. Near the zeros at negative x the error is relative to the terms that
    cancel there, not to the result.
    Largest error of x > 0: f32 1.6 ulp, f64 1.4 ulp; of x < 0, in units of the larger of the result and
    ``log gamma(-x)``: f32 1.8, f64 1.5.
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
    log_high, log_low = log_parts(f, k.select(large, a, product))
    power, power_low = _lgamma_near_2(f, t)
    total, dropped = two_sum(k, k.select(below, k.fneg(log_high), log_high), power)
    signed_low = k.select(below, k.fneg(log_low), log_low)
    small, small_low = fast_two_sum(k, total, k.fadd(dropped, k.fadd(signed_low, power_low)))
    small = f.select(f.is_("oeq", a, 0.0), math.inf, small)
    inverse = f.div(1.0, a)
    rest = f.mul(f.polynomial(f.mul(inverse, inverse), table.STIRLING), inverse)
    rest = f.fma(f.add(a, -0.5), log_low, f.fma(log_high, -0.5, f.add(rest, HALF_LOG_2_PI)))
    stirling = f.select(f.is_("olt", a, math.inf), f.fma(a, f.add(log_high, -1.0), rest), a)
    positive = k.select(large, stirling, small)
    # so close to 0 that gamma(x) is 1/x, nothing is to do
    reflected = f.is_("olt", x, -(2.0 ** -(f.mantissa + 3)))
    return k.if_(f.any(reflected), lambda: [k.select(reflected, _lgamma_left(
        f, a, positive, f.select(large, 0.0, small_low)), positive)], lambda: [positive])[0]


def _lgamma_near_2(f: Float, t: Val) -> Pair:
    """``log gamma(2 + t)`` for ``-3/4 <= t <= 1/4``."""
    k = f.k
    (first, first_low), (second, second_low) = LGAMMA_FIRST[f.elem], LGAMMA_SECOND[f.elem]
    linear = f.mul(t, second)
    total, dropped = fast_two_sum(k, f.number(first), linear)
    low = k.fadd(dropped, f.fma(t, second, k.fneg(linear)))
    low = k.fadd(low, f.fma(t, second_low, f.number(first_low)))
    low = f.fma(f.polynomial(t, table.LGAMMA), f.mul(t, t), low)
    high = f.mul(t, total)
    return high, f.fma(t, low, f.fma(t, total, k.fneg(high)))


def _lgamma_left(f: Float, a: Val, positive: Val, positive_low: Val) -> Val:
    """``log |gamma(-a)|``, given ``log gamma(a)`` in two parts: ``gamma(a) gamma(-a) = -pi / (a sin(pi a))``.

    With d the distance of a from an integer, the logarithm of ``a sin(pi a) / pi = a d (1 - pi^2/6 d^2 + d^4 p(d^2))``
    is taken of the product's first part; its second part adds what it is relative to the first.
    """
    k = f.k
    d = k.fabs(k.fsub(a, _whole(f, a)))
    first, first_low = PI_SQUARED_SIXTH[f.elem]
    z, y = f.mul(d, d), f.mul(a, d)
    z_low, y_low = f.fma(d, d, k.fneg(z)), f.fma(a, d, k.fneg(y))
    linear = f.mul(z, -first)
    linear_low = f.fma(z_low, -first, f.fma(z, -first_low, f.fma(z, -first, k.fneg(linear))))
    ratio, dropped = fast_two_sum(k, f.number(1.0), linear)
    ratio, ratio_low = fast_two_sum(
        k, ratio, f.fma(f.mul(z, z), f.polynomial(z, table.SIN_PI), k.fadd(dropped, linear_low)))
    product = f.mul(y, ratio)
    product_low = f.fma(y, ratio_low, f.fma(y_low, ratio, f.fma(y, ratio, k.fneg(product))))
    high, low = log_parts(f, product)
    high, low = k.fneg(high), k.fneg(k.fadd(low, k.fdiv(product_low, product)))
    total, dropped = two_sum(k, high, k.fneg(positive))
    result = k.fadd(total, k.fadd(dropped, k.fsub(low, positive_low)))
    return f.select(f.is_("ueq", d, 0.0), math.inf, result)  # also -inf, where d is NaN


def digamma(k: KernelBuilder, x: Val) -> Val:
    """The derivative of log gamma; ``-1/x`` decides the sign of the infinity at 0, NaN at -1, -2, ...

    The asymptotic expansion for large arguments; below, the recurrence leads to [1, 2], where a polynomial is
    multiplied with the distance from the root; negative x by reflection. What can cancel has two parts. Near its
    negative roots the error is relative to the terms that cancel there, not to the result.
    Largest error of x > 0: f32 1.6 ulp, f64 1.3 ulp; of x < 0, in units of the larger of the result and
    ``digamma(1 - x)``: f32 1.5, f64 1.3.
    """
    f = Float(k, x.type)
    negative = f.is_("olt", x, 0.0)
    a = k.select(negative, f.sub(1.0, x), x)
    large = f.is_("oge", a, LARGE_DIGAMMA)
    below = f.is_("olt", a, 1.0)
    # sum of 1 / (a - i) as one fraction; a - i, which is exact, ends in [1, 2)
    one, two = f.add(a, -1.0), f.add(a, -2.0)
    first, second = f.is_("oge", a, 2.0), f.is_("oge", a, 3.0)
    product = f.mul(one, two)
    denominator = k.select(second, product, k.select(first, one, f.select(below, a, 1.0)))
    denominator_low = f.select(second, f.fma(one, two, k.fneg(product)), 0.0)
    numerator = k.select(second, k.fadd(one, two), f.select(first, 1.0, f.select(below, -1.0, 0.0)))
    base = k.select(second, two, k.select(first, one, a))
    inverse = f.div(1.0, denominator)
    quotient = f.mul(numerator, inverse)
    remainder = f.fma(k.fneg(quotient), denominator_low, f.fma(k.fneg(quotient), denominator, numerator))
    finite = f.is_("olt", k.fabs(quotient), math.inf)
    quotient_low = f.select(finite, f.mul(remainder, inverse), 0.0)
    power, power_low = _digamma_near_root(f, base, below)
    total, dropped = two_sum(k, quotient, power)
    dropped = f.select(finite, dropped, 0.0)
    small = k.fadd(total, k.fadd(dropped, k.fadd(quotient_low, power_low)))
    inverse = f.div(1.0, a)
    u = f.mul(inverse, inverse)
    rest = f.fma(f.polynomial(u, table.DIGAMMA_LARGE), u, f.mul(inverse, 0.5))
    log_high, log_low = log_parts(f, a)
    asymptotic = f.select(f.is_("olt", a, math.inf), k.fadd(log_high, k.fsub(log_low, rest)), a)
    result = k.select(large, asymptotic, small)

    def reflect() -> list[Val]:
        # 1 - x was rounded: the derivative of digamma times what that dropped
        dropped = k.fsub(k.fneg(x), f.add(a, -1.0))
        slope = f.mul(inverse, f.fma(inverse, f.fma(inverse, 1 / 6, 0.5), 1.0))
        left = _pi_cot_pi(f, k.fneg(x), result, f.mul(slope, dropped))
        return [k.select(negative, left, result)]

    return k.if_(f.any(negative), reflect, lambda: [result])[0]


def _digamma_near_root(f: Float, base: Val, below: Val) -> Pair:
    """digamma(base) for base in [1, 2); where ``below``, digamma(base + 1)."""
    k = f.k
    (high, low), (slope, slope_low) = DIGAMMA_ROOT[f.elem], DIGAMMA_SLOPE[f.elem]
    exact = f.select(below, f.add(base, 1.0 - high), f.add(base, -high))  # base + 1 is not rounded
    distance = f.add(exact, -low)
    linear = f.mul(exact, slope)
    more = f.fma(exact, slope_low, f.add(f.fma(exact, slope, k.fneg(linear)), -low * slope))
    return linear, f.fma(f.polynomial(distance, table.DIGAMMA), f.mul(distance, distance), more)


def _pi_cot_pi(f: Float, size: Val, before: Val, before_low: Val) -> Val:
    """``before + before_low + pi cot(pi size)``; NaN where size is an integer.

    With d the distance from an integer, the cotangent is ``(1/4 - d^2) (4 + d^2 p(d^2)) / d``.
    """
    k = f.k
    d = k.fsub(size, _whole(f, size))
    z = f.mul(d, d)
    zero, dropped = two_sum(k, f.number(0.25), k.fneg(z))
    zero_low = k.fsub(dropped, f.fma(d, d, k.fneg(z)))
    polynomial = f.polynomial(z, table.COT_PI)
    factor = f.fma(polynomial, z, 4.0)
    factor_low = f.fma(polynomial, z, f.sub(4.0, factor))
    numerator = f.mul(zero, factor)
    numerator_low = f.fma(zero, factor, k.fneg(numerator))
    numerator_low = f.fma(zero, factor_low, f.fma(zero_low, factor, numerator_low))
    inverse = f.div(1.0, d)
    quotient = f.mul(numerator, inverse)
    quotient_low = f.mul(k.fadd(f.fma(k.fneg(quotient), d, numerator), numerator_low), inverse)
    quotient_low = f.select(f.is_("olt", k.fabs(quotient), math.inf), quotient_low, 0.0)
    total, dropped = two_sum(k, before, quotient)
    dropped = f.select(f.is_("olt", k.fabs(total), math.inf), dropped, 0.0)
    result = k.fadd(total, k.fadd(dropped, k.fadd(before_low, quotient_low)))
    return f.select(f.is_("oeq", d, 0.0), math.nan, result)

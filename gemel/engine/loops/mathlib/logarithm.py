"""log, log2 and log1p.

All start from ``x = 2^e (1 + f)`` with ``sqrt(1/2) <= 1 + f < sqrt(2)``; ``f`` is exact.
"""
from __future__ import annotations

import math

from ..ir import KernelBuilder, Val
from . import coefficients as table
from .common import Float, Pair, fast_two_sum
from .exponential import LN2

#: e is kept in this unit: converting its bits in place saves a shift
UNIT = {"f32": 2.0**-23, "f64": 1.0}
SQRT_HALF_BITS = {"f32": 0x3F3504F3, "f64": 0x3FE6A09E667F3BCC}
#: log2(e) in two parts
LOG2_E = {"f32": (1.4426950216293335, 1.925963033500011e-08), "f64": (1.4426950408889634, 2.0355273740931033e-17)}


def _exponent(f: Float, bits: Val) -> Val:
    """``e << mantissa`` of a normal number, e counted from ``sqrt(1/2)``."""
    above = f.k.isub(bits, f.integer(SQRT_HALF_BITS[f.elem]))
    return f.k.and_(above, f.integer(-(1 << f.mantissa)))


def _exponent_value(f: Float, exponent: Val) -> Val:
    """``e / UNIT`` as a float. (AVX2 converts 32-bit integers only.)"""
    if not f.double:
        return f.k.convert("sitofp", exponent, f.elem)
    offset = 2 * f.bias
    biased = f.shift_right(f.k.iadd(exponent, f.integer(offset << f.mantissa)), f.mantissa)
    shifted = f.from_bits(f.k.or_(biased, f.integer((f.bias + f.mantissa) << f.mantissa)))
    return f.add(shifted, -(2.0**f.mantissa + offset))


def split(f: Float, x: Val) -> tuple[Val, Val]:
    """``x = 2^e (1 + f)`` for positive finite x, also subnormal: returns ``e / UNIT`` and f."""
    lift = f.mantissa + 2
    subnormal = f.is_("olt", x, f.tiny)
    bits = f.bits(f.select(subnormal, f.mul(x, 2.0**lift), x))
    exponent = _exponent(f, bits)
    fraction = f.add(f.from_bits(f.k.isub(bits, exponent)), -1.0)
    lifted = f.k.select(subnormal, f.integer(lift << f.mantissa), f.integer(0))
    return _exponent_value(f, f.k.isub(exponent, lifted)), fraction


def log1p_reduced(f: Float, x: Val, before: Val | None = None) -> Val:
    """``before + log(1 + x) - x`` for the reduced x; ``before`` is 0 unless given.

    f32: ``x^2 (-1/2 + x p(x))``. f64: with ``s = x / (2 + x)``, ``log(1 + x) = 2 atanh(s)`` and ``2 s = x - s x``,
    hence ``-s (x - R)`` with ``R = 2 atanh(s) / s - 2``.
    """
    if f.double:
        s = f.div(x, f.add(x, 2.0))
        z = f.mul(s, s)
        factors = f.k.fneg(s), f.fma(f.polynomial(z, table.LOG_ATANH), f.k.fneg(z), x)
    else:
        factors = f.mul(x, x), f.polynomial(x, table.LOG1P, -0.5)
    return f.mul(*factors) if before is None else f.fma(*factors, before)


def _log(f: Float, e: Val, fraction: Val) -> Val:
    """``e ln(2) + log(1 + fraction)``."""
    high, low = (part * UNIT[f.elem] for part in LN2[f.elem])
    if f.double:  # in f32 the missing part of ln(2) is below 0.05 ulp
        return f.fma(e, high, f.k.fadd(fraction, log1p_reduced(f, fraction, f.mul(e, low))))
    return f.fma(e, high, log1p_reduced(f, fraction, fraction))


def log_parts(f: Float, x: Val) -> Pair:
    """``log(x)`` of positive finite x, in about six bits more than the type has."""
    e, fraction = split(f, x)
    high, low = (part * UNIT[f.elem] for part in LN2[f.elem])
    product = f.mul(e, high)
    total, dropped = fast_two_sum(f.k, product, fraction)
    rest = f.fma(e, low, f.k.fadd(dropped, f.fma(e, high, f.k.fneg(product))))
    return total, log1p_reduced(f, fraction, rest)


def _edges(f: Float, x: Val, result: Val) -> Val:
    """A logarithm's values outside of the positive numbers: NaN below 0, -inf at 0, inf and NaN stay."""
    result = f.select(f.is_("olt", x, math.inf), result, x)
    result = f.select(f.k.compare("slt", f.bits(x), f.integer(0)), math.nan, result)
    return f.select(f.is_("oeq", x, 0.0), -math.inf, result)


def log(k: KernelBuilder, x: Val) -> Val:
    """``ln(x)``.

    Largest error: f32 0.94 ulp, f64 0.9 ulp.
    """
    f = Float(k, x.type)
    return _edges(f, x, _log(f, *split(f, x)))


def log2(k: KernelBuilder, x: Val) -> Val:
    """``log2(x) = e + log2(1 + f)``, the product with log2(e) in two parts.

    Largest error: f32 1.2 ulp, f64 1.3 ulp.
    """
    f = Float(k, x.type)
    e, fraction = split(f, x)
    high, low = LOG2_E[f.elem]
    tail = f.mul(log1p_reduced(f, fraction), high)
    small = f.fma(fraction, high, f.fma(fraction, low, tail))
    return _edges(f, x, f.fma(e, UNIT[f.elem], small))


def log1p(k: KernelBuilder, x: Val) -> Val:
    """``ln(1 + x)``: e is that of ``u = 1 + x`` rounded, and ``f = 2^-e x + (2^-e - 1)`` comes from x itself.

    Largest error: f32 1.5 ulp, f64 0.9 ulp.
    """
    f = Float(k, x.type)
    u = f.add(x, 1.0)
    exponent = _exponent(f, f.bits(u))
    # 4 * 2^-e: a normal number for every e
    factor = f.from_bits(k.isub(f.integer((f.bias + 2) << f.mantissa), exponent))
    # 2^-e x by moving the exponent; where e is not 0, |x| >= 1/4
    scaled = f.from_bits(k.isub(f.bits(x), exponent))
    fraction = k.fadd(scaled, f.fma(factor, 0.25, -1.0))
    e = _exponent_value(f, exponent)
    result = _log(f, e, fraction)
    result = f.select(f.is_("olt", x, math.inf), result, x)
    result = f.select(f.is_("olt", x, -1.0), math.nan, result)
    result = f.select(f.is_("oeq", x, -1.0), -math.inf, result)
    return f.select(f.is_("olt", k.fabs(x), 2.0 ** -(f.mantissa + 2)), x, result)  # keeps -0

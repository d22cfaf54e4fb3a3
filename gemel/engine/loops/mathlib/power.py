"""pow: ``2^(y log2 |x|)`` with the logarithm and the product in two parts each."""
from __future__ import annotations

import math

from ..ir import KernelBuilder, Val
from . import coefficients as table
from .common import Float, Pair, fast_two_sum
from .logarithm import UNIT, split

ONE_THIRD = {"f32": (0.3333333432674408, -9.934107758624577e-09), "f64": (0.3333333333333333, 1.850371707708594e-17)}
TWO_LOG2_E = {"f32": (2.885390043258667, 3.851926067000022e-08), "f64": (2.8853900817779268, 4.0710547481862066e-17)}


def _times(f: Float, x: Pair, y: Pair) -> Pair:
    """The product of two pairs, without the smallest of its four terms."""
    high = f.mul(x[0], y[0])
    low = f.fma(x[0], y[1], f.fma(x[0], y[0], f.k.fneg(high)))
    return high, f.fma(x[1], y[0], low)


def _log2(f: Float, x: Val) -> Pair:
    """``log2(x)`` of positive finite x, in about half again as many bits as the type has.

    With ``1 + f = (1 + s) / (1 - s)``: ``log2(1 + f) = 2 log2(e) (s + s z (1/3 + z p(z)))``, ``z = s^2``.
    """
    k = f.k
    e, fraction = split(f, x)
    divisor = f.add(fraction, 2.0)
    divisor_low = k.fsub(fraction, f.add(divisor, -2.0))
    inverse = f.div(1.0, divisor)
    s = f.mul(fraction, inverse)
    rest = f.fma(k.fneg(s), divisor_low, f.fma(k.fneg(s), divisor, fraction))
    s_pair = s, f.mul(rest, inverse)
    z_high = f.mul(s, s)
    z = z_high, f.fma(f.add(s, s), s_pair[1], f.fma(s, s, k.fneg(z_high)))
    third, third_low = ONE_THIRD[f.elem]
    w = fast_two_sum(k, f.number(third), f.mul(f.polynomial(z_high, table.POW_ATANH), z_high))
    more = _times(f, s_pair, _times(f, z, (w[0], f.add(w[1], third_low))))
    high, low = fast_two_sum(k, s, more[0])
    high_constant, low_constant = TWO_LOG2_E[f.elem]
    product = _times(f, (high, k.fadd(low, k.fadd(s_pair[1], more[1]))),
                     (f.number(high_constant), f.number(low_constant)))
    total, dropped = fast_two_sum(k, f.mul(e, UNIT[f.elem]), product[0])
    return fast_two_sum(k, total, k.fadd(dropped, product[1]))


def _exp2(f: Float, high: Val, low: Val) -> Val:
    """``2^(high + low)`` of a high inside the exponent's range."""
    offset = f.magic + 2 * f.bias
    steps = f.add(high, offset)
    r = f.k.fadd(f.k.fsub(high, f.add(steps, -offset)), low)
    return f.scale(f.polynomial(r, table.EXP2, 1.0), f.bits(steps))


def _parity(f: Float, size: Val) -> tuple[Val, Val]:
    """Is ``size >= 0`` an integer, is it an odd one? Infinity is an even integer."""
    k, unit = f.k, 2.0**f.mantissa
    fractional = f.is_("olt", size, unit)  # above, every number is an integer
    moved = f.select(fractional, f.add(size, unit), size)
    back = f.select(fractional, f.add(moved, -unit), size)
    integer = k.compare("oeq", back, size)
    lowest = k.compare("ne", k.and_(f.bits(moved), f.integer(1)), f.integer(0))
    odd = k.and_(k.and_(integer, lowest), f.is_("olt", size, 2 * unit))
    return integer, odd


def pow(k: KernelBuilder, x: Val, y: Val) -> Val:
    """``x ** y``, special cases as in C99: ``x ** 0 == 1 ** y == 1`` also for NaN.

    Largest error: f32 1.1 ulp, f64 1.3 ulp.
    """
    f = Float(k, x.type)
    base, size = k.fabs(x), k.fabs(y)
    high, low = _log2(f, base)
    high = f.select(f.is_("olt", base, math.inf), high, base)
    high = f.select(f.is_("oeq", base, 0.0), -math.inf, high)
    product, product_low = _times(f, (y, f.number(0.0)), (high, low))
    limit = 2.0 * f.bias
    inside = f.is_("olt", k.fabs(product), limit)
    result = _exp2(f, f.at_least(f.at_most(product, limit), -limit), f.select(inside, product_low, 0.0))

    negative = k.compare("slt", f.bits(x), f.integer(0))
    integer, odd = _parity(f, size)
    result = f.select(k.and_(negative, odd), k.fneg(result), result)
    proper = k.and_(f.is_("olt", x, 0.0), f.is_("ogt", x, -math.inf))
    undefined = k.select(proper, k.xor(integer, k.const(1, integer.type)), k.const(0, integer.type))
    result = f.select(undefined, math.nan, result)
    one = k.or_(f.is_("oeq", y, 0.0), f.is_("oeq", x, 1.0))
    one = k.or_(one, k.and_(f.is_("oeq", base, 1.0), f.is_("oeq", size, math.inf)))
    return f.select(one, 1.0, result)

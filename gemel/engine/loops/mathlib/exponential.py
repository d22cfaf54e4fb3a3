"""exp, exp2, expm1, sinh, cosh, tanh and sigmoid.

All start from ``x = n ln(2) + r`` with n the nearest integer and ``|r| <= ln(2)/2``, and a polynomial for
``e^r - 1``.
"""
from __future__ import annotations

import math

from ..ir import KernelBuilder, Val
from . import coefficients as table
from .common import Float

LOG2_E = math.log2(math.e)
#: ln(2) in two parts: the first is the nearest number of the type, the second what is missing
LN2 = {"f32": (0.6931471824645996, -1.9046542121259336e-09), "f64": (0.6931471805599453, 2.3190468138462996e-17)}
#: e^x rounds to infinity above, and to 0 below
EXP_LIMITS = {"f32": (-104.0, 89.0), "f64": (-745.5, 710.0)}


def _reduce(f: Float, x: Val, offset: float) -> tuple[Val, Val, Val]:
    """``x = n ln(2) + r``: returns r, n as a float, and the bits whose low end is ``n + offset``."""
    steps = f.fma(x, LOG2_E, f.magic + offset)
    n = f.add(steps, -(f.magic + offset))
    high, low = LN2[f.elem]
    return f.fma(n, -low, f.fma(n, -high, x)), n, f.bits(steps)


def exp_inside(f: Float, x: Val, halvings: int = 0) -> Val:
    """``e^x / 2^halvings`` of an x inside the limits."""
    r, _, steps = _reduce(f, x, 2 * f.bias - halvings)
    return f.scale(f.polynomial(r, table.EXPM1, 1.0, 1.0), steps)


def exp(k: KernelBuilder, x: Val) -> Val:
    """``e^x``.

    Largest error: f32 0.93 ulp, f64 0.9 ulp.
    """
    f = Float(k, x.type)
    low, high = EXP_LIMITS[f.elem]
    return exp_inside(f, f.at_least(f.at_most(x, high), low))


def exp2(k: KernelBuilder, x: Val) -> Val:
    """``2^x``, with the integer part taken off exactly.

    Largest error: f32 0.97 ulp, f64 1 ulp.
    """
    f = Float(k, x.type)
    x = f.at_least(f.at_most(x, f.bias + 2.0), -(f.bias + f.mantissa + 2.0))
    offset = f.magic + 2 * f.bias
    steps = f.add(x, offset)
    r = k.fsub(x, f.add(steps, -offset))
    return f.scale(f.polynomial(r, table.EXP2, 1.0), f.bits(steps))


def expm1(k: KernelBuilder, x: Val) -> Val:
    """``e^x - 1 = 2 (2^(n-1) (e^r - 1) + (2^(n-1) - 1/2))``; the halving keeps the largest n in range.

    Largest error: f32 1.6 ulp, f64 1.9 ulp.
    """
    f = Float(k, x.type)
    clamped = f.at_least(f.at_most(x, EXP_LIMITS[f.elem][1]), -1.0 - f.mantissa)
    r, _, steps = _reduce(f, clamped, f.bias - 1)
    power = f.from_bits(f.shift_left(steps, f.mantissa))
    half = f.fma(power, _expm1_kernel(f, r), f.add(power, -0.5))
    # below, e^x - 1 rounds to x, and halving could lose bits; keeps -0
    return f.select(f.is_("olt", k.fabs(x), 2.0 ** -(f.mantissa + 2)), x, f.add(half, half))


def _expm1_kernel(f: Float, r: Val) -> Val:
    """``e^r - 1`` with a relative error, for the reduced r."""
    return f.fma(f.polynomial(r, table.EXPM1), f.mul(r, r), r)


def sinh(k: KernelBuilder, x: Val) -> Val:
    """``E - 1/(4 E)`` with ``E = e^|x| / 2``; an odd polynomial below 1.

    Largest error: f32 1.7 ulp, f64 1.7 ulp.
    """
    f = Float(k, x.type)
    magnitude = k.fabs(x)
    half = exp_inside(f, f.at_most(magnitude, EXP_LIMITS[f.elem][1] + 1.0), 1)
    large = k.fsub(half, f.div(0.25, half))
    z = f.mul(x, x)
    small = f.fma(f.polynomial(z, table.SINH), f.mul(z, x), x)
    return f.select(f.is_("olt", magnitude, 1.0), small, k.copysign(large, x))


def cosh(k: KernelBuilder, x: Val) -> Val:
    """``E + 1/(4 E)`` with ``E = e^|x| / 2``.

    Largest error: f32 1.4 ulp, f64 1.4 ulp.
    """
    f = Float(k, x.type)
    half = exp_inside(f, f.at_most(k.fabs(x), EXP_LIMITS[f.elem][1] + 1.0), 1)
    return k.fadd(half, f.div(0.25, half))


def tanh(k: KernelBuilder, x: Val) -> Val:
    """``1 - 2 / (e^(2 |x|) + 1)``; an odd polynomial below 0.55.

    Largest error: f32 1.6 ulp, f64 1.6 ulp.
    """
    f = Float(k, x.type)
    magnitude = k.fabs(x)
    clamped = f.at_most(magnitude, 20.0 if f.double else 10.0)  # tanh rounds to 1 there
    r, _, steps = _reduce(f, f.add(clamped, clamped), f.bias)
    power = f.from_bits(f.shift_left(steps, f.mantissa))
    large = f.sub(1.0, f.div(2.0, f.fma(power, f.polynomial(r, table.EXPM1, 1.0, 1.0), 1.0)))
    z = f.mul(x, x)
    small = f.fma(f.polynomial(z, table.TANH), f.mul(z, magnitude), magnitude)
    return k.copysign(f.select(f.is_("olt", magnitude, 0.55), small, large), x)


def sigmoid(k: KernelBuilder, x: Val) -> Val:
    """``1 / (1 + e^-x) = w - w q`` with ``e = e^-|x|``, ``q = e / (1 + e)``, and w = 1, or e for negative x.

    Negative x keep their relative accuracy, and the error of the quotient counts half at most.
    Largest error: f32 1.7 ulp, f64 1.7 ulp.
    """
    f = Float(k, x.type)
    e = exp_inside(f, f.at_least(k.fneg(k.fabs(x)), EXP_LIMITS[f.elem][0]))
    whole = f.select(f.is_("olt", x, 0.0), e, 1.0)
    return f.fma(k.fneg(whole), k.fdiv(e, f.add(e, 1.0)), whole)

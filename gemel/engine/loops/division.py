"""Division with remainder: floor_divide, remainder and fmod of integers and floats, branch-free where it matters.

x86 has no vector division of integers, and ``frem`` is a call per lane: integers up to 32 bits divide as floats
that hold them exactly, and the float remainder is an exact ``fma``.
"""
from __future__ import annotations

import math

from ..base.dtypes import DType
from .ir import KernelBuilder, Type, Val
from .mathlib.common import Float
from .rounding import floor

# --- integers ------------------------------------------------------------------------------------

def _zero(k: KernelBuilder, like: Val) -> Val:
    return k.const(0, like.type)


def _floor_quotient(k: KernelBuilder, dtype: DType, x: Val, y: Val) -> Val:
    """``floor(x / y)``, wrapped, for y other than 0."""
    if dtype.bits == 64:
        return _floor_quotient_64(k, dtype, x, y)
    f = Float(k, Type("f64" if dtype.bits == 32 else "f32", x.type.lanes))
    convert = "sitofp" if dtype.kind == "i" else "uitofp"
    # the quotient is at least 1 / |y| away from an integer that it is not, so rounding does not reach that
    quotient = k.fdiv(k.convert(convert, x, f.elem), k.convert(convert, y, f.elem))
    nearest = f.add(quotient, f.magic)
    above = k.compare("ogt", f.add(nearest, -f.magic), quotient)
    bits = k.convert("trunc", f.bits(nearest), x.type.elem)
    return k.isub(bits, k.convert("zext", above, x.type.elem))


def _floor_quotient_64(k: KernelBuilder, dtype: DType, x: Val, y: Val) -> Val:
    if dtype.kind == "u":
        return k.udiv(x, y)
    minus_one = k.compare("eq", y, k.const(-1, y.type))  # the one quotient that can overflow
    safe = k.select(minus_one, k.const(1, y.type), y)
    quotient = k.binary("sdiv", x, safe)
    remainder = k.isub(x, k.imul(quotient, safe))
    inexact = k.compare("ne", remainder, _zero(k, x))
    below = k.and_(inexact, k.compare("slt", k.xor(x, safe), _zero(k, x)))
    floored = k.isub(quotient, k.convert("zext", below, "i64"))
    return k.select(minus_one, k.isub(_zero(k, x), x), floored)


def _divide(k: KernelBuilder, dtype: DType, x: Val, y: Val) -> tuple[Val, Val, Val]:
    """(y is 0, floor quotient, its remainder); the last two are of any value where y is 0."""
    undefined = k.compare("eq", y, _zero(k, y))
    safe = k.select(undefined, k.const(1, y.type), y)
    quotient = _floor_quotient(k, dtype, x, safe)
    return undefined, quotient, k.isub(x, k.imul(quotient, safe))


def int_floor_divide(k: KernelBuilder, dtype: DType, x: Val, y: Val) -> Val:
    undefined, quotient, _ = _divide(k, dtype, x, y)
    return k.select(undefined, _zero(k, x), quotient)


def int_remainder(k: KernelBuilder, dtype: DType, x: Val, y: Val) -> Val:
    undefined, _, remainder = _divide(k, dtype, x, y)
    return k.select(undefined, _zero(k, x), remainder)


def int_fmod(k: KernelBuilder, dtype: DType, x: Val, y: Val) -> Val:
    undefined, _, remainder = _divide(k, dtype, x, y)
    if dtype.kind == "i":  # the remainder has the sign of y; move it to that of x
        other = k.compare("slt", k.xor(x, y), _zero(k, x))
        move = k.and_(other, k.compare("ne", remainder, _zero(k, x)))
        remainder = k.select(move, k.isub(remainder, y), remainder)
    return k.select(undefined, _zero(k, x), remainder)


# --- floats --------------------------------------------------------------------------------------

def fmod(k: KernelBuilder, x: Val, y: Val) -> Val:
    """``x - trunc(x / y) * y``, exact.

    With q the integer nearest to ``|x / y|``, ``|x| - q |y|`` is a number of the type, hence what ``fma`` gives;
    negative, it needs one ``+ |y|``. That is all while q is exact; lanes with a larger quotient take a loop that
    divides by ``|y| 2^n`` with falling n, entered only if there is one.
    """
    f = Float(k, x.type)
    a, b = k.fabs(x), k.fabs(y)
    limit = 2.0 ** (f.mantissa - 1)
    ratio = k.fdiv(a, b)
    near = _reduce_once(f, a, b, ratio)
    near = k.select(k.and_(f.is_("oeq", b, math.inf), f.is_("olt", a, math.inf)), a, near)
    proper = k.and_(f.is_("olt", a, math.inf), f.is_("ogt", b, 0.0))
    far = k.and_(f.is_("oge", ratio, limit), proper)
    result = k.if_(f.any(far), lambda: [k.select(far, _reduce_far(f, a, b), near)], lambda: [near])[0]
    return k.copysign(result, x)


def _reduce_once(f: Float, a: Val, b: Val, ratio: Val) -> Val:
    """``a mod b`` for ``ratio = a / b`` up to ``2^(mantissa - 1)``."""
    q = f.add(f.add(ratio, f.magic), -f.magic)
    r = f.fma(f.k.fneg(q), b, a)
    return f.select(f.is_("olt", r, 0.0), f.k.fadd(r, b), r)


def _exponent(f: Float, x: Val) -> Val:
    """``floor(log2 x) + bias`` of positive x, also subnormal."""
    lift = f.mantissa + 2
    subnormal = f.is_("olt", x, f.tiny)
    field = f.shift_right(f.bits(f.select(subnormal, f.mul(x, 2.0**lift), x)), f.mantissa)
    return f.k.isub(field, f.k.select(subnormal, f.integer(lift), f.integer(0)))


def _reduce_far(f: Float, a: Val, b: Val) -> Val:
    k = f.k
    digits = f.mantissa - 2  # bits of the quotient that one step takes off
    start = _exponent(f, b)

    def step(_: Val, r: Val) -> list[Val]:
        excess = k.isub(k.isub(_exponent(f, r), start), f.integer(digits))
        excess = k.smax(excess, f.integer(0))
        # a little beyond what ``scale`` can do, when b is subnormal: 8 b is exact
        beyond = k.compare("sgt", excess, f.integer(2 * f.bias - 3))
        base = k.select(beyond, f.mul(b, 8.0), b)
        excess = k.isub(excess, k.select(beyond, f.integer(3), f.integer(0)))
        divisor = f.scale(base, k.iadd(excess, f.integer(2 * f.bias)))
        return [_reduce_once(f, r, divisor, k.fdiv(r, divisor))]

    steps = -(-(2 * f.bias + f.mantissa + 2) // digits)
    return k.loop(0, steps, init=[a], body=step, nonempty=True)[0]


def _signs_differ(f: Float, x: Val, y: Val) -> Val:
    return f.k.xor(f.is_("olt", x, 0.0), f.is_("olt", y, 0.0))


def float_remainder(k: KernelBuilder, x: Val, y: Val) -> Val:
    """torch.remainder: fmod, plus y where that has the other sign and is not 0."""
    f = Float(k, x.type)
    mod = fmod(k, x, y)
    move = k.and_(f.is_("une", mod, 0.0), _signs_differ(f, y, mod))
    return k.select(move, k.fadd(mod, y), mod)


def float_floor_divide(k: KernelBuilder, x: Val, y: Val) -> Val:
    """torch.floor_divide: the exact remainder first, so that the quotient is the floor of the true one."""
    f = Float(k, x.type)
    mod = fmod(k, x, y)
    quotient = k.fdiv(x, y)
    div = k.fdiv(k.fsub(x, mod), y)
    move = k.and_(f.is_("une", mod, 0.0), _signs_differ(f, y, mod))
    div = k.select(move, f.add(div, -1.0), div)
    whole = floor(k, div)
    whole = f.select(f.is_("ogt", k.fsub(div, whole), 0.5), f.add(whole, 1.0), whole)
    result = f.select(f.is_("une", div, 0.0), whole, k.copysign(f.number(0.0), quotient))
    return f.select(f.is_("oeq", y, 0.0), quotient, result)

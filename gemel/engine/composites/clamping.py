"""Clamping by tensors, replacing of NaN and infinities, and functions of the sign and exponent bits."""
from __future__ import annotations

import math

from ..autodiff.vjp import vjp
from ..base.dtypes import bool_, compute_type, float32, int16, int32, int64
from .base import composite

#: bits of a float -> (integer type of that width, fraction bits, exponent bias)
_FORMATS = {"float64": (int64, 52, 1022), "float32": (int32, 23, 126), "float16": (int16, 10, 14),
            "bfloat16": (int16, 7, 126)}


def _masked(b, g, kept):
    return b.select_or_zero(kept, g)


# --- clamping by tensors ----------------------------------------------------------------------------

@composite("clamp", 3)
def clamp(b, x, low, high):
    """min(max(x, low), high)"""
    return b.min(b.max(x, low), high)


@vjp("clamp", inputs=(0, 1, 2))
def _clamp(b, g, s):
    """x has the gradient where it lies between the bounds; a bound where it is what came out."""
    x, low, high = s.inputs
    crossed = b.lt(high, low)
    below = b.and_(b.lt(x, low), b.not_(crossed))
    above = b.or_(b.gt(x, high), crossed)
    return (_masked(b, g, b.and_(b.ge(x, low), b.le(x, high))), _masked(b, g, below), _masked(b, g, above))


@composite("clamp_min", 2)
def clamp_min(b, x, low):
    """the larger; x where they are equal"""
    return b.max(x, low)


@vjp("clamp_min", inputs=(0, 1))
def _clamp_min(b, g, s):
    x, low = s.inputs
    return _masked(b, g, b.ge(x, low)), _masked(b, g, b.lt(x, low))


@composite("clamp_max", 2)
def clamp_max(b, x, high):
    """the smaller; x where they are equal"""
    return b.min(x, high)


@vjp("clamp_max", inputs=(0, 1))
def _clamp_max(b, g, s):
    x, high = s.inputs
    return _masked(b, g, b.le(x, high)), _masked(b, g, b.gt(x, high))


@composite("nan_to_num", 4)
def nan_to_num(b, x, nan, above, below):
    """NaN, inf and -inf replaced by three scalars"""
    def number(s):
        return b.expand(b.cast(s, x.type.dtype), x.type.shape)

    y = b.select(b.is_nan(x), number(nan), x)
    y = b.select(b.eq(x, b.full_like(x, math.inf)), number(above), y)
    return b.select(b.eq(x, b.full_like(x, -math.inf)), number(below), y)


@vjp("nan_to_num", inputs=(0,))
def _nan_to_num(b, g, s):
    (x,) = s.inputs
    return _masked(b, g, b.lt(b.abs(x), b.full_like(x, math.inf))), None, None, None


# --- bits of floats ---------------------------------------------------------------------------------

def _bits(b, x):
    return b.bitcast(x, _FORMATS[x.type.dtype.name][0])


def sign_bit(b, x):
    """Is the sign bit set (also of -0 and NaN)?"""
    bits = _bits(b, x)
    return b.lt(bits, b.full_like(bits, 0))


@composite("signbit", 1)
def signbit(b, x):
    """is the sign bit set?"""
    if not x.type.dtype.is_inexact:
        return b.full(False, bool_, x.type.shape) if x.type.dtype.kind in "ub" else b.lt(x, b.full_like(x, 0))
    return sign_bit(b, x)


@composite("copysign", 2)
def copysign(b, x, y):
    """|x| with the sign of y"""
    kind, _, _ = _FORMATS[x.type.dtype.name]
    lowest = b.full(-(1 << (kind.bits - 1)), kind, x.type.shape)
    magnitude = b.and_(_bits(b, x), b.not_(lowest))
    return b.bitcast(b.or_(magnitude, b.and_(_bits(b, y), lowest)), x.type.dtype)


@vjp("copysign", inputs=(0, 1))
def _copysign(b, g, s):
    x, y = s.inputs
    turned = b.select(b.xor(sign_bit(b, x), sign_bit(b, y)), b.neg(g), g)
    return b.select_or_zero(b.not_(b.is_zero(x)), turned), b.full_like(g, 0)


@composite("nextafter", 2)
def nextafter(b, x, y):
    """the next float after x in the direction of y"""
    bits = _bits(b, x)
    kind = bits.type.dtype
    one, zero = b.full_like(bits, 1), b.full_like(x, 0)
    outwards = b.eq(b.lt(x, y), b.gt(x, zero))  # away from zero: the magnitude grows
    moved = b.bitcast(b.select(outwards, b.add(bits, one), b.sub(bits, one)), x.type.dtype)
    tiny = b.full_like(bits, 1)
    below = b.full(-(1 << (kind.bits - 1)) + 1, kind, x.type.shape)
    from_zero = b.bitcast(b.select(b.lt(y, zero), below, tiny), x.type.dtype)
    moved = b.select(b.is_zero(x), from_zero, moved)
    moved = b.select(b.eq(x, y), y, moved)
    return b.select(b.or_(b.is_nan(x), b.is_nan(y)), b.add(x, y), moved)


@composite("frexp", 1, n_outputs=2)
def frexp(b, x):
    """x = mantissa * 2^exponent with 1/2 <= |mantissa| < 1"""
    wide = b.cast(x, compute_type(x.type.dtype))
    kind, fraction, bias = _FORMATS[wide.type.dtype.name]
    smallest = 2.0 ** (1 - bias) if wide.type.dtype is float32 else 2.0 ** -1022
    small = b.lt(b.abs(wide), b.full_like(wide, smallest))
    scaled = b.select(small, b.scale(wide, 2.0 ** (fraction + 1)), wide)
    bits = _bits(b, scaled)
    width = (1 << (kind.bits - 1 - fraction)) - 1
    exponent = b.and_(b.shr(bits, b.full_like(bits, fraction)), b.full_like(bits, width))
    kept = b.and_(bits, b.full_like(bits, ~(width << fraction)))
    mantissa = b.bitcast(b.or_(kept, b.full_like(bits, bias << fraction)), wide.type.dtype)
    exponent = b.sub(b.sub(exponent, b.full_like(bits, bias)),
                     b.select_or_zero(small, b.full_like(bits, fraction + 1)))
    plain = b.or_(b.is_zero(wide), b.not_(b.lt(b.abs(wide), b.full_like(wide, math.inf))))
    mantissa = b.select(plain, wide, mantissa)
    exponent = b.select(plain, b.full_like(exponent, 0), exponent)
    return b.cast(mantissa, x.type.dtype), b.cast(exponent, int32)


@vjp("frexp", outputs=(1,))
def _frexp(b, g, s):
    if g[0] is None:
        return (None,)
    exponent = b.cast(s.outputs[0], g[0].type.dtype)
    return (b.div(g[0], b._("exp2", exponent)),)

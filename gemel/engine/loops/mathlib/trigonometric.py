"""sin, cos and tan, over the whole range.

``|x| = q pi/2 + r`` with ``|r| <= pi/4``. Up to a limit q comes from one multiplication and r from three fused
ones (Cody and Waite); beyond, in a branch that is taken only when a lane needs it, ``|x| 2/pi`` is computed
exactly modulo 8 from the bits of 2/pi (Payne and Hanek), lane by lane in integers.
"""
from __future__ import annotations

import itertools
import math

from ..ir import I32, KernelBuilder, Type, Val
from . import coefficients as table
from .common import Float, fast_two_sum, two_sum

TWO_OVER_PI = 2 / math.pi
#: pi/2 in three parts, each the nearest number of the type to what is missing
HALF_PI = {
    "f32": (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    "f64": (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
#: the largest |x| of the first way: q stays exact, and the parts of pi/2 that are left out do not count
LIMIT = {"f32": 2.0**17, "f64": 2.0**30}
#: bits of 2/pi in words of 32, most significant first, after one word of zeros
TWO_OVER_PI_WORDS = (
    0x00000000, 0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB,
    0xDEBBC561, 0xB7246E3A, 0x424DD2E0, 0x06492EEA, 0x09D1921C, 0xFE1DEB1C, 0xB129A73E, 0xE88235F5,
    0x2EBB4484, 0xE99C7026, 0xB45F7E41, 0x3991D639, 0x835339F4, 0x9C845F8B, 0xBDF9283B, 0x1FF897FF,
    0xDE05980F, 0xEF2F118B, 0x5A0A6D1F, 0x6D367ECF, 0x27CB09B7, 0x4F463F66, 0x9E5FEA2D, 0x7527BAC7,
    0xEBE5F17B, 0x3D0739F7, 0x8A5292EA, 0x6BFB5FB1, 0x1F8D5D08, 0x56033046,
)


def _huge(f: Float, x: Val) -> tuple[Val, Val, Val]:
    """Scalar x >= the limit: r, what its rounding dropped, and q modulo 8, by an exact product with a window of 2/pi.

    ``x = m 2^e``. A bit of 2/pi of weight ``2^-i`` with ``i <= e - 3`` adds a multiple of 8 to ``x 2/pi``; the
    window begins behind those. Times m, modulo its length, it is ``x 2/pi`` in fixed point with three integer bits.
    """
    k, count = f.k, 6 if f.double else 3
    shift32 = k.i64(32)
    bits = k.convert("zext", f.bits(x), "i64")
    exponent = k.lshr(bits, k.i64(f.mantissa)) - (f.bias + f.mantissa)
    start = exponent + (32 - 3)
    word, skip = k.lshr(start, k.i64(5)), k.and_(start, k.i64(31))
    words = k.table("i32", TWO_OVER_PI_WORDS)
    raw = [k.convert("zext", k.load(k.offset(words, word + j, "i32"), I32), "i64") for j in range(count + 1)]
    window = [k.lshr(k.shl(k.or_(k.shl(a, shift32), b), skip), shift32) for a, b in itertools.pairwise(raw)]
    m = k.or_(k.and_(bits, k.i64((1 << f.mantissa) - 1)), k.i64(1 << f.mantissa))
    digits = _product(k, m, window, 2 if f.double else 1)
    top = k.or_(k.shl(digits[0], shift32), digits[1])
    quadrant = k.lshr(top + (1 << 60), k.i64(61))
    # the fraction as a signed number in units of 2^-64, and what that drops
    fraction = k.or_(k.shl(top, k.i64(3)), k.lshr(digits[2], k.i64(29)))
    first = k.convert("sitofp", fraction, f.elem)
    rest = k.convert("sitofp", fraction - k.convert("fptosi", first, "i64"), f.elem)
    if f.double:
        dropped = k.or_(k.shl(digits[2], k.i64(35)), k.shl(digits[3], k.i64(3)))
        rest = f.fma(k.convert("uitofp", dropped, f.elem), 2.0**-64, rest)
    high, low, _ = HALF_PI[f.elem]
    small = f.fma(first, low, f.mul(rest, high))
    r = f.fma(first, high, small)
    tail = k.fadd(f.fma(first, high, k.fneg(r)), small)
    return f.mul(r, 2.0**-64), f.mul(tail, 2.0**-64), quadrant


def _product(k: KernelBuilder, m: Val, window: list[Val], pieces: int) -> list[Val]:
    """``m * window`` modulo the window's length, in digits of 32 bits, most significant first."""
    low32, shift32 = k.i64(0xFFFFFFFF), k.i64(32)
    digits = [k.i64(0)] * len(window)
    for piece in range(pieces):
        factor = k.and_(m, low32) if piece == 0 else k.lshr(m, shift32)
        carry = k.i64(0)
        for j in range(len(window) - 1, piece - 1, -1):
            total = k.iadd(k.iadd(k.imul(factor, window[j]), digits[j - piece]), carry)
            digits[j - piece], carry = k.and_(total, low32), k.lshr(total, shift32)
    return digits


def _huge_lanes(f: Float, x: Val, is_huge: Val) -> tuple[Val, Val, Val]:
    """``_huge`` for every lane of a vector, one after the other; other lanes get any value."""
    k, lanes = f.k, x.type.lanes
    safe = f.select(is_huge, x, LIMIT[f.elem])
    one = Float(k, Type(f.elem))

    def lane(value: Val) -> tuple[Val, Val, Val]:
        r, tail, q = _huge(one, value)
        return r, tail, k.convert("trunc", q, f.int_type.elem)

    if lanes == 1:
        return lane(safe)
    types = f.type, f.type, f.int_type
    slots = [k.stack(t.elem, lanes) for t in types]
    k.store(safe, slots[0])

    def body(i: Val) -> None:
        places = [k.offset(slot, i, t.elem) for slot, t in zip(slots, types, strict=True)]
        for place, value in zip(places, lane(k.load(places[0], one.type)), strict=True):
            k.store(value, place)

    k.loop(0, lanes, body=body, nonempty=True)
    r, tail, q = (k.load(slot, t) for slot, t in zip(slots, types, strict=True))
    return r, tail, q


def _reduce(f: Float, x: Val, with_tail: bool = False) -> tuple[Val, ...]:
    """``|x| = q pi/2 + r``: r, (with ``with_tail``: what r's rounding dropped,) an integer with q's low bits."""
    k = f.k
    high, middle, low = HALF_PI[f.elem]
    steps = f.fma(x, TWO_OVER_PI, f.magic)
    n = f.add(steps, -f.magic)
    first = f.fma(n, -high, x)
    if with_tail:
        product = f.mul(n, -middle)
        r, dropped = two_sum(k, first, product)
        moderate = r, f.fma(n, -low, k.fadd(dropped, f.fma(n, -middle, k.fneg(product)))), f.bits(steps)
    else:
        moderate = f.fma(n, -low, f.fma(n, -middle, first)), f.bits(steps)
    is_huge = k.and_(f.is_("oge", x, LIMIT[f.elem]), f.is_("olt", x, math.inf))

    def huge() -> list[Val]:
        r, tail, q = _huge_lanes(f, x, is_huge)
        found = (r, tail, q) if with_tail else (r, q)
        return [k.select(is_huge, a, b) for a, b in zip(found, moderate, strict=True)]

    return k.if_(f.any(is_huge), huge, lambda: moderate)


def _sine(f: Float, r: Val, q: Val) -> Val:
    """``sin(r + q pi/2)``."""
    k = f.k
    z = f.mul(r, r)
    sine = f.fma(f.polynomial(z, table.SIN), f.mul(z, r), r)
    cosine = f.polynomial(z, table.COS, 1.0, -0.5)
    odd = k.compare("ne", k.and_(q, f.integer(1)), f.integer(0))
    sign = f.shift_left(k.and_(q, f.integer(2)), f.int_type.bits - 2)
    return f.from_bits(k.xor(f.bits(f.select(odd, cosine, sine)), sign))


def sin(k: KernelBuilder, x: Val) -> Val:
    """Sine of x in radians; NaN for infinities.

    Largest error: f32 1.6 ulp, f64 1.5 ulp.
    """
    f = Float(k, x.type)
    r, q = _reduce(f, k.fabs(x))
    return f.from_bits(k.xor(f.bits(_sine(f, r, q)), f.sign_bits(x)))


def cos(k: KernelBuilder, x: Val) -> Val:
    """Cosine of x in radians, as ``sin(|x| + pi/2)``; NaN for infinities.

    Largest error: f32 1.6 ulp, f64 1.5 ulp.
    """
    f = Float(k, x.type)
    r, q = _reduce(f, k.fabs(x))
    return _sine(f, r, k.iadd(q, f.integer(1)))


def tan(k: KernelBuilder, x: Val) -> Val:
    """Tangent of x in radians: a polynomial t, or ``-1 / t`` in the odd quadrants; NaN for infinities.

    The reciprocal gets one step of Newton's method with what t's rounding dropped, because near 1 its unit in the
    last place can be half of that of t.
    Largest error: f32 1.3 ulp, f64 1.3 ulp.
    """
    f = Float(k, x.type)
    r, tail, q = _reduce(f, k.fabs(x), with_tail=True)
    z = f.mul(r, r)
    more = f.fma(f.polynomial(z, table.TAN), f.mul(z, r), f.fma(tail, z, tail))
    t, dropped = fast_two_sum(k, r, more)
    inverse = f.div(-1.0, t)
    inverse = f.fma(inverse, f.fma(inverse, dropped, f.fma(inverse, t, 1.0)), inverse)
    odd = k.compare("ne", k.and_(q, f.integer(1)), f.integer(0))
    return f.from_bits(k.xor(f.bits(k.select(odd, inverse, t)), f.sign_bits(x)))

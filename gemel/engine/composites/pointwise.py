"""Elementwise functions of one or more tensors, one recorded node each."""
from __future__ import annotations

import math

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type, float64
from ..base.errors import DTypeError
from .base import composite


def _conj(b, x):
    return b.conj(x) if x.type.dtype.is_complex else x


def _wide(b, *xs):
    """Operands in the compute type."""
    return [b.cast(x, compute_type(x.type.dtype)) for x in xs]


# --- powers ---------------------------------------------------------------------------------------

@composite("square", 1)
def square(b, x):
    """x * x"""
    return b.mul(x, x)


@vjp("square", inputs=(0,))
def _square(b, g, s):
    return (b.mul(g, _conj(b, b.scale(s.inputs[0], 2.0))),)


@composite("cube", 1)
def cube(b, x):
    """x * x * x"""
    (w,) = _wide(b, x)
    return b.cast(b.mul(b.mul(w, w), w), x.type.dtype)


@vjp("cube", inputs=(0,))
def _cube(b, g, s):
    (x,) = s.inputs
    return (b.mul(g, _conj(b, b.scale(b.mul(x, x), 3.0))),)


@composite("reciprocal", 1)
def reciprocal(b, x):
    """1 / x"""
    return b.div(b.full_like(x, 1), x)


@vjp("reciprocal", outputs=True)
def _reciprocal(b, g, s):
    return (b.neg(b.mul(g, _conj(b, b.mul(s.output, s.output)))),)


def _check_integers(attrs, x, y):
    if not x.dtype.is_integer:
        raise DTypeError(f"expected integers. Received: {x}")


@composite("integer_pow", 2, check=_check_integers)
def integer_pow(b, x, y):
    """x ** y for integers, wrapping; negative exponents: 1 for x = 1, +-1 for x = -1, else 0"""
    dtype, zero, one = x.type.dtype, b.full_like(x, 0), b.full_like(x, 1)
    total, factor = one, x
    for bit in range(dtype.bits - (dtype.kind == "i")):
        used = b.ne(b.and_(y, b.full_like(y, 1 << bit)), zero)
        total = b.mul(total, b.select(used, factor, one))
        factor = b.mul(factor, factor)
    if dtype.kind == "u":
        return total
    odd = b.ne(b.and_(y, one), zero)
    unit = b.select(b.eq(x, one), one, b.select(b.eq(x, b.neg(one)), b.select(odd, x, one), zero))
    return b.select(b.lt(y, zero), unit, total)


@composite("div_trunc", 2, check=_check_integers)
def div_trunc(b, x, y):
    """x / y towards zero, for integers; 0 where y is 0"""
    quotient = b.floor_divide(x, y)
    if x.type.dtype.kind == "u":
        return quotient
    zero = b.full_like(x, 0)
    inexact = b.ne(b.remainder(x, y), zero)
    below = b.and_(inexact, b.lt(b.xor(x, y), zero))
    return b.select(below, b.add(quotient, b.full_like(x, 1)), quotient)


# --- weighted sums --------------------------------------------------------------------------------

@composite("add_scaled", 3)
def add_scaled(b, x, y, alpha):
    """x + alpha * y"""
    w, v = _wide(b, x, y)
    return b.cast(b.add(w, b.mul(b.expand(alpha, y.type.shape), v)), x.type.dtype)


@vjp("add_scaled", inputs=(2,))
def _add_scaled(b, g, s):
    return g, b.call("mul_scalar", g, _conj(b, s.inputs[0])), None


@composite("addcmul", 4)
def addcmul(b, x, y, z, value):
    """x + value * y * z"""
    w, u, v = _wide(b, x, y, z)
    return b.cast(b.add(w, b.mul(b.mul(b.expand(value, x.type.shape), u), v)), x.type.dtype)


@vjp("addcmul", inputs=(1, 2, 3))
def _addcmul(b, g, s):
    y, z, value = s.inputs
    scaled = b.call("mul_scalar", g, _conj(b, value))
    return g, b.mul(scaled, _conj(b, z)), b.mul(scaled, _conj(b, y)), None


@composite("addcdiv", 4)
def addcdiv(b, x, y, z, value):
    """x + value * y / z"""
    w, u, v = _wide(b, x, y, z)
    return b.cast(b.add(w, b.div(b.mul(b.expand(value, x.type.shape), u), v)), x.type.dtype)


@vjp("addcdiv", inputs=(1, 2, 3))
def _addcdiv(b, g, s):
    y, z, value = s.inputs
    scaled = b.div(b.call("mul_scalar", g, _conj(b, value)), _conj(b, z))
    return g, scaled, b.neg(b.mul(scaled, _conj(b, b.div(y, z)))), None


def interpolate(b, start, end, weight):
    """torch's two forms, each exact at its end: w < 1/2 ? s + w (e - s) : e - (e - s) (1 - w)."""
    span = b.sub(end, start)
    one = b.full_like(weight, 1)
    size = b.abs(weight) if weight.type.dtype.is_complex else weight
    near = b.lt(size, b.full_like(size, 0.5))
    return b.select(near, b.add(start, b.mul(weight, span)), b.sub(end, b.mul(span, b.sub(one, weight))))


@composite("lerp_scalar", 3)
def lerp_scalar(b, start, end, weight):
    """start + weight * (end - start)"""
    x, y = _wide(b, start, end)
    return b.cast(interpolate(b, x, y, b.expand(weight, x.type.shape)), start.type.dtype)


@vjp("lerp_scalar", inputs=(2,))
def _lerp_scalar(b, g, s):
    (weight,) = s.inputs
    rest = b.sub(b.const(1, weight.type.dtype), weight)
    return b.call("mul_scalar", g, _conj(b, rest)), b.call("mul_scalar", g, _conj(b, weight)), None


@composite("lerp", 3)
def lerp(b, start, end, weight):
    """start + weight * (end - start)"""
    return b.cast(interpolate(b, *_wide(b, start, end, weight)), start.type.dtype)


@vjp("lerp", inputs=(0, 1, 2))
def _lerp_vjp(b, g, s):
    start, end, weight = s.inputs
    rest = b.sub(b.full_like(weight, 1), weight)
    return b.mul(g, _conj(b, rest)), b.mul(g, _conj(b, weight)), b.mul(g, _conj(b, b.sub(end, start)))


# --- functions of one tensor ----------------------------------------------------------------------

@composite("frac", 1)
def frac(b, x):
    """x - trunc(x)"""
    return b.sub(x, b.trunc(x))


@vjp("frac")
def _frac(b, g, s):
    return (g,)


@composite("log10", 1)
def log10(b, x):
    """log(x) / log(10), in f64 for narrower floats"""
    wide = x if x.type.dtype.is_complex else b.cast(x, float64)
    return b.cast(b.div(b.log(wide), b.full_like(wide, math.log(10))), x.type.dtype)


@vjp("log10", inputs=(0,))
def _log10(b, g, s):
    return (b.div(g, _conj(b, b.scale(s.inputs[0], math.log(10)))),)


@composite("asinh", 1)
def asinh(b, x):
    """sign(x) log(|x| + sqrt(x^2 + 1)), through log1p where it matters"""
    if x.type.dtype.is_complex:
        return b.log(b.add(x, b.sqrt(b.add(b.mul(x, x), b.full_like(x, 1)))))
    (w,) = _wide(b, x)
    one, size = b.full_like(w, 1), b.abs(w)
    square = b.mul(size, size)
    small = b.log1p(b.add(size, b.div(square, b.add(one, b.sqrt(b.add(square, one))))))
    large = b.add(b.log(size), b.full_like(w, math.log(2)))
    value = b.select(b.gt(size, b.full_like(w, 1e9)), large, small)
    return b.cast(b.select(b.lt(w, b.full_like(w, 0)), b.neg(value), b.select(b.is_zero(w), w, value)), x.type.dtype)


@vjp("asinh", inputs=(0,))
def _asinh(b, g, s):
    (x,) = s.inputs
    return (b.mul(g, _conj(b, b.rsqrt(b.add(b.mul(x, x), b.full_like(x, 1))))),)


@composite("acosh", 1)
def acosh(b, x):
    """log(x + sqrt(x^2 - 1)), as log1p(t + sqrt(2 t + t^2)) with t = x - 1"""
    one = b.full_like(x, 1)
    if x.type.dtype.is_complex:
        return b.log(b.add(x, b.mul(b.sqrt(b.add(x, one)), b.sqrt(b.sub(x, one)))))
    (w,) = _wide(b, x)
    t = b.sub(w, b.full_like(w, 1))
    small = b.log1p(b.add(t, b.sqrt(b.add(b.scale(t, 2.0), b.mul(t, t)))))
    large = b.add(b.log(w), b.full_like(w, math.log(2)))
    return b.cast(b.select(b.gt(w, b.full_like(w, 1e9)), large, small), x.type.dtype)


@vjp("acosh", inputs=(0,))
def _acosh(b, g, s):
    (x,) = s.inputs
    return (b.mul(g, _conj(b, b.rsqrt(b.sub(b.mul(x, x), b.full_like(x, 1))))),)


@composite("atanh", 1)
def atanh(b, x):
    """log1p(2 x / (1 - x)) / 2"""
    one = b.full_like(x, 1)
    if x.type.dtype.is_complex:
        return b.scale(b.sub(b.log(b.add(one, x)), b.log(b.sub(one, x))), 0.5)
    (w,) = _wide(b, x)
    size = b.abs(w)
    value = b.scale(b.log1p(b.div(b.scale(size, 2.0), b.sub(b.full_like(w, 1), size))), 0.5)
    return b.cast(b.select(b.lt(w, b.full_like(w, 0)), b.neg(value), b.select(b.is_zero(w), w, value)), x.type.dtype)


@vjp("atanh", inputs=(0,))
def _atanh(b, g, s):
    (x,) = s.inputs
    return (b.div(g, _conj(b, b.sub(b.full_like(x, 1), b.mul(x, x)))),)


@composite("fmax", 2)
def fmax(b, x, y):
    """the larger; a number wins over NaN"""
    return b.select(b.is_nan(x), y, b.select(b.is_nan(y), x, b.max(x, y)))


@composite("fmin", 2)
def fmin(b, x, y):
    """the smaller; a number wins over NaN"""
    return b.select(b.is_nan(x), y, b.select(b.is_nan(y), x, b.min(x, y)))


@vjp("fmax", inputs=(0, 1))
def _fmax(b, g, s):
    x, y = s.inputs
    first = b.or_(b.ge(x, y), b.is_nan(y))
    zero = b.full_like(g, 0)
    return b.select(first, g, zero), b.select(first, zero, g)


@vjp("fmin", inputs=(0, 1))
def _fmin(b, g, s):
    x, y = s.inputs
    first = b.or_(b.le(x, y), b.is_nan(y))
    zero = b.full_like(g, 0)
    return b.select(first, g, zero), b.select(first, zero, g)


# --- functions of two tensors ----------------------------------------------------------------------

def _register_logaddexp(name: str, exp: str, log: str) -> None:
    def body(b, x, y):
        """max + log(1 + exp(-|x - y|)); equal infinities are themselves"""
        w, v = _wide(b, x, y)
        most = b.max(w, v)
        rest = b._(exp, b.neg(b.abs(b.sub(w, v))))
        one = b.full_like(rest, 1)
        total = b.add(most, b.log1p(rest) if log == "log1p" else b._(log, b.add(one, rest)))
        return b.cast(b.select(b.and_(b.eq(w, v), b.eq(b.abs(w), b.full_like(w, math.inf))), w, total), x.type.dtype)
    composite(name, 2)(body)

    @vjp(name, inputs=(0, 1), outputs=True)
    def rule(b, g, s):
        x, y = s.inputs
        dead = b.eq(s.output, b.full_like(s.output, -math.inf))
        share = b._(exp, b.select(dead, b.full_like(x, 0), b.sub(x, s.output)))
        other = b._(exp, b.select(dead, b.full_like(y, 0), b.sub(y, s.output)))
        return b.mul(g, share), b.mul(g, other)


_register_logaddexp("logaddexp", "exp", "log1p")
_register_logaddexp("logaddexp2", "exp2", "log2")

"""Arithmetic with a scalar: ``x * 0.5``. The scalar is a runtime input (a new value does not recompile) and
meets 16-bit data in f32, as in torch: one rounding at the end."""
from __future__ import annotations

from collections.abc import Callable

from ..autodiff.vjp import vjp
from ..base.dtypes import compute_type
from ..base.errors import DTypeError
from .base import composite


def _check(attrs, x, s):
    if s.shape != () or s.dtype is not compute_type(x.dtype):
        raise DTypeError(f"a scalar operand for {x} must be {compute_type(x.dtype).name}, not {s}")


def _conj(b, x):
    return b.conj(x) if x.type.dtype.is_complex else x


def _register(name: str, combine: Callable) -> None:
    def body(b, x, s):
        wide = b.cast(x, compute_type(x.type.dtype))
        return b.cast(combine(b, wide, b.expand(s, x.type.shape)), x.type.dtype)
    body.__doc__ = f"{name}: elementwise with a 0-d operand in the compute type"
    composite(name, 2, check=_check)(body)


_register("add_scalar", lambda b, x, s: b.add(x, s))
_register("sub_scalar", lambda b, x, s: b.sub(x, s))
_register("rsub_scalar", lambda b, x, s: b.sub(s, x))
_register("mul_scalar", lambda b, x, s: b.mul(x, s))
_register("div_scalar", lambda b, x, s: b.div(x, s))
_register("rdiv_scalar", lambda b, x, s: b.div(s, x))
_register("pow_scalar", lambda b, x, s: b.pow(x, s))
_register("rpow_scalar", lambda b, x, s: b.pow(s, x))
_register("floor_divide_scalar", lambda b, x, s: b.floor_divide(x, s))
_register("rfloor_divide_scalar", lambda b, x, s: b.floor_divide(s, x))
_register("remainder_scalar", lambda b, x, s: b.remainder(x, s))
_register("rremainder_scalar", lambda b, x, s: b.remainder(s, x))
_register("fmod_scalar", lambda b, x, s: b._("fmod", x, s))
_register("clamp_min_scalar", lambda b, x, s: b.max(x, s))
_register("clamp_max_scalar", lambda b, x, s: b.min(x, s))


def _register_comparison(name: str, compare: Callable) -> None:
    def body(b, x, s):
        return compare(b, x, b.expand(b.cast(s, x.type.dtype), x.type.shape))
    body.__doc__ = f"{name}: comparison with a 0-d operand, which is rounded to the dtype of the tensor"
    composite(name, 2, check=_check)(body)


_register_comparison("eq_scalar", lambda b, x, s: b.eq(x, s))
_register_comparison("ne_scalar", lambda b, x, s: b.ne(x, s))
_register_comparison("lt_scalar", lambda b, x, s: b.lt(x, s))
_register_comparison("le_scalar", lambda b, x, s: b.le(x, s))
_register_comparison("gt_scalar", lambda b, x, s: b.gt(x, s))
_register_comparison("ge_scalar", lambda b, x, s: b.ge(x, s))


def _check_clamp(attrs, x, low, high):
    _check(attrs, x, low)
    _check(attrs, x, high)


@composite("clamp_scalar", 3, check=_check_clamp)
def clamp_scalar(b, x, low, high):
    """min(max(x, low), high)"""
    wide = b.cast(x, compute_type(x.type.dtype))
    shape = x.type.shape
    return b.cast(b.min(b.max(wide, b.expand(low, shape)), b.expand(high, shape)), x.type.dtype)


def _inside(b, g, kept):
    return b.select(kept, g, b.full_like(g, 0))


def _bound(b, x, s):
    return b.expand(b.cast(s, x.type.dtype), x.type.shape)


@vjp("clamp_min_scalar", inputs=(0, 1))
def _clamp_min(b, g, s):
    x, low = s.inputs
    return _inside(b, g, b.ge(x, _bound(b, x, low))), None


@vjp("clamp_max_scalar", inputs=(0, 1))
def _clamp_max(b, g, s):
    x, high = s.inputs
    return _inside(b, g, b.le(x, _bound(b, x, high))), None


@vjp("clamp_scalar", inputs=(0, 1, 2))
def _clamp(b, g, s):
    x, low, high = s.inputs
    return _inside(b, g, b.and_(b.ge(x, _bound(b, x, low)), b.le(x, _bound(b, x, high)))), None, None


@vjp("rpow_scalar", inputs=(0, 1), outputs=True)
def _rpow(b, g, s):
    x, base = s.inputs
    zero = b.eq(base, b.const(0, base.type.dtype))
    slope = b.call("mul_scalar", s.output, b.select(zero, base, b.log(base)))
    return b.mul(g, _conj(b, slope)), None


@vjp("remainder_scalar", "fmod_scalar")
def _remainder(b, g, s):
    return g, None


@vjp("add_scalar", "sub_scalar")
def _same(b, g, s):
    return g, None


@vjp("rsub_scalar")
def _negated(b, g, s):
    return b.neg(g), None


@vjp("mul_scalar", inputs=(1,))
def _mul(b, g, s):
    return b.call("mul_scalar", g, _conj(b, s.inputs[0])), None


@vjp("div_scalar", inputs=(1,))
def _div(b, g, s):
    return b.call("div_scalar", g, _conj(b, s.inputs[0])), None


@vjp("rdiv_scalar", inputs=(0,), outputs=True)
def _rdiv(b, g, s):
    return b.neg(b.mul(g, _conj(b, b.div(s.output, s.inputs[0])))), None


@vjp("pow_scalar", inputs=(0, 1))
def _pow(b, g, s):
    x, exponent = s.inputs
    one = b.const(1, exponent.type.dtype)
    slope = b.call("mul_scalar", b.call("pow_scalar", x, b.sub(exponent, one)), exponent)
    flat = b.expand(b.eq(exponent, b.const(0, exponent.type.dtype)), x.type.shape)
    return b.select(flat, b.full_like(g, 0), b.mul(g, _conj(b, slope))), None

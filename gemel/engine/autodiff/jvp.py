"""Jacobian-vector products: one rule per primitive, written in primitives.

A rule gets a builder, everything that the op read and made (``Saved``, with all operands and results) and one
tangent per operand, None where it is zero; at least one is not. It returns the tangent of the result (None: zero),
a tuple of them for ops with several results.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..base.dtypes import int64
from ..ir.builder import Builder
from .vjp import OF_INPUT, OF_OUTPUT, Saved, power_slopes, turned
from .vjp_structural import gather_along, latest_extreme, product_of_others

Jvp = Callable[[Builder, Saved, Sequence[Any]], Any]
JVPS: dict[str, Jvp] = {}


def jvp(*names: str) -> Callable[[Jvp], Jvp]:
    """Register the rule of one or more ops."""
    def register(rule: Jvp) -> Jvp:
        for name in names:
            if name in JVPS:
                raise ValueError(f"{name!r} has a jvp rule already")
            JVPS[name] = rule
        return rule
    return register


def plus(b: Builder, x: Any, y: Any) -> Any:
    """Sum of two tangents, either of which may be zero (None)."""
    return y if x is None else x if y is None else b.add(x, y)


def _times(b: Builder, t: Any, slope: Callable[[], Any]) -> Any:
    return None if t is None else b.mul(t, slope())


# --- functions of one operand -----------------------------------------------------------------------

def _register_unary() -> None:
    for name, slope in OF_INPUT.items():
        jvp(name)(lambda b, s, t, f=slope: b.mul(t[0], f(b, s.inputs[0])))
    for name, slope in OF_OUTPUT.items():
        jvp(name)(lambda b, s, t, f=slope: b.mul(t[0], f(b, s.output)))


_register_unary()


@jvp("neg", "copy", "conj", "real", "imag", "reshape", "permute", "expand", "slice", "flip", "reduce_sum", "cumsum")
def _linear(b, s, t):
    return b.emit(s.op, t[0])


@jvp("abs")
def _abs(b, s, t):
    sign = b.sign(s.inputs[0])
    return b.real(b.mul(b.conj(sign), t[0])) if sign.type.dtype.is_complex else b.mul(sign, t[0])


@jvp("sign")
def _sign(b, s, t):
    return turned(b, t[0], s.inputs[0]) if s.types[0].dtype.is_complex else None


@jvp("floor", "ceil", "trunc", "round", "floor_divide")
def _flat(b, s, t):
    return None


@jvp("cast")
def _cast(b, s, t):
    to = s.attrs.dtype
    if not to.is_inexact:
        return None
    found = t[0]
    if found.type.dtype.is_complex and not to.is_complex:
        found = b.real(found)
    return b.cast(found, to)


# --- functions of two operands ----------------------------------------------------------------------

@jvp("add")
def _add(b, s, t):
    return plus(b, *t)


@jvp("sub")
def _sub(b, s, t):
    x, y = t
    return x if y is None else b.neg(y) if x is None else b.sub(x, y)


@jvp("mul")
def _mul(b, s, t):
    x, y = s.inputs
    return plus(b, _times(b, t[0], lambda: y), _times(b, t[1], lambda: x))


@jvp("div")
def _div(b, s, t):
    y = s.inputs[1]
    top = _sub(b, s, (t[0], None if t[1] is None else b.mul(t[1], s.output)))
    return b.div(top, y)


@jvp("pow")
def _pow(b, s, t):
    x, y = s.inputs
    by_base, by_exponent = power_slopes(b, x, y, s.output)
    return plus(b, _times(b, t[0], lambda: by_base), _times(b, t[1], lambda: by_exponent))


@jvp("remainder")
def _remainder(b, s, t):
    return _sub(b, s, (t[0], _times(b, t[1], lambda: b.floor_divide(*s.inputs))))


@jvp("fmod")
def _fmod(b, s, t):
    return _sub(b, s, (t[0], _times(b, t[1], lambda: b.trunc(b.div(*s.inputs)))))


def _extreme(name: str, below: Callable[[Builder, Any, Any], Any]) -> None:
    @jvp(name)
    def rule(b, s, t):
        x, y = s.inputs
        share = b.select(b.eq(x, y), b.full_like(x, 0.5), b.full_like(x, 1))
        zero = b.full_like(x, 0)
        return plus(b, _times(b, t[0], lambda: b.select(below(b, x, y), zero, share)),
                    _times(b, t[1], lambda: b.select(below(b, y, x), zero, share)))


_extreme("max", lambda b, x, y: b.lt(x, y))
_extreme("min", lambda b, x, y: b.lt(y, x))


@jvp("atan2")
def _atan2(b, s, t):
    y, x = s.inputs
    top = _sub(b, s, (_times(b, t[0], lambda: x), _times(b, t[1], lambda: y)))
    return b.div(top, b.add(b.mul(x, x), b.mul(y, y)))


@jvp("complex")
def _complex(b, s, t):
    return b.complex(*filled(b, s, t))


def filled(b: Builder, s: Saved, tangents: Sequence[Any]) -> list[Any]:
    """The tangents with zeros written out (None stays for operands that have no derivative)."""
    return [b.zeros(of) if t is None and of.dtype.is_inexact else t
            for t, of in zip(tangents, s.types, strict=True)]


@jvp("select")
def _select(b, s, t):
    _, x, y = filled(b, s, t)
    return b.select(s.inputs[0], x, y)


# --- movement, reductions, scans --------------------------------------------------------------------

@jvp("pad", "cat")
def _linear_in_all(b, s, t):
    return b.emit(s.op, *filled(b, s, t))


@jvp("reduce_prod")
def _reduce_prod(b, s, t):
    axes = s.attrs.axes
    return b.reduce_sum(b.mul(t[0], product_of_others(b, s.inputs[0], axes)), axes)


@jvp("reduce_max", "reduce_min")
def _reduce_extreme(b, s, t):
    """The mean of the tangents of all elements that attain the extreme."""
    (x,), axes = s.inputs, s.attrs.axes
    hit = b.cast(b.eq(x, b.keep_axes(s.output, axes, x.type.shape)), x.type.dtype)
    return b.div(b.reduce_sum(b.mul(hit, t[0]), axes), b.reduce_sum(hit, axes))


@jvp("cumprod")
def _cumprod(b, s, t):
    """The linear recurrence ``dy[i] = dy[i-1] * x[i] + y[i-1] * t[i]``, by sums over what is no zero.

    Before the first zero it is y * cumsum(t / x); from there on only that zero's own term is left, up to the next.
    """
    (x,), axis = s.inputs, s.attrs.axis
    is_zero = b.is_zero(x)
    count = b.scan("cumsum", b.cast(is_zero, int64), axis)
    before, once = b.eq(count, b.full_like(count, 0)), b.eq(count, b.full_like(count, 1))
    one = b.full_like(x, 1)
    ratio = b.select_or_zero(before, b.div(t[0], b.select(before, x, one)))
    early = b.mul(s.output, b.scan("cumsum", ratio, axis))
    first = b.and_(is_zero, once)
    patched = b.scan("cumprod", b.select(first, one, x), axis)
    at_zero = b.scan("cumsum", b.select_or_zero(first, t[0]), axis)
    return b.select(before, early, b.select_or_zero(once, b.mul(patched, at_zero)))


@jvp("cummax", "cummin")
def _running_extreme(b, s, t):
    axis = s.attrs.axis
    return gather_along(b, t[0], latest_extreme(b, s.inputs[0], s.output, axis), axis)


@jvp("sort")
def _sort(b, s, t):
    return gather_along(b, t[0], s.outputs[1], s.attrs.axis), None


# --- contractions and indexing ----------------------------------------------------------------------

@jvp("dot", "conv", "conv_transpose", "conv_weight_grad")
def _bilinear(b, s, t):
    x, y = s.inputs
    return plus(b, None if t[0] is None else b.emit(s.op, t[0], y), None if t[1] is None else b.emit(s.op, x, t[1]))


@jvp("take", "dynamic_slice")
def _read(b, s, t):
    return b.emit(s.op, t[0], *s.inputs[1:])


@jvp("dynamic_update")
def _dynamic_update(b, s, t):
    x, update, *_ = filled(b, s, t)
    return b.emit(s.op, x, update, *s.inputs[2:])


@jvp("scatter")
def _scatter(b, s, t):
    x, index, updates = s.inputs
    t_x, _, t_updates = filled(b, s, t)
    axis, mode = s.attrs.axis, s.attrs.mode
    if mode in ("add", "set"):
        return b.scatter(t_x, index, t_updates, axis, mode)
    if mode == "mul":  # d(x * product of u) = dx * product + result * sum(du / u)
        ratio = b.scatter(b.full_like(x, 0), index, b.div(t_updates, updates), axis, "add")
        return b.add(b.scatter(t_x, index, updates, axis, "mul"), b.mul(s.output, ratio))
    dtype = x.type.dtype
    of_x = b.cast(b.eq(x, s.output), dtype)
    of_updates = b.cast(b.eq(updates, b.take(s.output, index, axis)), dtype)
    total = b.scatter(b.mul(of_x, t_x), index, b.mul(of_updates, t_updates), axis, "add")
    return b.div(total, b.scatter(of_x, index, of_updates, axis, "add"))


@jvp("check")
def _check(b, s, t):
    return t[1]

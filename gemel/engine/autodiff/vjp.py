"""Vector-Jacobian products: one rule per primitive, written in primitives.

A rule gets a builder ``b`` (which decides whether its operations go to the trace, to the tape for a second
derivative, or into a program), the cotangent of the result and what the op saved; it returns one cotangent per
operand (None: the operand has no derivative). The same rules serve ``backward()``, ``create_graph=True`` and
the derivative of whole programs.

Complex operands follow torch: the gradient is the conjugate Wirtinger derivative.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.builder import Builder
from ..ir.op import Op
from ..ir.types import TensorType


@dataclass(slots=True)
class Saved:
    """What a rule may look at.

    Attributes:
        op: the op, for its attributes. types: operand types.
        inputs: operands (only those that the rule declared). outputs: results (only those that it declared).
    """

    op: Op
    types: tuple[TensorType, ...]
    inputs: Sequence[Any]
    outputs: Sequence[Any]

    @property
    def attrs(self):
        return self.op.attrs

    @property
    def output(self) -> Any:
        return self.outputs[0]


Rule = Callable[[Builder, Any, Saved], Sequence[Any]]


@dataclass(frozen=True)
class Vjp:
    """A rule and what it needs saved: operand positions (or every operand), and the results (all, or of several
    those at the given positions). ``crossed``: saved operands that serve only the cotangents of the others."""

    rule: Rule
    inputs: tuple[int, ...] = ()
    outputs: bool | tuple[int, ...] = False
    every: bool = False
    crossed: tuple[int, ...] = ()


RULES: dict[str, Vjp] = {}


def vjp(*names: str, inputs: tuple[int, ...] = (), outputs: bool | tuple[int, ...] = False,
        every: bool = False, crossed: tuple[int, ...] = ()) -> Callable[[Rule], Rule]:
    """Register the rule of one or more ops (``every``: all operands are saved, for ops of any arity)."""
    def register(rule: Rule) -> Rule:
        for name in names:
            if name in RULES:
                raise ValueError(f"{name!r} has a vjp rule already")
            RULES[name] = Vjp(rule, inputs, outputs, every, crossed)
        return rule
    return register


def _conj(b: Builder, x: Any) -> Any:
    return b.conj(x) if x.type.dtype.is_complex else x


# --- unary: the derivative as an expression in the operand x or the result y ----------------------

#: derivatives of the elementwise functions, in the operand or in the result: forward mode uses them too
OF_INPUT: dict[str, Callable[[Builder, Any], Any]] = {}
OF_OUTPUT: dict[str, Callable[[Builder, Any], Any]] = {}


def _unary_from_input(name: str, derivative: Callable[[Builder, Any], Any]) -> None:
    OF_INPUT[name] = derivative
    vjp(name, inputs=(0,))(lambda b, g, s: (b.mul(g, _conj(b, derivative(b, s.inputs[0]))),))


def _unary_from_output(name: str, derivative: Callable[[Builder, Any], Any]) -> None:
    OF_OUTPUT[name] = derivative
    vjp(name, outputs=True)(lambda b, g, s: (b.mul(g, _conj(b, derivative(b, s.output))),))


def _one_minus_square(b: Builder, x: Any) -> Any:
    return b.sub(b.full_like(x, 1), b.mul(x, x))


def _one_plus_square(b: Builder, x: Any) -> Any:
    return b.add(b.full_like(x, 1), b.mul(x, x))


def _reciprocal(b: Builder, x: Any) -> Any:
    return b.div(b.full_like(x, 1), x)


def trigamma(b: Builder, x: Any) -> Any:
    """Derivative of digamma: sum of 1/(x+i)^2 for i < 12 and the asymptotic series beyond; reflection for x < 1/2.

    psi1(x) = 1/y + 1/(2 y^2) + 1/(6 y^3) - 1/(30 y^5) + 1/(42 y^7) - 1/(30 y^9) + 5/(66 y^11) at y = x + 12
    (Abramowitz and Stegun 6.4.12); psi1(1 - x) + psi1(x) = pi^2 / sin^2(pi x).
    """
    one = b.full_like(x, 1)
    low = b.lt(x, b.full_like(x, 0.5))
    y = b.select(low, b.sub(one, x), x)
    total = b.full_like(x, 0)
    for _ in range(12):
        total = b.add(total, b.div(one, b.mul(y, y)))
        y = b.add(y, one)
    r = b.div(one, b.mul(y, y))
    series = b.full_like(x, 0)
    for c in (5 / 66, -1 / 30, 1 / 42, -1 / 30, 1 / 6):
        series = b.add(b.mul(series, r), b.full_like(x, c))
    tail = b.add(b.div(b.add(one, b.mul(series, r)), y), b.scale(r, 0.5))
    direct = b.add(total, tail)
    sine = b.sin(b.scale(x, math.pi))
    mirrored = b.sub(b.div(b.full_like(x, math.pi**2), b.mul(sine, sine)), direct)
    return b.select(low, mirrored, direct)


_unary_from_input("log", _reciprocal)
_unary_from_input("log2", lambda b, x: _reciprocal(b, b.scale(x, math.log(2))))
_unary_from_input("log1p", lambda b, x: _reciprocal(b, b.add(x, b.full_like(x, 1))))
_unary_from_input("sin", lambda b, x: b.cos(x))
_unary_from_input("cos", lambda b, x: b.neg(b.sin(x)))
_unary_from_input("asin", lambda b, x: b.rsqrt(_one_minus_square(b, x)))
_unary_from_input("acos", lambda b, x: b.neg(b.rsqrt(_one_minus_square(b, x))))
_unary_from_input("atan", lambda b, x: _reciprocal(b, _one_plus_square(b, x)))
_unary_from_input("sinh", lambda b, x: b.cosh(x))
_unary_from_input("cosh", lambda b, x: b.sinh(x))
_unary_from_input("erf", lambda b, x: b.scale(b.exp(b.neg(b.mul(x, x))), 2 / math.sqrt(math.pi)))
_unary_from_input("lgamma", lambda b, x: b.digamma(x))
_unary_from_input("digamma", trigamma)
_unary_from_output("exp", lambda b, y: y)
_unary_from_output("exp2", lambda b, y: b.scale(y, math.log(2)))
_unary_from_output("expm1", lambda b, y: b.add(y, b.full_like(y, 1)))
_unary_from_output("sqrt", lambda b, y: b.div(b.full_like(y, 0.5), y))
_unary_from_output("rsqrt", lambda b, y: b.scale(b.mul(b.mul(y, y), y), -0.5))
_unary_from_output("tan", _one_plus_square)
_unary_from_output("tanh", _one_minus_square)
_unary_from_output("sigmoid", lambda b, y: b.mul(y, b.sub(b.full_like(y, 1), y)))
_unary_from_output("erfinv", lambda b, y: b.scale(b.exp(b.mul(y, y)), math.sqrt(math.pi) / 2))


@vjp("neg")
def _neg(b, g, s):
    return (b.neg(g),)


@vjp("copy")
def _copy(b, g, s):
    return (g,)


@vjp("conj")
def _conjugate(b, g, s):
    return (_conj(b, g),)


@vjp("abs", inputs=(0,))
def _abs(b, g, s):
    (x,) = s.inputs
    if x.type.dtype.is_complex:
        g = b.complex(g, b.full_like(g, 0))
    return (b.mul(g, b.sign(x)),)


@vjp("sign", inputs=(0,))
def _sign(b, g, s):
    """0; of complex numbers, whose sign is x / |x|: what of g is at right angles to x, over |x|."""
    return (turned(b, g, s.inputs[0]),)


def turned(b, g, x):
    """How ``sign(x)`` follows ``g``."""
    if not x.type.dtype.is_complex:
        return b.zeros(x.type)
    unit, size = b.sign(x), b.abs(x)
    along = b.real(b.mul(b.conj(unit), g))
    flat = b.is_zero(size)
    size = b.select(flat, b.full_like(size, 1), size)
    zero = b.full_like(along, 0)
    around = b.div(b.sub(g, b.mul(b.complex(along, zero), unit)), b.complex(size, zero))
    return b.select(flat, b.full_like(around, 0), around)


@vjp("floor", "ceil", "trunc", "round")
def _flat(b, g, s):
    return (b.zeros(s.types[0]),)


@vjp("real")
def _real(b, g, s):
    return (b.complex(g, b.full_like(g, 0)) if s.types[0].dtype.is_complex else g,)


@vjp("imag")
def _imag(b, g, s):
    return (b.complex(b.full_like(g, 0), g) if s.types[0].dtype.is_complex else b.full_like(g, 0),)


# --- binary ---------------------------------------------------------------------------------------

@vjp("add")
def _add(b, g, s):
    return g, g


@vjp("sub")
def _sub(b, g, s):
    return g, b.neg(g)


@vjp("mul", inputs=(0, 1), crossed=(0, 1))
def _mul(b, g, s):
    x, y = s.inputs
    return b.mul(g, _conj(b, y)), b.mul(g, _conj(b, x))


@vjp("div", inputs=(0, 1), crossed=(0,))
def _div(b, g, s):
    x, y = s.inputs
    return b.div(g, _conj(b, y)), b.neg(b.mul(g, _conj(b, b.div(b.div(x, y), y))))


def power_slopes(b: Builder, x: Any, y: Any, result: Any) -> tuple[Any, Any]:
    """Derivatives of ``x ** y`` in x (0 where y is 0) and in y (0 where x is 0 and y is not negative)."""
    zero, one = b.full_like(y, 0), b.full_like(y, 1)
    by_base = b.mul(y, b.pow(x, b.sub(y, one)))
    by_base = b.select(b.eq(y, zero), zero, by_base)
    by_exponent = b.mul(result, b.log(x))
    flat = b.eq(x, zero) if x.type.dtype.is_complex else b.and_(b.eq(x, zero), b.ge(y, zero))
    return by_base, b.select(flat, zero, by_exponent)


@vjp("pow", inputs=(0, 1), outputs=True)
def _pow(b, g, s):
    x, y = s.inputs
    by_base, by_exponent = power_slopes(b, x, y, s.output)
    return b.mul(g, _conj(b, by_base)), b.mul(g, _conj(b, by_exponent))


@vjp("floor_divide")
def _floor_divide(b, g, s):
    return b.full_like(g, 0), b.full_like(g, 0)


@vjp("remainder", inputs=(0, 1))
def _remainder(b, g, s):
    x, y = s.inputs
    return g, b.neg(b.mul(g, b.floor_divide(x, y)))


@vjp("fmod", inputs=(0, 1))
def _fmod(b, g, s):
    x, y = s.inputs
    return g, b.neg(b.mul(g, b.trunc(b.div(x, y))))


def _extreme(name: str, below: Callable[[Builder, Any, Any], Any]) -> None:
    @vjp(name, inputs=(0, 1))
    def rule(b, g, s):
        """The winner gets the cotangent; ties share it, as in torch."""
        x, y = s.inputs
        zero, shared = b.full_like(g, 0), b.select(b.eq(x, y), b.scale(g, 0.5), g)
        return b.select(below(b, x, y), zero, shared), b.select(below(b, y, x), zero, shared)


_extreme("max", lambda b, x, y: b.lt(x, y))
_extreme("min", lambda b, x, y: b.lt(y, x))


@vjp("atan2", inputs=(0, 1))
def _atan2(b, g, s):
    y, x = s.inputs
    scale = b.div(g, b.add(b.mul(x, x), b.mul(y, y)))
    return b.mul(scale, x), b.neg(b.mul(scale, y))


@vjp("complex")
def _complex(b, g, s):
    return b.real(g), b.imag(g)


@vjp("select", inputs=(0,))
def _select(b, g, s):
    zero = b.full_like(g, 0)
    return None, b.select(s.inputs[0], g, zero), b.select(s.inputs[0], zero, g)


@vjp("cast")
def _cast(b, g, s):
    source = s.types[0].dtype
    if not source.is_inexact:
        return (None,)
    if g.type.dtype.is_complex and not source.is_complex:
        g = b.real(g)
    return (b.cast(g, source),)


#: ops whose results do not depend smoothly on any operand
NOT_DIFFERENTIABLE = frozenset((
    "const", "iota", "random_bits", "not", "and", "or", "xor", "shl", "shr", "eq", "ne", "lt", "le",
    "bitcast", "argmax", "argmin"))

"""The native form of every elementwise primitive on register values: one row each.

``ELEMENTWISE[name](k, dtype, *values)`` writes the op on operands of ``dtype`` (``select``: of its last two) held
as ``registers`` says, of any number of lanes; ``lower`` takes an IR op, also ``cast`` and ``bitcast``. The meaning is
that of ``interpreter/elementwise``: bit for bit for the exact ops; the transcendental ones differ by the errors
that ``mathlib`` states. Complex dtypes are not covered.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

from ..base.dtypes import DType
from ..ir.op import Op
from . import division, mathlib, rounding
from .conversion import bitcast, cast
from .ir import KernelBuilder, Val
from .philox import philox
from .registers import (
    constant,
    from_memory,
    gather_element,
    load_element,
    memory_type,
    register_type,
    round_to,
    scatter_element,
    store_element,
    to_memory,
)

__all__ = ["ELEMENTWISE", "bitcast", "cast", "constant", "from_memory", "gather_element", "load_element", "lower",
           "lower_name", "memory_type", "philox", "register_type", "round_to", "scatter_element", "store_element",
           "to_memory"]

Lowering = Callable[..., Val]


def _zero(k: KernelBuilder, like: Val) -> Val:
    return k.const(0, like.type)


# --- ways to make rows ---------------------------------------------------------------------------

def _arithmetic(floats: Callable, integers: Callable | None = None) -> Lowering:
    """One correctly rounded instruction on floats, rounded on to 16 bits; another on integers."""
    def row(k: KernelBuilder, dtype: DType, *xs: Val) -> Val:
        if dtype.kind == "f":
            return round_to(k, dtype, floats(k, *xs), arithmetic=True)
        assert integers is not None
        return integers(k, *xs)
    return row


def _function(fn: Callable) -> Lowering:
    """A function of floats, rounded on to 16 bits."""
    return lambda k, dtype, *xs: round_to(k, dtype, fn(k, *xs))


def _plain(fn: Callable) -> Lowering:
    """The same for every dtype, and exact: no rounding."""
    return lambda k, dtype, *xs: fn(k, *xs)


def _by_kind(floats: Callable, integers: Callable) -> Lowering:
    """``floats(k, *xs)``, rounded on to 16 bits, or ``integers(k, dtype, *xs)``."""
    def row(k: KernelBuilder, dtype: DType, *xs: Val) -> Val:
        return round_to(k, dtype, floats(k, *xs)) if dtype.kind == "f" else integers(k, dtype, *xs)
    return row


# --- rows that are more than one line ------------------------------------------------------------

def _absolute(k: KernelBuilder, dtype: DType, x: Val) -> Val:
    if dtype.kind == "f":
        return k.fabs(x)
    return k.smax(x, k.isub(_zero(k, x), x)) if dtype.kind == "i" else x


def _sign(k: KernelBuilder, dtype: DType, x: Val) -> Val:
    zero, one = _zero(k, x), k.const(1, x.type)
    if dtype.kind == "f":
        below = k.select(k.compare("olt", x, zero), k.const(-1, x.type), zero)
        return k.select(k.compare("ogt", x, zero), one, below)
    if dtype.kind == "u":
        return k.binary("umin", x, one)
    return k.smax(k.smin(x, one), k.const(-1, x.type))


def _extreme(dtype_compare: dict[str, str], boolean: str) -> Lowering:
    """max or min: x where it compares so or is NaN, else y."""
    def row(k: KernelBuilder, dtype: DType, x: Val, y: Val) -> Val:
        if dtype.kind == "f":
            chosen = k.select(k.compare(dtype_compare["f"], x, y), x, y)
            return k.select(k.compare("uno", x, x), x, chosen)
        return k.binary(boolean if dtype.kind == "b" else dtype_compare[dtype.kind], x, y)
    return row


def _compare(float_predicate: str, predicate: str, ordered: bool) -> Lowering:
    """A comparison; ``ordered`` ones differ between signed and unsigned integers."""
    def row(k: KernelBuilder, dtype: DType, x: Val, y: Val) -> Val:
        if dtype.kind == "f":
            return k.compare(float_predicate, x, y)
        return k.compare(("s" if dtype.kind == "i" else "u") * ordered + predicate, x, y)
    return row


def _shift_left(k: KernelBuilder, dtype: DType, x: Val, y: Val) -> Val:
    inside = k.compare("ult", y, k.const(dtype.bits, y.type))  # also false for negative y
    shifted = k.shl(x, k.select(inside, y, _zero(k, y)))
    return k.select(inside, shifted, _zero(k, x))


def _shift_right(k: KernelBuilder, dtype: DType, x: Val, y: Val) -> Val:
    if dtype.kind == "i":
        return k.ashr(x, k.binary("umin", y, k.const(dtype.bits - 1, y.type)))
    inside = k.compare("ult", y, k.const(dtype.bits, y.type))
    return k.select(inside, k.lshr(x, k.select(inside, y, _zero(k, y))), _zero(k, x))


def _negative_int(k: KernelBuilder, x: Val) -> Val:
    return k.isub(_zero(k, x), x)


def _complement(k: KernelBuilder, x: Val) -> Val:
    return k.xor(x, k.const(-1, x.type))


def _reciprocal_root(k: KernelBuilder, x: Val) -> Val:
    return k.fdiv(k.const(1.0, x.type), k.fsqrt(x))


def _same(k: KernelBuilder, x: Val) -> Val:
    return x


B = KernelBuilder

ELEMENTWISE: dict[str, Lowering] = {
    "neg": lambda k, dtype, x: k.fneg(x) if dtype.kind == "f" else _negative_int(k, x),
    "abs": _absolute, "sign": _sign,
    "floor": _plain(rounding.floor), "ceil": _plain(rounding.ceil),
    "trunc": _plain(rounding.trunc), "round": _plain(rounding.round_even),
    "sqrt": _arithmetic(B.fsqrt), "rsqrt": _arithmetic(_reciprocal_root),
    "not": _plain(_complement),
    "real": _plain(_same), "imag": _plain(_zero), "conj": _plain(_same), "copy": _plain(_same),
    "add": _arithmetic(B.fadd, B.iadd), "sub": _arithmetic(B.fsub, B.isub), "mul": _arithmetic(B.fmul, B.imul),
    "div": _arithmetic(B.fdiv), "pow": _function(mathlib.pow), "atan2": _function(mathlib.atan2),
    "floor_divide": _by_kind(division.float_floor_divide, division.int_floor_divide),
    "remainder": _by_kind(division.float_remainder, division.int_remainder),
    "fmod": _by_kind(division.fmod, division.int_fmod),
    "max": _extreme({"f": "ogt", "i": "smax", "u": "umax"}, "or"),
    "min": _extreme({"f": "olt", "i": "smin", "u": "umin"}, "and"),
    "and": _plain(B.and_), "or": _plain(B.or_), "xor": _plain(B.xor),
    "shl": _shift_left, "shr": _shift_right,
    "eq": _compare("oeq", "eq", False), "ne": _compare("une", "ne", False),
    "lt": _compare("olt", "lt", True), "le": _compare("ole", "le", True),
    "select": _plain(B.select),
    **{name: _function(getattr(mathlib, name)) for name in (
        "exp", "exp2", "expm1", "log", "log2", "log1p", "sin", "cos", "tan", "asin", "acos", "atan",
        "sinh", "cosh", "tanh", "sigmoid", "erf", "erfinv", "lgamma", "digamma")},
}


def lower_name(k: KernelBuilder, name: str, dtype: DType, *values: Val) -> Val:
    """The register value of a named op on operands of ``dtype``; ``round_to`` rounds f32 values to ``dtype``."""
    return round_to(k, dtype, values[0]) if name == "round_to" else ELEMENTWISE[name](k, dtype, *values)


def lower(k: KernelBuilder, op: Op, dtypes: Sequence[DType], values: Sequence[Val]) -> Val:
    """The register value of an elementwise IR op.

    Args:
        op: of kind unary, binary, select or cast. dtypes, values: of its operands, all of one number of lanes.
    """
    if op.name == "cast":
        return cast(k, dtypes[0], op.attrs.dtype, values[0])
    if op.name == "bitcast":
        return bitcast(k, dtypes[0], op.attrs.dtype, values[0])
    return ELEMENTWISE[op.name](k, dtypes[-1], *values)

"""Reductions: identity, step and combination of each, and the canonical order.

A block of up to 256 elements keeps 16 partials (vector lanes); :func:`tree` combines them by halving. The order is
that of ``interpreter/reduce.py``: a function of logical indices alone.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...base.dtypes import DType, bool_, uint8
from ..elementwise import lower_name, register_type
from ..ir import KernelBuilder, Type, Val

BLOCK, PARTIALS = 256, 16
State = tuple[Val, ...]


@dataclass(frozen=True)
class Reduction:
    """How to reduce values of one dtype.

    Attributes:
        identity: ``(k, lanes) -> state`` of nothing. state: register types of the state's parts.
        element: ``(k, value, position) -> state`` of one (vector of) element(s); ``position`` is its index.
        combine: ``(k, state, state) -> state``, earlier elements first. result: ``(k, state) -> value``.
    """

    state: tuple[str, ...]
    identity: Callable[[KernelBuilder, int], State]
    element: Callable[[KernelBuilder, Val, Val | None], State]
    combine: Callable[[KernelBuilder, State, State], State]
    result: Callable[[KernelBuilder, State], Val]
    needs_position: bool = False


def extreme_identity(dtype: DType, largest: bool) -> float | int:
    """The value that loses every comparison."""
    if dtype.kind == "f":
        return float("-inf") if largest else float("inf")
    if dtype is bool_:
        return 0 if largest else 1
    low = 0 if dtype.kind == "u" else -(1 << (dtype.bits - 1))
    high = (1 << dtype.bits) - 1 if dtype.kind == "u" else (1 << (dtype.bits - 1)) - 1
    return low if largest else high


def _monoid(name: str, dtype: DType, wide: DType, identity: float | int) -> Reduction:
    elem = register_type(wide)
    return Reduction(
        (elem,),
        lambda k, lanes: (k.const(identity, Type(elem, lanes)),),
        lambda k, x, position: (x,),
        lambda k, a, b: (lower_name(k, name, wide, a[0], b[0]),),
        lambda k, a: a[0] if wide is dtype else lower_name(k, "round_to", dtype, a[0]))


def _bool(any_: bool) -> Reduction:
    """Any or all, on bytes."""
    return Reduction(
        ("i8",),
        lambda k, lanes: (k.const(0 if any_ else 1, Type("i8", lanes)),),
        lambda k, x, position: (k.convert("zext", x, "i8"),),
        lambda k, a, b: (k.or_(a[0], b[0]) if any_ else k.and_(a[0], b[0]),),
        lambda k, a: k.compare("ne", a[0], k.const(0, a[0].type)))


def _arg(dtype: DType, largest: bool) -> Reduction:
    """(best value, its index): the first of equals, a NaN before everything. Bools are held in bytes."""
    flags = dtype is bool_
    dtype = uint8 if flags else dtype
    elem = register_type(dtype)
    start = extreme_identity(dtype, largest)

    def identity(k: KernelBuilder, lanes: int) -> State:
        return k.const(start, Type(elem, lanes)), k.const((1 << 63) - 1, Type("i64", lanes))

    def combine(k: KernelBuilder, a: State, b: State) -> State:
        (x, i), (y, j) = a, b
        wins = lower_name(k, "lt", dtype, x, y) if largest else lower_name(k, "lt", dtype, y, x)
        same = lower_name(k, "eq", dtype, x, y)
        if dtype.kind == "f":
            x_nan, y_nan = k.compare("uno", x, x), k.compare("uno", y, y)
            wins = k.or_(k.and_(wins, k.xor(x_nan, k.const(1, x_nan.type))), k.and_(y_nan, k.xor(
                x_nan, k.const(1, x_nan.type))))
            same = k.or_(same, k.and_(x_nan, y_nan))
        take = k.or_(wins, k.and_(same, k.compare("slt", j, i)))
        return k.select(take, y, x), k.select(take, j, i)

    def element(k: KernelBuilder, x: Val, position: Val | None) -> State:
        assert position is not None
        return k.convert("zext", x, "i8") if flags else x, position

    return Reduction((elem, "i64"), identity, element, combine, lambda k, a: a[1], needs_position=True)


def reduction(name: str, dtype: DType) -> Reduction:
    """The reduction ``name`` on elements of ``dtype``."""
    from ...base.dtypes import compute_type
    wide = compute_type(dtype)
    if name == "reduce_sum":
        return _monoid("add", dtype, wide, -0.0 if dtype.kind == "f" else 0)
    if name == "reduce_prod":
        return _monoid("mul", dtype, wide, 1)
    if name in ("reduce_max", "reduce_min"):
        largest = name == "reduce_max"
        if dtype is bool_:
            return _bool(largest)
        return _monoid("max" if largest else "min", dtype, dtype, extreme_identity(dtype, largest))
    return _arg(dtype, name == "argmax")


def tree(k: KernelBuilder, r: Reduction, state: State) -> State:
    """Combine the 16 lanes of a state: l with l + 8, then 4, 2, 1."""
    while state[0].type.lanes > 1:
        halves = [k.halves(v) for v in state]
        state = r.combine(k, tuple(h[0] for h in halves), tuple(h[1] for h in halves))
    return state


def masked(k: KernelBuilder, mask: Val | None, new: State, old: State) -> State:
    """``new`` where the mask is on, else ``old``."""
    return new if mask is None else tuple(k.select(mask, n, o) for n, o in zip(new, old, strict=True))

"""Algebra that never changes a bit of the result.

In: any program. Out: movement chains merged, neutral elements and repeated conversions removed, constants
folded. Rules are rows of a table, by op name; a rule looks at one equation and at the producers of its operands
and returns replacements, or None. Only exact identities are allowed: ``x + 0`` is not one (it turns -0 into +0),
``x * 1`` and ``x - 0`` are.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..interpreter import evaluate
from ..ir.builder import ProgramBuilder, constant_op
from ..ir.op import Op
from ..ir.program import Equation, Program, Var

Rule = Callable[["_Rewriter", Op, tuple[Var, ...]], "Var | None"]
RULES: dict[str, list[Rule]] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for ops of these names."""
    def register(fn: Rule) -> Rule:
        for name in names:
            RULES.setdefault(name, []).append(fn)
        return fn
    return register


class _Rewriter(ProgramBuilder):
    """Builds the new program; every emitted op goes through the rules until none applies."""

    def __init__(self) -> None:
        super().__init__()
        self.made_by: dict[Var, Equation] = {}

    def emit(self, the_op: Op, *operands: Var):
        for fn in RULES.get(the_op.name, ()):
            replaced = fn(self, the_op, operands)
            if replaced is not None:
                return replaced
        folded = self._fold(the_op, operands)
        if folded is not None:
            return folded
        result = super().emit(the_op, *operands)
        e = self.equations[-1]
        for v in e.outputs:
            self.made_by[v] = e
        return result

    def producer(self, v: Var, *names: str) -> Equation | None:
        """The equation that made ``v`` if it is one of these ops."""
        e = self.made_by.get(v)
        return e if e is not None and e.op.name in names else None

    def constant(self, v: Var) -> float | int | bool | None:
        """The value of a constant (scalar, possibly broadcast), if ``v`` is one."""
        e = self.made_by.get(v)
        while e is not None and e.op.name in ("expand", "reshape"):
            e = self.made_by.get(e.inputs[0])
        if e is None or e.op.name != "const" or e.op.attrs.type.size != 1:
            return None
        return np.frombuffer(e.op.attrs.data, e.op.attrs.type.dtype.numpy)[0]

    def _fold(self, the_op: Op, operands: tuple[Var, ...]):
        """Evaluate 0-d exact arithmetic on constants."""
        if the_op.name not in _FOLDED or any(v.type.ndim for v in operands):
            return None
        arrays = []
        for v in operands:
            e = self.producer(v, "const")
            if e is None:
                return None
            arrays.append(np.frombuffer(e.op.attrs.data, v.type.dtype.numpy).reshape(v.type.shape))
        (result,) = evaluate(the_op, arrays)
        return self.emit(constant_op(result, self._dtype(the_op, operands)))

    @staticmethod
    def _dtype(the_op: Op, operands: tuple[Var, ...]):
        return the_op.infer(tuple([v.type for v in operands])).dtype


#: ops whose result on constants is exactly what native code would give
_FOLDED = frozenset(("add", "sub", "mul", "div", "neg", "cast", "eq", "ne", "lt", "le", "and", "or", "not",
                     "max", "min", "select", "sqrt"))


# --- movement: merge chains, drop identities -------------------------------------------------------

@rule("reshape")
def _reshape(b, the_op, operands):
    (x,) = operands
    if x.type.shape == the_op.attrs.shape:
        return x
    e = b.producer(x, "reshape")
    return b.reshape(e.inputs[0], the_op.attrs.shape) if e is not None else None


@rule("permute")
def _permute(b, the_op, operands):
    (x,), axes = operands, the_op.attrs.axes
    if axes == tuple(range(len(axes))):
        return x
    e = b.producer(x, "permute")
    return b.permute(e.inputs[0], tuple(e.op.attrs.axes[a] for a in axes)) if e is not None else None


@rule("expand")
def _expand(b, the_op, operands):
    (x,) = operands
    if x.type.shape == the_op.attrs.shape:
        return x
    e = b.producer(x, "expand")
    return b.expand(e.inputs[0], the_op.attrs.shape) if e is not None else None


@rule("slice")
def _slice(b, the_op, operands):
    (x,), a = operands, the_op.attrs
    if a.start == (0,) * x.type.ndim and a.stop == x.type.shape and all(s == 1 for s in a.step):
        return x
    e = b.producer(x, "cat")
    if e is not None and all(s == 1 for s in a.step):  # a piece that was just joined
        axis, at = e.op.attrs.axis, 0
        for part in e.inputs:
            end = at + part.type.shape[axis]
            if at <= a.start[axis] and a.stop[axis] <= end:
                start = tuple(n - at if i == axis else n for i, n in enumerate(a.start))
                stop = tuple(n - at if i == axis else n for i, n in enumerate(a.stop))
                return b.slice(part, start, stop)
            at = end
    return None


@rule("dynamic_slice")
def _dynamic_slice(b, the_op, operands):
    """A window whose place is known: an axis that is shown whole starts at 0, a constant start is clamped."""
    x, *at = operands
    starts = []
    for n, step, size, start in zip(the_op.attrs.shape, the_op.attrs.step, x.type.shape, at, strict=True):
        known = 0 if n == size else b.constant(start)
        if known is None:
            return None
        starts.append(min(max(int(known), 0), size - ((n - 1) * step + 1 if n else 0)))
    stop = [lo + (n - 1) * step + 1 if n else lo
            for lo, n, step in zip(starts, the_op.attrs.shape, the_op.attrs.step, strict=True)]
    return b.slice(x, starts, stop, the_op.attrs.step)


@rule("flip")
def _flip(b, the_op, operands):
    (x,) = operands
    axes = tuple(a for a in the_op.attrs.axes if x.type.shape[a] != 1)
    if not axes:
        return x
    e = b.producer(x, "flip")
    return e.inputs[0] if e is not None and set(e.op.attrs.axes) == set(axes) else None


@rule("pad")
def _pad(b, the_op, operands):
    return operands[0] if not any(the_op.attrs.low + the_op.attrs.high) else None


@rule("cat")
def _cat(b, the_op, operands):
    axis = the_op.attrs.axis
    parts = [v for v in operands if v.type.shape[axis]]
    if len(parts) == 1:
        return parts[0]
    return b.cat(parts, axis) if parts and len(parts) < len(operands) else None


# --- neutral elements ------------------------------------------------------------------------------

@rule("mul")
def _mul(b, the_op, operands):
    x, y = operands
    if x.type.dtype.is_complex:  # (1 - 0i) * 1 is 1 + 0i
        return None
    if b.constant(y) == 1:
        return x
    return y if b.constant(x) == 1 else None


@rule("div")
def _div(b, the_op, operands):
    x, y = operands
    value = b.constant(y)
    if value is None or x.type.dtype.kind != "f":
        return None
    if value == 1:
        return x
    mantissa, _ = np.frexp(abs(float(value)))
    if mantissa != 0.5 or not 2.0**-64 < abs(float(value)) < 2.0**64:
        return None
    reciprocal = 1 / float(value)  # of a power of two: exact, if the dtype has it
    with np.errstate(over="ignore"):
        known = float(np.float64(reciprocal).astype(x.type.dtype.numpy))
    return b.mul(x, b.full_like(x, reciprocal)) if known == reciprocal else None


@rule("sub")
def _sub(b, the_op, operands):
    x, y = operands
    value = b.constant(y)
    if x.type.dtype.is_complex:
        return None
    return x if value is not None and value == 0 and not np.signbit(np.float64(value)) else None


@rule("neg")
def _neg(b, the_op, operands):
    e = b.producer(operands[0], "neg")
    return e.inputs[0] if e is not None else None


@rule("not")
def _not(b, the_op, operands):
    e = b.producer(operands[0], "not")
    return e.inputs[0] if e is not None else None


@rule("and")
def _and(b, the_op, operands):
    x, y = operands
    if x is y:
        return x
    if x.type.dtype.kind != "b":
        return None
    for known, other in ((x, y), (y, x)):
        value = b.constant(known)
        if value is not None:
            return other if value else known
    return None


@rule("or")
def _or(b, the_op, operands):
    x, y = operands
    if x is y:
        return x
    if x.type.dtype.kind != "b":
        return None
    for known, other in ((x, y), (y, x)):
        value = b.constant(known)
        if value is not None:
            return known if value else other
    return None


@rule("select")
def _select(b, the_op, operands):
    condition, x, y = operands
    if x is y:
        return x
    value = b.constant(condition)
    return None if value is None else x if value else y


@rule("cast")
def _cast(b, the_op, operands):
    (x,), dtype = operands, the_op.attrs.dtype
    if x.type.dtype is dtype:
        return x
    e = b.producer(x, "cast")
    if e is not None and e.inputs[0].type.dtype is dtype and _exact(dtype, x.type.dtype):
        return e.inputs[0]
    return None


def _exact(narrow, wide) -> bool:
    """Does every value of ``narrow`` survive a round trip through ``wide``?"""
    if narrow.kind == "f" and wide.kind == "f":
        return wide.bits > narrow.bits
    return narrow.kind == wide.kind and wide.bits > narrow.bits or narrow.kind == "b" and wide.kind in "iuf"


@rule("copy")
def _copy(b, the_op, operands):
    """A copy of a whole value is the value: buffers are immutable until the planner proves them dead."""
    (x,) = operands
    e = b.made_by.get(x)
    if e is not None and e.op.row.kind in ("movement", "index"):
        return None  # a compact copy of a part
    return x


@rule("conj", "real")
def _real_identity(b, the_op, operands):
    return operands[0] if not operands[0].type.dtype.is_complex else None


def simplify(program: Program) -> Program:
    """Apply the rules to every equation, once, in order."""
    b = _Rewriter()
    env: dict[Var, Var] = {v: v for v in program.inputs}
    b.inputs = list(program.inputs)
    for e in program.equations:
        b.site = e.site
        results: Any = b.emit(e.op, *[env[v] for v in e.inputs])
        env.update(zip(e.outputs, results if results.__class__ is tuple else (results,), strict=True))
    return Program(b.inputs, b.equations, [env[v] for v in program.outputs])

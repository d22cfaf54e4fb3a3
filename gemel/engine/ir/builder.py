"""``Builder``: the one interface through which rules, composites and the tensor API write operations.

Derivative rules and composite bodies are written once against it. What ``emit`` does decides where the
operations go: into a program (:class:`ProgramBuilder`), into the running trace, through the autograd tape, or
straight to NumPy.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base.dtypes import DType, bool_, int64
from .op import Op, op
from .primitives import ROWS
from .program import Equation, Program, Var
from .types import Shape, TensorType, tensor_type

_constants: dict[tuple, Op] = {}


def constant_op(value: Any, dtype: DType) -> Op:
    """The ``const`` op of a Python scalar or small NumPy array."""
    kind = value.__class__
    if kind is float or kind is int or kind is bool:
        key = (dtype, kind, value, kind is float and math.copysign(1.0, value))  # -0.0 is not 0.0
        found = _constants.get(key)
        if found is None:
            found = _constants[key] = _constant_op(value, dtype)
        return found
    return _constant_op(value, dtype)


def _constant_op(value: Any, dtype: DType) -> Op:
    with np.errstate(all="ignore"):
        array = np.asarray(value).astype(dtype.numpy)
    return op(ROWS["const"], tensor_type(dtype, array.shape), array.tobytes())


#: ops without attributes, by name
_PLAIN: dict[str, Op] = {name: op(row) for name, row in ROWS.items() if not row.attrs}


def plain_op(name: str) -> Op:
    """The op of a primitive that has no attributes."""
    return _PLAIN[name]


class Builder:
    """Emits operations on values that have a ``.type``; one method per primitive, then common combinations."""

    def emit(self, the_op: Op, *operands: Any) -> Any:
        """Apply ``the_op``; one value, or a tuple of values when it has several results."""
        raise NotImplementedError

    def _(self, name: str, *operands: Any, attrs: tuple = ()) -> Any:
        return self.emit(op(ROWS[name], *attrs) if attrs else _PLAIN[name], *operands)

    # --- leaves
    def const(self, value: Any, dtype: DType) -> Any:
        return self.emit(constant_op(value, dtype))

    def iota(self, dtype: DType, shape: Shape, axis: int) -> Any:
        return self._("iota", attrs=(dtype, shape, axis))

    def random_bits(self, key: Any, counter: Any, dtype: DType, shape: Shape) -> Any:
        return self._("random_bits", key, counter, attrs=(dtype, shape))

    # --- elementwise
    def unary(self, name: str, x: Any) -> Any:
        return self._(name, x)

    def neg(self, x): return self._("neg", x)
    def sign(self, x): return self._("sign", x)
    def abs(self, x): return self._("abs", x)
    def floor(self, x): return self._("floor", x)
    def trunc(self, x): return self._("trunc", x)
    def round(self, x): return self._("round", x)
    def erf(self, x): return self._("erf", x)
    def sqrt(self, x): return self._("sqrt", x)
    def rsqrt(self, x): return self._("rsqrt", x)
    def exp(self, x): return self._("exp", x)
    def expm1(self, x): return self._("expm1", x)
    def log(self, x): return self._("log", x)
    def log1p(self, x): return self._("log1p", x)
    def sin(self, x): return self._("sin", x)
    def cos(self, x): return self._("cos", x)
    def sinh(self, x): return self._("sinh", x)
    def cosh(self, x): return self._("cosh", x)
    def tanh(self, x): return self._("tanh", x)
    def sigmoid(self, x): return self._("sigmoid", x)
    def digamma(self, x): return self._("digamma", x)
    def not_(self, x): return self._("not", x)
    def real(self, x): return self._("real", x)
    def imag(self, x): return self._("imag", x)
    def conj(self, x): return self._("conj", x)
    def copy(self, x): return self._("copy", x)

    def add(self, x, y): return self._("add", x, y)
    def sub(self, x, y): return self._("sub", x, y)
    def mul(self, x, y): return self._("mul", x, y)
    def div(self, x, y): return self._("div", x, y)
    def pow(self, x, y): return self._("pow", x, y)
    def floor_divide(self, x, y): return self._("floor_divide", x, y)
    def remainder(self, x, y): return self._("remainder", x, y)
    def max(self, x, y): return self._("max", x, y)
    def min(self, x, y): return self._("min", x, y)
    def atan2(self, x, y): return self._("atan2", x, y)
    def and_(self, x, y): return self._("and", x, y)
    def or_(self, x, y): return self._("or", x, y)
    def xor(self, x, y): return self._("xor", x, y)
    def shl(self, x, y): return self._("shl", x, y)
    def shr(self, x, y): return self._("shr", x, y)
    def eq(self, x, y): return self._("eq", x, y)
    def ne(self, x, y): return self._("ne", x, y)
    def lt(self, x, y): return self._("lt", x, y)
    def le(self, x, y): return self._("le", x, y)
    def gt(self, x, y): return self._("lt", y, x)
    def ge(self, x, y): return self._("le", y, x)
    def complex(self, re, im): return self._("complex", re, im)
    def select(self, condition, x, y): return self._("select", condition, x, y)

    def cast(self, x: Any, dtype: DType) -> Any:
        return x if x.type.dtype is dtype else self._("cast", x, attrs=(dtype,))

    def bitcast(self, x: Any, dtype: DType) -> Any:
        return self._("bitcast", x, attrs=(dtype,))

    # --- movement (the identity emits nothing)
    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        shape = tuple(shape)
        return x if x.type.shape == shape else self._("reshape", x, attrs=(shape,))

    def permute(self, x: Any, axes: Sequence[int]) -> Any:
        axes = tuple(axes)
        return x if axes == tuple(range(x.type.ndim)) else self._("permute", x, attrs=(axes,))

    def expand(self, x: Any, shape: Sequence[int]) -> Any:
        shape = tuple(shape)
        return x if x.type.shape == shape else self._("expand", x, attrs=(shape,))

    def pad(self, x: Any, value: Any, low: Sequence[int], high: Sequence[int]) -> Any:
        return self._("pad", x, value, attrs=(tuple(low), tuple(high)))

    def slice(self, x: Any, start: Sequence[int], stop: Sequence[int], step: Sequence[int] | None = None) -> Any:
        step = tuple(step) if step is not None else (1,) * x.type.ndim
        return self._("slice", x, attrs=(tuple(start), tuple(stop), step))

    def flip(self, x: Any, axes: Sequence[int]) -> Any:
        return self._("flip", x, attrs=(tuple(axes),))

    def cat(self, xs: Sequence[Any], axis: int) -> Any:
        return self._("cat", *xs, attrs=(axis,))

    # --- reductions, scans, sort
    def reduce_sum(self, x: Any, axes: Sequence[int]) -> Any:
        return self._("reduce_sum", x, attrs=(tuple(axes),)) if axes else x

    def reduce_prod(self, x: Any, axes: Sequence[int]) -> Any:
        return self._("reduce_prod", x, attrs=(tuple(axes),)) if axes else x

    def reduce_max(self, x: Any, axes: Sequence[int]) -> Any:
        return self._("reduce_max", x, attrs=(tuple(axes),)) if axes else x

    def reduce_min(self, x: Any, axes: Sequence[int]) -> Any:
        return self._("reduce_min", x, attrs=(tuple(axes),)) if axes else x

    def argmax(self, x: Any, axis: int) -> Any:
        return self._("argmax", x, attrs=(axis,))

    def argmin(self, x: Any, axis: int) -> Any:
        return self._("argmin", x, attrs=(axis,))

    def scan(self, name: str, x: Any, axis: int) -> Any:
        return self._(name, x, attrs=(axis,))

    def sort(self, x: Any, axis: int, descending: bool = False) -> tuple[Any, Any]:
        return self._("sort", x, attrs=(axis, descending))

    # --- contractions
    def dot(self, x: Any, y: Any, x_contract: Sequence[int], y_contract: Sequence[int],
            x_batch: Sequence[int] = (), y_batch: Sequence[int] = (), dtype: DType | None = None) -> Any:
        return self._("dot", x, y, attrs=(tuple(x_contract), tuple(y_contract), tuple(x_batch), tuple(y_batch),
                                          dtype or x.type.dtype))

    def conv(self, x, w, *, stride, padding, dilation, groups):
        return self._("conv", x, w, attrs=(stride, padding, dilation, groups))

    def conv_transpose(self, g, w, *, size, stride, padding, dilation, groups):
        return self._("conv_transpose", g, w, attrs=(size, stride, padding, dilation, groups))

    def conv_weight_grad(self, x, g, *, kernel, stride, padding, dilation, groups):
        return self._("conv_weight_grad", x, g, attrs=(kernel, stride, padding, dilation, groups))

    # --- indexing
    def take(self, x: Any, index: Any, axis: int) -> Any:
        return self._("take", x, index, attrs=(axis,))

    def scatter(self, x: Any, index: Any, updates: Any, axis: int, mode: str) -> Any:
        return self._("scatter", x, index, updates, attrs=(axis, mode))

    def dynamic_slice(self, x: Any, starts: Sequence[Any], shape: Shape, step: Shape) -> Any:
        return self._("dynamic_slice", x, *starts, attrs=(shape, step))

    def dynamic_update(self, x: Any, update: Any, starts: Sequence[Any], step: Shape) -> Any:
        return self._("dynamic_update", x, update, *starts, attrs=(step,))

    # --- control
    def if_(self, predicate: Any, then: Program, otherwise: Program, operands: Sequence[Any]) -> tuple:
        return self._("if", predicate, *operands, attrs=(then, otherwise))

    def while_(self, condition: Program, body: Program, state: Sequence[Any], n_fixed: int = 0) -> tuple:
        return self._("while", *state, attrs=(condition, body, n_fixed))

    def loop(self, body: Program, trips: int, carried: Sequence[Any], fixed: Sequence[Any] = (),
             backwards: bool = False) -> tuple:
        return self._("loop", *carried, *fixed, attrs=(body, trips, len(carried), backwards))

    def check(self, condition: Any, x: Any, message: str) -> Any:
        """``x``, if ``condition`` (of any shape) holds everywhere."""
        if not condition.type.size:
            return x
        if condition.type.shape != x.type.shape:
            whole = self.reduce_min(condition, tuple(range(condition.type.ndim)))
            condition = self.expand(whole, x.type.shape)
        return self._("check", condition, x, attrs=(message,))

    # --- combinations
    def call(self, name: str, *operands: Any, **attrs: Any) -> Any:
        """A composite (or any row) by name, attributes by name."""
        row = ROWS[name]
        return self.emit(op(row, *(attrs[a] for a in row.attrs)), *operands)

    def inline(self, program: Program, operands: Sequence[Any]) -> tuple[Any, ...]:
        """Emit the equations of ``program`` on ``operands``; its results."""
        env = dict(zip(program.inputs, operands, strict=True))
        for e in program.equations:
            results = self.emit(e.op, *(env[v] for v in e.inputs))
            env.update(zip(e.outputs, results if results.__class__ is tuple else (results,), strict=True))
        return tuple(env[v] for v in program.outputs)

    def full(self, value: Any, dtype: DType, shape: Shape) -> Any:
        """A constant broadcast to ``shape``."""
        return self.expand(self.const(value, dtype), shape)

    def full_like(self, x: Any, value: Any) -> Any:
        return self.full(value, x.type.dtype, x.type.shape)

    def zeros(self, t: TensorType) -> Any:
        return self.full(0, t.dtype, t.shape)

    def scale(self, x: Any, factor: float) -> Any:
        """``x * factor`` with a compile-time factor."""
        return self.mul(x, self.full_like(x, factor))

    def is_nan(self, x: Any) -> Any:
        return self.ne(x, x)

    def is_zero(self, x: Any) -> Any:
        return self.eq(x, self.full_like(x, 0))

    def select_or_zero(self, condition: Any, x: Any) -> Any:
        return self.select(condition, x, self.full_like(x, 0))

    def keep_axes(self, x: Any, axes: Sequence[int], shape: Shape) -> Any:
        """Undo the dropping of reduced ``axes`` of ``shape`` and broadcast back to ``shape``."""
        kept = tuple(1 if i in axes else d for i, d in enumerate(shape))
        return self.expand(self.reshape(x, kept), shape)

    def sum_to(self, x: Any, shape: Shape) -> Any:
        """Sum over the axes along which ``shape`` was broadcast to the shape of ``x`` (inverse of ``expand``)."""
        if x.type.shape == shape:
            return x
        lead = x.type.ndim - len(shape)
        axes = tuple(range(lead)) + tuple(
            lead + i for i, d in enumerate(shape) if d == 1 and x.type.shape[lead + i] != 1)
        return self.reshape(self.reduce_sum(x, axes), shape)

    def index_scalar(self, value: int) -> Any:
        return self.const(value, int64)

    def start(self, n: int) -> Any:
        """Where a window starts: a runtime input in a trace, a constant in a program."""
        return self.index_scalar(n)

    def all_true(self, shape: Shape) -> Any:
        return self.full(True, bool_, shape)


class ProgramBuilder(Builder):
    """Builds a :class:`Program`; ``b.input(type)``, operations, then ``b.build(outputs)``."""

    def __init__(self) -> None:
        self.inputs: list[Var] = []
        self.equations: list[Equation] = []
        self.site: str | None = None

    def input(self, t: TensorType) -> Var:
        v = Var(t)
        self.inputs.append(v)
        return v

    def emit(self, the_op: Op, *operands: Var) -> Any:
        types = the_op.infer(tuple([v.type for v in operands]))
        if types.__class__ is tuple:
            outputs = tuple([Var(t) for t in types])
            self.equations.append(Equation(the_op, operands, outputs, self.site))
            return outputs
        output = Var(types)
        self.equations.append(Equation(the_op, operands, (output,), self.site))
        return output

    def build(self, outputs: Sequence[Var]) -> Program:
        return Program(self.inputs, self.equations, outputs)


def trace_body(body, types: Sequence[TensorType], **attrs: Any) -> Program:
    """Run ``body(builder, *values, **attrs)`` on fresh inputs of ``types``; the program it writes."""
    b = ProgramBuilder()
    results = body(b, *(b.input(t) for t in types), **attrs)
    return b.build(results if isinstance(results, tuple) else (results,))


def size_of(shape: Shape, axes: Sequence[int]) -> int:
    """Number of elements along ``axes``."""
    return math.prod(shape[a] for a in axes)


"""How elementwise operations are recorded: the fast paths, promotion around them, in-place forms and ``out=``.

The fast paths are the hottest code of the framework: they repeat the steps of ``record`` and ``make_node`` for one
result. Whatever is not the common case goes to a slow path, which promotes, broadcasts, or raises.
"""
from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from ..engine.autodiff.program import rule_of
from ..engine.base import dtypes as dt
from ..engine.base.dtypes import DType
from ..engine.base.errors import DTypeError, ShapeError
from ..engine.base.flags import flags
from ..engine.ir.op import Op, op
from ..engine.ir.primitives import ROWS
from ..engine.ir.types import TensorType, tensor_type
from ..engine.runtime.trace import Value, adopt, local, new_trace, recorded
from ..engine.runtime.trace import scalar as number
from .core import TENSOR_CLASSES
from .dims import remembered
from .promotion import (
    as_tensor,
    cast,
    check_cast,
    common_dtype,
    common_type,
    expand,
    inexact,
    is_number,
    meeting,
    number_value,
    plain,
    together,
)
from .recording import apply, public, through, wrap
from .tape import Node, _sequence, mode, watchers
from .typeinfo import get_default_dtype

Slow = Callable[[Any, Any], Any]
_new = object.__new__


class _Rule:
    """What a tape node of an op has to hold."""

    def __init__(self, the_op: Op) -> None:
        rule = rule_of(the_op)
        self.differentiable = rule is not None
        every = tuple(range(the_op.row.arity))
        self.inputs = (every if rule.every else rule.inputs) if rule else ()
        self.outputs = bool(rule and rule.outputs)


def fast_binary(name: str, slow: Slow, scalar: str | None = None,
                int_kinds: str = "fi") -> Callable[[Any, Any], Any]:
    """``method(self, other)`` for an elementwise primitive; ``scalar`` names its form with a Python number.

    Two tensors of one type, and a tensor with an int or float that does not promote it, are recorded right here.
    """
    the_op = op(ROWS[name])
    results = the_op.results
    rule = _Rule(the_op)
    saves_inputs, saves_output, differentiable = bool(rule.inputs), rule.outputs, rule.differentiable
    with_number = fast_scalar(scalar, slow, int_kinds) if scalar else slow
    new = _new

    #: what is in ``results``, by the one type that both operands have: operand types, result type
    alike: dict[TensorType, tuple] = {}

    def method(self: Any, other: Any) -> Any:
        if other.__class__ not in TENSOR_CLASSES:
            return with_number(self, other)
        a, alias = self._value, self._alias  # as in ``_read``
        if alias is not None and (alias.cell.version != alias.seen or a.form is None):
            a = self._refresh()
        b, alias = other._value, other._alias
        if alias is not None and (alias.cell.version != alias.seen or b.form is None):
            b = other._refresh()
        t = a.type
        found = alike.get(t) if t is b.type else None
        if found is None:
            if t is not b.type:
                steps = _broadcasting(t, b.type)
                return slow(self, other) if steps is None else method(through(steps[0], self), through(steps[1], other))
            if (t, t) not in results:
                return slow(self, other)
            found = alike[t] = (t, t), results[t, t]
        trace = local.trace
        if trace.closed:
            trace = local.trace = new_trace()
        left = a.index if a.trace is trace else adopt(trace, a)
        right = b.index if b.trace is trace else adopt(trace, b)
        if left is None or right is None:
            return apply(the_op, self, other)
        v = Value()
        v.type = v.form = found[1]
        v.buffer = v.cell = None
        v.trace = trace
        values = trace.values
        v.index = len(values)
        trace.code += (the_op, left, right)
        values.append(v)
        if trace.closed:
            return method(self, other)
        if len(values) >= trace.limit or flags.LINES:
            recorded(trace)
        out = new(public[0])
        out._value, out._alias, out._info = v, None, None
        edge, edge2 = self._edge, other._edge
        if (edge is not None or edge2 is not None) and mode.grad and differentiable:
            out._edge = n = Node()
            n.op, n.edges, n.types, n.type = the_op, (edge, edge2), found[0], found[1]
            n.inputs = (a, b) if saves_inputs else None
            n.outputs = (v,) if saves_output else None
            n.hooks = None
            n.mark, n.freed, n.seq = 0, False, _sequence()
            if watchers:
                for watch in watchers:
                    watch(n, (a, b), v)
        else:
            out._edge = None
        return out

    return method


@functools.lru_cache(4096)
def _broadcasting(a: TensorType, b: TensorType) -> list[list[Op]] | None:
    """What broadcasts operands of a floating-point dtype that differ in shape alone; None for any others."""
    return meeting(a.dtype, (), a, b) if a.dtype is b.dtype and a.dtype.kind == "f" else None


def fast_scalar(name: str, slow: Slow, int_kinds: str = "fi") -> Callable[[Any, Any], Any]:
    """``method(self, number)`` for a composite of a tensor and a runtime scalar.

    Floats on floating types, and small ints on types of ``int_kinds``, are recorded right here.
    """
    the_op = op(ROWS[name])
    rule = _Rule(the_op)
    saved, saves_output = rule.inputs, rule.outputs
    # operand type -> (operand types, result type, has a gradient); None where the slow path has to look at it
    for_float: dict[TensorType, tuple | None] = {}
    for_int: dict[TensorType, tuple | None] = {}
    new = _new

    def plan(t: TensorType, kinds: str) -> tuple | None:
        if t.dtype.kind not in kinds:
            return None
        types = (t, tensor_type(dt.compute_type(t.dtype)))
        try:
            result = the_op.infer(types)
        except DTypeError:
            return None
        return types, result, rule.differentiable and result.dtype.kind == "f"

    def method(self: Any, other: Any) -> Any:
        a, alias = self._value, self._alias
        if alias is not None and (alias.cell.version != alias.seen or a.form is None):
            a = self._refresh()
        kind = other.__class__
        try:
            if kind is float:
                if not -3.4e38 < other < 3.4e38:
                    return slow(self, other)
                found = for_float[a.type]
            elif kind is int and -128 <= other < 128:
                found = for_int[a.type]
            else:
                return slow(self, other)
        except KeyError:
            if kind is float:
                found = for_float[a.type] = plan(a.type, "f")
            else:
                found = for_int[a.type] = plan(a.type, int_kinds)
        if found is None:
            return slow(self, other)
        types, result, differentiable = found
        trace = local.trace
        if trace.closed:
            trace = local.trace = new_trace()
        mine = a.index if a.trace is trace else adopt(trace, a)
        if mine is None:
            return apply(the_op, self, wrap(number(other, types[1].dtype)))
        scalars = trace.scalars
        index = -2 - 2 * len(scalars)
        scalars.append((other, types[1]))
        v = Value()
        v.type = v.form = result
        v.buffer = v.cell = None
        v.trace = trace
        values = trace.values
        v.index = len(values)
        trace.code += (the_op, mine, index)
        values.append(v)
        if trace.closed:
            return method(self, other)
        if len(values) >= trace.limit or flags.LINES:
            recorded(trace)
        out = new(public[0])
        out._value, out._alias, out._info = v, None, None
        edge = self._edge
        if edge is not None and mode.grad and differentiable:
            n = Node()
            n.op, n.edges, n.types, n.type = the_op, (edge, None), types, result
            if saved:
                s = Value()
                s.type = s.form = types[1]
                s.buffer, s.trace, s.index, s.cell, s.version = other, trace, index, None, 0
                n.inputs = (a, s) if len(saved) == 2 else (s,) if saved == (1,) else (a,)
            else:
                n.inputs = None
            n.outputs = (v,) if saves_output else None
            n.hooks = None
            n.mark, n.freed, n.seq = 0, False, _sequence()
            out._edge = n
            if watchers:
                for watch in watchers:
                    watch(n, (a, number(other, types[1].dtype)), v)
        else:
            out._edge = None
        return out

    return method


def fast_unary(name: str, slow: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``method(self)`` for an elementwise operation of one operand (primitive or composite)."""
    the_op = op(ROWS[name])
    results = the_op.results
    rule = _Rule(the_op)
    saves_inputs, saves_output, differentiable = bool(rule.inputs), rule.outputs, rule.differentiable
    new = _new

    def method(self: Any) -> Any:
        a, alias = self._value, self._alias
        if alias is not None and (alias.cell.version != alias.seen or a.form is None):
            a = self._refresh()
        types = (a.type,)
        found = results.get(types)
        if found is None or found.dtype.kind != "f":
            return slow(self)
        trace = local.trace
        if trace.closed:
            trace = local.trace = new_trace()
        mine = a.index if a.trace is trace else adopt(trace, a)
        if mine is None:
            return apply(the_op, self)
        v = Value()
        v.type = v.form = found
        v.buffer = v.cell = None
        v.trace = trace
        values = trace.values
        v.index = len(values)
        trace.code += (the_op, mine)
        values.append(v)
        if trace.closed:
            return method(self)
        if len(values) >= trace.limit or flags.LINES:
            recorded(trace)
        out = new(public[0])
        out._value, out._alias, out._info = v, None, None
        edge = self._edge
        if edge is not None and mode.grad and differentiable:
            n = Node()
            n.op, n.edges, n.types, n.type = the_op, (edge,), types, found
            n.inputs = (a,) if saves_inputs else None
            n.outputs = (v,) if saves_output else None
            n.hooks = None
            n.mark, n.freed, n.seq = 0, False, _sequence()
            out._edge = n
            if watchers:
                for watch in watchers:
                    watch(n, (a,), v)
        else:
            out._edge = None
        return out

    return method


# --- slow paths: promotion ------------------------------------------------------------------------

def apply_scalar(name: str, x: Any, number: Any, dtype: DType) -> Any:
    """A composite of a tensor (as ``dtype``) and a number."""
    return apply(op(ROWS[name]), cast(x, dtype), wrap(number_value(number, dt.compute_type(dtype))))


Rule = DType | Callable[[DType], DType]


def promoted(name: str, a: Any, b: Any, to: Rule = lambda d: d, bool_name: str | None = None,
             scalar: str | None = None, reflected: str | None = None) -> Any:
    """Promote and broadcast two operands (tensors or numbers), then apply.

    Args:
        name: the primitive. to: the dtype of the operation, or the function that gives it for the promoted dtype.
        bool_name: the primitive for bool operands. scalar, reflected: composites for ``(tensor, number)`` and
        ``(number, tensor)``.
    """
    if a.__class__ in TENSOR_CLASSES and b.__class__ in TENSOR_CLASSES:
        before, after, the_op = _meeting(name, to, bool_name, get_default_dtype(), a._read().type, b._read().type)
        return apply(the_op, through(before, a), through(after, b))
    dtype = to if isinstance(to, DType) else to(common_dtype((a, b)))
    if dtype.kind == "b" and bool_name is not None:
        name, scalar, reflected = bool_name, None, None
    if scalar is not None and b.__class__ not in TENSOR_CLASSES:
        return apply_scalar(scalar, a, b, dtype)
    if reflected is not None and a.__class__ not in TENSOR_CLASSES:
        return apply_scalar(reflected, b, a, dtype)
    return apply(op(ROWS[name]), *together(a, b, dtype=dtype))


@remembered
def _meeting(name: str, to: Rule, bool_name: str | None, default: DType, a: TensorType,
             b: TensorType) -> tuple[list[Op], list[Op], Op]:
    """What to record for two tensors of these types: on the first, on the second, and then on both."""
    dtype = to if isinstance(to, DType) else to(common_type(a, b))
    return *meeting(dtype, (), a, b), op(ROWS[bool_name if dtype.kind == "b" and bool_name is not None else name])


# --- arguments, in-place forms, out= ---------------------------------------------------------------

def check_tensor(x: Any, function: str, argument: str = "input", position: int = 1) -> Any:
    """``x``, or torch's ``TypeError`` if it is not a tensor."""
    if x.__class__ not in TENSOR_CLASSES:
        raise TypeError(f"{function}(): argument '{argument}' (position {position}) must be Tensor, not "
                        f"{x.__class__.__name__}")
    return x


def check_operand(x: Any, function: str, argument: str = "other", position: int = 2) -> Any:
    """``x`` (a tensor or a Python number), or torch's ``TypeError``."""
    return plain(x) if is_number(x) else check_tensor(x, function, argument, position)


def write_result(target: Any, result: Any) -> Any:
    """Write what was computed out of place into ``target``, cast to its dtype; torch's errors where that cannot be."""
    mine, new = target._read().type, result._value.type
    if new is not mine:
        check_cast(new.dtype, mine.dtype)
        if new.shape != mine.shape:
            raise ShapeError(f"output with shape {list(mine.shape)} doesn't match the broadcast shape "
                             f"{list(new.shape)}")
        result = cast(result, mine.dtype)
    return target._write(result)


def in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """The ``name_`` method of an out-of-place function."""
    name = getattr(function, "__name__", "function")

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return write_result(self, function(self, *args, **kwargs))

    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"In-place version of :func:`gemel.{name}`."
    return method


def deliver(result: Any, out: Any, function: str) -> Any:
    """``result``, or ``out`` after it has been given the result (resized if needed, with torch's warning)."""
    if out is None:
        return result
    check_tensor(out, function, "out", 0)
    if mode.grad and (out._edge is not None or result._edge is not None):
        raise RuntimeError(f"{function}(): functions with out=... arguments don't support automatic differentiation, "
                           f"but one of the arguments requires grad.")
    have, new = out._read().type, result._read().type
    check_cast(new.dtype, have.dtype)
    result = cast(result, have.dtype)
    if have.shape == new.shape:
        return out._write(result)
    if have.size:
        warnings.warn(f"An output with one or more elements was resized since it had shape {list(have.shape)}, which "
                      f"does not match the required output shape {list(new.shape)}.", UserWarning, stacklevel=3)
    out._value, out._edge, out._alias = result._value, None, None
    return out


def delivering(results: tuple[Any, ...], out: Any, function: str) -> tuple[Any, ...]:
    """As :func:`deliver` for functions with several results."""
    if out is None:
        return results
    return tuple([deliver(r, o, function) for r, o in zip(results, out, strict=True)])


def unary(name: str, doc: str, row: str | None = None, to: Callable[[DType], DType] = inexact,
          check: Callable[[Any], None] | None = None) -> Callable[..., Any]:
    """A public function of one tensor.

    Args:
        name: public name. doc: docstring. row: primitive or composite (default: the name).
        to: from the operand's dtype to that of the operation; fractional functions make integers floats.
        check: raises the user's error for operands that torch refuses.
    """
    row_name = row or name
    the_op = op(ROWS[row_name])

    def slow(x: Any) -> Any:
        check_tensor(x, name)
        if check is not None:
            check(x)
        return apply(the_op, cast(x, to(x._read().type.dtype)))

    record_fast = fast_unary(row_name, slow)

    def function(input: Any, *, out: Any = None) -> Any:
        if out is None and input.__class__ in TENSOR_CLASSES:
            return record_fast(input)
        return deliver(slow(input), out, name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc} torch: ``{name}``."
    return function


def same(dtype: DType) -> DType:
    """The operation has the operand's dtype."""
    return dtype


__all__ = ["apply_scalar", "as_tensor", "check_operand", "check_tensor", "deliver", "delivering", "expand",
           "fast_binary", "fast_scalar", "fast_unary", "in_place", "inexact", "promoted", "same", "unary",
           "write_result"]

"""Recording on tensors: one operation with its node on the tape, and the builders that derivative rules write with."""
from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ..engine import composites as _composites  # noqa: F401  (registers the composite operations)
from ..engine.autodiff import control as _rules  # noqa: F401  (registers derivative rules)
from ..engine.base import dtypes as dt
from ..engine.ir.builder import Builder
from ..engine.ir.op import Op
from ..engine.ir.op import op as intern
from ..engine.ir.primitives import ROWS
from ..engine.runtime import batched as _batched  # noqa: F401  (records operations under vmap)
from ..engine.runtime.trace import (
    TraceBuilder,
    Value,
    record,
    record_one,
    scalar,
)
from . import tape
from .tape import Edge, make_node, mode

_new = object.__new__
#: the public ``Tensor`` class; it is defined above this module and put in by ``tensor.tensor``
public: list[type] = []


def wrap(value: Value, edge: Edge | None = None) -> Any:
    """A tensor that holds ``value`` and stands at ``edge`` of the tape."""
    out = _new(public[0])
    out._value, out._edge, out._alias, out._info = value, edge, None, None
    return out


class _Zero(threading.local):
    """Each thread's scalar input 0: one input of a trace, however often it is used."""

    def __init__(self) -> None:
        self.value = scalar(0, dt.int64)


_zero = _Zero()


def start(n: int) -> Value:
    """Where a window starts, as a runtime input."""
    return scalar(n, dt.int64) if n else _zero.value


# --- recording -----------------------------------------------------------------------------------

def apply(the_op: Op, *tensors: Any) -> Any:
    """Record one operation on tensors; a tensor, or a tuple of tensors when it has several results."""
    if len(tensors) == 1:
        return apply_one(the_op, tensors[0])
    operands, edges = [], []
    needed = False
    for t in tensors:
        value, alias = t._value, t._alias  # as in ``_read``
        if alias is not None and (alias.cell.version != alias.seen or value.form is None):
            value = t._refresh()
        operands.append(value)
        edge = t._edge
        edges.append(edge)
        if edge is not None:
            needed = True
    out = record(the_op, operands)
    if needed and mode.grad:
        return _placed(the_op, operands, edges, out)
    return wrap(out) if out.__class__ is not tuple else tuple(map(wrap, out))


def apply_one(the_op: Op, t: Any) -> Any:
    """:func:`apply` to one tensor."""
    operand, alias = t._value, t._alias  # as in ``_read``
    if alias is not None and (alias.cell.version != alias.seen or operand.form is None):
        operand = t._refresh()
    out = record_one(the_op, operand)
    if t._edge is not None and mode.grad:
        return _placed(the_op, (operand,), (t._edge,), out)
    return wrap(out) if out.__class__ is not tuple else tuple(map(wrap, out))


def through(steps: Sequence[Op], t: Any) -> Any:
    """A tensor after these operations, one behind the other."""
    for step in steps:
        t = apply_one(step, t)
    return t


def _placed(the_op: Op, operands: Sequence[Value], edges: Sequence[Edge | None], out: Any) -> Any:
    """What has been recorded, as tensors at their places on the tape."""
    node: Any = make_node(the_op, operands, edges, out)
    if out.__class__ is not tuple:
        return wrap(out, node if out.type.dtype.kind in "fc" else None)
    return tuple([wrap(v, e if v.type.dtype.kind in "fc" else None) for v, e in zip(out, node, strict=True)])


def apply_named(name: str, *tensors: Any, attrs: tuple = ()) -> Any:
    """``apply`` by the name of a primitive or composite and its attribute values."""
    the_op = _named.get((name, attrs))
    if the_op is None:
        the_op = _named[name, attrs] = intern(ROWS[name], *attrs)
    return apply(the_op, *tensors)


#: ops by name and attributes, as far as they have been recorded
_named: dict[tuple[str, tuple], Op] = {}


class Taped:
    """A value with its place on the tape: what derivative rules see when they are themselves recorded."""

    __slots__ = ("value", "edge")

    def __init__(self, value: Value, edge: Edge | None) -> None:
        self.value, self.edge = value, edge

    @property
    def type(self):
        return self.value.type


class TapeBuilder(Builder):
    """Records operations together with their tape nodes; its values are :class:`Taped`."""

    def emit(self, the_op: Op, *operands: Taped) -> Any:
        values = [x.value for x in operands]
        out = record(the_op, values)
        if mode.grad and any(x.edge is not None for x in operands):
            node = make_node(the_op, values, [x.edge for x in operands], out)
        else:
            node = None if out.__class__ is not tuple else [None] * len(out)
        if out.__class__ is not tuple:
            return Taped(out, node if out.type.dtype.kind in "fc" else None)  # type: ignore[arg-type]
        return tuple([Taped(v, e) for v, e in zip(out, node, strict=True)])  # type: ignore[arg-type]

    def start(self, n: int) -> Taped:
        return Taped(start(n), None)


TAPE = TapeBuilder()


class _ValueBuilder(TraceBuilder):
    """Records what is on no tape."""

    def start(self, n: int) -> Value:
        return start(n)


PLAIN_VALUES = _ValueBuilder()


class TapedSpace:
    """Gradients that are themselves on the tape (``create_graph=True``)."""

    builder: Any = TAPE
    taped = True

    @staticmethod
    def wrap(v: Value, edge: Edge | None) -> Taped:
        return Taped(v, edge)

    @staticmethod
    def tensor(g: Taped) -> Any:
        return wrap(g.value, g.edge)

    @staticmethod
    def from_tensor(t: Any) -> Taped:
        return Taped(t._read(), t._edge)


tape.make_tensor = wrap

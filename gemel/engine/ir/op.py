"""``Op``: a row of the primitive (or composite) table together with its attributes, interned.

Because ops are interned, a recorded trace is a list of ops and integers that hashes and compares by
identity; that list *is* the key of the plan cache.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .types import TensorType

Infer = Callable[..., "TensorType | tuple[TensorType, ...]"]

KINDS = ("leaf", "unary", "binary", "select", "cast", "movement", "reduce", "scan", "sort",
         "contract", "index", "control", "composite")


@dataclass(frozen=True, eq=False)
class Row:
    """One operation of the IR.

    Args:
        name: as printed.
        kind: one of ``KINDS``; passes and schedules choose by kind, not by name.
        arity: number of operands; -1 when it varies.
        infer: ``(attrs, *operand types) -> result type(s)``; raises the user's error when they do not fit.
        attrs: names of the attributes, in printing order.
        doc: one sentence.
        n_outputs: number of results; -1 when the attributes decide (``infer`` then returns a tuple).
        body: composites only: ``(builder, *operands, **attrs) -> results``, the meaning in primitives.
    """

    name: str
    kind: str
    arity: int
    infer: Infer
    attrs: tuple[str, ...] = ()
    doc: str = ""
    n_outputs: int = 1
    body: Callable[..., Any] | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


@dataclass(frozen=True, slots=True)
class Attrs:
    """Attribute values of one op, readable as ``attrs.axes``; immutable and hashable."""

    names: tuple[str, ...]
    values: tuple[Any, ...]
    _index: dict[str, Any] = field(default_factory=dict, repr=False, compare=False, hash=False)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[self.names.index(name)]
        except ValueError:
            raise AttributeError(name) from None

    def items(self) -> list[tuple[str, Any]]:
        return list(zip(self.names, self.values, strict=True))


class Op:
    """An interned (row, attributes) pair. Build with ``op(row, ...)``.

    Attributes:
        row: the table row. attrs: the attribute values. results: cache of inferred types.
    """

    __slots__ = ("row", "name", "attrs", "results")
    row: Row
    name: str
    attrs: Attrs
    results: dict[tuple[TensorType, ...], Any]

    def __repr__(self) -> str:
        if not self.attrs.names:
            return self.name
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.attrs.items())})"

    def infer(self, types: tuple[TensorType, ...]) -> Any:
        """Result type (a tuple of types for several results) for these operand types; cached."""
        found = self.results.get(types)
        if found is None:
            found = self.results[types] = self.row.infer(self.attrs, *types)
        return found

    def infer_all(self, types: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """As :meth:`infer`, always a tuple."""
        found = self.infer(types)
        return found if found.__class__ is tuple else (found,)


_OPS: dict[tuple, Op] = {}


def op(row: Row, *values: Any) -> Op:
    """The interned op of ``row`` with attribute ``values`` in the order of ``row.attrs``."""
    key = (row, values)
    found = _OPS.get(key)
    if found is None:
        if len(values) != len(row.attrs):
            raise TypeError(f"{row.name} takes attributes {row.attrs}, received {values!r}")
        found = Op.__new__(Op)
        found.row, found.name, found.attrs, found.results = row, row.name, Attrs(row.attrs, values), {}
        found = _OPS.setdefault(key, found)
    return found

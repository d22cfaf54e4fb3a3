"""Equal groups are scheduled once.

Twelve identical layers give twelve identical groups; a thousand additions give a thousand. :func:`signature` is
what the schedule of a rowwise group depends on, with values replaced by numbers, and :func:`numbered` what that of a
product with given sizes and strides does; :func:`rename` carries the calls of an equal group over to other values.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.program import Var
from .calls import Call, Operand, Temp
from .group import Group
from .rowwise.schedule import Context


class _Unshared(Exception):
    """The group depends on something that has no number (a runtime start, a check)."""


def signature(g: Group, context: Context) -> tuple[tuple, list[Var]] | None:
    """(key, the group's memory values in the order of their numbers); None if the group is not to be shared."""
    values: list[Var] = []
    numbers: dict[Var, int] = {}
    d = g.domain

    def memory(v: Var) -> tuple:
        n = numbers.get(v)
        if n is None:
            n = numbers[v] = len(values)
            values.append(v)
        return n, v.type, context.layout(v)

    def at(index) -> tuple:
        index = d.resolve_all(index)
        if any(a.dynamic for a in index):
            raise _Unshared
        return tuple([(a.const, a.terms) for a in index])

    def inline(v: Var) -> tuple:
        e = context.equation(v)
        assert e is not None
        return (e.op, *[operand(x) for x in e.inputs])

    def operand(x: Var) -> tuple:
        path = context.path(x)
        root = path[-1].inputs[0] if path else x
        steps = tuple([step.op for step in path])
        return (steps, inline(root)) if context.inlined(root) else (steps, memory(root))

    computed: dict[Var, int] = {}
    nodes = []
    try:
        for n, e in enumerate(g.nodes):
            if e.op.name == "check":
                return None
            parts: list[Any] = [e.op]
            for position, x in enumerate(e.inputs):
                read = g.reads.get((n, position))
                path = context.path(x)
                root = path[-1].inputs[0] if path else x
                if read is not None:
                    parts.append((*memory(read[0]), at(read[1])))
                elif root in computed:
                    parts.append(computed[root])
                else:
                    parts.append((tuple([step.op for step in path]), inline(root)))
            computed[e.output] = n
            if e.output in g.operands:
                parts.append(at(g.operands[e.output]))
            nodes.append((*parts, at(g.index[e.output]), g.phase[e.output]))
        copied = g.reads.get((-1, 0))
        if copied is not None:
            nodes.append((inline(copied[0]) if context.inlined(copied[0]) else memory(copied[0]), at(copied[1])))
        stores = tuple([(computed.get(v, -1), *memory(v), at(g.index[v])) for v in g.stores])
    except _Unshared:
        return None
    key = (tuple(nodes), stores, tuple(d.sizes), tuple(d.splits.items()), g.reduced)
    return key, values


def rename(calls: list[Call], old: list[Var], new: list[Var]) -> list[Call]:
    """The calls with values of ``old`` replaced by those of ``new``, temporaries of their own, and no origin yet."""
    table: dict[Any, Any] = dict(zip(old, new, strict=True))

    def of(o: Operand) -> Operand:
        value = o.value
        if isinstance(value, Temp) and value not in table:
            table[value] = Temp(value.nbytes)
        return Operand(table.get(value, value), o.offset, o.dynamic)

    return [c.on([of(o) for o in c.operands]) for c in calls]


def numbered(operands: Sequence[Operand]) -> tuple[tuple, list[Any]] | None:
    """(what a schedule sees of the operands of its calls, the values that they stand for); None: not to be shared."""
    values: list[Any] = []
    seen = []
    for o in operands:
        if o.dynamic:
            return None
        if o.value not in values:
            values.append(o.value)
        seen.append((values.index(o.value), o.offset))
    return tuple(seen), values

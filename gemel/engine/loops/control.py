"""Schedules of ``if``, ``while`` and ``loop``: nested programs become part of the same table.

State has one place: the results of the equation. The initial state is copied there (or takes it over), the body
reads it there, and what the body computes is copied back at the end of an iteration, or computed there at once
where the memory planner finds that nothing reads the old state any more. Stacked results of a ``loop`` are written
into their part of the whole, whose place the dispatcher finds from the step number. Nothing returns to Python.
Calls of a body that read nothing but what stays the same in every turn (packing a weight) run once, in front of it.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from ..base import dtypes as dt
from ..ir.builder import trace_body
from ..ir.program import Equation, Program, Var
from ..ir.types import row_major, tensor_type
from .assemble import only_copies
from .calls import Assign, Call, Jump, Label, Marker, Next, Operand, Reserve
from .group import Group
from .index import Affine, Domain, Start, offset_of
from .rowwise.schedule import STREAM_BYTES, Context, schedule_rowwise


class HostStep:
    """An equation that NumPy runs between native steps (complex numbers, opaque ops).

    Attributes:
        equation: what runs. reads: its operands in memory. reason: why native code does not run it.
    """

    __slots__ = ("equation", "reads", "reason")

    def __init__(self, equation: Equation, reads: tuple[Var, ...], reason: str) -> None:
        self.equation, self.reads, self.reason = equation, reads, reason


class Output:
    """Where an output lies: the value that holds it, and strides and offset in elements of its own dtype."""

    __slots__ = ("value", "strides", "offset")

    def __init__(self, value: Var, strides: tuple[int, ...], offset: int) -> None:
        self.value, self.strides, self.offset = value, strides, offset

    def whole(self, shape: tuple[int, ...]) -> bool:
        """Is it a whole row-major value?"""
        return self.offset == 0 and self.value.shape == shape and all(
            n == 1 or s == step for n, s, step in zip(shape, self.strides, row_major(shape), strict=True))


Step = Call | HostStep | Marker


class Nesting(Context, Protocol):
    """What schedules of control flow ask besides."""

    forms: dict[Var, tuple[tuple[int, ...], int]]
    #: value computed by a body -> the state that it becomes at the end of an iteration
    carried: dict[Var, Var]

    def nested(self, program: Program, operands: list[Var], fixed: Sequence[Var] = (), grouped: bool = False
               ) -> tuple[list[Step], list[Output]]:
        """Steps of ``program`` on values in memory, and where its outputs lie; ``fixed``: the operands that stay the
        same from turn to turn; ``grouped``: its equations share loops in the generic tier, too."""
        ...


# --- copies --------------------------------------------------------------------------------------

def _copy(context: Nesting, source: Output, result: Var, step: Var | None = None) -> list[Step]:
    """Copy an output to ``result``, or to its part at index ``step`` of the first axis."""
    shape = result.shape if step is None else result.shape[1:]
    plain = source.whole(shape) and source.value not in context.forms
    value = source.value
    if not plain:
        value = Var(tensor_type(result.type.dtype, shape))
        context.forms[value] = source.strides, source.offset
    g = Group("rowwise", Domain(), 0)
    index = g.domain.axes(shape)
    first = () if step is None else (Affine(0, (), ((Start(step, result.shape[0] - 1), 1),)),)
    g.index[result], g.phase[result] = (*first, *index), 0
    g.reads[-1, 0] = value, index
    g.stores.append(result)
    g.label = "state"
    calls = [replace(c, operands=[replace(o, value=source.value) if o.value is value else o for o in c.operands])
             for c in schedule_rowwise(g, context)]
    for c in calls:
        c.copies = plain and step is None and only_copies(c, source.value)
    return list(calls)


def _operands(g: Group, context: Nesting) -> tuple[list[Var], dict[Var, Var]]:
    """The operands of the anchor, and for those that are views: a value that stands for the view -> what is viewed."""
    found: list[Var] = []
    views: dict[Var, Var] = {}
    for v in _anchor(g).inputs:
        domain = Domain()
        index = domain.axes(v.shape)
        source, at = context.resolve(domain, v, index)
        if source is not v:
            terms = dict(offset_of(domain, at, *context.layout(source)).terms)
            axes = [next(iter(a.terms))[0] if a.terms else None for a in index]
            view = Var(v.type)
            views[view] = source
            context.forms[view] = (tuple(terms.get(a, 0) if a is not None else 0 for a in axes),
                                   offset_of(domain, at, *context.layout(source)).const)
            v = view
        found.append(v)
    return found, views


def _seen(context: Nesting, steps: list[Step], views: dict[Var, Var]) -> list[Step]:
    """The steps with what is viewed in place of the views; what NumPy runs gets copies."""
    if not views:
        return steps
    copies: dict[Var, Var] = {}
    ahead: list[Step] = []
    found: list[Step] = []
    for s in steps:
        if isinstance(s, HostStep):
            for v in s.reads:
                if v in views and v not in copies:
                    copies[v] = Var(v.type)
                    ahead += _copy(context, Output(v, *context.forms[v]), copies[v])
            s = HostStep(s.equation, tuple([copies.get(v, v) for v in s.reads]), s.reason)
        found.append(s)
    return [replace(s, operands=[replace(o, value=views.get(o.value, o.value)) for o in s.operands])
            if isinstance(s, Call) else s for s in (*ahead, *found)]


def _ahead(body: list[Step], changing: set[Var], outputs: list[Output]) -> tuple[list[Step], list[Step]]:
    """The calls of a body that give the same in every turn, and the others.

    ``changing``: what is written outside of the calls: states and the number of the turn. Not what a jump may pass
    over, and not what an output is.
    """
    at = {s: n for n, s in enumerate(body) if isinstance(s, Label)}
    passed = [(n, at[s.target]) for n, s in enumerate(body) if isinstance(s, Jump) and at.get(s.target, -1) > n]
    times: dict[Any, int] = {}
    for s in body:
        written = [s.operands[i].value for i in s.writes] if isinstance(s, Call) else (
            s.equation.outputs if isinstance(s, HostStep) else marked(s))
        for v in written:
            times[v] = times.get(v, 0) + 1
    moving: set[Any] = changing | set(times)
    results = {o.value for o in outputs}
    first: list[Step] = []
    rest: list[Step] = []
    for n, s in enumerate(body):
        if isinstance(s, Call) and not s.check and not any(low < n < high for low, high in passed):
            written = {s.operands[i].value for i in s.writes}
            read = {o.value for i, o in enumerate(s.operands) if i not in s.writes}
            starts = {start.value for o in s.operands for start, _ in o.dynamic}
            if not (read | starts) & moving and not written & results and all(times[v] == 1 for v in written):
                moving -= written
                first.append(s)
                continue
        rest.append(s)
    return first, rest


def _start_state(context: Nesting, inputs: list[Var], states: tuple[Var, ...]) -> list[Step]:
    steps: list[Step] = []
    for v, state in zip(inputs, states, strict=True):
        strides, offset = context.layout(v)
        steps += _copy(context, Output(v, strides, offset), state)
    return steps


def _advance(context: Nesting, new: list[Output], states: tuple[Var, ...], inside: set[Var]) -> list[Step]:
    """All states take their new values at once; ``inside``: values that the body computes."""
    steps: list[Step] = []
    ready: list[Output] = []
    for o, state in zip(new, states, strict=True):
        if o.value in states and not (o.value is state and o.whole(state.shape)):
            kept = Var(state.type)  # an old state that another copy would overwrite
            steps += _copy(context, o, kept)
            o = Output(kept, row_major(state.shape), 0)
        ready.append(o)
    for o, state in zip(ready, states, strict=True):
        if o.value is state:
            continue
        steps += _copy(context, o, state)
        if o.whole(state.shape) and o.value in inside and o.value not in context.carried:
            context.carried[o.value] = state
    return steps


def _rename(steps: list[Step], old: Var, new: Operand) -> list[Step]:
    """Calls with ``old`` replaced by the place ``new``."""
    def place(o: Operand) -> Operand:
        return Operand(new.value, o.offset, (*o.dynamic, *new.dynamic)) if o.value is old else o
    return [replace(s, operands=[place(o) for o in s.operands]) if isinstance(s, Call) else s for s in steps]


def _renamable(context: Nesting, o: Output, steps: list[Step], outputs: list[Output], shape: tuple[int, ...]) -> bool:
    """May calls write this output to another place at once?"""
    v = o.value
    if not o.whole(shape) or sum(x.value is v for x in outputs) != 1:
        return False
    if v in context.carried or v in context.carried.values():
        return False
    written = False
    for s in steps:
        if isinstance(s, Call):
            written = written or any(s.operands[i].value is v for i in s.writes)
            if any(start.value is v for x in s.operands for start, _ in x.dynamic):
                return False
        elif isinstance(s, HostStep):
            if v in s.reads or v in s.equation.outputs:
                return False
        elif v in marked(s):
            return False
    return written


def marked(s: Marker) -> tuple[Var, ...]:
    """Values that a marker reads or writes."""
    if isinstance(s, Jump):
        return () if s.unless is None else (s.unless,)
    if isinstance(s, (Assign, Next)):
        return (s.value,)
    return s.values if isinstance(s, Reserve) else ()


def _written(steps: list[Step]) -> set[Var]:
    found: set[Var] = set()
    for s in steps:
        if isinstance(s, Call):
            found.update(s.operands[i].value for i in s.writes)
        elif isinstance(s, HostStep):
            found.update(s.equation.outputs)
    return found


def _condition(context: Nesting, o: Output) -> tuple[list[Step], Var]:
    """A bool scalar at the start of a value, as jumps read it."""
    if o.offset == 0:
        return [], o.value
    flag = Var(tensor_type(dt.bool_))
    return _copy(context, o, flag), flag


# --- schedules -----------------------------------------------------------------------------------

def schedule_if(g: Group, context: Nesting) -> list[Step]:
    """``if``: jump over one of two programs, both of which write the results."""
    e = _anchor(g)
    (predicate, *operands), views = _operands(g, context)
    strides, offset = context.layout(predicate)
    steps, flag = _condition(context, Output(predicate, strides, offset))
    otherwise, end = Label(), Label()
    steps += [Jump(otherwise, flag), *_branch(context, e.op.attrs.then, operands, e.outputs), Jump(end), otherwise,
              *_branch(context, e.op.attrs.otherwise, operands, e.outputs), end]
    return _seen(context, steps, views)


def _branch(context: Nesting, program: Program, operands: list[Var], results: tuple[Var, ...],
            grouped: bool = False) -> list[Step]:
    steps, outputs = context.nested(program, operands, (), grouped)
    after: list[Step] = []
    for o, result in zip(outputs, results, strict=True):
        if _renamable(context, o, steps, outputs, result.shape):
            steps = _rename(steps, o.value, Operand(result))
        else:
            after += _copy(context, o, result)
    return steps + after


def schedule_while(g: Group, context: Nesting) -> list[Step]:
    """``while``: the condition's program, a jump out, the body, a jump back."""
    e = _anchor(g)
    a, n = e.op.attrs, len(e.outputs)
    states = e.outputs
    given, views = _operands(g, context)
    operands = [*states, *given[n:]]
    steps = _start_state(context, given[:n], states)
    top, end = Label(), Label()
    test, (holds,) = context.nested(a.condition, operands, given[n:])
    more, flag = _condition(context, holds)
    body, outputs = context.nested(a.body, operands, given[n:])
    first, body = _ahead(body, set(states), outputs)
    return _seen(context, [*steps, *first, top, *test, *more, Jump(end, flag), *body,
                           *_advance(context, outputs, states, _written(body)), Jump(top), end], views)


def schedule_loop(g: Group, context: Nesting) -> list[Step]:
    """``loop``: the body once per step; parts of stacked results go where they belong."""
    e = _anchor(g)
    a, n = e.op.attrs, e.op.attrs.n_carried
    states, stacked = e.outputs[:n], e.outputs[n:]
    given, views = _operands(g, context)
    steps = _start_state(context, given[:n], states)
    if a.trips == 0:
        return _seen(context, steps, views)
    count = Var(tensor_type(dt.int64))
    body, outputs = context.nested(a.body, [count, *states, *given[n:]], given[n:])
    first, body = _ahead(body, {count, *states}, outputs)
    inside = _written(body)
    early: list[Step] = []
    parts: list[Step] = []
    for o, whole in zip(outputs[n:], stacked, strict=True):
        shape = whole.shape[1:]
        nbytes = tensor_type(whole.type.dtype, shape).nbytes
        aligned = nbytes % 64 == 0 or nbytes < STREAM_BYTES // 2
        if aligned and _renamable(context, o, body, outputs, shape):
            body = _rename(body, o.value, Operand(whole, 0, ((Start(count, a.trips - 1), nbytes),)))
        elif o.value in states:  # the state that the turn began with: its new value may then take its place
            early += _copy(context, o, whole, count)
        else:
            parts += _copy(context, o, whole, count)
    advance = _advance(context, outputs[:n], states, inside)
    top = Label()
    begin, end, step = (a.trips - 1, -1, -1) if a.backwards else (0, a.trips, 1)
    return _seen(context, [*steps, *first, Reserve(stacked), Assign(count, begin), top, *early, *body, *parts,
                           *advance, Next(count, end, top, step)], views)


def schedule_step(g: Group, context: Nesting) -> list[Step]:
    """An optimizer's step of one parameter: one kernel, not one for each of its operations."""
    e = _anchor(g)
    operands, views = _operands(g, context)
    values = [*(views.get(v, v) for v in operands), *e.outputs]
    numbers = {v: n for n, v in reversed(list(enumerate(values)))}
    key = e.op, tuple([(v.type, context.layout(v)) for v in operands]), tuple([numbers[v] for v in values])

    def schedule() -> list[Step]:
        assert e.op.row.body is not None
        program = trace_body(e.op.row.body, tuple([v.type for v in operands]), **dict(e.op.attrs.items()))
        return _seen(context, _branch(context, program, operands, e.outputs, True), views)
    return context.once(key, values, schedule)


def _anchor(g: Group) -> Equation:
    assert g.anchor is not None
    return g.anchor

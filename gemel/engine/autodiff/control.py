"""Derivatives, in both modes, of control flow and of opaque operations."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base.dtypes import int64
from ..base.errors import UnsupportedError
from ..ir.builder import Builder, ProgramBuilder
from ..ir.custom import lookup
from ..ir.program import Program, Var
from ..ir.types import TensorType, tensor_type
from .forward import push
from .jvp import jvp
from .program import linearize
from .vjp import Saved, vjp

STEP = tensor_type(int64)


def _smooth(values: Sequence[Any]) -> list[int]:
    """Positions of what has a derivative."""
    return [i for i, v in enumerate(values) if (v if isinstance(v, TensorType) else v.type).dtype.is_inexact]


def _zeros_for_none(b: Builder, gs: Sequence[Any], types: Sequence[TensorType]) -> list[Any]:
    return [b.zeros(t) if g is None else g for g, t in zip(gs, types, strict=True)]


def _placed(found: Sequence[Any], places: Sequence[int], n: int) -> list[Any]:
    """A list of ``n`` with ``found`` at ``places`` and None elsewhere."""
    out: list[Any] = [None] * n
    for i, v in zip(places, found, strict=True):
        out[i] = v
    return out


def _inputs(b: ProgramBuilder, types: Sequence[TensorType]) -> list[Var]:
    return [b.input(t) for t in types]


# --- if ---------------------------------------------------------------------------------------------

def _pull(program: Program) -> Program:
    """(operands, cotangents of smooth results) -> cotangents of smooth operands."""
    b = ProgramBuilder()
    operands = _inputs(b, program.input_types)
    out = _smooth(program.output_types)
    gs = _inputs(b, [program.output_types[i] for i in out])
    _, pullback = linearize(b, program, operands)
    found = pullback(_placed(gs, out, len(program.outputs)))
    chosen = _smooth(program.input_types)
    return b.build(_zeros_for_none(b, [found[i] for i in chosen], [program.input_types[i] for i in chosen])).live()


def _push(program: Program) -> Program:
    """(operands, tangents of smooth operands) -> tangents of smooth results."""
    b = ProgramBuilder()
    operands = _inputs(b, program.input_types)
    places = _smooth(program.input_types)
    ts = _inputs(b, [program.input_types[i] for i in places])
    _, found = push(b, program, operands, _placed(ts, places, len(operands)))
    out = _smooth(program.output_types)
    return b.build(_zeros_for_none(b, [found[i] for i in out], [program.output_types[i] for i in out])).live()


@vjp("if", every=True)
def _if_vjp(b, g, s: Saved):
    predicate, *operands = s.inputs
    a = s.attrs
    out = _smooth(a.then.output_types)
    gs = _zeros_for_none(b, [g[i] for i in out], [a.then.output_types[i] for i in out])
    places = _smooth(operands)
    if not places or not out:
        return [None] * len(s.types)
    found = b.if_(predicate, _pull(a.then), _pull(a.otherwise), [*operands, *gs])
    return [None, *_placed(found, places, len(operands))]


@jvp("if")
def _if_jvp(b, s: Saved, tangents):
    predicate, *operands = s.inputs
    a = s.attrs
    places, out = _smooth(operands), _smooth(a.then.output_types)
    if not out:
        return (None,) * len(s.outputs)
    ts = _zeros_for_none(b, [tangents[i + 1] for i in places], [operands[i].type for i in places])
    found = b.if_(predicate, _push(a.then), _push(a.otherwise), [*operands, *ts])
    return tuple(_placed(found, out, len(s.outputs)))


# --- counted loops ----------------------------------------------------------------------------------

def _at(b: Builder, stacked: Any, step: Any) -> Any:
    """Row ``step`` of a stack."""
    shape = stacked.type.shape[1:]
    starts = [step] + [b.index_scalar(0)] * len(shape)
    return b.reshape(b.dynamic_slice(stacked, starts, (1, *shape), (1,) * (len(shape) + 1)), shape)


def _with_history(body: Program, n_carried: int) -> Program:
    """``body`` that also stacks the carried state that each step began with."""
    return Program(body.inputs, body.equations, (*body.outputs, *body.inputs[1:1 + n_carried]))


def _backward_step(body: Program, trips: int, n_carried: int) -> Program:
    """(step, cotangents of smooth carried and fixed; then histories, cotangents of smooth stacks, and the fixed
    operands) -> the cotangents in front of the step."""
    b = ProgramBuilder()
    types = body.input_types[1:]
    carried, fixed = types[:n_carried], types[n_carried:]
    stacks = body.output_types[n_carried:]
    at = b.input(STEP)
    moving, still, out = _smooth(carried), _smooth(fixed), _smooth(stacks)
    g_carried = _inputs(b, [carried[i] for i in moving])
    g_fixed = _inputs(b, [fixed[i] for i in still])
    histories = _inputs(b, [t.with_shape((trips, *t.shape)) for t in carried])
    g_stacks = _inputs(b, [stacks[i].with_shape((trips, *stacks[i].shape)) for i in out])
    values = _inputs(b, fixed)
    _, pullback = linearize(b, body, [at, *(_at(b, h, at) for h in histories), *values])
    gs = _placed(g_carried, moving, n_carried) + _placed([_at(b, g, at) for g in g_stacks], out, len(stacks))
    found = pullback(gs)[1:]
    before = _zeros_for_none(b, [found[i] for i in moving], [carried[i] for i in moving])
    adds = [found[n_carried + i] for i in still]
    sums = [g if d is None else b.add(g, d) for g, d in zip(g_fixed, adds, strict=True)]
    return b.build([*before, *sums]).live()


@vjp("loop", every=True)
def _loop_vjp(b, g, s: Saved):
    """The states are computed again and kept, then the steps are gone through in the opposite order."""
    a, n = s.attrs, s.attrs.n_carried
    carried, fixed = list(s.inputs[:n]), list(s.inputs[n:])
    body, trips = a.body, a.trips
    stacks = body.output_types[n:]
    moving, still, out = _smooth(carried), _smooth(fixed), _smooth(stacks)
    if not moving and not still:
        return [None] * len(s.types)
    g_carried = _zeros_for_none(b, [g[i] for i in moving], [carried[i].type for i in moving])
    g_stacks = _zeros_for_none(b, [g[n + i] for i in out], [stacks[i].with_shape((trips, *stacks[i].shape))
                                                            for i in out])
    zeros = [b.zeros(fixed[i].type) for i in still]
    if trips:
        histories = b.loop(_with_history(body, n), trips, carried, fixed, a.backwards)[n + len(stacks):]
        found = b.loop(_backward_step(body, trips, n), trips, [*g_carried, *zeros], [*histories, *g_stacks, *fixed],
                       not a.backwards)
    else:
        found = [*g_carried, *zeros]
    return (_placed(found[:len(moving)], moving, n) + _placed(found[len(moving):], still, len(fixed)))


def _pushed_body(body: Program, n_lead: int, n_carried: int) -> Program:
    """A body on (lead, carried, tangents of smooth carried, fixed, tangents of smooth fixed) that carries both."""
    b = ProgramBuilder()
    types = body.input_types[n_lead:]
    carried, fixed = types[:n_carried], types[n_carried:]
    lead = _inputs(b, body.input_types[:n_lead])
    moving, still = _smooth(carried), _smooth(fixed)
    state = _inputs(b, carried)
    t_state = _inputs(b, [carried[i] for i in moving])
    values = _inputs(b, fixed)
    t_values = _inputs(b, [fixed[i] for i in still])
    ts = [*(None for _ in lead), *_placed(t_state, moving, n_carried), *_placed(t_values, still, len(fixed))]
    results, found = push(b, body, [*lead, *state, *values], ts)
    out = _smooth(body.output_types[n_carried:])
    t_next = _zeros_for_none(b, [found[i] for i in moving], [carried[i] for i in moving])
    t_stacks = _zeros_for_none(b, [found[n_carried + i] for i in out],
                               [body.output_types[n_carried + i] for i in out])
    return b.build([*results[:n_carried], *t_next, *results[n_carried:], *t_stacks]).live()


@jvp("loop")
def _loop_jvp(b, s: Saved, tangents):
    a, n = s.attrs, s.attrs.n_carried
    carried, fixed = list(s.inputs[:n]), list(s.inputs[n:])
    moving, still = _smooth(carried), _smooth(fixed)
    out = _smooth(a.body.output_types[n:])
    t_carried = _zeros_for_none(b, [tangents[i] for i in moving], [carried[i].type for i in moving])
    t_fixed = _zeros_for_none(b, [tangents[n + i] for i in still], [fixed[i].type for i in still])
    found = b.loop(_pushed_body(a.body, 1, n), a.trips, [*carried, *t_carried], [*fixed, *t_fixed], a.backwards)
    n_stacks = len(a.body.outputs) - n
    first = n + len(moving) + n_stacks
    return tuple(_placed(found[n:n + len(moving)], moving, n) + _placed(found[first:], out, n_stacks))


# --- while ------------------------------------------------------------------------------------------

@jvp("while")
def _while_jvp(b, s: Saved, tangents):
    a = s.attrs
    n = len(s.inputs) - a.n_fixed
    carried, fixed = list(s.inputs[:n]), list(s.inputs[n:])
    moving, still = _smooth(carried), _smooth(fixed)
    t_carried = _zeros_for_none(b, [tangents[i] for i in moving], [carried[i].type for i in moving])
    t_fixed = _zeros_for_none(b, [tangents[n + i] for i in still], [fixed[i].type for i in still])
    inputs = [*a.condition.inputs[:n], *(Var(t.type) for t in t_carried),
              *a.condition.inputs[n:], *(Var(t.type) for t in t_fixed)]
    condition = Program(inputs, a.condition.equations, a.condition.outputs)
    found = b.while_(condition, _pushed_body(a.body, 0, n), [*carried, *t_carried, *fixed, *t_fixed],
                     a.n_fixed + len(t_fixed))
    return tuple(_placed(found[n:], moving, n))


def _counted(a: Any, n: int, limited: bool) -> tuple[Program, Program]:
    """Condition and body on (count, state, [limit], fixed): the count rises; with ``limited`` it ends the loop."""
    b = ProgramBuilder()
    count = b.input(STEP)
    state = _inputs(b, a.body.input_types[:n])
    limit = b.input(STEP) if limited else None
    fixed = _inputs(b, a.body.input_types[n:])
    following = b.inline(a.body, [*state, *fixed])
    body = b.build([b.add(count, b.index_scalar(1)), *following])
    c = ProgramBuilder()
    count = c.input(STEP)
    state = _inputs(c, a.body.input_types[:n])
    limit = c.input(STEP) if limited else None
    fixed = _inputs(c, a.body.input_types[n:])
    go_on = c.lt(count, limit) if limited else c.inline(a.condition, [*state, *fixed])[0]
    return c.build([go_on]), body


@vjp("while", every=True)
def _while_vjp(b, g, s: Saved):
    """How often the loop turns is not known before it runs, so its states cannot be kept: each is computed again from
    the start (n steps cost n^2 / 2; a counted ``loop`` keeps them)."""
    a = s.attrs
    n = len(s.inputs) - a.n_fixed
    state, fixed = list(s.inputs[:n]), list(s.inputs[n:])
    moving, still = _smooth(state), _smooth(fixed)
    if not moving and not still:
        return [None] * len(s.types)
    zero = b.index_scalar(0)
    turns = b.while_(*_counted(a, n, False), [zero, *state, *fixed], a.n_fixed)[0]
    gs = _zeros_for_none(b, [g[i] for i in moving], [state[i].type for i in moving])
    sums = [b.zeros(fixed[i].type) for i in still]
    condition, body = _rewind(a, n)
    found = b.while_(condition, body, [turns, *gs, *sums, *state, *fixed], n + a.n_fixed)[1:]
    return _placed(found[:len(moving)], moving, n) + _placed(found[len(moving):], still, len(fixed))


def _rewind(a: Any, n: int) -> tuple[Program, Program]:
    """Condition and body on (turns left, cotangents, sums; first state, fixed): one step of the backward pass."""
    types = a.body.input_types
    moving, still = _smooth(types[:n]), _smooth(types[n:])

    def inputs(b: ProgramBuilder) -> tuple[Var, list[Var], list[Var], list[Var], list[Var]]:
        return (b.input(STEP), _inputs(b, [types[i] for i in moving]), _inputs(b, [types[n + i] for i in still]),
                _inputs(b, types[:n]), _inputs(b, types[n:]))

    c = ProgramBuilder()
    left, *_ = inputs(c)
    condition = c.build([c.lt(c.index_scalar(0), left)])
    b = ProgramBuilder()
    left, gs, sums, first, fixed = inputs(b)
    left = b.sub(left, b.index_scalar(1))
    at = b.while_(*_counted(a, n, True), [b.index_scalar(0), *first, left, *fixed], a.n_fixed + 1)[1:]
    _, pullback = linearize(b, a.body, [*at, *fixed])
    found = pullback(_placed(gs, moving, n))
    before = _zeros_for_none(b, [found[i] for i in moving], [types[i] for i in moving])
    adds = [found[n + i] for i in still]
    sums = [g if d is None else b.add(g, d) for g, d in zip(sums, adds, strict=True)]
    return condition, b.build([left, *before, *sums])


# --- opaque operations ------------------------------------------------------------------------------

@vjp("custom", every=True, outputs=True)
def _custom_vjp(b, g, s: Saved):
    custom = lookup(s.attrs.name)
    if custom.vjp is None:
        raise UnsupportedError(f"the custom op {custom.name!r} has no vjp: register one to differentiate it")
    filled = [b.zeros(out.type) if d is None and out.type.dtype.is_inexact else d
              for d, out in zip(g, s.outputs, strict=True)]
    return list(custom.vjp(b, s.attrs.arguments, s.inputs, s.outputs, filled))


@jvp("custom")
def _custom_jvp(b, s: Saved, tangents):
    """The vjp is linear in the cotangents; its transpose gives the tangents."""
    out, places = _smooth(s.outputs), [i for i, t in enumerate(tangents) if t is not None]
    v = ProgramBuilder()
    gs = [v.input(s.outputs[i].type) for i in out]
    inputs, outputs = _inputs(v, s.types), _inputs(v, [o.type for o in s.outputs])
    grads = _custom_vjp(v, tuple(_placed(gs, out, len(outputs))), Saved(s.op, s.types, inputs, outputs))
    pairs = [(grads[i], tangents[i]) for i in places if grads[i] is not None]
    program = v.build([d for d, _ in pairs])
    _, pullback = linearize(b, program, [*(b.zeros(s.outputs[i].type) for i in out), *s.inputs, *s.outputs])
    return tuple(_placed(pullback([t for _, t in pairs])[:len(out)], out, len(outputs)))


"""Tangents of any operation and of whole programs.

A primitive has its rule in ``jvp``. A composite with a vjp of its own is pushed forward by the transpose of that rule
(so that both modes agree where a derivative is a choice, as at a kink); one without, through its body.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base.errors import UnsupportedError
from ..ir.builder import Builder, ProgramBuilder
from ..ir.op import Op, op
from ..ir.primitives import ROWS
from ..ir.program import Program, Var
from ..ir.types import TensorType
from .jvp import JVPS
from .program import body_of, linearize
from .vjp import NOT_DIFFERENTIABLE, RULES, Saved

_pushforwards: dict[tuple, tuple[Op | None, tuple[int, ...], tuple[int | None, ...]]] = {}


def tangents_of(b: Builder, the_op: Op, inputs: Sequence[Any], outputs: Sequence[Any],
                tangents: Sequence[Any]) -> tuple[Any, ...]:
    """One tangent per result of an op (None: zero), from those of its operands (None: zero)."""
    none = (None,) * len(outputs)
    if the_op.name in NOT_DIFFERENTIABLE or all(t is None for t in tangents):
        return none
    types = tuple([x.type for x in inputs])
    rule = JVPS.get(the_op.name)
    if rule is not None:
        found = rule(b, Saved(the_op, types, inputs, outputs), tangents)
        found = found if found.__class__ is tuple else (found,)
        return tuple(t if v.type.dtype.is_inexact else None for t, v in zip(found, outputs, strict=True))
    if the_op.row.body is None:
        raise UnsupportedError(f"the forward derivative of {the_op.name!r} is not implemented")
    given = tuple([t is not None for t in tangents])
    called, takes, gives = _pushforward(the_op, types, given)
    if called is None:
        return none
    values = [*inputs, *outputs, *(t for t in tangents if t is not None)]
    found = b.emit(called, *[values[i] for i in takes])
    return tuple(None if i is None else found[i] for i in gives)


def _pushforward(the_op: Op, types: tuple[TensorType, ...],
                 given: tuple[bool, ...]) -> tuple[Op | None, tuple[int, ...], tuple[int | None, ...]]:
    """The tangents of this kind of call as one op: the op, positions of its operands, and of its results."""
    key = (the_op, types, given)
    found = _pushforwards.get(key)
    if found is None:
        found = _pushforwards[key] = _build(the_op, types, given)
    return found


def _build(the_op: Op, types: tuple[TensorType, ...],
           given: tuple[bool, ...]) -> tuple[Op | None, tuple[int, ...], tuple[int | None, ...]]:
    b = ProgramBuilder()
    inputs = [b.input(t) for t in types]
    outputs = [b.input(t) for t in the_op.infer_all(types)]
    tangents = [b.input(t) if is_given else None for t, is_given in zip(types, given, strict=True)]
    if the_op.name in RULES and not RULES[the_op.name].every:
        found = _transposed(b, the_op, inputs, outputs, tangents)
    else:
        _, found = push(b, body_of(the_op, types), inputs, tangents)
    wanted = [t for t in found if t is not None]
    program = b.build(wanted).live()
    used = {v for e in program.equations for v in e.inputs}.union(program.outputs)
    takes = tuple(i for i, v in enumerate(program.inputs) if v in used)
    if not wanted:
        return None, (), ()
    called = op(ROWS["call"], Program([program.inputs[i] for i in takes], program.equations, program.outputs))
    numbers = iter(range(len(wanted)))
    return called, takes, tuple(None if t is None else next(numbers) for t in found)


def _transposed(b: ProgramBuilder, the_op: Op, inputs: Sequence[Var], outputs: Sequence[Var],
                tangents: Sequence[Var | None]) -> list[Any]:
    """The vjp rule is linear in the cotangent; its transpose takes tangents of the operands to those of results."""
    rule = RULES[the_op.name]
    several = the_op.row.n_outputs != 1
    smooth = [i for i, v in enumerate(outputs) if v.type.dtype.is_inexact]
    chosen = range(len(outputs)) if rule.outputs is True else rule.outputs or ()
    kept = [inputs[i] for i in rule.inputs if i < len(inputs)] + [outputs[i] for i in chosen]
    v = ProgramBuilder()
    cotangents = {i: v.input(outputs[i].type) for i in smooth}
    saved = [v.input(x.type) for x in kept]
    n = len(kept) - len(chosen)
    g = tuple(cotangents.get(i) for i in range(len(outputs))) if several else cotangents.get(0)
    types = tuple(x.type for x in inputs)
    grads = rule.rule(v, g, Saved(the_op, types, saved[:n], saved[n:]))
    pairs = [(d, t) for d, t in zip(grads, tangents, strict=True) if d is not None and t is not None]
    if not pairs or not smooth:
        return [None] * len(outputs)
    program = v.build([d for d, _ in pairs])
    zeros = [b.zeros(outputs[i].type) for i in smooth]
    _, pullback = linearize(b, program, [*zeros, *kept])
    found = dict(zip(smooth, pullback([t for _, t in pairs]), strict=False))
    return [found.get(i) for i in range(len(outputs))]


def push(b: Builder, program: Program, operands: Sequence[Any],
         tangents: Sequence[Any]) -> tuple[tuple[Any, ...], list[Any]]:
    """Write ``program`` on ``operands``; its results and their tangents (None: zero)."""
    env: dict[Var, Any] = dict(zip(program.inputs, operands, strict=True))
    moving: dict[Var, Any] = dict(zip(program.inputs, tangents, strict=True))
    for e in program.equations:
        inputs = [env[v] for v in e.inputs]
        results = b.emit(e.op, *inputs)
        results = results if results.__class__ is tuple else (results,)
        env.update(zip(e.outputs, results, strict=True))
        found = tangents_of(b, e.op, inputs, results, [moving.get(v) for v in e.inputs])
        moving.update(zip(e.outputs, found, strict=True))
    return tuple(env[v] for v in program.outputs), [moving.get(v) for v in program.outputs]

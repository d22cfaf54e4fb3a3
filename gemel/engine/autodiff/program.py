"""Derivatives of whole programs: what composites without a rule of their own, and bodies of loops, use.

A composite that declares no vjp is differentiated through its body: the body is written again on the saved operands
(the forward pass has the same operations, so a plan that holds both computes them once) and its equations are walked
backwards by their own rules.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base.errors import UnsupportedError
from ..ir.builder import Builder, trace_body
from ..ir.op import Op
from ..ir.program import Program, Var
from ..ir.types import TensorType
from .vjp import NOT_DIFFERENTIABLE, RULES, Saved, Vjp

_bodies: dict[tuple[Op, tuple[TensorType, ...]], Program] = {}


def body_of(the_op: Op, types: tuple[TensorType, ...]) -> Program:
    """The body of a composite for these operand types, in primitives and smaller composites."""
    key = (the_op, types)
    found = _bodies.get(key)
    if found is None:
        assert the_op.row.body is not None
        found = _bodies[key] = trace_body(the_op.row.body, types, **dict(the_op.attrs.items()))
    return found


def rule_of(the_op: Op) -> Vjp | None:
    """The vjp rule of an op: its own, or for a composite the one that follows from its body."""
    found = RULES.get(the_op.name)
    if found is None and the_op.row.body is not None:
        found = RULES[the_op.name] = Vjp(_through_body, every=True)
    return found


def _through_body(b: Builder, g: Any, s: Saved) -> Sequence[Any]:
    program = body_of(s.op, s.types)
    cotangents = g if g.__class__ is tuple else (g,)
    _, pullback = linearize(b, program, s.inputs)
    return pullback(cotangents)


def linearize(b: Builder, program: Program, operands: Sequence[Any]) -> tuple[tuple[Any, ...], Any]:
    """Write ``program`` on ``operands``; its results, and the function from their cotangents to the operands'.

    A cotangent of None is a zero.
    """
    env: dict[Var, Any] = dict(zip(program.inputs, operands, strict=True))
    for e in program.equations:
        results = b.emit(e.op, *[env[v] for v in e.inputs])
        env.update(zip(e.outputs, results if results.__class__ is tuple else (results,), strict=True))

    def pullback(cotangents: Sequence[Any]) -> list[Any]:
        grads: dict[Var, Any] = {}
        for v, g in zip(program.outputs, cotangents, strict=True):
            _add(b, grads, v, g)
        for e in reversed(program.equations):
            _walk(b, e, env, grads)
        return [grads.get(v) for v in program.inputs]

    return tuple(env[v] for v in program.outputs), pullback


def _walk(b: Builder, e: Any, env: dict[Var, Any], grads: dict[Var, Any]) -> None:
    """Carry the cotangents of the results of one equation to its operands."""
    found = [grads.pop(v, None) for v in e.outputs]
    if all(g is None for g in found) or not any(v.type.dtype.is_inexact for v in e.inputs):
        return
    if e.op.name in NOT_DIFFERENTIABLE:
        return
    rule = rule_of(e.op)
    if rule is None:
        raise UnsupportedError(f"the derivative of {e.op.name!r} is not implemented")
    where = range(len(e.inputs)) if rule.every else rule.inputs
    inputs = [env[e.inputs[i]] for i in where if i < len(e.inputs)]
    outputs = [env[v] for i, v in enumerate(e.outputs) if rule.outputs is True or i in (rule.outputs or ())]
    g = tuple(found) if e.op.row.n_outputs != 1 else found[0]
    for v, d in zip(e.inputs, rule.rule(b, g, Saved(e.op, tuple(v.type for v in e.inputs), inputs, outputs)),
                    strict=True):
        _add(b, grads, v, d)


def _add(b: Builder, grads: dict[Var, Any], v: Var, g: Any) -> None:
    if g is not None and v.type.dtype.is_inexact:
        grads[v] = b.add(grads[v], g) if v in grads else g

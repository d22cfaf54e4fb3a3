"""The derivative of one operation as one operation.

A composite's rule writes a dozen operations; a backward pass would record each of them again at every step. A
*pullback* runs the rule once for each kind of call (op, operand types, which cotangents are needed and given),
keeps what the needed ones depend on as a program, and is from then on recorded as a single ``call`` of it.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autodiff.vjp import Saved, Vjp
from ..composites import call as _registers_call  # noqa: F401
from ..ir.builder import ProgramBuilder
from ..ir.op import Op, op
from ..ir.primitives import ROWS
from ..ir.program import Program, Var
from ..ir.types import TensorType
from ..passes.dce import dce

Record = Callable[[Op, Sequence[Any]], Any]


class Pullback:
    """What to record: an op on some of (cotangents, saved inputs, saved outputs), and where its results go.

    Attributes:
        op: None if no cotangent results. takes: positions of its operands. gives: for each operand of the
            differentiated op the number of the result that is its cotangent, or None.
        single: the op has one result and does not return a tuple.
        idle: for each saved operand, does it serve only cotangents that nobody wants? None: none does.
    """

    __slots__ = ("op", "takes", "gives", "single", "idle")
    op: Op | None
    takes: tuple[int, ...]
    gives: tuple[int | None, ...]
    single: bool
    idle: list[bool] | None

    def __init__(self, program: Program, gives: tuple[int | None, ...], idle: list[bool] | None) -> None:
        self.idle = idle
        used = {v for e in program.equations for v in e.inputs}.union(program.outputs)
        self.takes = tuple(i for i, v in enumerate(program.inputs) if v in used)
        self.gives = gives
        if not program.outputs:
            self.op, self.single = None, False
            return
        only = program.equations[0] if len(program.equations) == 1 else None
        if only is not None and only.outputs == program.outputs:
            where = {v: i for i, v in enumerate(program.inputs)}
            self.op, self.single = only.op, only.op.row.n_outputs == 1
            self.takes = tuple(where[v] for v in only.inputs)
            return
        self.single = False
        self.op = op(ROWS["call"], Program([program.inputs[i] for i in self.takes], program.equations, program.outputs))

    def record(self, record: Record, values: Sequence[Any]) -> list[Any]:
        """Record it; the cotangents of the operands."""
        if self.op is None:
            return [None] * len(self.gives)
        found = record(self.op, [values[i] for i in self.takes])
        if self.single:
            found = (found,)
        return [found[i] if i is not None else None for i in self.gives]


_pullbacks: dict[tuple, Pullback] = {}


def idle_inputs(rule: Vjp, needed: Sequence[bool]) -> list[bool] | None:
    """For each saved operand: does it serve only cotangents that are not needed? None if none does."""
    if not rule.crossed or all(needed):
        return None
    idle = [i in rule.crossed and not any(needed[j] for j in rule.inputs if j != i) for i in rule.inputs]
    return idle if any(idle) else None


def pullback_of(the_op: Op, rule: Vjp, types: tuple[TensorType, ...], needed: tuple[bool, ...], g: Any,
                inputs: Sequence[Any], outputs: Sequence[Any]) -> Pullback:
    """The pullback of this kind of call.

    Args:
        the_op, types: the differentiated op and its operand types. rule: its rule.
        needed: for each operand, is its cotangent wanted? g: the cotangent, or of several results their tuple.
        inputs, outputs: what the op saved (their types count).
    """
    key = (the_op, types, needed, tuple([x is not None for x in g]) if g.__class__ is tuple else None)
    found = _pullbacks.get(key)
    if found is None:
        found = _pullbacks[key] = _build(the_op, rule, types, needed, g, inputs, outputs)
    return found


def _build(the_op: Op, rule: Vjp, types: tuple[TensorType, ...], needed: tuple[bool, ...], g: Any,
           inputs: Sequence[Any], outputs: Sequence[Any]) -> Pullback:
    b = ProgramBuilder()

    def fresh(x: Any) -> Var | None:
        return None if x is None else b.input(x.type)

    cotangent = tuple(map(fresh, g)) if g.__class__ is tuple else fresh(g)
    saved = Saved(the_op, types, [fresh(x) for x in inputs], [fresh(x) for x in outputs])
    wanted: list[Var] = []
    gives: list[int | None] = []
    for d, is_needed in zip(rule.rule(b, cotangent, saved), needed, strict=True):
        if d is None or not is_needed:
            gives.append(None)
            continue
        if d not in wanted:
            wanted.append(d)
        gives.append(wanted.index(d))
    return Pullback(dce(b.build(wanted)), tuple(gives), idle_inputs(rule, needed))

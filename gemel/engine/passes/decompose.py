"""Inline composites.

In: any program. Out: the same with every composite replaced by its body (``decompose_unknown``: except those that a
schedule knows, see ``KEPT``; ``decompose``: except steps of optimizers, see ``STEPS``); reductions over empty or
single-element axes are gone too, and strides of ``conv_transpose``. Control flow keeps its nested programs, which go
through the passes when they are scheduled.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.builder import ProgramBuilder
from ..ir.op import Op, op
from ..ir.phases import phases
from ..ir.primitives import ROWS
from ..ir.program import Program, Var
from ..ir.types import TensorType

#: composites with a schedule of their own -> does it take this op with operands of these types?
KEPT: dict[str, Callable[[Op, Sequence[TensorType]], bool]] = {}


#: steps of optimizers over ``count`` parameters -> how many operands, the last ones, all parameters have in common.
#: Where nothing is fused they become one operation a parameter, which has a schedule of its own
STEPS: dict[str, int] = {"sgd_step": 4, "adam_step": 10, "rmsprop_step": 6, "adagrad_step": 3, "adadelta_step": 5,
                         "adamax_step": 5, "nadam_step": 9, "radam_step": 11, "asgd_step": 5, "rprop_step": 4}


class _Inliner(ProgramBuilder):
    """Emits primitives; a composite emits its body instead, unless it is kept."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self.keep = keep

    def emit(self, the_op: Op, *operands: Var) -> Any:
        row = the_op.row
        if row.kind == "reduce":
            plain = _trivial_reduction(self, the_op, operands[0])
            if plain is not None:
                return plain
        if the_op.name == "take" and not operands[0].type.shape[the_op.attrs.axis]:
            result = the_op.infer(tuple([v.type for v in operands]))  # of an empty axis: zeros
            return self.full(0, result.dtype, result.shape)
        if the_op.name == "check" and operands[0].type.shape != operands[1].type.shape:
            return self._check_once(the_op, *operands)
        if the_op.name == "conv_transpose" and any(s > 1 for s in the_op.attrs.stride):
            return _by_phases(self, the_op, *operands)
        if row.kind != "composite":
            return super().emit(the_op, *operands)
        if the_op.name in STEPS and not self.keep:
            return self._one_by_one(the_op, *operands)
        kept = KEPT.get(the_op.name) if self.keep else None
        if kept is not None and kept(the_op, [v.type for v in operands]):
            return super().emit(the_op, *operands)
        assert row.body is not None
        return row.body(self, *operands, **dict(the_op.attrs.items()))


    def _one_by_one(self, the_op: Op, *operands: Var) -> tuple[Var, ...]:
        """An optimizer's step as one operation a parameter."""
        count, common = the_op.attrs.count, len(operands) - STEPS[the_op.name]
        single = op(the_op.row, *[1 if name == "count" else value for name, value in the_op.attrs.items()])
        found = [super(_Inliner, self).emit(single, *operands[i:common:count], *operands[common:])
                 for i in range(count)]
        return tuple([v for group in zip(*found, strict=True) for v in group])

    def _check_once(self, the_op: Op, condition: Var, x: Var) -> Var:
        """A condition of another shape: whether all of it holds goes with every element."""
        if not condition.type.size:
            return x
        holds = self.emit(op(ROWS["reduce_min"], tuple(range(condition.type.ndim))), condition)
        return self.emit(the_op, self.expand(holds, x.type.shape), x)


def _by_phases(b: ProgramBuilder, the_op: Op, g: Var, w: Var) -> Var:
    """A strided input gradient: its phases, each written between the others."""
    a = the_op.attrs
    kernel, two = w.type.shape[2:], w.type.shape[:2]
    result = b.zeros(the_op.infer((g.type, w.type)))
    for phase in phases(a, g.type.shape[2:], kernel):
        taps = b.slice(w, (0, 0, *(p.tap for p in phase)), (*two, *kernel), (1, 1, *(p.step for p in phase)))
        part = b.conv_transpose(g, taps, size=tuple(p.count for p in phase), stride=(1,) * len(phase),
                                padding=tuple((p.low, p.high) for p in phase),
                                dilation=tuple(p.dilation for p in phase), groups=a.groups)
        starts = [b.index_scalar(n) for n in (0, 0, *(p.first for p in phase))]
        result = b.dynamic_update(result, part, starts, (1, 1, *a.stride))
    return result


def _trivial_reduction(b: ProgramBuilder, the_op: Op, x: Var) -> Var | None:
    """A reduction of no elements is a constant, of single elements a reshape; None for all others."""
    result = the_op.infer((x.type,))
    axes = the_op.attrs.axes if the_op.name.startswith("reduce") else (the_op.attrs.axis,)
    if any(x.shape[a] == 0 for a in axes):
        return b.full(1 if the_op.name == "reduce_prod" else 0, result.dtype, result.shape)
    if all(x.shape[a] == 1 for a in axes):
        if the_op.name.startswith("arg"):
            return b.full(0, result.dtype, result.shape)
        return b.reshape(x, result.shape)
    return None


def decompose(program: Program) -> Program:
    """Replace composites by primitives, recursively."""
    return _inlined(program, False)


def decompose_unknown(program: Program) -> Program:
    """Replace composites that no schedule knows."""
    return _inlined(program, True)


def _inlined(program: Program, keep: bool) -> Program:
    b = _Inliner(keep)
    env: dict[Var, Var] = {v: v for v in program.inputs}
    b.inputs = list(program.inputs)
    for e in program.equations:
        b.site = e.site
        results: Any = b.emit(e.op, *[env[v] for v in e.inputs])
        env.update(zip(e.outputs, results if results.__class__ is tuple else (results,), strict=True))
    return Program(b.inputs, b.equations, [env[v] for v in program.outputs])

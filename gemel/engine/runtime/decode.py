"""From a trace's flat code to a :class:`Program`."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.op import Op
from ..ir.program import Equation, Program, Var
from ..ir.types import TensorType


def decode(code: Sequence[Any], leaf_types: Sequence[TensorType], scalar_types: Sequence[TensorType],
           roots: Sequence[int], sites: dict[int, str] | None = None) -> Program:
    """The program of a trace.

    Args:
        code: ops and operand numbers, as recorded (see ``trace``).
        leaf_types, scalar_types: types of the inputs. roots: numbers of the results that are the outputs.
        sites: source lines by result number.
    Returns:
        A program whose inputs are the leaves followed by the scalars. Results that no root needs are left out.
    """
    leaves = [Var(t) for t in leaf_types]
    scalars = [Var(t) for t in scalar_types]
    results: list[Var] = []
    equations: list[Equation] = []
    at, end = 0, len(code)
    while at < end:
        op: Op = code[at]
        at += 1
        operands = []
        while at < end and (n := code[at]).__class__ is int:
            operands.append(results[n] if n >= 0 else scalars[(-2 - n) // 2] if n % 2 == 0 else leaves[(-1 - n) // 2])
            at += 1
        site = sites.get(len(results)) if sites else None
        outputs = [Var(t) for t in op.infer_all(tuple([v.type for v in operands]))]
        results += outputs
        equations.append(Equation(op, operands, outputs, site))
    outputs = [results[r] for r in roots]
    return Program(leaves + scalars, needed(equations, outputs), outputs)


def needed(equations: Sequence[Equation], outputs: Sequence[Var]) -> list[Equation]:
    """The equations that ``outputs`` depend on (checks included only if something depends on them)."""
    wanted = set(outputs)
    kept = []
    for e in reversed(equations):
        if any(v in wanted for v in e.outputs):
            wanted.update(e.inputs)
            kept.append(e)
    kept.reverse()
    return kept

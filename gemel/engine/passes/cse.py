"""Common subexpressions: equations with the same op and operands are computed once.

Values that are cheap to compute again at every use (constants broadcast to a shape) merge too; fusion decides
where they are computed.
"""
from __future__ import annotations

from ..ir.program import Equation, Program, Var


def cse(program: Program) -> Program:
    """The program with repeated equations merged."""
    env: dict[Var, Var] = {}
    seen: dict[tuple, tuple[Var, ...]] = {}
    kept = []
    for e in program.equations:
        inputs = tuple([env.get(v, v) for v in e.inputs])
        key = (e.op, inputs)
        earlier = seen.get(key)
        if earlier is not None:
            env.update(zip(e.outputs, earlier, strict=True))
            continue
        if inputs != e.inputs:
            e = Equation(e.op, inputs, e.outputs, e.site)
        seen[key] = e.outputs
        kept.append(e)
    if len(kept) == len(program.equations):
        return program
    return Program(program.inputs, kept, [env.get(v, v) for v in program.outputs])

"""Dead code elimination: drop equations whose results nothing needs, and what loops compute for nobody.

Every primitive is pure, so an equation is needed only through its results. A ``check`` guards the value that it
passes on and goes with it. A ``loop`` loses stacked results that nothing reads, and states that nothing reads and
no kept result depends on.
"""
from __future__ import annotations

from ..ir.op import op
from ..ir.program import Equation, Program, Var


def dce(program: Program) -> Program:
    """The program without equations, and without results of loops, that no output depends on."""
    wanted, kept = set(program.outputs), []
    same = True
    for e in reversed(program.equations):
        if wanted.isdisjoint(e.outputs):
            same = False
            continue
        if e.op.name == "loop":
            smaller = _loop(e, wanted)
            same = same and smaller is e
            e = smaller
        wanted.update(e.inputs)
        kept.append(e)
    return program if same else Program(program.inputs, reversed(kept), program.outputs)


def _loop(e: Equation, wanted: set[Var]) -> Equation:
    """The loop with those results alone that are wanted or that they need."""
    a, n = e.op.attrs, e.op.attrs.n_carried
    body: Program = a.body
    results = {i for i, v in enumerate(e.outputs) if v in wanted}
    while True:
        used = set(Program(body.inputs, body.equations, [body.outputs[i] for i in results]).live_inputs())
        more = {i for i in range(n) if body.inputs[1 + i] in used}
        if more <= results:
            break
        results |= more
    fixed = [i for i in range(n, len(e.inputs)) if body.inputs[1 + i] in used]
    if len(results) == len(e.outputs) and len(fixed) == len(e.inputs) - n:
        return e
    order = sorted(results)
    carried = [i for i in order if i < n]
    taken = [*carried, *fixed]
    smaller = Program([body.inputs[0], *(body.inputs[1 + i] for i in taken)], body.equations,
                      [body.outputs[i] for i in order]).live()
    return Equation(op(e.op.row, smaller, a.trips, len(carried), a.backwards), [e.inputs[i] for i in taken],
                    [e.outputs[i] for i in order], e.site)

"""Make a failing program small: fewer outputs, and inputs in place of what is computed."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gemel.engine.ir.program import Equation, Program, Var
from gemel.engine.passes.dce import dce
from tests.plans import interpret

Fails = Callable[[Program, list[np.ndarray]], bool]


def _only(p: Program, outputs: list[Var], arrays: list[np.ndarray]) -> tuple[Program, list[np.ndarray]]:
    """The program of some outputs, without what they do not need."""
    p = dce(Program(p.inputs, p.equations, outputs))
    used = {v for e in p.equations for v in e.inputs} | set(p.outputs)
    kept = [n for n, v in enumerate(p.inputs) if v in used]
    return Program([p.inputs[n] for n in kept], p.equations, p.outputs), [arrays[n] for n in kept]


def minimize(p: Program, arrays: list[np.ndarray], fails: Fails, loose: list[bool]
             ) -> tuple[Program, list[np.ndarray]]:
    """A smaller program that fails too, in an output that is not loose where there is one."""
    if len(p.outputs) > 1:
        p, arrays = _fewer_outputs(p, arrays, fails, loose)
    again = True
    while again:
        again = False
        for n in range(len(p.equations)):
            cut = without(p, arrays, n)
            if cut is not None and fails(*cut):
                p, arrays = cut
                again = True
                break
    for n in range(len(arrays)):
        plain = [np.ascontiguousarray(a) if n == m else a for m, a in enumerate(arrays)]
        if fails(p, plain):
            arrays = plain
    return p, arrays


def _fewer_outputs(p: Program, arrays: list[np.ndarray], fails: Fails, loose: list[bool]
                   ) -> tuple[Program, list[np.ndarray]]:
    """One output if one is enough, else as few as one can leave out one by one; loose ones go first."""
    order = sorted(range(len(p.outputs)), key=lambda n: loose[n])
    for n in order:
        smaller = _only(p, [p.outputs[n]], arrays)
        if fails(*smaller):
            return smaller
    kept = list(p.outputs)
    for n in reversed(order):
        left = [v for v in kept if v is not p.outputs[n]]
        if left and fails(*_only(p, left, arrays)):
            kept = left
    return _only(p, kept, arrays)


def without(p: Program, arrays: list[np.ndarray], n: int) -> tuple[Program, list[np.ndarray]] | None:
    """The program with equation ``n`` replaced by inputs that hold its results."""
    e: Equation = p.equations[n]
    if all(v in p.outputs for v in e.outputs) or e.op.name == "const":
        return None
    results = interpret(Program(p.inputs, p.equations[:n + 1], e.outputs), arrays)
    fresh = {v: Var(v.type) for v in e.outputs}
    equations = [Equation(x.op, [fresh.get(v, v) for v in x.inputs], x.outputs)
                 for x in (*p.equations[:n], *p.equations[n + 1:])]
    outputs = [fresh.get(v, v) for v in p.outputs]
    smaller = Program((*p.inputs, *fresh.values()), equations, outputs)
    return _only(smaller, outputs, [*arrays, *results])

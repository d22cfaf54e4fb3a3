"""The order of a plan's steps: what may fail comes first.

Donated memory is written behind the last check, and a plan may run behind the program from there on.
"""
from __future__ import annotations

from typing import Any

from ..ir.program import Var
from .calls import Assign, Call, Jump, Next, Reserve, Temp
from .control import HostStep, Step

CHEAP = 8  # checks come first where they and what they need are at most this part of the work


def checks_first(steps: list[Step]) -> list[Step]:
    """The steps with those first that checks need, where they are little work; control flow stays as it is."""
    if not any(isinstance(s, Call) and s.check for s in steps) or not all(isinstance(s, Call) for s in steps):
        return steps
    needed: set[int] = set()
    read: set[Any] = set()     # by steps that are needed and come later
    written: set[Any] = set()
    for n, step in reversed(list(enumerate(steps))):
        assert isinstance(step, Call)
        r, w = reads(step), writes(step)
        if step.check or not read.isdisjoint(w) or not written.isdisjoint(w) or not written.isdisjoint(r):
            needed.add(n)
            read.update(r)
            written.update(w)
    first = [s for n, s in enumerate(steps) if n in needed]
    if CHEAP * _work(first) > _work(steps):
        return steps
    return first + [s for n, s in enumerate(steps) if n not in needed]


def _work(steps: list[Step]) -> int:
    return sum(s.flops + s.nbytes for s in steps if isinstance(s, Call))


def reads(step: Step) -> list[Any]:
    """Values that a step reads."""
    if isinstance(step, HostStep):
        return list(step.reads)
    if isinstance(step, Call):
        found = [o.value for i, o in enumerate(step.operands) if i not in step.writes]
        found += [start.value for o in step.operands for start, _ in o.dynamic]
        return [v for v in found if isinstance(v, (Var, Temp))]
    if isinstance(step, Jump):
        return [] if step.unless is None else [step.unless]
    return [step.value] if isinstance(step, Next) else []


def writes(step: Step) -> list[Any]:
    """Values that a step writes."""
    if isinstance(step, HostStep):
        return list(step.equation.outputs)
    if isinstance(step, Call):
        return [step.operands[i].value for i in step.writes]
    if isinstance(step, Reserve):
        return list(step.values)
    return [step.value] if isinstance(step, Assign) else []

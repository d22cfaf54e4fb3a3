"""Random programs: interpreter, tier 0 and tier 1 agree bit for bit, and print and parse back.

``GEMEL_FUZZ=10000`` runs so many programs; ``GEMEL_FUZZ_START`` is the first seed.
"""
from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pytest

from gemel.engine.ir.program import Program
from gemel.engine.ir.text import parse_program
from gemel.engine.ir.verify import verify
from tests.plans import Native, interpret, same_bits

from .generate import grow
from .minimize import minimize

COUNT = int(os.environ.get("GEMEL_FUZZ", "300"))
START = int(os.environ.get("GEMEL_FUZZ_START", "0"))
BATCH = 50


def difference(p: Program, arrays: list[np.ndarray], loose: list[bool] | None = None) -> str:
    """How the tiers or the interpreter disagree; empty if they agree."""
    try:
        expected = interpret(p, arrays)
        zero, one = Native(p, arrays, False), Native(p, arrays, True)
    except Exception as error:  # any refusal of a valid program is a finding
        return f"{type(error).__name__}: {error}"
    for n, (meant, a, b) in enumerate(zip(expected, zero.outputs, one.outputs, strict=True)):
        if not same_bits(a, b):
            return f"output {n}: tier 0 and tier 1 differ"
        if not (loose and loose[n]) and not same_bits(meant, a):
            return f"output {n}: the interpreter and the tiers differ"
    return "NumPy ran a part" if zero.host_steps or one.host_steps else ""


def report(seed: int, why: str, p: Program, arrays: list[np.ndarray], loose: list[bool]) -> str:
    """The smallest program that shows the same."""
    def kind(text: str) -> str:
        return text.split(": ")[-1 if text.startswith("output") else 0]

    small, small_arrays = minimize(p, arrays, lambda q, xs: kind(difference(q, xs)) == kind(why), loose)
    why = difference(small, small_arrays) or why
    strides = [tuple(s // x.itemsize for s in x.strides) for x in small_arrays]
    shown = [x.tolist() if x.size < 20 else ... for x in small_arrays]
    return f"seed {seed}: {why}\n{small}\nstrides {strides}\narrays {shown}"


@pytest.mark.parametrize("first", range(START, START + COUNT, BATCH))
def test_programs(first: int) -> None:
    reached: Counter = Counter()
    found = []
    for seed in range(first, min(first + BATCH, START + COUNT)):
        g = grow(seed)
        reached += g.reached
        verify(g.program)
        assert str(parse_program(str(g.program))) == str(g.program)
        why = difference(g.program, g.arrays, g.loose)
        if why:
            found.append(report(seed, why, g.program, g.arrays, g.loose))
    print(f"{len({name for name, _ in reached})} primitives, {len(reached)} (primitive, dtype) pairs")
    assert not found, "\n\n".join(found)

"""Random programs: interpreter, tier 0 and tier 1 agree bit for bit, and print and parse back.

A fourth run has another number of threads, gives inputs away to results, takes others as runtime scalars and may run
behind the program: the bits are the same, and what was not given away is as it was.

``GEMEL_FUZZ=10000`` runs so many programs; ``GEMEL_FUZZ_START`` is the first seed; ``GEMEL_GUARD=1`` stops what goes
out of bounds and makes NaN of what nobody wrote.
"""
from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pytest

from gemel.engine.base import dtypes as dt
from gemel.engine.base.flags import flags, override
from gemel.engine.ir.program import Program
from gemel.engine.ir.text import parse_program
from gemel.engine.ir.verify import verify
from gemel.engine.runtime import native_plan
from tests.ops.records import RECORDS
from tests.plans import Native, interpret, same_bits

from .generate import HOST, Grown, grow, reached
from .minimize import minimize

COUNT = int(os.environ.get("GEMEL_FUZZ", "300"))
START = int(os.environ.get("GEMEL_FUZZ_START", "0"))
BATCH = 50


def close(x: np.ndarray, y: np.ndarray) -> bool:
    """Nearly equal where both are numbers of usual size."""
    if x.dtype != y.dtype or x.shape != y.shape:
        return False
    with np.errstate(all="ignore"):
        usual = np.isfinite(x) & np.isfinite(y) & (np.abs(x) < 1e4) & (np.abs(y) < 1e4)
        return np.allclose(x[usual], y[usual], 1e-3, 1e-3)


def difference(p: Program, arrays: list[np.ndarray], loose: list[bool] | None = None, vague: list[bool] | None = None,
               seed: int = 0) -> str:
    """How the tiers or the interpreter disagree; empty if they agree."""
    loose, vague = loose or [False] * len(p.outputs), vague or [False] * len(p.outputs)
    try:
        expected = interpret(p, arrays)
        zero, one = Native(p, arrays, False), Native(p, arrays, True)
        other, kept = varied(p, arrays, seed)
    except Exception as error:  # any refusal of a valid program is a finding
        return f"{type(error).__name__}: {error}"
    for n, (meant, a, b, c) in enumerate(zip(expected, zero.outputs, one.outputs, other, strict=True)):
        same = close if vague[n] else same_bits
        if not same(a, b):
            return f"output {n}: tier 0 and tier 1 differ"
        if not same(a, c):
            return f"output {n}: another number of threads, donated inputs or scalars make a difference"
        if not loose[n] and not same(meant, a):
            return f"output {n}: the interpreter and the tiers differ"
    if not kept:
        return "an input that was not given away was written"
    if any(name in HOST for name, _ in reached(p)):
        return ""
    return "NumPy ran a part" if zero.host_steps or one.host_steps else ""


def varied(p: Program, arrays: list[np.ndarray], seed: int) -> tuple[list[np.ndarray], bool]:
    """Outputs of a run with donated inputs, scalars and another number of threads; are the other inputs unchanged?"""
    rng = np.random.default_rng(seed)
    number = [v.type.shape == () and not v.type.dtype.is_complex and v.type.dtype.bits != 16 or
              v.type.shape == () and v.type.dtype.is_integer for v in p.inputs]
    order = sorted(range(len(arrays)), key=lambda k: number[k])  # the scalars come last
    scalars = sum(number)
    p, arrays = Program([p.inputs[k] for k in order], p.equations, p.outputs), [arrays[k] for k in order]
    plain = [k for k, a in enumerate(arrays[:len(arrays) - scalars]) if a.flags.c_contiguous]
    donate = tuple(k for k in plain if rng.random() < 0.5)
    updates: dict[int, int] = {}
    for k in donate:
        fitting = [n for n, v in enumerate(p.outputs) if v.type is p.inputs[k].type and n not in updates]
        if fitting and rng.random() < 0.7:
            updates[int(rng.choice(fitting))] = k
    with override(THREADS=int(rng.choice((1, 2, 3, 5))) if rng.random() < 0.3 else flags.THREADS):
        run = Native(p, arrays, bool(rng.random() < 0.7), donate, updates, scalars, bool(rng.random() < 0.5))
    kept = all(same_bits(run.input(p, k), np.asarray(arrays[k])) for k in range(len(run.placed)) if k not in donate)
    return run.outputs, kept


def report(seed: int, why: str, g: Grown) -> str:
    """The smallest program that shows the same."""
    def kind(text: str) -> str:
        return text.split(": ")[-1 if text.startswith("output") else 0]

    small, small_arrays = minimize(g.program, g.arrays, lambda q, xs: kind(difference(q, xs, seed=seed)) == kind(why),
                                   g.loose)
    why = difference(small, small_arrays, seed=seed) or why
    strides = [tuple(s // x.itemsize for s in x.strides) for x in small_arrays]
    shown = [x.tolist() if x.size < 20 else ... for x in small_arrays]
    return f"seed {seed}: {why}\n{small}\nstrides {strides}\narrays {shown}"


@pytest.fixture(autouse=True)
def small_plans_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is so small would not be worth a launch."""
    monkeypatch.setattr(native_plan, "WORTH_LAUNCHING", 0)


@pytest.mark.parametrize("first", range(START, START + COUNT, BATCH))
def test_programs(first: int) -> None:
    seen: Counter = Counter()
    found = []
    for seed in range(first, min(first + BATCH, START + COUNT)):
        g = grow(seed)
        seen += g.reached
        verify(g.program)
        assert str(parse_program(str(g.program))) == str(g.program)
        why = difference(g.program, g.arrays, g.loose, g.vague, seed)
        if why:
            found.append(report(seed, why, g))
    print(f"{len({name for name, _ in seen})} primitives, {len(seen)} (primitive, dtype) pairs")
    assert not found, "\n\n".join(found)


def test_coverage() -> None:
    """Every primitive, in every dtype that it takes, is in some program."""
    kinds = {"r": (dt.float32, dt.float64), "k": (dt.uint64,)}
    wanted = {(r.name, d.ir) for r in RECORDS.values() for k in r.kinds
              for d in kinds.get(k, [d for d in dt.ALL if d.kind == k])}
    wanted -= {("random_bits", d.ir) for d in dt.ALL if d.bits < 32}  # words of 32 and 64 bits
    seen: Counter = Counter()
    for seed in range(6000):
        seen += grow(seed).reached
        if seed % 500 == 0 and not wanted - set(seen):
            break
    print(f"{seed + 1} programs reach {len(wanted)} (primitive, dtype) pairs; seldom: {seen.most_common()[-5:]}")
    assert not wanted - set(seen), f"never reached: {sorted(wanted - set(seen))}"

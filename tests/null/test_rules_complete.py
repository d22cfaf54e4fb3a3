"""Every primitive has its derivative, batching, meaning and native form, and they agree with one another."""
from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import gemel  # noqa: F401  (registers every rule)
from gemel.engine.autodiff.batch import BATCH_RULES, batched_results
from gemel.engine.autodiff.forward import push
from gemel.engine.autodiff.jvp import JVPS
from gemel.engine.autodiff.program import linearize
from gemel.engine.autodiff.vjp import NOT_DIFFERENTIABLE, RULES
from gemel.engine.interpreter.run import _CONTROL, MEANING, evaluate, run
from gemel.engine.ir.builder import ProgramBuilder
from gemel.engine.ir.primitives import PRIMITIVES
from gemel.engine.ir.program import Program
from gemel.engine.loops.fusion import Fusion
from gemel.engine.loops.lower import SCHEDULES
from tests.null.primitive_samples import Sample, samples, types_of

NAMES = [row.name for row in PRIMITIVES]
SAMPLES = samples()
SMOOTH = [s for s in SAMPLES if s.smooth]
#: no operands: nothing can be batched
NO_OPERANDS = {"const", "iota"}


def test_every_primitive_is_in_the_samples():
    assert {s.name for s in SAMPLES} == set(NAMES) - NO_OPERANDS


@pytest.mark.parametrize("what,table,exceptions", [
    ("vjp", RULES, NOT_DIFFERENTIABLE), ("jvp", JVPS, NOT_DIFFERENTIABLE), ("vmap", BATCH_RULES, NO_OPERANDS),
    ("interpretation", {**MEANING, **_CONTROL}, frozenset()),
], ids=lambda x: x if isinstance(x, str) else "")
def test_every_primitive_has_its_rules(what: str, table: Any, exceptions: Any):
    missing = [n for n in NAMES if n not in table and n not in exceptions]
    assert not missing, f"primitives without {what}: {missing}"
    assert not [n for n in exceptions if n in table], "an exception that has a rule is none"
    assert not [n for n in exceptions if n not in NAMES], "an exception that does not exist"


#: what runs in NumPy: complex numbers (``host_reason``), and what is opaque
HOST = {"complex", "custom"}


def test_every_primitive_has_a_native_form():
    """Nothing but the exceptions is left to the host, for at least one of its samples."""
    fusion = Fusion(Program([], [], []), frozenset(SCHEDULES))
    native = {s.name for s in SAMPLES if not fusion.host_reason(program_of(s).equations[0])}
    missing = [n for n in NAMES if n not in native | HOST | NO_OPERANDS]
    assert not missing, f"primitives without a native form: {missing}"
    assert not native & HOST, "an exception that has a native form is none"


def program_of(s: Sample) -> Program:
    b = ProgramBuilder()
    found = b.emit(s.op, *[b.input(t) for t in types_of(s.arrays)])
    return b.build(found if isinstance(found, tuple) else (found,))


def directions(arrays: Any) -> list[Any]:
    rng = np.random.default_rng(5)
    return [rng.standard_normal(a.shape) if a.dtype.kind == "f" else
            rng.standard_normal(a.shape) + 1j * rng.standard_normal(a.shape) if a.dtype.kind == "c" else None
            for a in arrays]


def moved(arrays: Any, ts: Any, h: float) -> list[np.ndarray]:
    return [a if t is None else a + h * t for a, t in zip(arrays, ts, strict=True)]


def differences(program: Program, arrays: Any, ts: Any) -> list[Any]:
    """The derivative along ``ts`` from a fourth-order central difference."""
    def at(h: float) -> Any:
        return run(program, moved(arrays, ts, h), exact=True)
    h = 1e-4
    return [(8 * (a - b) - (c - d)) / (12 * h) if a.dtype.kind in "fc" else None
            for a, b, c, d in zip(at(h), at(-h), at(2 * h), at(-2 * h), strict=True)]


def pushed(program: Program, ts: Any) -> Program:
    """(operands, tangents) -> tangents of all smooth results."""
    b = ProgramBuilder()
    operands = [b.input(t) for t in program.input_types]
    tangents = [None if t is None else b.input(v.type) for t, v in zip(ts, operands, strict=True)]
    _, found = push(b, program, operands, tangents)
    return b.build([b.zeros(v.type) if t is None else t for t, v in zip(found, program.outputs, strict=True)
                    if v.type.dtype.is_inexact])


def pulled(program: Program) -> Program:
    """(operands, cotangents of smooth results) -> cotangents of all smooth operands."""
    b = ProgramBuilder()
    operands = [b.input(t) for t in program.input_types]
    gs = [b.input(v.type) if v.type.dtype.is_inexact else None for v in program.outputs]
    _, pullback = linearize(b, program, operands)
    return b.build([b.zeros(v.type) if g is None else g for g, v in zip(pullback(gs), operands, strict=True)
                    if v.type.dtype.is_inexact])


def check_derivatives(program: Program, arrays: list[np.ndarray]) -> None:
    """jvp against finite differences; vjp against jvp by <g, J t> = <J' g, t>."""
    ts = directions(arrays)
    want = [d for d in differences(program, arrays, ts) if d is not None]
    tangents = run(pushed(program, ts), [*arrays, *[t for t in ts if t is not None]], exact=True)
    for got, expected in zip(tangents, want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-6)
    results = run(program, arrays, exact=True)
    gs = [g for g in directions(results) if g is not None]
    cotangents = run(pulled(program), [*arrays, *gs], exact=True)
    left = sum(np.sum((np.conj(g) * t).real) for g, t in zip(gs, tangents, strict=True))
    given = [t for t in ts if t is not None]
    right = sum(np.sum((np.conj(c) * t).real) for c, t in zip(cotangents, given, strict=True))
    np.testing.assert_allclose(right, left, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sample", SMOOTH, ids=lambda s: s.id)
def test_jvp_and_vjp(sample: Sample):
    check_derivatives(program_of(sample), sample.arrays)


@pytest.mark.parametrize("sample", [s for s in SMOOTH if s.label != "zeros" and s.name not in ("reduce_prod", "while")],
                         ids=lambda s: s.id)
def test_second_order(sample: Sample):
    """The vjp is itself a program: its derivatives, in both modes, are right too."""
    program = program_of(sample)
    outputs = [g for g in directions(run(program, sample.arrays)) if g is not None]
    check_derivatives(pulled(program), [*sample.arrays, *outputs])


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.id)
def test_batching_equals_a_loop(sample: Sample):
    """Whichever operands are batched: what one call per example gives."""
    rng = np.random.default_rng(3)
    n, arrays = 3, sample.arrays
    for flags in itertools.product((False, True), repeat=len(arrays)):
        if not any(flags):
            continue
        batched = [np.stack([varied(a, i, rng) for i in range(n)]) if f else a
                   for a, f in zip(arrays, flags, strict=True)]
        b = ProgramBuilder()
        values = [b.input(t) for t in types_of(batched)]
        program = b.build(batched_results(b, sample.op, values, flags, n))
        got = run(program, batched)
        rows = [evaluate(sample.op, [a[i] if f else a for a, f in zip(batched, flags, strict=True)]) for i in range(n)]
        for k, result in enumerate(got):
            want = np.stack([row[k] for row in rows])
            if sample.op.row.kind == "contract":  # NumPy sums these in an order of its own
                np.testing.assert_allclose(result, want, rtol=1e-12, atol=1e-12, err_msg=str(flags))
            else:
                np.testing.assert_array_equal(result, want, err_msg=str(flags))


def varied(a: np.ndarray, i: int, rng: np.random.Generator) -> np.ndarray:
    """Another operand of the same kind."""
    if a.dtype.kind == "b":
        return a if a.ndim else np.asarray(bool(i % 2))
    if a.dtype.kind in "iu":
        return (a + np.asarray(i, a.dtype)).astype(a.dtype)
    return a * rng.uniform(0.9, 1.1, a.shape)

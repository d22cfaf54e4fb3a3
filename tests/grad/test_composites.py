"""A composite's own derivative is that of its body; both modes agree; a batch is a loop."""
from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import gemel  # noqa: F401  (registers the composites)
from gemel.engine.autodiff.batch import batched_results
from gemel.engine.autodiff.program import body_of
from gemel.engine.autodiff.vjp import RULES
from gemel.engine.interpreter.run import evaluate, run
from gemel.engine.ir.builder import ProgramBuilder
from tests.grad.composite_samples import samples
from tests.null.primitive_samples import Sample, types_of
from tests.null.test_rules_complete import directions, program_of, pulled, pushed, varied

SAMPLES = samples()
#: losses with weights of classes, which have no gradient (their last operand; so in torch)
WEIGHTED = {"nll_loss", "cross_entropy", "cross_entropy_soft"}


def has_none(sample: Sample, i: int, mine: np.ndarray) -> bool:
    """Has the operand no gradient by definition: a number, or weights of classes?"""
    x = sample.arrays[i]
    return x.ndim == 0 and not mine.any() or sample.name in WEIGHTED and i == len(sample.arrays) - 1


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.id)
def test_own_derivative_and_that_of_the_body(sample: Sample):
    assert sample.name in RULES, "it has no derivative of its own"
    program, arrays = program_of(sample), sample.arrays
    body = body_of(sample.op, types_of(arrays))
    results = run(program, arrays, exact=True)
    gs = [g for g in directions(results) if g is not None]
    own, through = (run(pulled(p), [*arrays, *gs], exact=True) for p in (program, body))
    ts = directions(arrays)
    for i, (mine, theirs) in enumerate(zip(_aligned(arrays, own), _aligned(arrays, through), strict=True)):
        if has_none(sample, i, mine):
            ts[i] = None
        else:
            np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-9)
    tangents = run(pushed(program, ts), [*arrays, *[t for t in ts if t is not None]], exact=True)
    left = sum(np.sum(g * t) for g, t in zip(gs, tangents, strict=True))
    right = sum(np.sum(c * t) for c, t in zip(_aligned(arrays, own), ts, strict=True) if t is not None)
    np.testing.assert_allclose(left, right, rtol=1e-8, atol=1e-9)


def _aligned(arrays: Any, cotangents: Any) -> list[Any]:
    """One cotangent per operand, zero for those without."""
    it = iter(cotangents)
    return [next(it) if a.dtype.kind == "f" else np.zeros(()) for a in arrays]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.id)
def test_batching_equals_a_loop(sample: Sample):
    rng = np.random.default_rng(3)
    n, arrays = 3, sample.arrays
    choices = [f for f in itertools.product((False, True), repeat=len(arrays)) if any(f)]
    for flags in choices[:: max(1, len(choices) // 4)] + choices[-1:]:
        batched = [np.stack([a if a.dtype.kind in "iub" else varied(a, i, rng) for i in range(n)]) if f else a
                   for a, f in zip(arrays, flags, strict=True)]
        b = ProgramBuilder()
        values = [b.input(t) for t in types_of(batched)]
        got = run(b.build(batched_results(b, sample.op, values, flags, n)), batched)
        rows = [evaluate(sample.op, [a[i] if f else a for a, f in zip(batched, flags, strict=True)]) for i in range(n)]
        for k, result in enumerate(got):
            np.testing.assert_allclose(result, np.stack([row[k] for row in rows]), rtol=1e-12, atol=1e-12,
                                       err_msg=str(flags))

"""Derivatives of what public functions record: of first and second order, against finite differences.

Together with ``composite_samples`` every composite is differentiated, or stands in ``EXCEPTIONS`` with the reason.
"""
from __future__ import annotations

import numpy as np
import pytest

import gemel
from gemel.engine.ir.builder import ProgramBuilder
from gemel.engine.ir.primitives import ROWS
from gemel.engine.ir.program import Program
from gemel.engine.runtime import executor, trace
from tests.grad.composite_calls import CALLS, Call
from tests.grad.composite_samples import samples
from tests.null.test_rules_complete import check_derivatives, directions, pulled, run

#: composites that are not differentiated here -> why
EXCEPTIONS: dict[str, str] = {
    **dict.fromkeys((n for n in ROWS if n.startswith("random_") and n != "random_bits"), "random numbers"),
    **dict.fromkeys((n for n in ROWS if n.endswith("_step")), "updates of parameters: not differentiated"),
    **dict.fromkeys(("eq_scalar", "ne_scalar", "lt_scalar", "le_scalar", "gt_scalar", "ge_scalar", "signbit",
                     "count_nonzero", "searchsorted", "max_pool_indices", "linalg_permutation"), "gives no floats"),
    **dict.fromkeys(("gcd", "lcm", "div_trunc", "integer_pow"), "takes integers"),
    **dict.fromkeys(("rrelu", "dropout", "alpha_dropout", "gumbel_noise", "fractional_max_pool"),
                    "draws random numbers: tests/nn compares its gradients"),
    **dict.fromkeys(("nextafter", "rfloor_divide_scalar", "rremainder_scalar"), "a step function, as in torch"),
    "straight_through_one_hot": "its derivative is not that of its value, by definition",
    "ctc_loss": "its derivative takes for granted that it is fed a log_softmax: tests/nn compares it with torch's",
    "instance_statistics": "running statistics have no gradient",
    "linalg_eig": "complex results: tests/tensor compares it with torch's",
    "linalg_lu_factor": "LAPACK's, without forward mode: tests/tensor compares it with torch's",
    **dict.fromkeys(("fft_c2c", "fft_r2c", "fft_c2r"), "complex numbers: tests/tensor compares gradients with torch's"),
    **dict.fromkeys(("igamma", "igammac"), "NumPy's, without forward mode: tests/tensor compares it with torch's"),
    "linalg_geqrf": "not differentiable, as in torch",
    "call": "the body of func.checkpoint and of compiled programs: tests/grad/test_checkpoint.py",
}


def recorded(c: Call) -> Program:
    """The program of a call, in its tensors alone: other leaves and scalars are constants."""
    trace.settle("a new program")
    tensors = [gemel.tensor(a) for a in c.arrays]
    out = c.function(*tensors)
    inner, pending = gemel.debug.program(out), out._read().trace
    b = ProgramBuilder()
    inputs = {t._read(): b.input(t._read().type) for t in tensors}
    values = [inputs[v] if v in inputs else b.const(executor.to_array(v.buffer, v.type, v.form), v.type.dtype)
              for v in pending.leaves]
    values += [b.const(number, t.dtype) for number, t in pending.scalars]
    return b.build(b.inline(inner, values))


def names(p: Program) -> set[str]:
    return {e.op.name for e in p.equations if e.op.row.kind == "composite"}


def ids() -> list[str]:
    return [f"{c.name}-{n}" for n, c in enumerate(CALLS)]


@pytest.mark.parametrize("c", CALLS, ids=ids())
def test_derivatives(c: Call) -> None:
    p, arrays = recorded(c), [np.asarray(a) for a in c.arrays]
    seen = names(p) | names(pulled(p))
    assert c.name in seen, f"{c.name} is not recorded, but {sorted(seen)}"
    check_derivatives(p, arrays)
    check_derivatives(pulled(p), [*arrays, *[g for g in directions(run(p, arrays)) if g is not None]])


def test_every_composite_is_differentiated() -> None:
    done = {s.name for s in samples()} | {c.name for c in CALLS} | set(EXCEPTIONS)
    composites = {n for n, row in ROWS.items() if row.kind == "composite"}
    assert not composites - done, f"no sample of {sorted(composites - done)}"
    assert not set(EXCEPTIONS) - composites

"""A plan that runs while another one waits for NumPy, a signal handler or a finalizer: neither disturbs the other."""
from __future__ import annotations

import signal

import numpy as np
import pytest

import gemel
from gemel.engine.base import dtypes as dt
from gemel.engine.base.flags import override
from gemel.engine.ir.builder import ProgramBuilder
from gemel.engine.ir.custom import CustomOp, register_custom
from gemel.engine.ir.op import op
from gemel.engine.ir.primitives import ROWS
from gemel.engine.ir.program import Program
from gemel.engine.ir.types import tensor_type
from tests.plans import Native, array_of, interpret, place, same_bits

N = 1000
#: what the host operation does before it adds one
inside = []


def _host(arguments, arrays):
    for action in list(inside):
        action()
    return [arrays[0] + 1]


register_custom(CustomOp("tests::nested", lambda arguments, types: types, _host))


def across() -> Program:
    """Values in the arena before and after the host operation, which reads one of them."""
    b = ProgramBuilder()
    x = b.input(tensor_type(dt.float32, (N,)))
    before = b.emit(op(ROWS["cumsum"], 0), x)
    other, = b.emit(op(ROWS["custom"], "tests::nested", ()), before)
    after = b.emit(op(ROWS["cumsum"], 0), b.add(before, other))
    return b.build((b.add(after, before),))


def much() -> None:
    """Plans with more memory than the one around them."""
    x = gemel.arange(4 * N, dtype=gemel.float32)
    product = (x * 2).reshape(40, -1) @ (x.flip(0) * 3).reshape(-1, 40)
    assert product.cumsum(0).flip(0).cumsum(0).isfinite().all().item()


@pytest.mark.parametrize("fused", [False, True], ids=["0", "1"])
def test_a_host_operation_that_computes(fused: bool) -> None:
    p, x = across(), np.arange(N, dtype=np.float32)
    expected, = interpret(p, [x])
    inside.append(much)
    try:
        assert same_bits(Native(p, [x], fused).outputs[0], expected)
    finally:
        inside.clear()


def test_a_plan_inside_itself() -> None:
    x, y = (np.full(N, v, np.float32) for v in (1, 2))
    p = across()
    expected = [interpret(p, [v])[0] for v in (x, y)]
    plan = Native(p, [x], True).plan
    found = []

    def once(values: np.ndarray) -> np.ndarray:
        (buffer, form), = plan.run([place(values)[0]], [])
        return array_of(buffer, form, p.outputs[0].type)

    def again() -> None:
        inside.clear()
        found.append(once(y))
    inside.append(again)
    found.insert(0, once(x))
    assert [same_bits(a, b) for a, b in zip(sorted(found, key=lambda a: a[0]), expected, strict=True)] == [True, True]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="POSIX only")
def test_a_signal_handler_that_computes() -> None:
    seen = []

    def handler(number, frame):
        much()
        seen.append(gemel.arange(5.0).cumsum(0).tolist())
    x = np.arange(N, dtype=np.float32)
    p = across()
    expected, = interpret(p, [x])
    before = signal.signal(signal.SIGUSR1, handler)
    inside.append(lambda: signal.raise_signal(signal.SIGUSR1))
    try:
        with override(THREADS=2):
            assert same_bits(Native(p, [x], False).outputs[0], expected)
    finally:
        inside.clear()
        signal.signal(signal.SIGUSR1, before)
    assert seen == [[0.0, 1.0, 3.0, 6.0, 10.0]]

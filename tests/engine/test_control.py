"""Control flow and computed windows run inside one table: no host steps, one run of the dispatcher."""
from __future__ import annotations

import numpy as np
import pytest

from gemel.engine.base import dtypes as dt
from gemel.engine.base.errors import CheckError
from gemel.engine.base.flags import override
from gemel.engine.device import native
from gemel.engine.ir.types import tensor_type
from gemel.engine.loops.calls import Call
from gemel.engine.runtime import runs
from tests.plans import Native, check, program, values

I64, BOOL = tensor_type(dt.int64), tensor_type(dt.bool_)
VEC = tensor_type(dt.float32, (4,))
rng = np.random.default_rng(0)


def vec(t=VEC) -> np.ndarray:
    return values(t.dtype, t.shape, rng, special=0)


def integer(n: int) -> np.ndarray:
    return np.asarray(n, np.int64)


def one(b):
    return b.const(1, dt.int64)


@pytest.mark.parametrize("start", [-5, 0, 1, 2, 7, 1 << 40])
def test_windows_at_computed_starts(start):
    def body(b, x, i):
        j, z = b.add(i, one(b)), b.const(0, dt.int64)
        part = b.dynamic_slice(x, [j, z], (2, 3), (1, 1))
        new = b.dynamic_update(x, b.mul(part, part), [b.sub(j, b.const(3, dt.int64)), j], (2, 1))
        return b.add(part, part), new, b.reduce_sum(b.dynamic_slice(new, [i, i], (3, 2), (1, 2)), (0,)), part
    check(program([tensor_type(dt.float32, (5, 6)), I64], body), [vec(tensor_type(dt.float32, (5, 6))), integer(start)])


def test_one_element_is_written_alone():
    """The neighbours of a single element stay what they are."""
    p = program([VEC, tensor_type(dt.float32, (1,)), I64], lambda b, x, u, i: b.dynamic_update(x, u, [i], (1,)))
    for at in range(4):
        check(p, [vec(), vec(tensor_type(dt.float32, (1,))), integer(at)])


def power(b, state=(I64, VEC, VEC)):
    """i, x, w -> until i is 10: i + 1, x * w + w, with w fixed."""
    condition = program(state, lambda b, i, x, w: b.lt(i, b.const(10, dt.int64)))
    body = program(state, lambda b, i, x, w: (b.add(i, one(b)), b.add(b.mul(x, w), w)))
    return condition, body


@pytest.mark.parametrize("start", [0, 9, 10, 20])
def test_while_counts_by_data(start):
    condition, body = power(None)
    p = program([I64, VEC, VEC], lambda b, i, x, w: b.while_(condition, body, [i, x, w], 1))
    _, fused = check(p, [integer(start), vec(), vec()])
    assert len(fused.plan.placement.skipped) == 2, "the state is computed in its own place"


@pytest.mark.parametrize("trips", [0, 1, 5, 6])
def test_states_change_places(trips):
    body = program([I64, VEC, VEC], lambda b, i, x, y: (y, b.add(x, y)))
    check(program([VEC, VEC], lambda b, x, y: b.loop(body, trips, [x, y])), [vec(), vec()])


@pytest.mark.parametrize("trips", [0, 1, 7])
def test_recurrent_network(trips):
    h, w = tensor_type(dt.float32, (2, 4)), tensor_type(dt.float32, (4, 4))
    xs = tensor_type(dt.float32, (7, 2, 4))

    def cell(b, i, h, xs, w):
        z = b.const(0, dt.int64)
        x = b.reshape(b.dynamic_slice(xs, [i, z, z], (1, 2, 4), (1, 1, 1)), (2, 4))
        new = b.max(b.add(b.dot(h, w, (1,), (0,)), x), b.full(-1.0, dt.float32, (2, 4)))
        return new, new, b.reduce_sum(new, (0,)), i, b.flip(b.neg(new), (1,))

    body = program([I64, h, xs, w], cell)
    p = program([h, xs, w], lambda b, h, xs, w: b.loop(body, trips, [h], [xs, w]))
    check(p, [vec(t) for t in (h, xs, w)])


def test_weights_are_packed_once():
    """What packs an operand that stays the same runs in front of the loop, also where the operand is a view."""
    h, w = tensor_type(dt.float32, (40, 64)), tensor_type(dt.float32, (2, 64, 64))

    def cell(b, i, h, w):
        return (b.tanh(b.dot(h, w, (1,), (1,))),)

    body = program([I64, h, tensor_type(dt.float32, (64, 64))], cell)
    p = program([h, w], lambda b, h, w: b.loop(body, 3, [h], [b.reshape(b.slice(w, (1, 0, 0), (2, 64, 64)), (64, 64))]))
    arrays = [vec(h), vec(w)]
    plans = [Native(p, arrays, fused) for fused in (False, True)]
    assert np.array_equal(plans[0].outputs[0], plans[1].outputs[0])
    for plan in plans:
        steps = plan.plan.lowered.steps
        names = [s.spec.name if isinstance(s, Call) else type(s).__name__ for s in steps]
        top = names.index("Label")
        assert any(n.startswith("gemm_pack") for n in names[:top]) and not any("pack_" in n for n in names[top:])
        assert not any("copy" in n for n in names), "the view is read where it lies"


def test_backwards_is_the_other_order():
    x = tensor_type(dt.float32, (5, 4))

    def step(b, i, s, x):
        row = b.reshape(b.dynamic_slice(x, [i, b.const(0, dt.int64)], (1, 4), (1, 1)), (4,))
        new = b.sub(row, s)
        return new, b.add(new, b.cast(b.expand(i, (4,)), dt.float32)), s
    body = program([I64, VEC, x], step)
    p = program([VEC, x], lambda b, s, x: b.loop(body, 5, [s], [x], backwards=True))
    s, rows = vec(), vec(x)
    found, _ = check(p, [s, rows])
    for i in reversed(range(5)):
        before, s = s, rows[i] - s
        assert np.array_equal(found.outputs[1][i], s + np.float32(i)) and np.array_equal(found.outputs[2][i], before)
    assert np.array_equal(found.outputs[0], s)


def test_both_branches():
    then = program([VEC, VEC], lambda b, x, y: (b.add(x, y), x))
    otherwise = program([VEC, VEC], lambda b, x, y: (b.flip(b.mul(x, y), (0,)), b.sub(x, y)))

    def body(b, x, y):
        less = b.lt(b.reduce_sum(x, (0,)), b.reduce_sum(y, (0,)))
        return [b.neg(v) for v in b.if_(less, then, otherwise, [x, y])]

    p = program([VEC, VEC], body)
    x = np.arange(4, dtype=np.float32)
    check(p, [x, x + 1])
    check(p, [x + 1, x])


def nested():
    inner_condition = program([I64, VEC], lambda b, i, x: b.lt(b.const(0, dt.int64), i))
    inner_body = program([I64, VEC], lambda b, i, x: (b.sub(i, one(b)), b.mul(x, b.full(1.5, dt.float32, (4,)))))
    then = program([I64, VEC], lambda b, i, x: b.while_(inner_condition, inner_body, [i, x])[1])
    otherwise = program([I64, VEC], lambda b, i, x: b.neg(x))

    def step(b, i, x):
        small = b.lt(b.remainder(i, b.const(3, dt.int64)), b.const(2, dt.int64))
        (new,) = b.if_(small, then, otherwise, [i, x])
        return new, b.copy(new)

    body = program([I64, VEC], step)
    return program([VEC], lambda b, x: b.loop(body, 6, [b.add(x, x)]))


def test_nesting():
    check(nested(), [vec()])


def test_step_by_step_is_the_same():
    """The profiler walks the table in Python, jumps included."""
    p, x = nested(), vec()
    expected = Native(p, [x], True).outputs
    runs.counters.profile = {}
    try:
        found = Native(p, [x], True).outputs
        assert runs.counters.profile
    finally:
        runs.counters.profile = None
    with override(NAN=True):
        hunted = Native(p, [x], True).outputs
    for e, f, h in zip(expected, found, hunted, strict=True):
        assert np.array_equal(e, f) and np.array_equal(e, h)


def test_the_dispatcher_runs_once():
    """A hundred thousand iterations do not come back to Python (within its time slice)."""
    body = program([I64, VEC], lambda b, i, x: (b.add(x, b.full(1.0, dt.float32, (4,))),))
    p = program([VEC], lambda b, x: b.loop(body, 100_000, [x]))
    plan = Native(p, [np.zeros(4, np.float32)], True)
    assert plan.outputs[0].tolist() == [100_000.0] * 4
    runs = []
    original = plan.plan.run_native
    plan.plan.run_native = lambda context, at: runs.append(at) or original(context, at)
    from tests.plans import place
    plan.plan.run([place(np.zeros(4, np.float32))[0]], [])
    assert len(runs) <= 4 and plan.plan.steps[plan.plan.stop * native.STEP_WORDS] == native.STOP


def test_check_inside_a_loop():
    """A check that fails in the third iteration stops the plan before donated memory is written."""
    def step(b, i, x):
        fine = b.lt(i, b.const(2, dt.int64))
        return (b.check(b.expand(fine, (4,)), b.add(x, x), "gone too far"),)
    body = program([I64, VEC], step)
    check(program([VEC], lambda b, x: b.loop(body, 2, [x])), [vec()])
    p = program([VEC], lambda b, x: b.loop(body, 5, [x]))
    for fused in (False, True):
        with pytest.raises(CheckError, match="gone too far"):
            Native(p, [vec()], fused, donate=(0,))


def test_complex_numbers_inside_a_body_are_host_steps():
    """They run in NumPy for a stated reason; the loop around them stays native."""
    def step(b, i, x):
        return (b.abs(b.complex(x, x)),)
    body = program([I64, VEC], step)
    check(program([VEC], lambda b, x: b.loop(body, 3, [x])), [vec()], host=True, ulps=2)


def test_values_from_outside_live_through_the_loop():
    """What only the body reads is needed again in every iteration."""
    def step(b, i, x, w):
        big = b.mul(b.expand(w, (64, 4)), b.expand(x, (64, 4)))
        other = b.add(b.flip(big, (0,)), b.expand(w, (64, 4)))
        return (b.add(b.reduce_max(other, (0,)), w),)
    body = program([I64, VEC, VEC], step)
    p = program([VEC, VEC], lambda b, x, y: b.loop(body, 9, [x], [b.neg(b.add(x, y))]))
    check(p, [vec(), vec()])

"""Plans that run behind the program: right numbers for whoever looks, forks, ends, interrupts or drops something."""
from __future__ import annotations

import gc
import os
import threading

import numpy as np
import pytest

import gemel
import gemel.nn.functional as F
from gemel import nn
from gemel.engine.base import dtypes as dt
from gemel.engine.base.errors import CheckError
from gemel.engine.base.flags import override
from gemel.engine.device import memory, stream
from gemel.engine.device import pool as pools
from gemel.engine.ir.op import op
from gemel.engine.ir.primitives import ROWS
from gemel.engine.ir.program import Program
from gemel.engine.ir.types import tensor_type
from gemel.engine.passes import FUSED, run_passes
from gemel.engine.runtime import executor
from gemel.engine.runtime.native_plan import NativePlan
from gemel.engine.runtime.trace import settle
from tests.plans import place, program

from .programs import PRELUDE, check

N, TURNS = 512, 120
SHIFT = gemel.tensor(np.roll(np.eye(N, dtype=np.float32), 1, 0))  # times it: every row moves on by one, exactly

pytestmark = pytest.mark.usefixtures("two_threads")


@pytest.fixture
def two_threads():
    with override(THREADS=2, TIER="1"):
        yield


def launches() -> int:
    return gemel.debug.counters()["launches"]


def turned(x: gemel.Tensor, turns: int = TURNS) -> gemel.Tensor:
    """Some tenths of a second of work, whose result is known."""
    for _ in range(turns):
        x = SHIFT @ x
    return x


def expected(array: np.ndarray, turns: int = TURNS) -> np.ndarray:
    return np.roll(array, turns, 0)


def in_flight(seed: int = 0) -> tuple[gemel.Tensor, np.ndarray]:
    """A tensor that is being computed behind the program, and what it will be."""
    array = np.random.default_rng(seed).standard_normal((N, N)).astype(np.float32)
    x = gemel.tensor(array)
    SHIFT.sum().item()
    y = turned(x)
    before = launches()
    settle("a test")
    assert launches() == before + 1
    return y, expected(array)


def flying() -> bool:
    return stream._pool is not None and stream._pool.flying()


def test_the_program_goes_on_and_a_look_waits():
    y, want = in_flight()
    assert flying()
    assert (y.numpy() == want).all()
    assert not flying()


def test_synchronize_runs_what_is_pending_and_waits():
    y, want = in_flight()
    z = y + 1
    gemel.cpu.synchronize()
    flushes = gemel.debug.counters()["flushes"]
    assert not flying()
    assert (z.numpy() == want + 1).all() and gemel.debug.counters()["flushes"] == flushes


def test_the_next_plan_comes_after_it():
    y, want = in_flight()
    z = (y * 2).sum(1)
    assert flying()
    np.testing.assert_allclose(z.numpy(), (want * 2).sum(1, dtype=np.float64), atol=1e-3)


def test_another_thread_looks():
    y, want = in_flight()
    found = []
    threads = [threading.Thread(target=lambda: found.append((y.numpy() == want).all())) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == [True] * 3


def test_other_memory_is_free_meanwhile():
    """New tensors, and those that the plan does not use, are written and read without waiting."""
    old = gemel.arange(1000.0) * 2
    old.numpy()
    y, want = in_flight()
    new = gemel.tensor(np.arange(5.0))
    assert flying() and new.tolist() == [0, 1, 2, 3, 4] and old[7].item() == 14
    assert (y.numpy() == want).all()


def test_memory_that_was_dropped_meanwhile_is_reused_in_order():
    """A block that the plan still writes is given to a new tensor, whose contents NumPy writes."""
    y, want = in_flight()
    z = y + 1
    del y
    new = [gemel.tensor(np.full((N, N), n, np.float32)) for n in range(8)]
    assert (z.numpy() == want + 1).all()
    assert all((t.numpy() == n).all() for n, t in enumerate(new))


def test_memory_goes_back_to_the_system_after_it():
    y, want = in_flight()
    z = y.sum(0)
    del y
    assert flying()
    memory.release_cached()
    assert not flying()
    np.testing.assert_allclose(z.numpy(), want.sum(0, dtype=np.float64), atol=1e-3)


def test_its_plan_is_forgotten_meanwhile():
    y, want = in_flight()
    executor.clear_plans()
    gc.collect()
    assert (y.numpy() == want).all()


def test_the_pool_is_replaced_meanwhile():
    y, want = in_flight()
    with override(THREADS=3):
        assert (gemel.arange(1 << 16, dtype=gemel.float32) * 2).sum().item() == float((1 << 16) * ((1 << 16) - 1))
    z, other = in_flight(1)
    pools.rest()
    assert not flying() and (z.numpy() == other).all() and (y.numpy() == want).all()


def test_writes_in_place_step_by_step():
    """Each step donates what the one before has computed."""
    array = np.random.default_rng(2).standard_normal((N, N)).astype(np.float32)
    x = gemel.tensor(array)
    before = launches()
    for _ in range(5):
        x.copy_(turned(x, 7))
        settle("a test")
    assert launches() - before >= 4  # the first one, which makes the plan, may have a check or a foreign operand
    assert (x.numpy() == expected(array, 35)).all()


def test_what_others_see_is_computed_at_once():
    """NumPy may look at a tensor's memory whenever it likes: nothing runs behind its back."""
    array = np.random.default_rng(3).standard_normal((N, N)).astype(np.float32)
    x = gemel.tensor(array)
    seen = x.numpy()
    before = launches()
    y = turned(x, 3)
    settle("a test")
    seen[...] = 0
    assert (y.numpy() == expected(array, 3)).all()
    shared = gemel.from_numpy(array.copy())
    z = turned(shared, 3)
    settle("a test")
    assert (z.numpy() == expected(array, 3)).all()
    assert launches() - before <= 1  # of the copy that was made of what NumPy shares


def network() -> tuple[nn.Module, gemel.Tensor, gemel.Tensor]:
    gemel.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    return model, gemel.randn(32, 128), gemel.randint(0, 10, (32,))


def trained(steps: int) -> list[np.ndarray]:
    model, x, y = network()
    o = gemel.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        o.zero_grad()
        F.cross_entropy(model(x), y).backward()
        o.step()
    return [p.detach().numpy().copy() for p in model.parameters()]


def test_training_gives_the_same_bits():
    before = launches()
    behind = trained(20)
    assert launches() - before == 20, "a step of training with a loss that checks its classes runs behind the program"
    with override(THREADS=1):
        before = launches()
        alone = trained(20)
        assert launches() == before  # nobody would run it
    with override(TIER="0"):
        generic = trained(20)
    with override(TIER="interpreter"):  # whose exp is NumPy's
        meaning = trained(20)
    for a, b, c, d in zip(behind, alone, generic, meaning, strict=True):
        assert a.tobytes() == b.tobytes() == c.tobytes()
        np.testing.assert_allclose(a, d, rtol=1e-4, atol=1e-6)


def test_a_check_that_fails_is_raised_by_the_step():
    model, x, y = network()
    o = gemel.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model(x), y).backward()
    o.step()
    before = [p.detach().numpy().copy() for p in model.parameters()]
    o.zero_grad()
    loss = F.cross_entropy(model(x), y + 1)
    loss.backward()
    with pytest.raises(IndexError, match="out of bounds"):
        o.step()
    assert all((p.detach().numpy() == b).all() for p, b in zip(model.parameters(), before, strict=True))
    with pytest.raises(IndexError, match="out of bounds"):
        loss.item()
    o.zero_grad()
    F.cross_entropy(model(x), y).backward()
    o.step()
    assert all(np.isfinite(p.detach().numpy()).all() for p in model.parameters())


def test_small_plans_and_those_that_need_python_run_here():
    before = launches()
    x = gemel.arange(10.0)
    y = x * 2
    settle("a test")
    z = gemel.complex(gemel.ones(1 << 16), gemel.ones(1 << 16)) * 2
    settle("a test")
    assert launches() == before
    assert y.tolist()[:2] == [0, 2] and z[0].item() == 2 + 2j


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
def test_a_fork_comes_after_it():
    y, want = in_flight()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if not flying() and (y.numpy() == want).all() and ((y + 1).numpy() == want + 1).all() else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (y.numpy() == want).all()


BEHIND = PRELUDE + """
from gemel.engine.device import stream
from gemel.engine.runtime.trace import settle
N = 512
shift = gemel.tensor(np.roll(np.eye(N, dtype=np.float32), 1, 0))
array = np.arange(N * N, dtype=np.float32).reshape(N, N)

def launch(turns):
    y = gemel.tensor(array)
    for _ in range(turns):
        y = shift @ y
    settle("a test")
    assert stream._pool is not None and stream._pool.flying()
    return y
"""
LEFT_RUNNING = "y = launch(300)\nprint('over')"
INTERRUPTED_AT_THE_END = """
import atexit
y = launch(3000)  # seconds
threading.Timer(0.5, ctrl_c).start()
print('over')
"""
INTERRUPTED = """
y = launch(1000)
threading.Timer(0.3, ctrl_c).start()
begun = time.perf_counter()
interrupted(lambda: y.numpy())
print(time.perf_counter() - begun < 5, stream._pool is not None)
z = y + 1
interrupted(lambda: (ctrl_c(), z.numpy()))
print((z.numpy() == np.roll(array, 1000, 0) + 1).all(), (y.numpy() == np.roll(array, 1000, 0)).all())
"""
HANDLER = """
seen = []

def handler(number, frame):
    seen.append((gemel.arange(50000.0) * 2).sum().item())

handler(0, None)
signal.signal(signal.SIGUSR1, handler)
over = False

def ring():
    while not over:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.0007)

thread = threading.Thread(target=ring)
thread.start()
x = gemel.tensor(array)
for _ in range(400):
    x.copy_(shift @ x)
    settle("a test")
over = True
thread.join()
print((x.numpy() == np.roll(array, 400, 0)).all(), len(seen) > 50 and len(set(seen)) == 1)
"""
GUARDED = """
x = gemel.tensor(array)
for _ in range(6):
    x.copy_(shift @ (shift @ x))
    settle("a test")
y = x + 1
del x
settle("a test")
print((y.numpy() == np.roll(array, 12, 0) + 1).all())
"""
ENVIRONMENT = {"GEMEL_THREADS": "2", "GEMEL_TIER": "1"}


def test_the_program_ends_meanwhile():
    check(BEHIND + LEFT_RUNNING, **ENVIRONMENT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
def test_the_end_of_the_program_is_interrupted():
    check(BEHIND + INTERRUPTED_AT_THE_END, **ENVIRONMENT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
def test_who_waits_is_interrupted():
    check(BEHIND + INTERRUPTED, "True True\nTrue True\n", **ENVIRONMENT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
def test_signal_handlers_compute_between_any_two_lines():
    check(BEHIND + HANDLER, "True True\n", **ENVIRONMENT)


def test_between_guard_pages():
    check(BEHIND + GUARDED, "True\n", GEMEL_GUARD="1", **ENVIRONMENT)


def checked(late: bool) -> Program:
    """A product, and a check of its own operand (or of the product itself)."""
    def body(b, x, y, k):
        z = b.emit(op(ROWS["dot"], (1,), (0,), (), (), dt.float32), x, y)
        if late:
            k = b.cast(b.reduce_sum(z, (1,)), dt.int64)
        small = b.lt(k, b.expand(b.const(5, dt.int64), (64,)))
        return z, b.emit(op(ROWS["check"], "too large"), small, k)
    return program([tensor_type(dt.float32, (64, 64))] * 2 + [tensor_type(dt.int64, (64,))], body)


def test_checks_come_first_where_they_are_little_work():
    x, k = np.ones((64, 64), np.float32), np.arange(64)
    early, late = (NativePlan(run_passes(p, FUSED), [v.type for v in p.inputs], (), True)
                   for p in (checked(False), checked(True)))
    assert [c.check for c in early.calls].index(True) == 0 and not early.calls[-1].check
    assert late.calls[-1].check and late.ahead is None and early.ahead is not None and early.ahead.start == 1
    with pytest.raises(CheckError, match="too large"):
        early.run([place(x)[0], place(x)[0], place(k)[0]], [], wait=False)
    assert not flying()

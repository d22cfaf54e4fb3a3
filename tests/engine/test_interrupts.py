"""Ctrl-C: it arrives, nothing is lost, and everything goes on computing. Each program is a process of its own."""
from __future__ import annotations

import signal

import pytest

import gemel
from gemel.engine.runtime import executor

from .programs import PRELUDE, check, outcome

TIERS = ("0", "1", "interpreter")

ENDLESS = PRELUDE + """
x, other = stored(1.0, 2.0, 3.0), gemel.ones(3) * 2
y = endless(x)
while_running(ctrl_c)
interrupted(y.numpy)
z = x * 2
del y
assert x.tolist() == [1, 2, 3] and other.tolist() == [2, 2, 2] and z.tolist() == [2, 4, 6]
print("over")
"""

BEFORE = PRELUDE + """
x, y = stored(1.0, 2.0, 3.0), stored(1.0, 1.0, 1.0)
z = ringing(y)
x.add_(z)          # after the interrupt
y[1:].mul_(4)
bell.append(ctrl_c)
interrupted(z.numpy)
assert not bell
print(x.tolist(), y.tolist(), z.tolist(), (x * 2).tolist())
"""

AFTER = PRELUDE + """
x, y = stored(1.0, 2.0, 3.0), stored(1.0, 1.0, 1.0)
x[1:].mul_(10)     # reused memory is written before the interrupt
y.add_(1)
z = ringing(x + y)
x.sub_(1)
bell.append(ctrl_c)
interrupted(z.numpy)
assert not bell
print(x.tolist(), y.tolist(), z.tolist(), (x * 2).tolist())
"""

TWICE = PRELUDE + """
x, y = stored(1.0, 2.0, 3.0), stored(1.0, 1.0, 1.0)
look = executor.dependents

def interrupted_again(*arguments):
    executor.dependents = look
    ctrl_c()
    return look(*arguments)

executor.dependents = interrupted_again
z = ringing(y)
x.add_(z)
bell.append(ctrl_c)
interrupted(z.numpy)
assert not bell and executor.dependents is look
print(x.tolist(), y.tolist(), z.tolist(), (x * 2).tolist())
"""

COMPILING = PRELUDE + """
compile_one = service.Helper.compile
rung = []

def ring(self, *arguments):
    if not rung:
        rung.append(1)
        ctrl_c()
    return compile_one(self, *arguments)

x = stored(*[float(n) for n in range(30)])
service.Helper.compile = ring

def step():
    y = (x * 2).exp().cumsum(0) @ x.reshape(30, 1)
    x.add_(1)
    return y.log().item()

interrupted(lambda: [step(), step(), step(), service.wait(100)])
assert rung
service.wait(100)
first = x[0].item()
assert first in (0, 1, 2, 3), first
want = [np.log(np.exp(2 * (np.arange(30.0) + n)).cumsum() @ (np.arange(30.0) + n)) for n in (first, first + 1)]
np.testing.assert_allclose([step(), step()], want, rtol=1e-5)
print("over")
"""

IN_LLVM = PRELUDE + """
from llvmlite.binding import ffi
dispose = ffi.lib.LLVMPY_DisposeString
x = stored(1.0, 2.0, 3.0)
armed = [1]

def dispose_and_ring(pointer):
    dispose(pointer)
    if armed and pointer:
        armed.pop()
        ctrl_c()

ffi.lib._fntab["LLVMPY_DisposeString"] = dispose_and_ring
interrupted(lambda: (x.cumsum(0).flip(0) * 3).numpy())
assert not armed and signal.getsignal(signal.SIGINT) is signal.default_int_handler
print((x.cumsum(0).flip(0) * 3).tolist())
"""

IN_FINALIZER = PRELUDE + """
import weakref
from gemel.engine.device import memory
ignored, order, give_back = [], [], memory._give_back
sys.unraisablehook = lambda found: ignored.append(found.exc_type)

def ring(block):
    when = order.pop() if order else None
    if when == "before":
        ctrl_c()
    give_back(block)
    if when == "after":
        ctrl_c()

memory._give_back = ring
x = stored(1.0, 2.0, 3.0)
for when in ("before", "after"):        # memory of ours is given back
    y = x * 2
    assert y.tolist() == [2, 4, 6]
    order.append(when)
    del y
    assert not order and (x * 3).tolist() == [3, 6, 9]
z = ringing(x + 1)
x.add_(1)
bell.append(ctrl_c)

class Observer:                          # a finalizer of the user's that computes
    def __del__(self):
        z.numpy()
        ignored.append("never")

Observer()
assert not bell and ignored == [KeyboardInterrupt] * 3, ignored
print(x.tolist(), z.tolist())
bell.append(ctrl_c)
interrupted(lambda: ringing(x).numpy())  # the next one arrives
print((x * 2).tolist())
"""

STORM = PRELUDE + """
import random
SEED, INTERRUPTS = int(os.environ["SEED"]), 60
rng = random.Random(SEED)
x, w, cache = stored(*[0.0] * 300), gemel.ones(20, 20) / 20, gemel.zeros(50, 30)
seen = tried = done = 0
begun = threading.Event()
wrong = []

def storm():
    begun.wait()
    while seen < INTERRUPTS:
        time.sleep(rng.random() * 0.02)
        ctrl_c()

def work():
    global seen, tried, done
    while seen < INTERRUPTS:
        try:
            begun.set()
            tried += 1
            x.add_(1)
            h = w
            for _ in range(5):
                h = h @ w
            total = (h.sum() + x.sum() * 0).item()
            cache[tried % 50] = x[:30]
            done += 1
            if abs(total - 20) > 1e-3 or len(set(x.tolist())) != 1:
                wrong.append((total, x.tolist()))
        except KeyboardInterrupt:
            seen += 1

thread = threading.Thread(target=storm, daemon=True)
thread.start()
while seen < INTERRUPTS or thread.is_alive():
    try:
        work()
        thread.join()
    except KeyboardInterrupt:
        seen += 1
signal.signal(signal.SIGINT, signal.SIG_IGN)
values = set(x.tolist())
assert len(values) == 1 and done <= min(values) <= tried, (done, values, tried)
assert not wrong, wrong[:3]
assert (cache.numpy() <= tried).all()
print("over")
"""


@pytest.mark.parametrize("tier", TIERS)
def test_a_plan_that_never_ends(tier: str) -> None:
    check(ENDLESS, GEMEL_TIER=tier)


@pytest.mark.parametrize("tier", TIERS)
def test_before_reused_memory_is_written_all_of_it_is_pending_again(tier: str) -> None:
    check(BEFORE, "[2.0, 3.0, 4.0] [1.0, 4.0, 4.0] [1.0, 1.0, 1.0] [4.0, 6.0, 8.0]\n", GEMEL_TIER=tier)


@pytest.mark.parametrize("tier", TIERS)
def test_after_that_it_is_written_once(tier: str) -> None:
    check(AFTER, "[0.0, 19.0, 29.0] [2.0, 2.0, 2.0] [3.0, 22.0, 32.0] [0.0, 38.0, 58.0]\n", GEMEL_TIER=tier)


@pytest.mark.parametrize("tier", TIERS)
def test_one_more_while_values_are_put_back(tier: str) -> None:
    check(TWICE, "[2.0, 3.0, 4.0] [1.0, 1.0, 1.0] [1.0, 1.0, 1.0] [4.0, 6.0, 8.0]\n", GEMEL_TIER=tier)


@pytest.mark.parametrize("tier", ["1", "auto"])
def test_while_helpers_compile(tier: str) -> None:
    check(COMPILING, GEMEL_TIER=tier, GEMEL_CACHE="off")


def test_while_llvm_frees_what_it_has_made() -> None:
    """What llvmlite has given back must not be given back again."""
    check(IN_LLVM, "[18.0, 9.0, 3.0]\n", GEMEL_TIER="0", GEMEL_CACHE="off", GEMEL_HELPERS="0")


@pytest.mark.parametrize("tier", TIERS)
def test_in_a_finalizer_python_ignores_it_and_nothing_is_lost(tier: str) -> None:
    """It says so on stderr (``sys.unraisablehook``); what a finalizer was computing is pending again."""
    check(IN_FINALIZER, "[2.0, 3.0, 4.0] [2.0, 3.0, 4.0]\n[4.0, 6.0, 8.0]\n", GEMEL_TIER=tier)


@pytest.mark.parametrize("tier", [*TIERS, "auto"])
def test_a_storm_of_interrupts_loses_no_write(tier: str) -> None:
    check(STORM, GEMEL_TIER=tier, SEED="1")


def test_an_interrupt_that_nobody_catches_ends_the_program() -> None:
    found = outcome(PRELUDE + "x = endless(gemel.ones(3) * 1)\nwhile_running(ctrl_c)\nx.numpy()\nprint('never')")
    assert found.returncode == -signal.SIGINT and not found.stdout and "KeyboardInterrupt" in found.stderr


@pytest.mark.parametrize("place", ["_finished", "_restore", "_keep"])
def test_one_more_at_a_call_that_puts_values_back(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    y = gemel.ones(3) * 2
    real, calls = getattr(executor, place), []

    def disturbed(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(*arguments)

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt
    monkeypatch.setattr(executor, "_run", interrupted)
    monkeypatch.setattr(executor, place, disturbed)
    with pytest.raises(KeyboardInterrupt):
        y.tolist()
    monkeypatch.undo()
    assert y.tolist() == [2.0, 2.0, 2.0] and calls

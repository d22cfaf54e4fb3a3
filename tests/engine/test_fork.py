"""A forked child computes right numbers, and what it writes is its own."""
from __future__ import annotations

import os

import pytest

import gemel

from .programs import PRELUDE, check


def in_child(action) -> int:
    """Exit status of a forked child that runs ``action``."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if action() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_parent_and_child_do_not_share_memory():
    x = gemel.arange(50_000, dtype=gemel.float32)
    pending = x * 2
    x.sum().item()  # the pool has run

    def child() -> bool:
        x.add_(1)
        overwritten = [gemel.full((50_000,), 7.0).sum().item() for _ in range(20)]  # fills memory that was free
        return x[3].item() == 4 and pending[3].item() == 6 and set(overwritten) == {350_000.0}

    assert in_child(child) == 0
    assert x[3].item() == 3 and pending[3].item() == 6 and (x.numpy() == range(50_000)).all()


def test_a_fork_while_kernels_are_compiled():
    for n in range(12):
        x = gemel.arange(5 + n, dtype=gemel.float32)
        for _ in range(4):
            y = (x * 3 + n).exp().sum(0, keepdim=True).log()  # hot: a fused plan is prepared beside
            y.item()
        want = y.item()
        assert in_child(lambda x=x, n=n, want=want: ((x * 3 + n).exp().sum(0, keepdim=True).log()).item() == want) == 0


BESIDE_A_PLAN = PRELUDE + """
x, pending = gemel.arange(60000.0), gemel.arange(7.0) * 3
shared = stored(*[1.0] * 40000)  # written in place by the other thread, over and over
over, rounds, wrong = False, 0, []

def work():
    global rounds
    while not over:
        shared.add_(1)
        total = ((x * 2).reshape(300, 200) @ x.reshape(200, 300)).sum(0)[5].item()
        if total != want:
            wrong.append(total)
        rounds += 1

want = ((x * 2).reshape(300, 200) @ x.reshape(200, 300)).sum(0)[5].item()
threads = [threading.Thread(target=work) for _ in range(2)]
for t in threads[:THREADS]:
    t.start()
for n in range(20):
    before = rounds
    while rounds == before:
        time.sleep(0.0005 * (n % 5))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            ok = pending.tolist() == [3.0 * k for k in range(7)]
            ok &= ((x * 2).reshape(300, 200) @ x.reshape(200, 300)).sum(0)[5].item() == want
            ok &= len(set(shared.tolist())) == 1 and (shared * 0 + n).sum().item() == 40000 * n
            shared.mul_(0)
            ok &= shared.sum().item() == 0
            status = 0 if ok else 2
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, (n, status)
over = True
for t in threads[:THREADS]:
    t.join()
values = set(shared.tolist())
assert len(values) == 1 and not wrong, (values, wrong)
if THREADS == 1:
    assert values == {rounds + 1.0}, (values, rounds)
print("over")
"""

BY_ANOTHER_THREAD = PRELUDE + """
x = gemel.arange(3000.0)
failed = []

def fork():
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if (x * 2).sum().item() == 3000 * 2999 else 2)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            failed.append(status)

thread = threading.Thread(target=fork)
thread.start()
while thread.is_alive():
    assert (x * 3).cumsum(0)[-1].item() == (x * 3).cumsum(0)[-1].item()
print(failed)
"""


HELD = PRELUDE + """
w = gemel.ones(3, requires_grad=True)
pending = gemel.arange(4.0) * 2
inside, leave = threading.Event(), threading.Event()

def hold(take):
    def work():
        with take():
            inside.set()
            leave.wait()
    return work

def backward():
    y = w * 2
    y.register_hook(lambda g: inside.set() or leave.wait())
    y.sum().backward()

holders = {
    "flush": hold(lambda: pending._value.trace.lock), "backward": backward}
thread = threading.Thread(target=holders[HOLDER], daemon=True)
thread.start()
inside.wait()
"""
FORK = """
pid = os.fork()
if pid == 0:
    status = 1
    try:
        v = gemel.ones(2, requires_grad=True)
        (v * 3).sum().backward()
        drawn = gemel.rand(5).sum().item()
        status = 0 if pending.tolist() == [0, 2, 4, 6] and v.grad.tolist() == [3, 3] and 0 <= drawn <= 5 else 2
    finally:
        os._exit(status)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
leave.set()
thread.join()
print("over")
"""


@pytest.mark.parametrize("holder", ["flush", "backward"])
def test_a_fork_while_another_thread_holds_a_lock(holder: str) -> None:
    """That begins to flush what the child reads, or is in a backward pass: in the child it does not exist."""
    check(f"HOLDER = {holder!r}\n{HELD}{FORK}")


@pytest.mark.parametrize(("tier", "threads"), [("0", 1), ("1", 2), ("auto", 1), ("interpreter", 2)])
def test_forks_beside_plans_that_run(tier: str, threads: int) -> None:
    check(f"THREADS = {threads}\n{BESIDE_A_PLAN}", GEMEL_TIER=tier, GEMEL_THREADS="2")


@pytest.mark.parametrize("tier", ["0", "1", "auto", "interpreter"])
def test_another_thread_forks(tier: str) -> None:
    check(BY_ANOTHER_THREAD, "[]\n", GEMEL_TIER=tier)

"""A forked child computes right numbers, and what it writes is its own."""
from __future__ import annotations

import os

import gemel


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

"""Several threads at one tensor: each reads what was recorded, and they share one storage."""
from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gemel
from gemel import debug
from gemel.engine.base.flags import override

from .programs import HANG

TIERS = ("0", "1", "interpreter")


@pytest.fixture(autouse=True)
def often() -> Iterator[None]:
    """Threads take turns every few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What ``work(0)``, ``work(1)`` … return in threads that begin at once."""
    ready = threading.Barrier(count)
    found: list[Any] = [None] * count
    errors: list[BaseException] = []

    def run(i: int) -> None:
        ready.wait()
        try:
            found[i] = work(i)
        except BaseException as error:
            errors.append(error)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return found


def numbers(n: int) -> gemel.Tensor:
    return gemel.arange(60.0).reshape(6, 10) * 2 + n


def in_memory(n: int) -> gemel.Tensor:
    x = numbers(n)
    x.sum().item()
    return x


def written(n: int) -> gemel.Tensor:
    return numbers(0).add_(n)


def part(n: int) -> gemel.Tensor:
    """Its base is gone."""
    return (gemel.arange(120.0).reshape(2, 6, 10) * 2 + n)[0]


def values(n: int) -> np.ndarray:
    return np.arange(60.0, dtype=np.float32).reshape(6, 10) * 2 + n


@pytest.mark.parametrize("make", [numbers, in_memory, written, part])
def test_two_threads_show_one_tensor_to_numpy(make: Callable[[int], gemel.Tensor]) -> None:
    for n in range(150):
        x = make(n)
        one, other = together(2, lambda _, x=x: x.numpy())
        np.testing.assert_array_equal(one, values(n))
        one[0, 0] = -1  # it is one memory
        assert other[0, 0] == -1 and x[0, 0].item() == -1
        x.mul_(2)
        assert one[0, 0] == other[0, 0] == -2


@pytest.mark.parametrize("make", [numbers, in_memory, written, part])
def test_threads_read_one_tensor_in_any_way(make: Callable[[int], gemel.Tensor]) -> None:
    def read(x: gemel.Tensor, want: np.ndarray, order: random.Random, i: int) -> None:
        ways = (
            lambda: (x.numpy(), want), lambda: (x[i].tolist(), want[i].tolist()),
            lambda: ((x + 1).sum().item(), (want + 1).sum()), lambda: (x.t()[3].numpy(), want.T[3]),
            lambda: ((x[i:i + 2] * 2).tolist(), (want[i:i + 2] * 2).tolist()),
            lambda: (x.detach().sum(0).tolist(), want.sum(0).tolist()))
        for way in order.sample(ways, 4):
            got, meant = way()
            np.testing.assert_array_equal(got, meant)

    for n in range(100):
        x, want = make(n), values(n)
        together(3, lambda i, x=x, want=want, n=n: read(x, want, random.Random(3 * n + i), i))


@pytest.mark.parametrize("make", [numbers, in_memory, part])
def test_views_that_threads_make_at_once_share_one_storage(make: Callable[[int], gemel.Tensor]) -> None:
    for n in range(150):
        x = make(n)
        views = together(3, lambda i, x=x: x[i])
        x.fill_(n)
        assert [v.tolist() for v in views] == [[n] * 10] * 3
        views[0].fill_(-1)
        assert x[:2].tolist() == [[-1] * 10, [n] * 10]


def test_many_views_come_and_go_in_threads() -> None:
    """The list of those that share a storage is tidied up while others join."""
    x = in_memory(0)

    def work(i: int) -> list[gemel.Tensor]:
        kept = []
        for n in range(200):
            v = x[n % 6]
            if n % 10 == i:
                kept.append(v)
        return kept
    views = [v for kept in together(3, work) for v in kept]
    x.fill_(5)
    assert all(v.tolist() == [5] * 10 for v in views)


@pytest.mark.parametrize("tier", TIERS)
def test_many_threads_read_one_pending_value(tier: str) -> None:
    """One of them computes it; what it depends on runs once."""
    with override(TIER=tier):
        for n in range(20):
            x = numbers(n)
            y = (x.cumsum(0) * 2).sum(1)
            with debug.counting() as seen:
                got = together(8, lambda _, y=y: y.tolist())
            assert got == [(values(n).cumsum(0) * 2).sum(1).tolist()] * 8
            assert seen["flushes"] == 1


@pytest.mark.parametrize("tier", TIERS)
def test_a_pending_value_of_another_thread(tier: str) -> None:
    """It is computed when it is used, while its own thread goes on recording."""
    with override(TIER=tier):
        for n in range(30):
            shared: list[gemel.Tensor] = []
            made, used = threading.Event(), threading.Event()

            def work(i: int, shared=shared, made=made, used=used, n=n) -> Any:
                if i == 0:
                    shared.append(numbers(n) + 1)
                    made.set()
                    own = shared[0]
                    for _ in range(50):
                        own = own + 1
                    used.wait(HANG)
                    return own.tolist()
                made.wait(HANG)
                found = (shared[0] * 2).tolist()
                used.set()
                return found
            one, other = together(2, work)
            assert one == (values(n) + 51).tolist() and other == (2 * (values(n) + 1)).tolist()

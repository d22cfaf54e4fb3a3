"""Loops that nobody compiles: how many plans and kernels they need, whatever is printed, changed or collected."""
from __future__ import annotations

import gc
import io
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout

import numpy as np
import pytest

import gemel
from gemel import debug, nn, optim
from gemel.engine.base.flags import override
from gemel.engine.runtime import executor, kernels
from gemel.nn import functional as F

TIERS = ("0", "1", "interpreter")
PERIOD = 1337
#: operations of the long loop; GEMEL_FUZZ=1 takes the long one
OPERATIONS = 300_000 if os.environ.get("GEMEL_FUZZ") else 30_000


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    executor.clear_plans()
    yield


def numbers(*shape: int) -> gemel.Tensor:
    x = gemel.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32)) * 1
    x.sum().item()
    return x


@pytest.mark.parametrize("tier", ["0", "interpreter"])
def test_a_loop_of_a_long_period_needs_three_plans(tier: str) -> None:
    """Its trace is cut at the same place of every round."""
    def turn(x, k: int):
        return (x * 0.5 if k % 7 else x + 0.5) if k % 3 else x * x if k % 5 else 1 - x

    x = numbers(8).abs().clamp(max=1)
    y, n = x.numpy().copy(), 0
    with override(TIER=tier), debug.counting() as seen:
        while n < OPERATIONS:
            for k in range(PERIOD):
                x = turn(x, k)
            n += PERIOD
        got = x.numpy()
    for _ in range(n // PERIOD):
        for k in range(PERIOD):
            y = turn(y, k).astype(np.float32)
    np.testing.assert_array_equal(got, y)
    assert seen["plan_misses"] <= 3
    assert seen["flushes"] > n // 8192, "the trace has grown without end"


def test_the_same_loop_warms_up_like_any_other() -> None:
    """When it is gone through again, its segments are the same."""
    x = numbers(8)

    def rounds() -> None:
        nonlocal x
        for _ in range(60):
            for k in range(200):
                x = x * 1.001 if k % 3 else x.tanh()
        x.sum().item()
    with override(TIER="1"):
        for _ in range(2):
            rounds()
        with debug.counting() as seen:
            rounds()
    assert seen["plan_misses"] == seen["compiles"] == seen["kernels"] == 0 and seen["flushes"] >= 3


class Network:
    """A few layers, whose products each are a kernel; ``step`` returns what may be printed."""

    def __init__(self) -> None:
        gemel.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 25), nn.Tanh(), nn.Linear(25, 10))
        self.optimizer = optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)
        self.x, self.y = numbers(16, 20), gemel.from_numpy(np.arange(16) % 10)

    def step(self, look: Callable[[gemel.Tensor], object] | None = None, lr: float = 0.1) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        h = self.net[1](self.net[0](self.x))
        loss = F.cross_entropy(self.net[2:](h), self.y)
        loss.backward()
        if look is not None:
            look(h)
        self.optimizer.step()
        return loss.item()


@pytest.mark.parametrize("tier", ["0", "1"])
def test_a_print_more_compiles_what_changed(tier: str) -> None:
    """In front of the optimizer's step it ends a plan: kernels that reach over that place are new, and no others."""
    def shown(h: gemel.Tensor) -> None:
        with redirect_stdout(io.StringIO()) as out:
            print(h)
        assert "tensor" in out.getvalue()

    with override(TIER=tier):
        quiet, loud = Network(), Network()
        kernels.forget()  # those that other tests have loaded
        shown(numbers(16, 30))  # printing itself computes something
        with debug.counting() as first:
            losses = [quiet.step() for _ in range(4)]
        assert [loud.step() for _ in range(2)] == losses[:2]
        with debug.counting() as seen:
            assert [loud.step(shown) for _ in range(2)] == losses[2:]
        assert first["kernels"] > 10
        assert seen["kernels"] <= (0 if tier == "0" else first["kernels"] // 3), (first, seen)
        with debug.counting() as again:
            for _ in range(3):
                loud.step(shown)
        assert again["compiles"] == again["kernels"] == again["plan_misses"] == 0


@pytest.mark.parametrize("tier", ["0", "1"])
def test_one_more_result_in_a_loop_compiles_its_kernel_only(tier: str) -> None:
    """``item`` of an inner value: the plan is another one, all other kernels are the same."""
    w = [numbers(40, 40) * 0.1 for _ in range(6)]

    def step(look: bool) -> None:
        h = numbers_in
        for k, m in enumerate(w):
            h = (h @ m).tanh()
            if k == 2:
                inner = h
        total = h.sum()
        if look:
            inner.sum().item()
        total.item()

    numbers_in = numbers(16, 40)
    with override(TIER=tier):
        kernels.forget()
        for _ in range(2):
            step(False)
        with debug.counting() as seen:
            step(True)
            step(True)
    assert seen["kernels"] <= 2, seen


@pytest.mark.parametrize("tier", TIERS)
def test_numbers_that_change_are_inputs(tier: str) -> None:
    """A learning rate, a factor, an exponent, an addend: no new plan, no new kernel."""
    def body(n: int) -> float:
        x = given * (0.1 + n) + n / 7
        return ((x - 1.5 * n) / (2.0 + n)).clamp(-n - 0.5, n + 0.5).sum().item()

    given = numbers(50)
    with override(TIER=tier):
        network = Network()
        for n in range(2):
            network.step(lr=0.1 / (n + 1))
            body(n)
        with debug.counting() as seen:
            for n in range(2, 12):
                network.step(lr=0.1 / (n + 1))
                body(n)
    assert seen["plan_misses"] == seen["compiles"] == seen["kernels"] == 0


@pytest.mark.parametrize("tier", TIERS)
def test_the_garbage_collector_changes_neither_results_nor_counters(tier: str) -> None:
    def run() -> tuple[list[float], dict[str, int | float]]:
        executor.clear_plans()
        network, found = Network(), []
        with debug.counting() as seen:
            for _ in range(6):
                found.append(network.step())
        # what depends on time, and on what earlier tests have left
        return found, {k: v for k, v in seen.items() if k not in ("compile_seconds", "live_bytes", "peak_bytes")}

    with override(TIER=tier):
        run()  # all kernels are there
        want = run()
        gc.disable()
        try:
            assert run() == want
        finally:
            gc.enable()
        before = gc.get_threshold()
        gc.set_threshold(1)  # at every allocation
        try:
            assert run() == want
        finally:
            gc.set_threshold(*before)

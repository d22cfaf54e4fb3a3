"""Absence, proved: kernels, compiles, syncs and bytes of common steps."""
from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import gemel
from gemel import debug, nn, optim
from gemel.engine.base.flags import override
from gemel.engine.runtime import runs
from gemel.nn import functional as F

ROWS, WIDTH = 256, 1000
BYTES = 4 * ROWS * WIDTH


@pytest.fixture(autouse=True)
def fused() -> Iterator[None]:
    with override(TIER="1"):
        yield


def numbers(*shape: int) -> gemel.Tensor:
    x = gemel.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32)) + 0
    x.numpy()
    return x


def steady(step: Callable[[], object]) -> tuple[dict[str, int | float], int]:
    """Counters, and bytes that kernels move, of a step that has run before."""
    for _ in range(2):
        step()
    runs.counters.profile = {}
    try:
        with debug.counting() as seen:
            step()
        moved = sum(row[3] for row in runs.counters.profile.values())
    finally:
        runs.counters.profile = None
    assert seen["compiles"] == seen["kernels"] == seen["plan_misses"] == seen["host_steps"] == 0
    return seen, moved


def test_an_elementwise_chain_is_one_kernel():
    x, y = numbers(ROWS, WIDTH), numbers(ROWS, WIDTH)
    seen, moved = steady(lambda: (gemel.exp(-x * x) + gemel.sin(y) * 0.5).numpy())
    assert (seen["calls"], seen["syncs"], seen["flushes"]) == (1, 1, 1)
    assert 3 * BYTES <= moved <= 1.1 * 3 * BYTES


def test_softmax_is_one_kernel_that_reads_once():
    x = numbers(ROWS, WIDTH)
    seen, moved = steady(lambda: F.softmax(x, -1).numpy())
    assert (seen["calls"], seen["syncs"]) == (1, 1)
    assert 2 * BYTES <= moved <= 1.1 * 2 * BYTES


def test_layer_norm_is_one_kernel_that_reads_once():
    x, w, b = numbers(ROWS, WIDTH), numbers(WIDTH), numbers(WIDTH)
    seen, moved = steady(lambda: F.layer_norm(x, (WIDTH,), w, b).numpy())
    assert (seen["calls"], seen["syncs"]) == (1, 1)
    assert 2 * BYTES <= moved <= 1.1 * 2 * BYTES


def test_cross_entropy_of_a_large_vocabulary_and_its_gradient_are_one_kernel_over_the_logits():
    rows, classes = 4, 50257
    x, y = numbers(rows, classes).requires_grad_(), gemel.from_numpy(np.arange(rows))

    def step() -> None:
        x.grad = None
        F.cross_entropy(x, y).backward()
        x.grad.numpy()
    for _ in range(2):
        step()
    with debug.profile() as seen:
        step()
    large = [r for r in seen.rows if r.nbytes > 4 * rows * classes]
    assert len(large) == 1 and large[0].calls == 1


def test_a_training_step_syncs_once_and_compiles_nothing():
    net = nn.Sequential(nn.Linear(33, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    x, y = numbers(32, 33), gemel.from_numpy(np.arange(32) % 10)

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    seen, _ = steady(step)
    assert seen["syncs"] == 1 and seen["flushes"] == 1 and seen["calls"] <= 12
    with debug.forbid_compile():
        step()


def test_an_optimizer_step_writes_in_place():
    parameters = [nn.Parameter(numbers(300, 300)) for _ in range(4)]
    for p in parameters:
        p.grad = numbers(300, 300)
    optimizer = optim.Adam(parameters, lr=0.1)

    def step() -> float:
        optimizer.step()
        return parameters[0].sum().item()

    step()
    places = [p.data_ptr() for p in parameters]
    live = debug.counters()["live_bytes"]
    seen, moved = steady(step)
    assert [p.data_ptr() for p in parameters] == places
    assert debug.counters()["live_bytes"] == live
    nbytes = 4 * 300 * 300 * 4
    assert moved <= 1.1 * (7 * nbytes + nbytes / 4)  # parameter, gradient and two states read, three written; the sum


def test_reading_twice_runs_once():
    y = numbers(64, 64).sin()
    with debug.counting() as seen:
        y.numpy()
        y.numpy()
        assert y.shape == (64, 64)
    assert seen["flushes"] == 1


def test_a_sum_does_not_join_a_group_that_walks_its_axis_in_short_pieces():
    """Max pooling's gradient writes pairs; summing it over rows in the same loops would fill two lanes of a vector."""
    def step():
        x = gemel.randn(2, 3, 32, 32, requires_grad=True)
        F.max_pool2d(x * 2, 2).sum().backward()
        return x.grad.sum((0, 2, 3))

    for _ in range(12):
        step().numpy()
        debug.wait_for_compilation()
    with debug.profile() as seen:
        step().numpy()
    names = str(seen)
    assert "row_" in names and "point_" in names

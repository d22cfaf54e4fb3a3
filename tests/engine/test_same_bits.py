"""One program, one result: eager = compiled, 1 = 2 threads, all native tiers, a row alone = the row in a batch."""
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

import gemel
from gemel import nn, optim
from gemel.nn import functional as F


def numbers(*shape: int, seed: int = 0) -> gemel.Tensor:
    return gemel.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def attention(x: gemel.Tensor) -> gemel.Tensor:
    """Causal self-attention of (batch, heads, time, width) by hand."""
    scores = x @ x.transpose(-2, -1) * x.shape[-1] ** -0.5
    past = gemel.ones(x.shape[-2], x.shape[-2], dtype=gemel.bool).tril()
    return F.softmax(scores.masked_fill(~past, float("-inf")), -1) @ x


def chain(x: gemel.Tensor) -> gemel.Tensor:
    y = gemel.exp(-x * x) + gemel.sin(x) / (x.abs() + 1)
    return (y.transpose(0, 1) * 2 - y.mean()).contiguous()


W, V, B = numbers(48, 65, seed=1), numbers(8, 3, 3, 3, seed=2), numbers(65, seed=3)

gemel.manual_seed(7)
LSTM = nn.LSTM(33, 48, batch_first=True, bidirectional=True)
#: name -> (function whose first axis is a batch, shape)
ROWWISE: dict[str, tuple[Callable[[gemel.Tensor], gemel.Tensor], tuple[int, ...]]] = {
    "linear": (lambda x: F.linear(x, W), (130, 65)),
    "softmax": (lambda x: F.softmax(x, -1), (100, 700)),
    "log_softmax": (lambda x: F.log_softmax(x, -1), (100, 33)),
    "layer_norm": (lambda x: F.layer_norm(x, (65,), B, B), (300, 65)),
    "conv": (lambda x: F.conv2d(x, V, padding=1), (9, 3, 17, 18)),
    "attention": (attention, (6, 2, 40, 16)),
    "fused attention": (lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), (5, 2, 70, 16)),
    "lstm": (lambda x: LSTM(x)[0].detach(), (9, 5, 33)),
    "sum": (lambda x: x.sum(1), (70, 1100)),
    "cumsum": (lambda x: x.cumsum(1), (70, 300)),
}


@pytest.mark.parametrize("name", ROWWISE)
def test_a_row_alone_is_the_row_in_a_batch(name: str) -> None:
    f, shape = ROWWISE[name]
    x = numbers(*shape)
    whole = f(x).numpy()
    for i in (0, 1, shape[0] // 2, shape[0] - 1):
        alone = f(numbers(*shape)[i:i + 1]).numpy()
        assert alone.tobytes() == whole[i:i + 1].tobytes(), f"row {i}"
    assert f(x[1:4]).numpy().tobytes() == whole[1:4].tobytes()


def train(compiled: bool) -> list[bytes]:
    """Six steps of a small network with batch norm and Adam; every loss and parameter."""
    gemel.manual_seed(3)
    net = nn.Sequential(nn.Linear(33, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
    optimizer = optim.Adam(net.parameters(), lr=1e-2)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    run = gemel.compile(step) if compiled else step
    target = gemel.from_numpy(np.arange(256) % 10)
    losses = [run(numbers(256, 33, seed=n), target).detach().numpy().tobytes() for n in range(6)]
    return losses + [p.detach().numpy().tobytes() for p in net.parameters()]


def test_eager_is_compiled() -> None:
    assert train(False) == train(True)


def test_twice_the_same() -> None:
    assert train(False) == train(False)


def everything() -> list[bytes]:
    """The results of all workloads of this file."""
    found = [f(numbers(*shape)).numpy().tobytes() for f, shape in ROWWISE.values()]
    found += [chain(numbers(300, 200)).numpy().tobytes(), numbers(3_000_000).sum().numpy().tobytes()]
    for _ in range(3):  # hot traces are fused
        found.append(F.softmax(numbers(64, 100) * 3, -1).sum(0).numpy().tobytes())
    return found + train(False)


SCRIPT = """
import gc, hashlib, sys
{setup}
from tests.engine.test_same_bits import everything
print("DIGEST", hashlib.sha256(b"".join(everything())).hexdigest())
"""


def digest(setup: str = "", **environment: str) -> str:
    command = [sys.executable, "-c", SCRIPT.format(setup=setup)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200,
                          env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.split("DIGEST")[1].strip()


@pytest.fixture(scope="module")
def reference() -> str:
    return digest(GEMEL_TIER="auto", GEMEL_THREADS="2")


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_threads(reference: str, threads: str) -> None:
    assert digest(GEMEL_TIER="auto", GEMEL_THREADS=threads) == reference


@pytest.mark.parametrize("tier", ["0", "1"])
def test_tiers(reference: str, tier: str) -> None:
    assert digest(GEMEL_TIER=tier, GEMEL_THREADS="2") == reference


@pytest.mark.parametrize("setup", ["gc.disable()", "gc.set_threshold(1)"])
def test_the_garbage_collector_does_not_matter(reference: str, setup: str) -> None:
    assert digest(setup, GEMEL_TIER="auto", GEMEL_THREADS="2") == reference

"""Checkpointing: the same gradients, from values that are computed again."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gemel
from gemel.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential

X = np.random.default_rng(0).standard_normal((4, 3))


def leaf() -> Any:
    return gemel.tensor(X, requires_grad=True)


def test_gradients_of_arguments_and_of_what_is_closed_over():
    w = gemel.tensor(X.T.copy(), requires_grad=True)
    calls = []

    def f(x: Any, k: float, *, shift: Any) -> Any:
        calls.append(1)
        return ((x @ w).tanh() * k + shift).exp()

    def grads(run: Any) -> list[np.ndarray]:
        x, shift = leaf(), gemel.tensor(0.5, dtype=gemel.float64, requires_grad=True)
        w.grad = None
        run(x, 2.0, shift=shift).sum().backward()
        return [t.grad.numpy().copy() for t in (x, w, shift)]
    want = grads(f)
    calls.clear()
    got = grads(lambda *a, **k: checkpoint(f, *a, use_reentrant=False, **k))
    assert len(calls) == 2
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_random_numbers_are_drawn_as_the_first_time():
    def f(x: Any) -> Any:
        return x * gemel.rand(4, 3, dtype=gemel.float64) * x
    gemel.manual_seed(3)
    x = leaf()
    y = checkpoint(f, x)
    after = gemel.rand(1).item()
    y.sum().backward()
    factors = y.detach().numpy() / X ** 2
    np.testing.assert_allclose(x.grad.numpy(), 2 * X * factors, rtol=1e-12)
    gemel.manual_seed(3)
    gemel.rand(4, 3, dtype=gemel.float64)
    assert gemel.rand(1).item() == after


def test_twice_second_order_and_nested():
    x = leaf()
    y = checkpoint(lambda x: checkpoint(lambda z: z.sin() * z, x).exp(), x).sum()
    (first,) = gemel.autograd.grad(y, x, retain_graph=True)
    (again,) = gemel.autograd.grad(y, x, create_graph=True)
    np.testing.assert_array_equal(first.numpy(), again.detach().numpy())
    (second,) = gemel.autograd.grad(again.sum(), x)
    z = leaf()
    (plain,) = gemel.autograd.grad((z.sin() * z).exp().sum(), z, create_graph=True)
    (want,) = gemel.autograd.grad(plain.sum(), z)
    np.testing.assert_allclose(second.numpy(), want.numpy(), rtol=1e-12)


def test_what_lies_between_is_not_kept():
    big = gemel.ones(1000, 1000, requires_grad=True)

    def f(x: Any) -> Any:
        for _ in range(8):
            x = x.sin()
        return x.sum()
    y = checkpoint(f, big)
    saved = []
    node: Any = y.grad_fn
    while node is not None and hasattr(node, "inputs"):
        saved += [v for v in node.inputs or () if isinstance(v, gemel.engine.runtime.trace.Value)]
        node = node.next_functions[0][0]
    assert not saved
    y.backward()
    assert big.grad.shape == (1000, 1000)


def test_a_function_that_does_something_else_the_second_time():
    state = []

    def f(x: Any) -> Any:
        state.append(1)
        return x.sin() if len(state) == 1 else x + x
    with pytest.raises(CheckpointError, match="different number"):
        checkpoint(f, leaf()).sum().backward()
    state.clear()

    def g(x: Any) -> Any:
        state.append(1)
        return (x if len(state) == 1 else x[:2]).sin().sum()
    with pytest.raises(CheckpointError, match="metadata"):
        checkpoint(g, leaf()).backward()
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(g, leaf(), determinism_check="all")


def test_without_gradients_and_in_sequence():
    net = gemel.nn.Sequential(*(gemel.nn.Linear(3, 3) for _ in range(5)))
    x = gemel.tensor(X.astype(np.float32))
    with gemel.no_grad():
        want = net(x)
        np.testing.assert_array_equal(checkpoint(net, x).numpy(), want.numpy())
    y = checkpoint_sequential(net, 2, x)
    np.testing.assert_array_equal(y.detach().numpy(), want.numpy())
    y.sum().backward()
    got = [p.grad.numpy().copy() for p in net.parameters()]
    net.zero_grad()
    net(x).sum().backward()
    for a, p in zip(got, net.parameters(), strict=True):
        np.testing.assert_array_equal(a, p.grad.numpy())

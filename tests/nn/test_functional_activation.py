"""Activation functions against torch."""
from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gemel.nn.functional as F
from gemel import debug
from gemel.engine.base.flags import override
from tests.nn.compare import backward, compare, ones_like, ours, randn, to_numpy

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

#: name, positional arguments behind the input
CASES = [
    ("relu",), ("relu6",), ("gelu",), ("silu",), ("mish",), ("elu",), ("elu", 0.7), ("celu",), ("celu", 0.3), ("selu",),
    ("leaky_relu",), ("leaky_relu", 0.3), ("threshold", 0.2, -1.5), ("hardtanh",), ("hardtanh", -0.3, 0.6),
    ("hardsigmoid",), ("hardswish",), ("softplus",), ("softplus", 2.5, 1.0), ("softsign",), ("logsigmoid",),
    ("tanhshrink",), ("softshrink",), ("softshrink", 0.2), ("hardshrink",), ("hardshrink", 0.8), ("sigmoid",),
    ("tanh",), ("rrelu",), ("glu",), ("glu", 0), ("softmax", 1), ("softmax", 0), ("softmin", -1), ("log_softmax", 2),
]


def sample(dtype: torch.dtype) -> torch.Tensor:
    x = randn(4, 5, 6, dtype=dtype) * 3
    x.view(-1)[:9] = torch.tensor([0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 0.5, -0.5, 40.0], dtype=dtype)
    return x


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c)))
def test_values_and_gradients(case):
    name, *args = case
    for dtype in DTYPES:
        compare(getattr(F, name), getattr(TF, name), [sample(dtype)], *args)


@pytest.mark.parametrize("tier", ["interpreter", "0", "1"])
def test_every_tier(tier):
    with override(TIER=tier):
        for name, *args in CASES[::3]:
            compare(getattr(F, name), getattr(TF, name), [sample(torch.float32)], *args)


def test_gelu_by_tanh():
    compare(F.gelu, TF.gelu, [sample(torch.float32)], approximate="tanh")
    with pytest.raises(RuntimeError, match="approximate argument must be either none or tanh"):
        F.gelu(ours(randn(2)), approximate="sigmoid")


def test_prelu():
    compare(F.prelu, TF.prelu, [randn(3, 4, 5), randn(4)])
    compare(F.prelu, TF.prelu, [randn(3, 4), randn(1)])
    compare(F.prelu, TF.prelu, [randn(7, dtype=torch.float32), randn(1, dtype=torch.float32)])
    with pytest.raises(RuntimeError, match="number.*of parameters|parameter numbers = 3 and channel size = 4"):
        F.prelu(ours(randn(2, 4)), ours(randn(3)))


def test_nan_and_infinities_pass_as_in_torch():
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0])
    for name, *args in CASES:
        if "soft" in name or name in ("glu", "gelu"):  # torch's vectorised gelu(inf) is NaN, ours inf
            continue
        np.testing.assert_allclose(to_numpy(getattr(F, name)(ours(x), *args)),
                                   to_numpy(getattr(TF, name)(x, *args)), rtol=1e-6, err_msg=name)


def test_zero_dimensional_and_empty():
    for name in ("relu", "gelu", "elu", "softplus"):
        compare(getattr(F, name), getattr(TF, name), [torch.tensor(0.5)])
        compare(getattr(F, name), getattr(TF, name), [torch.zeros(0, 3)])
    compare(F.softmax, TF.softmax, [torch.tensor(0.5)], 0)


def test_dtype_argument_and_implicit_axis():
    import gemel
    x = randn(3, 4, dtype=torch.float32)
    got = F.softmax(ours(x), 1, dtype=gemel.float64)
    np.testing.assert_allclose(to_numpy(got), to_numpy(TF.softmax(x, 1, dtype=torch.float64)), rtol=1e-12)
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        F.softmax(ours(x))


def test_in_place_versions():
    x = ours(sample(torch.float32))
    y = F.leaky_relu_(x, 0.2)
    assert y is x
    np.testing.assert_array_equal(to_numpy(x), to_numpy(TF.leaky_relu(sample(torch.float32), 0.2)))
    assert F.relu(x, inplace=True) is x


def test_random_ones_keep_their_distribution():
    x = ours(torch.full((200, 100), -1.0))
    y = to_numpy(F.rrelu(x, 0.2, 0.4, training=True))
    assert y.min() >= -0.4 and y.max() <= -0.2
    assert abs(y.mean() + 0.3) < 5e-3
    logits = ours(torch.zeros(4000, 4))
    hard = to_numpy(F.gumbel_softmax(logits, tau=0.5, hard=True))
    assert set(np.unique(hard)) == {0.0, 1.0} and (hard.sum(1) == 1).all()
    assert np.abs(hard.mean(0) - 0.25).max() < 0.04
    soft = to_numpy(F.gumbel_softmax(logits, tau=0.5))
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-5)


def test_random_slopes_carry_the_gradient():
    x = ours(torch.full((50,), -2.0)).requires_grad_()
    y = F.rrelu(x, training=True)
    backward([y], [ones_like(y)])
    np.testing.assert_allclose(to_numpy(x.grad), to_numpy(y) / -2, rtol=1e-6)


@pytest.mark.parametrize("call, error, message", [
    (lambda: F.elu(ours(torch.arange(3))), NotImplementedError, "int64"),
    (lambda: F.relu([1.0]), TypeError, r"argument 'input' must be Tensor, not list"),
    (lambda: F.glu(ours(randn(3, 5))), RuntimeError, "Halving dimension must be even, but dimension 1 is size 5"),
    (lambda: F.softmax(ours(randn(3, 5)), 2), IndexError, "Dimension out of range"),
    (lambda: F.hardtanh(ours(randn(2)), 1.0, 0.0), ValueError, "min_val cannot be greater"),
    (lambda: F.softshrink(ours(randn(2)), -1.0), RuntimeError, "lambda must be greater or equal to 0"),
    (lambda: F.celu(ours(randn(2)), 0), ZeroDivisionError, "alpha cannot be 0"),
])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name, args, forward, back", [
    ("softmax", (1,), 1, 1), ("log_softmax", (1,), 1, 1), ("gelu", (), 1, 1), ("silu", (), 1, 1), ("mish", (), 1, 1),
])
def test_kernel_counts(name, args, forward, back):
    """Each is one fused kernel, forward and backward."""
    with override(TIER="1"):
        x = ours(randn(64, 256, dtype=torch.float32)).requires_grad_()
        with debug.counting() as seen:
            y = getattr(F, name)(x, *args)
            y.detach().numpy()
        assert seen["calls"] == forward
        g = ours(randn(64, 256, dtype=torch.float32, seed=1))
        with debug.counting() as seen:
            backward([y], [g])
            x.grad.numpy()
        assert seen["calls"] == back

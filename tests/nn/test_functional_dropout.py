"""Dropout: its numbers are its own, so what is tested is what they are like."""
from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gemel
import gemel.nn.functional as F
from tests.nn.compare import recorded_by

CHANNELS = [("dropout1d", (50, 40, 6)), ("dropout2d", (50, 40, 3, 2)), ("dropout3d", (50, 40, 2, 2, 2)),
            ("dropout1d", (400, 6)), ("dropout3d", (400, 2, 2, 2))]


@pytest.mark.parametrize("dtype", [gemel.float64, gemel.float32, gemel.bfloat16], ids=str)
@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_dropout(p, dtype):
    gemel.manual_seed(1)
    x = gemel.full((200, 100), 3.0, dtype=dtype, requires_grad=True)
    y = F.dropout(x, p)
    y.sum().backward()
    values = y.detach().double().numpy()
    kept = values != 0
    assert y.dtype is dtype
    assert abs(kept.mean() - (1 - p)) < 0.02
    np.testing.assert_allclose(values[kept], 3 / (1 - p), rtol=1e-2 if dtype is gemel.bfloat16 else 1e-6)
    np.testing.assert_allclose(x.grad.double().numpy() * 3, values, rtol=1e-2)


@pytest.mark.parametrize("name, shape", CHANNELS, ids=str)
def test_dropout_of_channels(name, shape):
    gemel.manual_seed(2)
    x = gemel.ones(shape, requires_grad=True)
    y = getattr(F, name)(x, 0.3)
    y.sum().backward()
    batch = 2 if name == "dropout1d" and len(shape) == 3 or len(shape) == int(name[7]) + 2 else 1
    rows = y.detach().numpy().reshape(int(np.prod(shape[:batch])), -1)
    assert (rows == rows[:, :1]).all()
    assert abs((rows[:, 0] != 0).mean() - 0.7) < 0.07
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_keeps_mean_and_variance(name):
    gemel.manual_seed(3)
    x = gemel.randn(300, 200, requires_grad=True)
    y = getattr(F, name)(x, 0.3, training=True)
    values = y.detach().numpy()
    assert abs(values.mean()) < 0.05
    assert abs(values.std() - 1) < 0.05
    low = values.min()
    y.sum().backward()
    slope = x.grad.numpy()
    q = 0.7
    a = (q + 1.7580993408473766**2 * q * (1 - q)) ** -0.5
    np.testing.assert_allclose(np.unique(slope), [0, a], rtol=1e-5)
    dropped = values[slope == 0]
    assert low <= dropped.min()
    np.testing.assert_allclose(dropped, dropped[0])
    np.testing.assert_allclose(dropped[0], -1.7580993408473766 * a + 1.7580993408473766 * a * 0.3, rtol=1e-4)


@pytest.mark.parametrize("name", ["dropout", "alpha_dropout"])
def test_extremes(name):
    x = gemel.randn(20, 30)
    f = getattr(F, name)
    assert f(x, 0.5, training=False) is x
    assert f(x, 0.0, training=True) is x
    t = torch.ones(20, 30)
    np.testing.assert_allclose(f(gemel.ones(20, 30), 1.0, training=True).numpy(),
                               getattr(TF, name)(t, 1.0, training=True).numpy(), atol=1e-6)


def test_in_place_and_one_operation():
    x = gemel.ones(1000)
    y = F.dropout(x, 0.5, inplace=True)
    assert y is x
    assert set(x.numpy().tolist()) == {0.0, 2.0}
    assert recorded_by(F.dropout, gemel.ones(4), 0.5)[-1:] == ["dropout"]


def test_manual_seed_repeats_it():
    found = []
    for _ in range(2):
        gemel.manual_seed(11)
        found.append(F.dropout(gemel.ones(100), 0.4).numpy().copy())
    np.testing.assert_array_equal(*found)


def test_errors():
    for f in (F, TF):
        with pytest.raises(ValueError, match="between 0 and 1"):
            f.dropout((gemel if f is F else torch).ones(3), 1.5)
    with pytest.raises(RuntimeError, match="dropout1d"):
        F.dropout1d(gemel.ones(2))
    with pytest.raises(TypeError, match="must be Tensor"):
        F.dropout([1.0])
    with pytest.warns(UserWarning, match="3D"):
        F.dropout2d(gemel.ones(2, 3, 4))

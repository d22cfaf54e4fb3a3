"""The shortest way through every room: runs in seconds, before anything lands."""
from __future__ import annotations

import numpy as np

import gemel
from gemel.tensor.core import from_array
from gemel.tensor.recording import wrap


def test_forward_and_backward():
    x = wrap(from_array(np.arange(6, dtype=np.float32).reshape(2, 3)))
    x.requires_grad_()
    y = (x * x + x).sum()
    y.backward()
    assert y.item() == 70.0
    np.testing.assert_array_equal(x.grad.numpy(), 2 * x.detach().numpy() + 1)
    assert isinstance(x, gemel.Tensor)

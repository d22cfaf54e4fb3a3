"""Names at the top of the package."""
from __future__ import annotations

import numpy as np
import pytest
import torch

import gemel


@pytest.mark.parametrize("name", sorted(n for n, where in gemel._LAZY_NAMES.items() if where == ".nn.functional"))
def test_functions_that_torch_has_at_the_top(name):
    assert hasattr(torch, name) and getattr(gemel, name) is getattr(gemel.nn.functional, name)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dim", [0, -1])
def test_softmax_at_the_top_and_as_a_method(name, dim):
    x = np.random.default_rng(0).standard_normal((3, 4))
    want = getattr(torch, name)(torch.tensor(x), dim).numpy()
    np.testing.assert_allclose(getattr(gemel, name)(gemel.tensor(x), dim).numpy(), want, rtol=1e-12)
    np.testing.assert_allclose(getattr(gemel.tensor(x), name)(dim).numpy(), want, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(gemel._METHODS))
def test_methods_that_torch_has_at_the_top(name):
    assert hasattr(torch, name) and getattr(gemel, name) is getattr(gemel.Tensor, name) and name in dir(gemel)


def test_constants():
    assert (gemel.e, gemel.pi, gemel.inf) == (torch.e, torch.pi, torch.inf) and gemel.nan != gemel.nan
    x = gemel.tensor([0.25, 4.0])
    assert gemel.sqrt_(x) is x and x.tolist() == [0.5, 2.0] and x[gemel.newaxis].shape == (1, 2)


def test_unknown_names():
    with pytest.raises(AttributeError, match="module 'gemel' has no attribute 'nothing'"):
        gemel.nothing  # noqa: B018


def test_a_temporary_array_is_taken_over():
    x = gemel.from_numpy(np.arange(1000.0).reshape(10, 100))
    x.sum().item()
    assert x._alias.cell.foreign is None
    held = np.arange(10.0)
    y = gemel.from_numpy(held[2:])
    before = y * 1
    held[:] = 0
    assert before.tolist() == list(range(2, 10)) and y.tolist() == [0.0] * 8

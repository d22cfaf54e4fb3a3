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
    with pytest.raises(AttributeError) as caught:
        gemel.sofmax  # noqa: B018
    assert caught.value.name == "sofmax" and caught.value.obj is gemel  # Python then says: did you mean softmax?


TYPED = {"Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Byte": "uint8",
         "Char": "int8", "Short": "int16", "Int": "int32", "Long": "int64", "Bool": "bool"}


@pytest.mark.parametrize("kind", TYPED)
def test_tensors_from_their_class(kind):
    found = []
    for m in (gemel, torch):
        make = getattr(m, f"{kind}Tensor")
        dtype = getattr(m, TYPED[kind])
        x = make([1, 0])
        assert x.dtype is dtype and isinstance(x, make) and not isinstance(m.ones(1, dtype=m.complex64), make)
        assert make(2, 3).shape == (2, 3) and make(m.Size([2, 3])).shape == (2, 3) and make().shape == (0,)
        assert make(x).data_ptr() == x.data_ptr() and x.new([[1]]).dtype is dtype and x.new(2).shape == (2,)
        found.append((x.tolist(), make((1, 1)).tolist()))
        for wrong in (m.ones(2, dtype=m.complex64), 2.5, None):
            with pytest.raises(TypeError):
                make(wrong)
    assert found[0] == found[1]


def test_tensors_from_the_class_tensor():
    for m in (gemel, torch):
        assert m.Tensor([[1, 2]]).tolist() == [[1.0, 2.0]] and m.Tensor(2, 3).shape == (2, 3)
        assert m.Tensor(np.ones(2, np.float32)).dtype is m.float32 and m.Tensor().shape == (0,)
        with pytest.raises(TypeError):
            m.Tensor(1.5)
    with pytest.raises(NotImplementedError, match="must define __new__"):
        type("Mine", (gemel.Tensor,), {"__slots__": ()})([1])


def test_a_temporary_array_is_taken_over():
    x = gemel.from_numpy(np.arange(1000.0).reshape(10, 100))
    x.sum().item()
    assert x._alias.cell.foreign is None
    held = np.arange(10.0)
    y = gemel.from_numpy(held[2:])
    before = y * 1
    held[:] = 0
    assert before.tolist() == list(range(2, 10)) and y.tolist() == [0.0] * 8

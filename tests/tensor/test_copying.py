"""Copies, pickles, addresses and exchanges of tensors, compared with torch's."""
from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import gemel


@pytest.mark.parametrize("make", [lambda x: copy.deepcopy(x), lambda x: copy.copy(x),
                                  lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "copy", "pickle"])
def test_a_copy_of_a_leaf_is_a_leaf(make):
    x = gemel.randn(3, 4, requires_grad=True)
    x.note = "kept"
    y = make(x)
    assert y.requires_grad and y.is_leaf and y.note == "kept"
    np.testing.assert_array_equal(y.detach().numpy(), x.detach().numpy())


def test_a_deep_copy_shares_nothing_and_keeps_the_gradient():
    x = gemel.ones(3, requires_grad=True)
    (x * 2).sum().backward()
    y, again = copy.deepcopy([x, x])
    assert y is again
    with gemel.no_grad():
        y.mul_(5)
    assert x.tolist() == [1, 1, 1] and y.grad.tolist() == [2, 2, 2] and y.grad is not x.grad


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "int64", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_pickles_keep_dtype_and_shape(dtype, shape):
    x = gemel.ones(shape, dtype=getattr(gemel, dtype if dtype != "bool" else "bool_"))
    y = pickle.loads(pickle.dumps(x))
    assert y.dtype is x.dtype and y.shape == x.shape and y.tolist() == x.tolist()


def test_only_leaves_are_copied():
    y = gemel.ones(3, requires_grad=True) * 2
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(y)
    with pytest.raises(RuntimeError, match="only leaves can be pickled"):
        pickle.dumps(y)


def test_addresses_of_views():
    x = gemel.zeros(4, 4)
    rows = x[1:]
    assert rows.data_ptr() == x.data_ptr() + 16
    assert rows.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() == x.data_ptr()
    assert len(rows.untyped_storage()) == rows.untyped_storage().nbytes() == 64


def test_windows_of_constants_and_positions():
    """The window's start is known only when the program runs; its contents are made, not read."""
    assert gemel.zeros(4, 4)[1:].tolist() == [[0.0] * 4] * 3
    assert gemel.arange(10)[3:].tolist() == list(range(3, 10))
    assert (gemel.arange(10)[3:] + 1).tolist() == list(range(4, 11))
    kept = gemel.full((3, 2), 7.0)
    assert (kept[2] + kept[0]).tolist() == [14.0, 14.0]
    assert gemel.arange(10)[[3, 1]].tolist() == [3, 1] and gemel.zeros(4)[gemel.tensor([3, 1])].tolist() == [0, 0]


def test_dlpack_and_numpy():
    x = gemel.arange(6).reshape(2, 3)
    shared = torch.from_dlpack(x)
    shared[0, 0] = 100
    assert x[0, 0].item() == 100 and x.__dlpack_device__() == (1, 0)
    assert gemel.from_dlpack(torch.arange(4)).tolist() == [0, 1, 2, 3]
    with pytest.raises(BufferError, match="require gradient"):
        gemel.ones(2, requires_grad=True).__dlpack__()
    with pytest.raises(BufferError, match=r"dl_device=\(2, 0\)"):
        x.__dlpack__(dl_device=(2, 0))


def test_what_tensors_do_not_do():
    x = gemel.ones(2)
    with pytest.raises(gemel.engine.base.errors.UnsupportedError, match="set_"):
        x.set_(gemel.ones(2))
    with pytest.raises(RuntimeError, match="share_memory_"):
        x.share_memory_()
    assert not x.is_shared() and not x.is_pinned() and x.pin_memory() is x

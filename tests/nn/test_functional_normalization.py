"""Normalization functions against torch."""
from __future__ import annotations

import pytest
import torch
import torch.nn.functional as TF

import gemel.nn.functional as F
from gemel import debug
from gemel.engine.base.flags import override
from tests.nn.compare import backward, compare, ours, randn

DTYPES = (torch.float64, torch.float32)
HALF = (torch.bfloat16, torch.float16)


def with_params(function, shape):
    """f(x, weight, bias) with the shape argument in between."""
    return lambda x, *params: function(x, shape, *params)


@pytest.mark.parametrize("dtype", DTYPES + HALF, ids=str)
@pytest.mark.parametrize("shape, normalized", [((5, 7), (7,)), ((2, 3, 4), (3, 4)), ((6,), (6,)),
                                               ((2, 3, 130), (130,))])
def test_layer_norm(shape, normalized, dtype):
    x = randn(*shape, dtype=dtype)
    w, c = (randn(*normalized, dtype=dtype, seed=i) for i in (1, 2))
    f, r = with_params(F.layer_norm, normalized), with_params(TF.layer_norm, normalized)
    compare(f, r, [x])
    compare(f, r, [x, w])
    compare(f, r, [x, w, c])


@pytest.mark.parametrize("dtype", DTYPES + HALF, ids=str)
def test_rms_norm(dtype):
    x, w = randn(3, 4, 10, dtype=dtype), randn(10, dtype=dtype, seed=1)
    compare(with_params(F.rms_norm, (10,)), with_params(TF.rms_norm, (10,)), [x, w])
    compare(F.rms_norm, TF.rms_norm, [x], (4, 10), eps=1e-3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5), (2, 3, 2, 3, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(shape, training, dtype):
    x, w, c = randn(*shape, dtype=dtype), randn(3, dtype=dtype, seed=1), randn(3, dtype=dtype, seed=2)
    state = {"running_mean": randn(3, dtype=dtype, seed=3), "running_var": randn(3, dtype=dtype, seed=4).abs() + 0.5}

    def reorder(function):
        return lambda x, *params, running_mean, running_var, **k: function(x, running_mean, running_var, *params, **k)
    compare(reorder(F.batch_norm), reorder(TF.batch_norm), [x, w, c], training=training, momentum=0.3, **state)
    compare(reorder(F.batch_norm), reorder(TF.batch_norm), [x], training=training, **state)


def test_batch_norm_without_running_statistics():
    f = lambda x: F.batch_norm(x, None, None, training=True)
    compare(f, lambda x: TF.batch_norm(x, None, None, training=True), [randn(4, 3, 5)])


def test_batch_norm_of_half_with_float_parameters():
    x = randn(4, 3, 8, dtype=torch.bfloat16)
    w, c = randn(3, dtype=torch.float32), randn(3, dtype=torch.float32, seed=1)
    f = lambda g: lambda x, w, c: g(x, None, None, w, c, training=True)
    compare(f(F.batch_norm), f(TF.batch_norm), [x, w, c])


@pytest.mark.parametrize("dtype", DTYPES + (torch.bfloat16,), ids=str)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm(groups, dtype):
    x, w, c = randn(3, 4, 5, 2, dtype=dtype), randn(4, dtype=dtype, seed=1), randn(4, dtype=dtype, seed=2)
    compare(with_params(F.group_norm, groups), with_params(TF.group_norm, groups), [x, w, c])
    compare(with_params(F.group_norm, groups), with_params(TF.group_norm, groups), [x])


@pytest.mark.parametrize("use_input_stats", [True, False])
def test_instance_norm(use_input_stats):
    x, w, c = randn(3, 4, 6), randn(4, seed=1), randn(4, seed=2)
    def reorder(function):
        return lambda x, *params, running_mean, running_var, **k: function(x, running_mean, running_var, *params, **k)
    compare(reorder(F.instance_norm), reorder(TF.instance_norm), [x, w, c], running_mean=randn(4, seed=3),
            running_var=randn(4, seed=4).abs() + 1, use_input_stats=use_input_stats, momentum=0.2)
    compare(F.instance_norm, TF.instance_norm, [randn(2, 3, 4, 5)])


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_local_response_norm(size):
    compare(F.local_response_norm, TF.local_response_norm, [randn(2, 6, 3, 4)], size, alpha=0.1, k=1.5)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 2.5, float("inf")])
def test_normalize(p):
    compare(F.normalize, TF.normalize, [randn(3, 5, 4)], p)
    compare(F.normalize, TF.normalize, [randn(6, dtype=torch.float32)], p, 0)


@pytest.mark.parametrize("tier", ["interpreter", "0", "1"])
def test_every_tier(tier):
    with override(TIER=tier):
        test_layer_norm((5, 7), (7,), torch.float32)
        test_batch_norm((2, 3, 4, 5), True, torch.float32)
        test_group_norm(2, torch.float32)


@pytest.mark.parametrize("call, error, message", [
    (lambda: F.layer_norm(ours(randn(2, 3)), (4,)), RuntimeError,
     r"Given normalized_shape=\[4\], expected input with shape \[\*, 4\], but got input of size\[2, 3\]"),
    (lambda: F.layer_norm(ours(randn(2, 3)), (3,), ours(randn(4))), RuntimeError,
     "Expected weight to be of same shape"),
    (lambda: F.layer_norm(ours(randn(2, 3)), ()), RuntimeError, "at least 1-dimensional"),
    (lambda: F.batch_norm(ours(randn(1, 3)), None, None, training=True), ValueError, "more than 1 value per channel"),
    (lambda: F.batch_norm(ours(randn(2, 3)), ours(randn(4)), ours(randn(4))), RuntimeError,
     "should contain 3 elements"),
    (lambda: F.group_norm(ours(randn(2, 3)), 2), RuntimeError, "divisible by num_groups"),
    (lambda: F.instance_norm(ours(randn(2, 3, 1))), ValueError, "more than 1 spatial element"),
])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_kernel_counts():
    """layer_norm: one kernel forward; backward one over rows and the sums over columns."""
    with override(TIER="1"):
        x = ours(randn(64, 256, dtype=torch.float32)).requires_grad_()
        w, c = (ours(randn(256, dtype=torch.float32, seed=i)).requires_grad_() for i in (1, 2))
        with debug.counting() as seen:
            y = F.layer_norm(x, (256,), w, c)
            y.detach().numpy()
        assert seen["calls"] == 1
        with debug.counting() as seen:
            backward([y], [ours(randn(64, 256, dtype=torch.float32, seed=5))])
            x.grad.numpy()
        assert seen["calls"] <= 3
